//! `flowmill run` with files, and what its nodes may reach.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// A server that answers every request with a file, and tells what it was sent.
fn server() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let count = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let Some(head) = text.find("\r\n\r\n") else { continue };
                let length = text.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.split('\r').next()?.parse().ok());
                if request.len() >= head + 4 + length.unwrap_or(0) {
                    break;
                }
            }
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Disposition: \
                      attachment; filename=answer.pdf\r\nContent-Length: 8\r\nConnection: close\r\n\r\n%PDF-1.4",
                )
                .unwrap();
            if seen.send(String::from_utf8_lossy(&request).into_owned()).is_err() {
                break;
            }
        }
    });
    (port, told)
}

const FILE: &str = r#"{"variable": "doc", "label": "Doc", "type": "file", "required": true,
    "allowed_file_types": ["document"], "allowed_file_upload_methods": ["local_file", "remote_url"]}"#;

/// Sends a file to a server and ends with what comes back.
fn sends(port: u16) -> String {
    let http = format!(
        "{{id: h, data: {{type: http-request, title: Send, method: post, url: 'http://127.0.0.1:{port}/', \
         authorization: {{type: no-auth}}, headers: '', params: '', \
         body: {{type: binary, data: [{{type: file, file: [s, doc]}}]}}}}}}"
    );
    let edges = ["{source: s, target: h}", "{source: h, target: e}"];
    workflow(&[&start(&FILE.replace('\n', " ")), &http, &end("files", "h, files")], &edges)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn a_file_goes_out_and_another_comes_back() {
    let (port, told) = server();
    let sent = file("sent.txt", "from this machine");
    let out = folder("files-out");
    let arguments = ["--file", &format!("doc={sent}"), "--allow-net", "127.0.0.1"];
    let placed =
        [&arguments[..], &["--files-dir", out.to_str().unwrap(), "--output", "json"]].concat();
    let ran = run(&sends(port), &placed).expect(0).json();
    assert!(told.recv().unwrap().ends_with("\r\n\r\nfrom this machine"));
    let kept = &ran["outputs"]["files"][0];
    assert_eq!((&kept["filename"], &kept["type"]), (&"answer.pdf".into(), &"document".into()));
    assert_eq!(kept["url"], format!("file://{}/answer.pdf", out.display()));
    assert_eq!(std::fs::read_to_string(out.join("answer.pdf")).unwrap(), "%PDF-1.4");
    // without a folder it lies where the output says
    let ran = run(&sends(port), &arguments).expect(0);
    let place = ran.out.trim().strip_prefix("files: answer.pdf (document, 8 bytes): file://");
    let place = PathBuf::from(place.unwrap_or_else(|| panic!("{ran}")));
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "%PDF-1.4");
    let temporary = place.parent().unwrap();
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 1, "inputs are not left behind");
    std::fs::remove_dir_all(temporary).unwrap();
}

#[test]
fn this_machine_is_out_of_reach_unless_allowed() {
    let (port, told) = server();
    let sent = format!("doc={}", file("unsent.txt", "secret"));
    let ran = run(&sends(port), &["--file", &sent]).expect(1);
    ran.says("blocked by SSRF protection")
        .says("127.0.0.1 is a loopback address: --allow-net 127.0.0.1 or --allow-private-network");
    let other = format!("127.0.0.1:{}", port ^ 1);
    run(&sends(port), &["--file", &sent, "--allow-net", &other]).expect(1);
    assert!(told.try_recv().is_err(), "nothing was sent");
    let this = format!("127.0.0.0/8:{port}");
    for allowed in [&["--allow-net", &*this][..], &["--allow-private-network"]] {
        run(&sends(port), &[&["--file", &sent], allowed].concat()).expect(0);
    }
    run(&sends(port), &["--allow-net", "10.0.0.0/99"]).expect(2).says("*.example.com");
    let sheet = file("bench-inputs.json", "{}");
    let document =
        file("bench-sends.yml", &sends(port).replace("body: {type: binary", "body: {type: none"));
    let bench = ["bench", &document, "--inputs", &sheet, "--runs", "1"];
    flowmill(&bench).expect(1);
    flowmill(&[&bench[..], &["--allow-private-network"]].concat()).expect(0);
}

#[test]
fn files_are_checked_as_the_form_says() {
    let list = r#"{"variable": "docs", "label": "D", "type": "file-list", "max_length": 2,
        "allowed_file_types": ["image", "custom"], "allowed_file_extensions": [".log"]}"#;
    let nodes = [&*start(&list.replace('\n', " ")), &end("docs", "s, docs")];
    let document = workflow(&nodes, &["{source: s, target: e}"]);
    let (png, log, text) = (file("a.PNG", "x"), file("b.log", "xy"), file("c.txt", ""));
    let [png, log, text] = [&png, &log, &text].map(|path| format!("docs={path}"));
    let ran =
        run(&document, &["--file", &png, "--file", &log, "--output", "json"]).expect(0).json();
    let docs = &ran["outputs"]["docs"];
    let about = |doc: &Json| {
        format!("{} {} {} {}", doc["filename"], doc["type"], doc["mime_type"], doc["size"])
    };
    assert_eq!(about(&docs[0]), r#""a.PNG" "image" "image/png" 1"#);
    assert!(about(&docs[1]).starts_with(r#""b.log" "custom""#), "{docs}");
    let refused =
        |arguments: &[&str], why: &str| drop(run(&document, arguments).expect(2).says(why));
    refused(&["--file", &text], "document files are not allowed here, only image, custom");
    refused(&["--file", &png, "--file", &log, "--file", &png], "must be less than 2 files");
    refused(&["--file", "docs=/does/not/exist"], "failed to read /does/not/exist");
    refused(&["--file", "docs=/"], "/ is not a file");
    let one = workflow(&[&start(NUMBER), &end("n", "s, n")], &["{source: s, target: e}"]);
    run(&one, &["--file", &png.replace("docs", "n")])
        .expect(2)
        .says("takes no file: it is a number");
    run(&one, &["--file", &png, "--input", "n=1"]).expect(0).says("no input \"docs\"");
}

#[test]
fn inputs_name_files_only_if_the_command_line_gave_them() {
    let (port, told) = server();
    let sent = file("named.txt", "named");
    let mapping =
        format!(r#"{{"doc": {{"transfer_method": "local_file", "upload_file_id": "{sent}"}}}}"#);
    let inputs = file("named.json", &mapping);
    let arguments = ["--inputs", &inputs, "--allow-private-network"];
    run(&sends(port), &arguments)
        .expect(2)
        .says("was given: give it with --file PATH")
        .says("flowmill run - --file doc=path/to/file");
    run(&sends(port), &[&arguments[..], &["--file", &sent]].concat()).expect(0);
    assert!(told.recv().unwrap().ends_with("\r\n\r\nnamed"));
}

/// A chat that shows the files given to it, with this in its features.
fn shows_files(features: &str) -> String {
    let answer = "{id: a, data: {type: answer, title: Answer, answer: 'See {{#sys.files#}}'}}";
    let chat = document("advanced-chat", &[&start(""), answer], &["{source: s, target: a}"]);
    chat.replace("workflow:\n", &format!("workflow:\n  features: {{file_upload: {features}}}\n"))
}

fn answered(chat: &str, arguments: &[&str]) -> Json {
    run(chat, &[&["--query", "hi", "--output", "json"], arguments].concat()).expect(0).json()
}

#[test]
fn a_chat_takes_files_of_its_own() {
    let chat = shows_files("{enabled: true, number_limits: 3}");
    let (one, two) = (file("one.png", "1"), file("two.pdf", "2"));
    let [first, second] = [&one, &two].map(|path| format!("sys.files={path}"));
    let ran = answered(&chat, &["--file", &first, "--file", &second]);
    assert_eq!(
        ran["outputs"]["answer"],
        format!("See ![one.png](file://{one})\n[two.pdf](file://{two})")
    );
    assert_eq!(ran["outputs"]["files"][1]["filename"], "two.pdf");
    let ran = answered(&chat, &["--input", "sys.files=http://public.example/a.png"]);
    assert_eq!(ran["outputs"]["answer"], "See ![a.png](http://public.example/a.png)");
    let mapping = format!(
        r#"{{"sys.files": [{{"transfer_method": "local_file", "upload_file_id": "{two}"}}]}}"#
    );
    let inputs = file("chat-files.json", &mapping);
    let ran = answered(&chat, &["--inputs", &inputs, "--file", &two]);
    assert_eq!(ran["outputs"]["answer"], format!("See [two.pdf](file://{two})"));
}

#[test]
fn a_chats_features_say_which_files_it_takes() {
    let (png, pdf, log) = (file("f.png", "1"), file("f.pdf", "2"), file("f.log", "3"));
    let [png, pdf, log] = [&png, &pdf, &log].map(|path| format!("sys.files={path}"));
    let refused = |features: &str, arguments: &[&str], why: &str| {
        let arguments = [&["--query", "hi"], arguments].concat();
        run(&shows_files(features), &arguments).expect(2).says(why);
    };
    let some = "{enabled: true, number_limits: 2, allowed_file_types: [image, custom], \
                allowed_file_extensions: [.log], allowed_file_upload_methods: [local_file]}";
    answered(&shows_files(some), &["--file", &png, "--file", &log]);
    let invalid = "File validation failed for file: f.pdf: document files are not allowed here";
    refused(some, &["--file", &pdf], invalid);
    let many = "Number of files exceeds the maximum limit 2";
    refused(some, &["--file", &png, "--file", &log, "--file", &log], many);
    let many = "Number of image files exceeds the maximum limit 2";
    refused(some, &["--file", &png, "--file", &png, "--file", &png], many);
    let remote = "sys.files=http://public.example/a.png";
    refused(some, &["--input", remote], "must come by local_file, not remote_url");
    refused(some, &["--inputs", &file("five.json", r#"{"sys.files": 5}"#)], "a list of files");
    // what is said of images alone
    let old = "{image: {enabled: true, number_limits: 1, transfer_methods: [local_file]}}";
    answered(&shows_files(old), &["--file", &png]);
    refused(old, &["--file", &png, "--file", &png], "exceeds the maximum limit 1");
    refused(old, &["--file", &pdf], invalid);
    refused(old, &["--input", remote], "must come by local_file, not remote_url");
    // nothing is said of a number: one image
    refused("{enabled: true}", &["--file", &png, "--file", &png], "exceeds the maximum limit 1");
    for off in ["{enabled: false, image: {enabled: false}}", "{}"] {
        let ran = run(&shows_files(off), &["--query", "hi", "--file", &pdf]).expect(0);
        ran.says("features.file_upload is not enabled");
        let ran = answered(&shows_files(off), &["--file", &pdf]);
        assert_eq!(ran["outputs"]["answer"], "See ");
    }
}
