//! Redis for what may vanish: the live feed, claims, limits of calls, copies of checkpoints and
//! payloads.
//!
//! Nothing here is needed for a run to be right. Each request has little time; after a few that
//! failed in a row the server is left alone for a moment (`breaker`), and all that is asked
//! meanwhile is answered at once, as if Redis held nothing. A program starts without it.
//!
//! All keys begin with the prefix and expire by themselves. One connection serves all but the
//! blocking reads of subscriptions, which have one of their own per process.

mod breaker;
mod checkpoints;
mod claims;
mod form;
mod hub;
mod limits;
mod link;
mod live;
mod notes;
mod payloads;
mod queue;
mod subscription;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::redis::IntoConnectionInfo as _;
use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};

pub use checkpoints::Hot;
pub use claims::RedisClaims;
pub use limits::RedisLimiter;
pub use live::RedisLive;
pub use subscription::{RedisSubscription, RedisSubscriptions};

use crate::identity::Identity;

use link::Link;

/// Where the server is and how to use it.
#[derive(Clone)]
pub struct Settings {
    /// `redis://user:password@host:6379/0`.
    pub url: String,
    /// What all keys begin with.
    pub prefix: String,
    /// How long a request may take. Whoever asks waits no longer than that.
    pub patience: Duration,
    /// How long the server is left alone after it failed.
    pub pause: Duration,
    /// The file with the certificates that the server's must lead to, as PEM; None: those that the
    /// system trusts.
    pub ca: Option<PathBuf>,
    /// What the server is shown, if it wants a certificate.
    pub identity: Option<Identity>,
}

impl Settings {
    /// The server at a URL, with the usual settings.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "flowmill".to_owned(),
            patience: Duration::from_millis(250),
            pause: Duration::from_secs(1),
            ca: None,
            identity: None,
        }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, patience, pause, ca, identity } = self;
        f.debug_struct("Settings")
            .field("prefix", prefix)
            .field("patience", patience)
            .field("pause", pause)
            .field("ca", ca)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// Why a server cannot be asked at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The URL is none.
    #[error("read the URL of Redis: {0}; it looks like redis://user:password@host:6379/0")]
    Url(String),
    /// The certificates cannot be read.
    #[error("read the certificates for Redis, {file}: {why}", file = file.display())]
    Certificates {
        /// Where they should be.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

/// A server, for all that is kept there. Copies share its connection.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Link>);

impl Redis {
    /// A server that is reached once it is needed, and whenever it is there.
    ///
    /// # Errors
    /// [`UrlError`] when the URL is none.
    pub fn new(settings: &Settings) -> Result<Self, UrlError> {
        let wrong = |error: ::redis::RedisError| UrlError::Url(error.to_string());
        let info: ConnectionInfo = settings.url.as_str().into_connection_info().map_err(wrong)?;
        // requests are small, and somebody waits for each
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = match certificates(settings)? {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates),
        };
        let client = client.map_err(wrong)?;
        Ok(Self(Arc::new(Link::new(Some(client), settings))))
    }

    /// No server at all: as one that is away, without anybody trying it.
    pub fn absent() -> Self {
        Self(Arc::new(Link::new(None, &Settings::new(""))))
    }

    /// Whether it answers, as far as is known; None: there is none.
    pub fn is_there(&self) -> Option<bool> {
        self.0.is_there()
    }
}

/// What the server's certificate must lead to, and what it is shown; None where nothing was said.
fn certificates(settings: &Settings) -> Result<Option<TlsCertificates>, UrlError> {
    let read = |file: &PathBuf| {
        std::fs::read(file).map_err(|error| {
            let why = error.to_string();
            UrlError::Certificates { file: file.clone(), why }
        })
    };
    let root_cert = settings.ca.as_ref().map(read).transpose()?;
    let client_tls = match &settings.identity {
        None => None,
        Some(Identity { certificate, key }) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
    };
    let is_any = root_cert.is_some() || client_tls.is_some();
    Ok(is_any.then_some(TlsCertificates { client_tls, root_cert }))
}

/// As Redis counts time.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
