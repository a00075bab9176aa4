//! Files that are uploaded, and runs that begin with them.

use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Answer, Server, document, send};

/// start -> document-extractor -> end.
fn reading() -> String {
    document(
        "reading",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [
                {variable: doc, label: Doc, type: file, required: true, allowed_file_types: [document]}]}}",
            "{id: x, data: {type: document-extractor, title: Read, variable_selector: [s, doc]}}",
            "{id: e, data: {type: end, title: End, outputs: [
                {variable: text, value_selector: [x, text]}, {variable: doc, value_selector: [s, doc]}]}}",
        ],
        &["{source: s, target: x}", "{source: x, target: e}"],
    )
}

async fn upload(server: &Server, name: &str, kind: &str, content: &str) -> Answer {
    let request = server.request(Method::POST, &format!("/api/v1/files?name={name}"));
    send(request.header("content-type", kind).body(content.to_owned())).await
}

/// A form of these parts: a name, a file's name, what is in it.
async fn form(server: &Server, parts: &[(&str, Option<&str>, &str)]) -> Answer {
    use std::fmt::Write as _;
    let mut body = String::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"\r\ncontent-type: text/x-mine"));
        let file = file.unwrap_or_default();
        let head = format!("content-disposition: form-data; name=\"{name}\"{file}");
        write!(body, "--b\r\n{head}\r\n\r\n{content}\r\n").unwrap();
    }
    body.push_str("--b--\r\n");
    let request = server.request(Method::POST, "/api/v1/files");
    send(request.header("content-type", "multipart/form-data; boundary=b").body(body)).await
}

fn local(id: &Json) -> Json {
    json!({"type": "document", "transfer_method": "local_file", "upload_file_id": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_is_read_by_a_run() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&reading()).await;
    let file = upload(server, "R%C3%A9port.TXT", "text/plain", "All is well.").await.json(201);
    assert_eq!((&file["name"], &file["size"]), (&json!("Réport.TXT"), &json!(12)));
    assert_eq!((&file["extension"], &file["mime_type"]), (&json!("txt"), &json!("text/plain")));
    let again = upload(server, "R%C3%A9port.TXT", "text/plain", "All is well.").await.json(200);
    assert_eq!(again, file, "the same file is the same upload");
    let id = file["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/api/v1/files/{id}")).await.json(200), file);

    let body = json!({"workflow": "reading", "inputs": {"doc": local(&file["id"])}});
    let run = server.submit(body).await.json(202);
    let run = format!("/api/v1/runs/{}?wait=30s", run["id"].as_str().unwrap());
    let run = server.get(&run).await.json(200);
    assert_eq!(
        (&run["status"], &run["outputs"]["text"]),
        (&json!("succeeded"), &json!("All is well.")),
        "{run}"
    );
    let doc = &run["outputs"]["doc"];
    assert_eq!(
        (&doc["related_id"], &doc["filename"]),
        (&file["id"], &json!("Réport.TXT")),
        "{doc}"
    );
    let content = server.get(doc["url"].as_str().unwrap()).await;
    assert_eq!((content.status, &*content.text), (200, "All is well."));
    assert_eq!(content.header("content-disposition"), "attachment");
    let request = server.request(Method::GET, doc["url"].as_str().unwrap());
    let part = send(request.header("range", "bytes=4-5")).await;
    assert_eq!((part.status, &*part.text), (206, "is"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_fit_is_refused_by_its_input() {
    let server = Server::alone().await;
    server.push(&reading()).await;
    let submit = async |doc: Json| {
        server.submit(json!({"workflow": "reading", "inputs": {"doc": doc}})).await
    };
    let refused = submit(local(&json!("no-such-file"))).await.problem(422, "invalid_inputs");
    let message = refused["problems"][0]["message"].as_str().unwrap();
    assert_eq!(refused["problems"][0]["input"], "doc");
    assert!(message.contains("no-such-file") && message.contains("/api/v1/files"), "{message}");
    let picture = upload(&server, "a.png", "image/png", "x").await.json(201);
    let image =
        json!({"type": "image", "transfer_method": "local_file", "upload_file_id": picture["id"]});
    let refused = submit(image).await.problem(422, "invalid_inputs");
    assert_eq!(refused["problems"][0]["input"], "doc");
    let files = json!([local(&json!("unknown"))]);
    let body = json!({"workflow": "reading", "inputs": {"doc": local(&picture["id"]), "sys.files": files}});
    let refused = server.submit(body).await.problem(422, "invalid_inputs");
    assert_eq!(refused["problems"][0]["input"], "sys.files", "{refused}");
    server.get("/api/v1/files/unknown").await.problem(404, "file_not_found");
    server.get("/api/v1/files/unknown/content").await.problem(404, "file_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_forms_or_bodies_within_bounds() {
    let server = Server::with(|settings| settings.file_bytes = 3 << 20).await;
    let sent =
        form(&server, &[("user", None, "ada"), ("file", Some("a.b"), "x\r\ny")]).await.json(201);
    assert_eq!((&sent["name"], &sent["size"]), (&json!("a.b"), &json!(4)));
    assert_eq!(sent["mime_type"], "text/x-mine");
    let bare = server.post("/api/v1/files", "x").await.json(201);
    assert_eq!((&bare["name"], &bare["extension"]), (&json!("upload"), &json!("")));
    assert_eq!(bare["mime_type"], "application/octet-stream");
    let guessed = server.post("/api/v1/files?name=a.pdf", "").await.json(201);
    assert_eq!((&guessed["mime_type"], &guessed["size"]), (&json!("application/pdf"), &json!(0)));

    form(&server, &[("user", None, "ada")]).await.problem(400, "invalid_body");
    let two = [("file", Some("a"), "x"), ("file", Some("b"), "y")];
    form(&server, &two).await.problem(400, "invalid_body");
    form(&server, &[("other", None, "x")]).await.problem(422, "invalid_request");
    form(&server, &[("file", Some("a/b"), "x")]).await.problem(422, "invalid_request");
    upload(&server, "..%2Fa", "text/plain", "x").await.problem(422, "invalid_request");
    upload(&server, "a%00b", "text/plain", "x").await.problem(422, "invalid_request");
    upload(&server, "", "text/plain", "x").await.problem(422, "invalid_request");
    let most = "x".repeat(3 << 20);
    upload(&server, "a", "text/plain", &most).await.json(201);
    let sent = form(&server, &[("file", Some("a"), &most)]).await.json(201);
    assert_eq!(sent["size"], 3 << 20);
    let long = format!("{most}x");
    upload(&server, "a", "text/plain", &long).await.problem(413, "too_large");
    form(&server, &[("file", Some("a"), &long)]).await.problem(413, "too_large");
    form(&server, &[("user", None, &"x".repeat(4 << 20))]).await.problem(413, "too_large");
    let request = server.request(Method::POST, "/api/v1/files");
    let broken = request.header("content-type", "multipart/form-data; boundary=b").body("--c--");
    send(broken).await.problem(400, "invalid_body");
}
