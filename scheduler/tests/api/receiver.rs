//! Somebody who receives webhooks: a real HTTP server that answers as it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use serde_json::Value as Json;
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What it does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// It answers with this status, these further lines of the head and this body.
    Answer(u16, &'static str, &'static str),
    /// It says nothing, until it is let go on; then it answers 200.
    Hang,
    /// It did its work and closes the connection without an answer.
    Die,
}

/// What it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Whether the public library takes it for signed with this secret.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        Webhook::new(secret).unwrap().verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

#[derive(Debug, Default)]
struct State {
    /// What it does with the next requests; 200 when there is nothing more.
    ways: Mutex<VecDeque<Way>>,
    received: Mutex<Vec<Received>>,
    came: Notify,
    go_on: Notify,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start(ways: &[Way]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        state.ways.lock().unwrap().extend(ways.iter().cloned());
        let serving = tokio::spawn(serve(listener, state.clone()));
        Self { url, state, serving }
    }

    /// What it was sent, once it is so many requests.
    pub(crate) async fn received(&self, count: usize) -> Vec<Received> {
        let waiting = async {
            loop {
                let came = self.state.came.notified();
                let received = self.state.received.lock().unwrap().clone();
                if received.len() >= count {
                    return received;
                }
                came.await;
            }
        };
        let received = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        received.unwrap_or_else(|_| panic!("it was not sent {count} requests: {self:?}"))
    }

    /// How many requests it was sent so far.
    pub(crate) fn count(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }

    /// Whoever hangs answers.
    pub(crate) fn go_on(&self) {
        self.state.go_on.notify_one();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(connection, state.clone()));
    }
}

/// One request; the connection is not used again.
async fn answer(mut connection: TcpStream, state: Arc<State>) {
    let Some(received) = read(&mut connection).await else { return };
    let way = state.ways.lock().unwrap().pop_front();
    state.received.lock().unwrap().push(received);
    state.came.notify_waiters();
    let (status, head, body) = match way {
        None => (200, "", "thanks"),
        Some(Way::Answer(status, head, body)) => (status, head, body),
        Some(Way::Hang) => {
            state.go_on.notified().await;
            (200, "", "at last")
        }
        Some(Way::Die) => return,
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // whoever asked may have gone
    let _ = connection.write_all(answer.as_bytes()).await;
}

async fn read(connection: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        if let Some(received) = parse(&bytes) {
            return Some(received);
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A request, once all of it is there.
fn parse(bytes: &[u8]) -> Option<Received> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())
        })
        .collect();
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    (body.len() >= length).then(|| Received { path, headers, body: body.to_owned() })
}
