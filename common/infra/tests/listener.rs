//! The listener: what holds a connection up, and what encrypts it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

#[path = "suite/certificates.rs"]
#[expect(dead_code, reason = "other tests ask for more")]
mod certificates;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use flowmill_infra::http::{Limits, ListenError, Listener, Stop, TlsError, TlsFiles};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use certificates::Authority;

const ASK: &[u8] = b"GET /peer HTTP/1.1\r\nhost: x\r\n\r\n";

async fn opened(limits: Limits, files: Option<TlsFiles>) -> Result<Listener, ListenError> {
    let router = Router::new()
        .route(
            "/peer",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
        )
        .route("/echo", post(async |body: String| body));
    let at = SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::open_with(at, (limits, files), router, Stop::on_signals().unwrap()).await
}

/// What comes until the end, or as long as something comes.
async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut all = Vec::new();
    // a connection that is cut is one that ended
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

async fn asked<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // the end of a small answer comes with its beginning
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        match stream.read(&mut part).await.unwrap() {
            0 => break,
            count => answer.extend(&part[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn whoever_sends_headers_too_slowly_is_cut_off_and_holds_nobody_up() {
    let limits = Limits { header_time: Duration::from_millis(700), ..Limits::default() };
    let listener = opened(limits, None).await.unwrap();
    let mut slow = TcpStream::connect(listener.at()).await.unwrap();
    let begun = Instant::now();
    // a byte now and then is not enough
    let dripping = async {
        for byte in b"GET /peer HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        rest(&mut slow).await
    };
    let quick = async {
        let mut stream = TcpStream::connect(listener.at()).await.unwrap();
        asked(&mut stream, ASK).await
    };
    let (slow, quick) = tokio::join!(dripping, quick);
    assert!(quick.starts_with("HTTP/1.1 200") && quick.ends_with("127.0.0.1"), "{quick}");
    assert!(!slow.contains("200 OK"), "{slow}");
    assert!(begun.elapsed() < Duration::from_secs(15), "it was held for {:?}", begun.elapsed());
    // one that rests is ended, too
    let mut idle = TcpStream::connect(listener.at()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(rest(&mut idle).await, "");
    assert!(begun.elapsed() < Duration::from_secs(15));
    listener.finish().await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let limits = Limits { header_bytes: 16 << 10, ..Limits::default() };
    let listener = opened(limits, None).await.unwrap();
    let with = async |bytes: usize| {
        let mut stream = TcpStream::connect(listener.at()).await.unwrap();
        let large = "a".repeat(bytes);
        let request = format!("GET /peer HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n");
        // it may be refused before all of it is there
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 64];
        let count = stream.read(&mut answer).await.unwrap_or_default();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(with(4 << 10).await.starts_with("HTTP/1.1 200"));
    let refused = with(64 << 10).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    let mut stream = TcpStream::connect(listener.at()).await.unwrap();
    let many = "x-many: a\r\n".repeat(500);
    let request = format!("GET /peer HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let refused = asked(&mut stream, request.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    listener.finish().await;
}

#[tokio::test]
async fn of_connections_there_are_so_many_and_others_wait() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let listener = opened(limits, None).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(listener.at()).await.unwrap();
        assert!(asked(&mut stream, ASK).await.starts_with("HTTP/1.1 200"));
        held.push(stream);
    }
    let mut third = TcpStream::connect(listener.at()).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(300), asked(&mut third, ASK)).await;
    assert!(waiting.is_err(), "there is no place for it");
    held.pop();
    let mut answer = [0; 12];
    let answered = third.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    listener.finish().await;
}

/// A connection by TLS to a name, trusting one authority.
async fn encrypted(
    at: SocketAddr,
    authority: &Path,
    name: &'static str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    encrypted_by(at, authority, name, None).await
}

/// The same, by somebody with a certificate.
async fn encrypted_by(
    at: SocketAddr,
    authority: &Path,
    name: &'static str,
    shown: Option<[PathBuf; 2]>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some([certificate, key]) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(at).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from(name).unwrap(), stream).await
}

#[tokio::test]
async fn it_answers_by_tls_alone_and_uses_another_certificate_when_there_is_one() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let [certificate, key] = authority.pair("localhost");
    let files = TlsFiles { certificate: certificate.clone(), key: key.clone(), client_ca: None };
    let listener = opened(Limits::default(), Some(files)).await.unwrap();
    let at = listener.at();
    let mut stream = encrypted(at, &authority.file(), "localhost").await.unwrap();
    assert!(asked(&mut stream, ASK).await.starts_with("HTTP/1.1 200"));
    assert!(encrypted(at, &stranger.file(), "localhost").await.is_err(), "nobody knows it");
    assert!(encrypted(at, &authority.file(), "other.example").await.is_err(), "it is another's");
    let mut plain = TcpStream::connect(at).await.unwrap();
    plain.write_all(ASK).await.unwrap();
    assert!(!rest(&mut plain).await.contains("HTTP/1.1 200"));

    // half of a change is none; then the other half comes
    let before = std::fs::read(&key).unwrap();
    stranger.certify("localhost", &certificate, &key);
    let after = std::fs::read(&key).unwrap();
    std::fs::write(&key, before).unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    encrypted(at, &authority.file(), "localhost").await.unwrap();
    std::fs::write(&key, after).unwrap();
    let begun = Instant::now();
    while encrypted(at, &stranger.file(), "localhost").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never uses the new one");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // who is connected stays so
    assert!(asked(&mut stream, ASK).await.starts_with("HTTP/1.1 200"));
    listener.finish().await;
}

#[tokio::test]
async fn files_that_are_no_certificate_are_named_and_not_shown() {
    let authority = Authority::new();
    let [certificate, key] = authority.pair("localhost");
    let open = async |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let files = Some(TlsFiles { certificate, key, client_ca: None });
        match opened(Limits::default(), files).await {
            Err(ListenError::Tls { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    let missing = certificate.with_extension("none");
    assert!(matches!(open(&missing, &key).await, TlsError::File { .. }));
    let swapped = open(&key, &certificate).await;
    assert!(matches!(swapped, TlsError::Pem { .. }), "{swapped}");
    let [_, another] = authority.pair("another");
    let strange = open(&certificate, &another).await;
    assert!(matches!(strange, TlsError::Pair { .. }), "{strange}");
}

#[tokio::test]
async fn it_lets_in_those_alone_whose_certificate_somebody_signed() {
    let (authority, people, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let [certificate, key] = authority.pair("localhost");
    let client_ca = certificate.with_extension("callers");
    std::fs::copy(people.file(), &client_ca).unwrap();
    let files = TlsFiles { certificate, key, client_ca: Some(client_ca.clone()) };
    files.check().unwrap();
    let listener = opened(Limits::default(), Some(files.clone())).await.unwrap();
    // who is refused learns it with the first answer, as TLS 1.3 has it
    let is_let_in = async |shown: Option<[PathBuf; 2]>| {
        let stream = encrypted_by(listener.at(), &authority.file(), "localhost", shown).await;
        let Ok(mut stream) = stream else { return false };
        if stream.write_all(ASK).await.is_err() {
            return false;
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 200"
    };
    assert!(is_let_in(Some(people.pair("ada"))).await);
    assert!(!is_let_in(Some(stranger.pair("ada"))).await);
    assert!(!is_let_in(None).await);

    // others are let in once the file says so, and a file that says nothing changes nothing
    std::fs::write(&client_ca, "nothing").unwrap();
    assert!(matches!(files.check(), Err(TlsError::Pem { .. })));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(is_let_in(Some(people.pair("ada"))).await);
    std::fs::copy(stranger.file(), &client_ca).unwrap();
    let begun = Instant::now();
    while !is_let_in(Some(stranger.pair("ada"))).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never knows them");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(!is_let_in(Some(people.pair("ada"))).await);
    listener.finish().await;
}
