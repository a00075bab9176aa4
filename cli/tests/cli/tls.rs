//! `flowmill serve` by TLS, and the verbs that ask it.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::serve::Serving;

#[test]
fn a_server_answers_by_tls_to_whoever_trusts_it() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let pair = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&pair).unwrap();
    std::fs::write(path("tls.pem"), certificate.pem()).unwrap();
    std::fs::write(path("tls.key"), pair.serialize_pem()).unwrap();
    let folder = path("served");
    let serve = ["serve", "--data", &folder, "--listen", "127.0.0.1:0"];
    let (certificate, key) = (path("tls.pem"), path("tls.key"));
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
    let serving = Serving::of(&mut command(&[&serve[..], &tls].concat()), &folder);
    assert!(serving.base.starts_with("https://127.0.0.1:"), "{}", serving.base);
    let ask = |more: &[&str]| {
        let list = [&["workflows", "list", "--server", &serving.base], more].concat();
        Ran::of(command(&list).env_remove("FLOWMILL_CA").output().unwrap())
    };
    ask(&["--ca", &certificate]).expect(0);
    ask(&[]).expect(2).says("failed to reach https://127.0.0.1:");
    ask(&["--ca", &key]).expect(2).says("tls.key");
    ask(&["--ca", &path("none.pem")]).expect(2).says("none.pem");
    serving.stop();

    let odd = ["--tls-certificate", &key, "--tls-key", &key];
    Ran::of(command(&[&serve[..], &odd].concat()).output().unwrap())
        .expect(2)
        .says("tls.key holds no certificate as PEM");
    Ran::of(command(&[&serve[..], &tls[..2]].concat()).output().unwrap())
        .expect(2)
        .says("--tls-key");
}

#[test]
fn a_server_lets_in_those_alone_whose_certificate_it_knows() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(path("ca.pem"), issuer.pem()).unwrap();
    for name in ["127.0.0.1", "ada"] {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&pair, &issuer).unwrap();
        std::fs::write(path(&format!("{name}.pem")), signed.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), pair.serialize_pem()).unwrap();
    }
    let (folder, ca) = (path("served"), path("ca.pem"));
    let (certificate, key) = (path("127.0.0.1.pem"), path("127.0.0.1.key"));
    let serve = ["serve", "--data", &folder, "--listen", "127.0.0.1:0", "--tls-client-ca", &ca];
    let tls = ["--tls-certificate", &certificate, "--tls-key", &key];
    let serving = Serving::of(&mut command(&[&serve[..], &tls].concat()), &folder);
    let ask = |more: &[&str]| {
        let list = ["workflows", "list", "--server", &serving.base, "--ca", &ca];
        Ran::of(command(&[&list[..], more].concat()).output().unwrap())
    };
    let (shown, its_key) = (path("ada.pem"), path("ada.key"));
    ask(&["--certificate", &shown, "--certificate-key", &its_key]).expect(0);
    ask(&[]).expect(2).says("https://127.0.0.1:");
    ask(&["--certificate", &shown]).expect(2).says("--certificate-key");
    ask(&["--certificate", &shown, "--certificate-key", &path("none.key")])
        .expect(2)
        .says("none.key");
    ask(&["--certificate", &ca, "--certificate-key", &shown]).expect(2).says("as PEM");
    serving.stop();

    Ran::of(command(&serve).output().unwrap()).expect(2).says("--tls-certificate");
}
