//! Certificates of the tests' own, and a way to a server that is encrypted with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowmill_infra::identity::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Somebody who signs certificates, and where his own lies.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// What a program shows that has a certificate of a name.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let [certificate, key] = self.pair(name);
        Identity { certificate, key }
    }

    /// The file with his certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate of a name, and its key.
    pub(crate) fn certify(&self, name: &str, certificate: &Path, key: &Path) {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&pair, &self.issuer).unwrap();
        std::fs::write(certificate, signed.pem()).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
    }

    /// The files of a certificate of a name, and of its key.
    pub(crate) fn pair(&self, name: &str) -> [PathBuf; 2] {
        let files = ["pem", "key"].map(|kind| self.folder.path().join(format!("{name}.{kind}")));
        self.certify(name, &files[0], &files[1]);
        files
    }

    /// An encrypted way to a server, by a certificate of `localhost`; its port. A server that speaks
    /// the protocol of `PostgreSQL` is asked for encryption first.
    pub(crate) async fn way_to(&self, server: String, is_asked: bool) -> u16 {
        self.way(server, is_asked, None).await
    }

    /// The same for those alone whose certificate somebody signed.
    pub(crate) async fn way_of_known(&self, server: String, is_asked: bool, by: &Self) -> u16 {
        self.way(server, is_asked, Some(by)).await
    }

    async fn way(&self, server: String, is_asked: bool, by: Option<&Self>) -> u16 {
        let [certificate, key] = self.pair("localhost").map(|file| std::fs::read(file).unwrap());
        let chain = CertificateDer::pem_slice_iter(&certificate).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = match by {
            None => config.with_no_client_auth(),
            Some(by) => config.with_client_cert_verifier(by.verifier()),
        };
        let config = config.with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, acceptor.clone(), server.clone(), is_asked));
            }
        });
        port
    }
}

impl Authority {
    /// Lets in whose certificates he signed.
    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let known = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        known.build().unwrap()
    }
}

async fn pass(mut client: TcpStream, acceptor: TlsAcceptor, server: String, is_asked: bool) {
    if is_asked {
        let mut question = [0; 8];
        client.read_exact(&mut question).await.unwrap();
        client.write_all(b"S").await.unwrap();
    }
    // whoever does not trust it goes away
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let mut server = TcpStream::connect(&server).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
