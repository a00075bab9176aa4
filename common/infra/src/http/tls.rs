//! Certificates of a listener, and those that its callers' must lead to: read from files, and read again
//! when they change, so that a renewed one is used without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Where a certificate and its key lie, and whom callers must be known to, all as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and then those that lead from it to one that callers trust.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates that those of callers must lead to; None: callers show none.
    pub client_ca: Option<PathBuf>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("failed to read {file}: {why}", file = file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A file is no PEM, or holds something else.
    #[error("{file} holds no {what} as PEM: {why}", file = file.display())]
    Pem {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is odd about it.
        why: String,
    },
    /// They do not belong together, or are of a kind that nobody knows.
    #[error("the certificate {file} cannot be used with its key: {why}", file = file.display())]
    Pair {
        /// The certificate's file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

impl TlsFiles {
    /// Whether the files can be used, as they are now.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check(&self) -> Result<(), TlsError> {
        let read = contents(self)?;
        config(self, &read, &Arc::new(ring::default_provider())).map(drop)
    }
}

/// What encrypts the connections of a listener.
#[derive(Clone)]
pub(super) struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    held: Arc<RwLock<Held>>,
}

/// What was read last, and the last of it that could be used.
struct Held {
    read: Contents,
    config: Arc<ServerConfig>,
}

/// What lies in the files, in their order.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// With what lies in these files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) async fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let read = contents_apart(&files).await?;
        let config = config(&files, &read, &provider)?;
        let held = Arc::new(RwLock::new(Held { read, config }));
        Ok(Self { files, provider, held })
    }

    /// Begins a connection with what is held now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(held.config.clone())
    }

    /// Reads the files again, and uses what lies there now for connections to come. What cannot be
    /// used is said, once for each change, and changes nothing.
    pub(super) async fn look(&self) {
        let Self { files, provider, held } = self;
        let read = match contents_apart(files).await {
            Ok(read) => read,
            Err(error) => return tracing::warn!(%error, "the certificate stays as it is"),
        };
        if held.read().unwrap_or_else(PoisonError::into_inner).read == read {
            return;
        }
        let config = config(files, &read, provider);
        let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
        held.read = read;
        match config {
            Ok(config) => {
                held.config = config;
                tracing::info!(file = %files.certificate.display(), "there is another certificate");
            }
            // of two files the second may be on its way
            Err(error) => tracing::warn!(%error, "the certificate stays as it is"),
        }
    }
}

async fn contents_apart(files: &TlsFiles) -> Result<Contents, TlsError> {
    let (files, file) = (files.clone(), files.certificate.clone());
    let reading = tokio::task::spawn_blocking(move || contents(&files));
    reading.await.unwrap_or_else(|error| Err(TlsError::File { file, why: error.into() }))
}

fn contents(files: &TlsFiles) -> Result<Contents, TlsError> {
    let read = |file: &PathBuf| {
        std::fs::read(file).map_err(|why| TlsError::File { file: file.clone(), why })
    };
    let TlsFiles { certificate, key, client_ca } = files;
    Ok(Contents {
        certificate: read(certificate)?,
        key: read(key)?,
        client_ca: client_ca.as_ref().map(read).transpose()?,
    })
}

/// How connections are encrypted, and who may have one.
fn config(
    files: &TlsFiles,
    read: &Contents,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let pair = pair(files, read, provider)?;
    let odd = |error: rustls::Error| TlsError::Pair {
        file: files.certificate.clone(),
        why: error.to_string(),
    };
    let config = ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_safe_default_protocol_versions().map_err(odd)?;
    let config = match files.client_ca.as_ref().zip(read.client_ca.as_ref()) {
        None => config.with_no_client_auth(),
        Some((file, ca)) => config.with_client_cert_verifier(callers(file, ca, provider)?),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Lets in whose certificate leads to one of these.
fn callers(
    file: &Path,
    ca: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let odd = |why: String| TlsError::Pem { file: file.to_owned(), what: "certificate", why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|error| odd(error.to_string()))?;
        roots.add(certificate).map_err(|error| odd(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(odd("there is none".to_owned()));
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    verifier.build().map_err(|error| odd(error.to_string()))
}

fn pair(
    files: &TlsFiles,
    Contents { certificate, key, .. }: &Contents,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let odd = |file: &PathBuf, what, why: String| TlsError::Pem { file: file.clone(), what, why };
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let is_certificate = |why| odd(&files.certificate, "certificate", why);
    let chain = chain.map_err(|error| is_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(is_certificate("there is none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key);
    // what is said of a key must not hold it
    let key = key.map_err(|_| odd(&files.key, "private key", "there is none".to_owned()))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| TlsError::Pair { file: files.certificate.clone(), why: error.to_string() })
}
