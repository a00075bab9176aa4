//! Connections: accepted, held to limits, answered.
//!
//! Whoever sends nothing, or endless headers, holds a place among the connections for a while and
//! nothing else: bodies have limits of their own where they are read.

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::tls::Tls;

/// How long the beginning of an encrypted connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How often it is looked whether there are other certificates.
const LOOK: Duration = Duration::from_secs(10);

/// How long it is waited when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(500);

/// What connections are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long the headers of a request may take to come, and a connection may rest between requests.
    pub header_time: Duration,
    /// The most bytes of the headers of a request; 8 KiB at least.
    pub header_bytes: usize,
    /// The most connections; further ones wait until another ends.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_time: Duration::from_secs(30), header_bytes: 64 << 10, connections: 4096 }
    }
}

/// The least that the reader of headers works with.
const LEAST_BYTES: usize = 8 << 10;

/// Answers until `end`, and then until those under way have their answers.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    (limits, tls): (Limits, Option<Tls>),
    end: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections.max(1)));
    let mut end = pin!(end);
    let mut look = tokio::time::interval(LOOK);
    loop {
        let accepting = async {
            // only a semaphore that is closed gives none, and nobody closes it
            let place = places.clone().acquire_owned().await.ok();
            (place, accept(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            accepted = accepting => accepted,
            _ = look.tick() => {
                if let Some(tls) = &tls {
                    tls.look().await;
                }
                continue;
            }
            () = &mut end => break,
        };
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let connection = Connection { router: router.clone(), peer, limits };
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            connection.answer(stream, acceptor, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // it went away before it was accepted
            Err(error) if is_of_one(error.kind()) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted; it is tried again");
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

/// Whether an error concerns one connection and no other.
fn is_of_one(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// Whoever is connected, and what answers it.
struct Connection {
    router: Router,
    peer: SocketAddr,
    limits: Limits,
}

impl Connection {
    async fn answer(self, stream: TcpStream, acceptor: Option<TlsAcceptor>, watcher: Watcher) {
        // an answer is written as a whole
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away at once");
            return;
        }
        let Some(acceptor) = acceptor else { return self.speak(stream, watcher).await };
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, watcher).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "a connection is not encrypted as it must be");
            }
            Err(_) => tracing::debug!(peer = %self.peer, "a connection did not begin in time"),
        }
    }

    async fn speak<S>(self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { router, peer, limits } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let mut router = router.clone();
            async move {
                let answer: Result<Response, Infallible> =
                    router.call(request.map(Body::new)).await;
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(limits.header_bytes.max(LEAST_BYTES))
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    }
}
