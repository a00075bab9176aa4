//! Large outputs and uploaded files, over the programs and servers of a cluster.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::Cluster;
use crate::documents::{large_text, sends_a_file};

/// How much the run gives.
const LETTERS: usize = 5_000_000;

/// An answer's head and body.
async fn raw(port: u16, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_is_fetched_in_ranges_from_any_scheduler() {
    let cluster = Cluster::start(2, 1).await;
    let api = &cluster.api;
    let workflow = api.push(&large_text(LETTERS)).await;
    let run = api.submit(&workflow, json!({ "who": "ab" }), "large").await;
    let run = api.end(&run).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["outputs_by_reference"], json!(["says"]), "{run}");
    let link = &run["outputs"]["says"];
    let href = link["href"].as_str().unwrap();
    let total = 2 * LETTERS + 2;
    assert_eq!(link["bytes"], total);
    let mut fetched = String::new();
    let mut pieces = 0;
    while fetched.len() < total {
        let (from, to) = (fetched.len(), (fetched.len() + 3_000_000).min(total));
        let range = format!("range: bytes={from}-{}\r\n", to - 1);
        let (head, body) = raw(api.port(pieces % 2), href, &range).await;
        assert!(head.starts_with("http/1.1 206 "), "{head}");
        assert!(
            head.contains(&format!("content-range: bytes {from}-{}/{total}", to - 1)),
            "{head}"
        );
        fetched += &body;
        pieces += 1;
    }
    assert_eq!(pieces, 4);
    let value: Value = serde_json::from_str(&fetched).unwrap();
    assert!(value == json!("ab".repeat(LETTERS)), "it is what the node gave");
}

/// Takes one request, and answers with what was in it; the body is as long as it says.
async fn listener() -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taking = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            request.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if count == 0 || body.len() >= length.parse().unwrap() {
                break;
            }
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, taking)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_is_extracted_and_sent_on() {
    let (port, taking) = listener().await;
    let cluster = Cluster::start(1, 2).await;
    let api = &cluster.api;
    let workflow = api.push(&sends_a_file(port)).await;
    let mut content = String::new();
    for line in 0..2000 {
        writeln!(content, "line {line} of the report").unwrap();
    }
    let headers = "content-type: text/plain\r\n";
    let file = api.ask("POST", "/api/v1/files?name=report.txt", headers, &content).await;
    assert_eq!(file.status, 201, "{file:?}");
    let doc = json!({"type": "document", "transfer_method": "local_file", "upload_file_id": file.body["id"]});
    let run = api.submit(&workflow, json!({ "doc": doc }), "file").await;
    let run = api.end(&run).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["outputs"]["text"], json!(content), "{run}");
    assert_eq!(run["outputs"]["sent"], "ok");
    let request = taking.await.unwrap();
    assert!(request.ends_with(&content), "the file is the body: {request}");
}
