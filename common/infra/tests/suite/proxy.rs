//! A way to the server that can be cut where it hurts: before a question arrives, or after it was
//! dealt with and before the answer is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does with the next question that holds the marked text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    /// Nothing.
    Never,
    /// Ends the connection instead of passing it on.
    Question,
    /// Passes it on, waits until the server has answered, and ends the connection.
    Answer,
    /// Ends the connection, and from then on all that are made or used.
    Everything,
    /// That has happened.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    cut: Arc<AtomicU8>,
}

/// What the server sends when it has done all it was asked for, outside of a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

impl Proxy {
    /// Passes everything between whoever connects and a server.
    pub(crate) async fn to(server: String, marked: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicU8::new(Cut::Never as u8));
        let proxy = Self { port, cut: cut.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if cut.load(Ordering::SeqCst) == Cut::Gone as u8 {
                    continue;
                }
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, marked, cut.clone()));
            }
        });
        proxy
    }

    /// The next marked question is dealt with like this.
    pub(crate) fn next(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// Whether what was asked for has happened.
    pub(crate) fn has_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) == Cut::Never as u8
    }
}

async fn pass(client: TcpStream, server: TcpStream, marked: &[u8], cut: Arc<AtomicU8>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut asked = Vec::new();
    let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = from_client.read(&mut question) => {
                let Ok(length @ 1..) = read else { return };
                asked.extend_from_slice(&question[..length]);
                // the mark may lie across two reads
                let is_marked = holds(&asked, marked);
                asked.drain(..asked.len().saturating_sub(marked.len()));
                let now = cut.load(Ordering::SeqCst);
                if now == Cut::Gone as u8 {
                    return;
                }
                if is_marked && now != Cut::Never as u8 {
                    if now == Cut::Everything as u8 {
                        cut.store(Cut::Gone as u8, Ordering::SeqCst);
                        return;
                    }
                    cut.store(Cut::Never as u8, Ordering::SeqCst);
                    if now == Cut::Answer as u8 {
                        to_server.write_all(&question[..length]).await.unwrap();
                        finish(&mut from_client, &mut to_server, &mut from_server).await;
                    }
                    return;
                }
                if to_server.write_all(&question[..length]).await.is_err() {
                    return;
                }
            }
            read = from_server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if to_client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Passes on the rest of a question and keeps the answer, until there is all of it.
async fn finish(
    client: &mut OwnedReadHalf,
    to_server: &mut OwnedWriteHalf,
    server: &mut OwnedReadHalf,
) {
    let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut answered = Vec::new();
    while !holds(&answered, READY) {
        tokio::select! {
            Ok(length @ 1..) = client.read(&mut question) => {
                to_server.write_all(&question[..length]).await.unwrap();
            }
            Ok(length @ 1..) = server.read(&mut answer) => {
                answered.extend_from_slice(&answer[..length]);
            }
            else => return,
        }
    }
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
