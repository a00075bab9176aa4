//! Certificates of a listener: read from files, and read again when they change, so that a renewed
//! one is used without a restart.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// Where a certificate and its key lie, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and then those that lead from it to one that callers trust.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
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

/// What encrypts the connections of a listener.
#[derive(Clone)]
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    /// Begins connections with whichever certificate is held.
    pub(super) acceptor: TlsAcceptor,
}

impl Tls {
    /// With the certificate of these files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) async fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let read = contents(&files).await?;
        let pair = pair(&files, &read, &provider)?;
        let held = RwLock::new(Held { read, pair });
        let odd = |error: rustls::Error| TlsError::Pair {
            file: files.certificate.clone(),
            why: error.to_string(),
        };
        let config = ServerConfig::builder_with_provider(provider.clone());
        let config = config.with_safe_default_protocol_versions().map_err(odd)?;
        let certificates = Arc::new(Certificates { files: files.clone(), provider, held });
        let mut config = config.with_no_client_auth().with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificates, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Reads the files again, and uses what lies there now for connections to come. What cannot be
    /// used is said, once for each change, and changes nothing.
    pub(super) async fn look(&self) {
        let Certificates { files, provider, held } = &*self.certificates;
        let read = match contents(files).await {
            Ok(read) => read,
            Err(error) => return tracing::warn!(%error, "the certificate stays as it is"),
        };
        if held.read().unwrap_or_else(PoisonError::into_inner).read == read {
            return;
        }
        let pair = pair(files, &read, provider);
        let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
        held.read = read;
        match pair {
            Ok(pair) => {
                held.pair = pair;
                tracing::info!(file = %files.certificate.display(), "there is another certificate");
            }
            // of two files the second may be on its way
            Err(error) => tracing::warn!(%error, "the certificate stays as it is"),
        }
    }
}

/// The certificate that is held.
struct Certificates {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    held: RwLock<Held>,
}

/// What was read last, and the last of it that could be used.
struct Held {
    read: [Vec<u8>; 2],
    pair: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.held.read().unwrap_or_else(PoisonError::into_inner).pair.clone())
    }
}

/// What lies in the files: the certificate, and the key.
async fn contents(files: &TlsFiles) -> Result<[Vec<u8>; 2], TlsError> {
    let read = async |file: &PathBuf| {
        let failed = |why| TlsError::File { file: file.clone(), why };
        tokio::fs::read(file).await.map_err(failed)
    };
    Ok([read(&files.certificate).await?, read(&files.key).await?])
}

fn pair(
    files: &TlsFiles,
    [certificate, key]: &[Vec<u8>; 2],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
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
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Pair {
        file: files.certificate.clone(),
        why: error.to_string(),
    })?;
    Ok(Arc::new(pair))
}
