//! Somebody who receives webhooks: as little of an HTTP server as does for that. It answers at once,
//! and knows each event once, however often it comes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::figures::{float, millis};

/// Bytes of a request, which are more than any event here has.
const LARGEST: usize = 1 << 20;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A server on a port of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    received: Arc<Mutex<Received>>,
    serving: AbortHandle,
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Received {
    known: HashSet<String>,
    /// How often an event came that was known.
    pub(crate) again: usize,
    /// From an event until it came, in milliseconds, by the clocks of this machine.
    pub(crate) times: Vec<f64>,
    /// When the last new one came.
    pub(crate) last: Option<Instant>,
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let received = Arc::new(Mutex::new(Received::default()));
        let serving = tokio::spawn(serve(listener, received.clone())).abort_handle();
        Ok(Self { url, received, serving })
    }

    /// How many events came.
    pub(crate) fn count(&self) -> usize {
        lock(&self.received).known.len()
    }

    /// What came so far, which is forgotten.
    pub(crate) fn take(&self) -> Received {
        std::mem::take(&mut *lock(&self.received))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Received>>) {
    // they end with this task
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(answer(connection, received.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// One request after the other, as long as they come.
async fn answer(mut connection: TcpStream, received: Arc<Mutex<Received>>) {
    let mut bytes = Vec::new();
    loop {
        while let Some((body, end)) = request(&bytes) {
            note(&received, body);
            bytes.drain(..end);
            if connection.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        let is_open = matches!(connection.read_buf(&mut bytes).await, Ok(1..));
        if !is_open || bytes.len() > LARGEST {
            return;
        }
    }
}

/// The body of the first request and where that ends, once it is there.
fn request(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head.checked_add(length?)?;
    Some((bytes.get(head..end)?, end))
}

fn note(received: &Mutex<Received>, body: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Value>(body) else { return };
    let (Some(id), Some(at)) = (event["id"].as_str(), event["timestamp"].as_str()) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut received = lock(received);
    if !received.known.insert(id.to_owned()) {
        received.again += 1;
        return;
    }
    received.times.push(float(now.saturating_sub(millis(at).unwrap_or(now))));
    received.last = Some(Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_where_they_end() {
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST";
        assert_eq!(request(bytes), Some((&b"abc"[..], bytes.len() - 4)));
        assert_eq!(request(&bytes[..bytes.len() - 5]), None);
        assert_eq!(request(b"POST / HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn an_event_is_known_once() {
        let received = Mutex::new(Received::default());
        let event = br#"{"id": "msg_1", "timestamp": "2026-11-27T09:00:00.000Z"}"#;
        for body in [&event[..], event, b"nonsense"] {
            note(&received, body);
        }
        let received = lock(&received);
        assert_eq!((received.known.len(), received.again, received.times.len()), (1, 1, 1));
    }
}
