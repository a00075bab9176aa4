//! As much of HTTP as the tests need: a client of the API, and a server that counts what it is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::process::PATIENCE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

/// A request and its answer; None when the server is away or breaks off.
pub(crate) async fn ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: &(impl AsRef<[u8]> + ?Sized),
) -> Option<Answer> {
    let body = body.as_ref();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n",
        body.len(),
    );
    stream.write_all(&[request.as_bytes(), body].concat()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let (text, body) = (body.to_owned(), serde_json::from_str(body).unwrap_or_default());
    Some(Answer { status, body, text })
}

/// An answer that is read line by line while it comes.
pub(crate) struct Lines(BufReader<TcpStream>);

impl Lines {
    /// Asks; the answer's head has been read when this returns, and says that all is well.
    pub(crate) async fn of(port: u16, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // of this version of HTTP a body is just what comes until the end
        let request = format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = Self(BufReader::new(stream));
        let status = lines.next().await.unwrap();
        assert!(status.contains(" 200 "), "{status}");
        while lines.next().await.is_some_and(|line| !line.is_empty()) {}
        lines
    }

    /// The next line; None at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
        let read = read.unwrap_or_else(|_| panic!("no line came for {PATIENCE:?}"));
        (read.ok()? > 0).then(|| line.trim_end().to_owned())
    }
}

/// How often each path was asked for.
pub(crate) type Seen = BTreeMap<String, usize>;

/// A server that counts the requests for each path, and takes its time over each.
pub(crate) struct Counter {
    pub(crate) port: u16,
    seen: Arc<Mutex<Seen>>,
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>, wait: Duration) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request);
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let said = path.trim_start_matches('/').to_owned();
    *seen.lock().unwrap().entry(path).or_default() += 1;
    tokio::time::sleep(wait).await;
    let status = match &*text {
        // as a proxy it opens no way to others
        connect if connect.starts_with("CONNECT ") => "405 No",
        _ if said.contains("fail") => "500 Oh",
        _ => "200 OK",
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    );
    stream.write_all(answer.as_bytes()).await.ok();
}

impl Counter {
    /// It answers each request with its path, after this time; one that says `fail` does.
    pub(crate) async fn start(wait: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone(), wait));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn total(&self) -> usize {
        self.seen.lock().unwrap().values().sum()
    }
}
