//! Files that a node sends and receives.

use flowmill_engine::value::{File, Kind};
use flowmill_nodes::files::{FileError, FileStore, FolderFiles};

use super::*;

fn store(name: &str) -> FolderFiles {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    FolderFiles::new(folder.join("given"), folder.join("produced"))
}

fn with(files: Arc<dyn FileStore>) -> NodeContext {
    NodeContext { files, ..context(1, Arc::new(client(options(), local())), None) }
}

async fn given(store: &dyn FileStore, name: &str, content: &[u8], mime_type: Option<&str>) -> File {
    let about = File {
        kind: "document".into(),
        transfer_method: "local_file".into(),
        filename: Some(name.into()),
        mime_type: mime_type.map(Into::into),
        ..File::default()
    };
    store.put(content.to_vec(), about).await.unwrap()
}

fn remote(url: &str) -> File {
    File {
        kind: "document".into(),
        transfer_method: "remote_url".into(),
        filename: Some("far.txt".into()),
        remote_url: Some(url.into()),
        ..File::default()
    }
}

fn variables(files: &[(&str, Value)]) -> Variables {
    let mut variables = Variables::default();
    for (name, value) in files {
        let kind = Kind::of(value);
        variables.set(&"s".into(), &(*name).into(), Variable::typed(kind, value.clone()));
    }
    variables
}

fn value(file: File) -> Value {
    Value::File(Arc::new(file))
}

#[tokio::test]
async fn a_file_is_the_whole_content() {
    let server = Server::start(|path| match path {
        "/far" => reply("200 OK", "", b"from far"),
        "/gone" => reply("404 Not Found", "", b""),
        _ => reply("200 OK", "", b"ok"),
    })
    .await;
    let context = with(Arc::new(store("binary")));
    let near = given(&*context.files, "a.bin", b"from here", None).await;
    let variables = variables(&[
        ("near", value(near)),
        ("far", value(remote(&server.url("/far")))),
        ("gone", value(remote(&server.url("/gone")))),
        ("private", value(remote("http://169.254.169.254/"))),
        ("text", Value::from("no file")),
    ]);
    let send = async |name: &str| {
        let more = format!(
            r#"{{"method": "post", "body": {{"type": "binary", "data": [{{"type": "file", "file": ["s", "{name}"]}}]}}}}"#
        );
        node(&server.url("/to"), &more).execute(&variables, &context).await
    };
    send("near").await.unwrap();
    let seen = server.seen().pop().unwrap();
    assert!(seen.ends_with("\r\n\r\nfrom here"), "{seen}");
    assert!(!seen.to_lowercase().contains("content-type"), "{seen}");
    send("far").await.unwrap();
    assert!(server.seen().pop().unwrap().ends_with("\r\n\r\nfrom far"));
    let error = send("gone").await.unwrap_err();
    assert_eq!(
        (&*error.kind, &*error.message),
        ("WorkflowNodeError", "the address answered with status 404")
    );
    let error = send("private").await.unwrap_err();
    assert!(error.message.contains("blocked by SSRF protection"), "{}", error.message);
    for name in ["text", "missing"] {
        let error = send(name).await.unwrap_err();
        assert_eq!(&*error.kind, "FileFetchError");
        assert!(error.message.starts_with("cannot fetch file with selector"), "{}", error.message);
    }
}

#[tokio::test]
async fn files_are_parts_of_a_form() {
    let server = Server::start(|_| reply("200 OK", "", b"ok")).await;
    let context = with(Arc::new(store("form")));
    let one = given(&*context.files, "one \"1\".txt", b"first", Some("text/plain")).await;
    let two = given(&*context.files, "two.bin", b"second", None).await;
    let nowhere = File { transfer_method: "tool_file".into(), ..File::default() };
    let variables = variables(&[
        ("one", value(one.clone())),
        ("list", Value::array(vec![value(one), value(nowhere.clone()), value(two)])),
        ("nowhere", value(nowhere)),
    ]);
    let send = async |items: &str| {
        let more =
            format!(r#"{{"method": "post", "body": {{"type": "form-data", "data": [{items}]}}}}"#);
        node(&server.url("/"), &more).execute(&variables, &context).await.unwrap();
        server.seen().pop().unwrap()
    };
    let seen = send(
        r#"{"key": "list", "type": "file", "file": ["s", "list"]}, {"key": "one", "type": "file", "file": ["s", "one"]},
           {"key": "said", "type": "text", "value": "hello"}"#,
    )
    .await;
    let boundary = seen.split("boundary=").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    let content = seen.split_once("\r\n\r\n").unwrap().1.replace(&boundary, "B");
    let part = |head: &str, kind: &str, content: &str| {
        format!("--B\r\nContent-Disposition: form-data; {head}{kind}\r\n\r\n{content}\r\n")
    };
    let text = "\r\nContent-Type: text/plain";
    let bytes = "\r\nContent-Type: application/octet-stream";
    let wanted = [
        part("name=\"said\"", "", "hello"),
        part("name=\"list\"; filename=\"one %221%22.txt\"", text, "first"),
        part("name=\"list\"; filename=\"two.bin\"", bytes, "second"),
        part("name=\"one\"; filename=\"one %221%22.txt\"", text, "first"),
        "--B--\r\n".to_owned(),
    ];
    assert_eq!(content, wanted.concat());
    let seen = send(r#"{"key": "x", "type": "file", "file": ["s", "nowhere"]}"#).await;
    assert!(seen.contains("__multipart_placeholder__"), "{seen}");
}

#[tokio::test]
async fn what_is_downloaded_is_kept() {
    let server = Server::start(|_| {
        let headers = "Content-Type: application/octet-stream\r\n\
                       Content-Disposition: attachment; filename=\"../report.pdf\"\r\n";
        reply("200 OK", headers, b"%PDF-1")
    })
    .await;
    let folder = Arc::new(store("download"));
    let context = with(folder.clone());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let success =
            node(&server.url("/x"), "{}").execute(&Variables::default(), &context).await.unwrap();
        let Value::Array(files) = output(&success, "files") else { panic!("a list") };
        let [Value::File(file)] = &files[..] else { panic!("one file") };
        assert_eq!(folder.open(file, 100).await.unwrap(), b"%PDF-1");
        let path = folder.path_of(file).unwrap();
        assert!(path.ends_with("produced/report.pdf"), "{path:?}");
        assert_eq!(file.url.as_deref(), Some(&*format!("file://{}", path.display())));
        assert_eq!((&*file.transfer_method, file.size_bytes), ("tool_file", 6));
        ids.push(file.related_id.clone());
    }
    assert_eq!(ids[0], ids[1], "another attempt keeps nothing twice");
    assert_eq!(body(&run(&server.url("/x"), "{}").await.unwrap()), "");
}

#[tokio::test]
async fn a_context_opens_files_wherever_they_lie() {
    let server = Server::start(|_| reply("200 OK", "", b"0123456789")).await;
    let context = with(Arc::new(store("context")));
    let far = remote(&server.url("/"));
    assert_eq!(context.open(&far, 10).await.unwrap(), b"0123456789");
    let error = context.open(&far, 9).await.unwrap_err();
    assert_eq!(error.to_string(), "the file far.txt is larger than 9 bytes");
    let near = given(&*context.files, "near.txt", b"near", None).await;
    assert_eq!(context.open(&near, 10).await.unwrap(), b"near");
    for url in
        ["file:///etc/passwd", "file://127.0.0.1/etc/passwd", "ftp://127.0.0.1/", "/etc/passwd"]
    {
        let error = context.open(&remote(url), 10).await.unwrap_err();
        assert!(matches!(error, FileError::Fetch(_)), "{url}: {error:?}");
    }
    let lost = File { remote_url: None, ..far };
    assert!(matches!(context.open(&lost, 9).await.unwrap_err(), FileError::Nowhere { .. }));
}
