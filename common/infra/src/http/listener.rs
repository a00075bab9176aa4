//! Where a program answers over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Stop;
use super::serving::{Limits, serve};
use super::tls::{Tls, TlsError, TlsFiles};

/// How long requests that are under way may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It is taken, or none of this machine's.
    #[error("failed to listen on {at}: {why}")]
    Port {
        /// Where it was to be.
        at: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// What is to encrypt it cannot be used.
    #[error("failed to listen on {at} with TLS: {why}")]
    Tls {
        /// Where it was to be.
        at: SocketAddr,
        /// Why.
        why: TlsError,
    },
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
    /// Answers at an address, with the usual limits and without TLS.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn open(at: SocketAddr, router: Router, stop: Stop) -> Result<Self, ListenError> {
        Self::open_with(at, (Limits::default(), None), router, stop).await
    }

    /// Answers at an address; with files, by TLS alone.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn open_with(
        at: SocketAddr,
        (limits, files): (Limits, Option<TlsFiles>),
        router: Router,
        stop: Stop,
    ) -> Result<Self, ListenError> {
        let tls = match files {
            None => None,
            Some(files) => {
                let unusable = |why| ListenError::Tls { at, why };
                Some(Tls::read(files).await.map_err(unusable)?)
            }
        };
        let failed = |why| ListenError::Port { at, why };
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
        tracing::info!(%at, tls = tls.is_some(), "listening");
        let serving = tokio::spawn(serve(listener, router, (limits, tls), end));
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
