//! A way to the broker on which things are held up or end.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::until;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    All,
    /// Nothing that the server says.
    Asked,
    /// Nothing that is said on connections that consume: no message is settled.
    Unsettled,
    /// Nothing, and all connections end.
    Nothing,
}

pub(crate) struct Way {
    port: u16,
    traffic: watch::Sender<Traffic>,
}

/// Begins a frame's `basic.consume`.
const CONSUME: [u8; 4] = [0, 60, 0, 20];

impl Way {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (traffic, seen) = watch::channel(Traffic::All);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // while the server is away so is this
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                tokio::spawn(pass(client, server, seen.clone()));
            }
        });
        Self { port, traffic }
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// What the server says is held up: confirms, and messages.
    pub(crate) fn hold_answers(&self) {
        self.traffic.send_replace(Traffic::Asked);
    }

    /// What consumers say is held up: that they are done with a message.
    pub(crate) fn hold_receipts(&self) {
        self.traffic.send_replace(Traffic::Unsettled);
    }

    /// All connections end, with what was held up on them; new ones are as they should be.
    pub(crate) async fn cut(&self) {
        self.traffic.send_replace(Traffic::Nothing);
        // the listener has one
        until("the connections' end", async || self.traffic.receiver_count() == 1).await;
        self.traffic.send_replace(Traffic::All);
    }
}

async fn pass(client: TcpStream, server: TcpStream, mut traffic: watch::Receiver<Traffic>) {
    let (asks, hears) = client.into_split();
    let (says, takes) = server.into_split();
    let (asked, said) = (traffic.clone(), traffic.clone());
    tokio::select! {
        biased;
        // or the test is over
        _ = traffic.wait_for(|now| *now == Traffic::Nothing) => {}
        () = copy(asks, takes, asked, Traffic::Unsettled) => {}
        () = copy(says, hears, said, Traffic::Asked) => {}
    }
}

/// Passes on what one side says, but for what is held up.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut traffic: watch::Receiver<Traffic>,
    held: Traffic,
) {
    let mut bytes = vec![0; 1 << 16];
    let mut consumes = false;
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let piece = &bytes[..length];
        consumes |= piece.windows(CONSUME.len()).any(|part| part == CONSUME);
        let is_held = |now: &Traffic| *now == held && (held == Traffic::Asked || consumes);
        if traffic.wait_for(|now| !is_held(now)).await.is_err()
            || to.write_all(piece).await.is_err()
        {
            return;
        }
    }
}
