//! Where a program answers over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Stop;

/// How long requests that are under way may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {at}: {why}")]
pub struct ListenError {
    /// Where it was to be.
    pub at: SocketAddr,
    /// Why.
    pub why: std::io::Error,
}

/// An open port. It takes no more requests once the program was told to stop.
#[derive(Debug)]
pub struct Listener {
    at: SocketAddr,
    close: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    stop: Stop,
}

impl Listener {
    /// Answers at an address.
    ///
    /// # Errors
    /// [`ListenError`] when it is taken, or none of this machine's.
    pub async fn open(at: SocketAddr, router: Router, stop: Stop) -> Result<Self, ListenError> {
        let failed = |why| ListenError { at, why };
        let listener = TcpListener::bind(at).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let (close, closed) = oneshot::channel::<()>();
        let told = stop.clone();
        let end = async move {
            tokio::select! {
                () = told.told(1) => {}
                _ = closed => {}
            }
        };
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
                tracing::error!(%error, "the listener broke");
            }
        });
        tracing::info!(%at, "listening");
        Ok(Self { at, close, serving, stop })
    }

    /// Where it is: a port that was left to the system is known here.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Takes no more requests and lets those under way end; not for long, and not at all when the
    /// program is told to be quick.
    pub async fn finish(self) {
        let Self { close, mut serving, stop, .. } = self;
        drop(close);
        let ended = tokio::select! {
            _ = &mut serving => true,
            () = tokio::time::sleep(GRACE) => false,
            () = stop.told(2) => false,
        };
        if !ended {
            tracing::warn!("requests are cut off");
            serving.abort();
        }
    }
}
