//! Whose certificate a server may have, and which one it is shown.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use reqwest::{Certificate, ClientBuilder, Identity};

/// Files of certificates, all as PEM. An empty variable of the environment names none.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Trust {
    /// A file with certificates (PEM) that a server's own may lead to, besides those that are trusted anyway.
    #[arg(long, env = "FLOWMILL_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate (PEM) that a server is shown which lets in nobody else, those that lead to it behind
    /// it.
    #[arg(long, env = "FLOWMILL_CERTIFICATE", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, env = "FLOWMILL_CERTIFICATE_KEY", value_name = "FILE")]
    certificate_key: Option<PathBuf>,
}

impl Trust {
    /// A client that trusts, and is trusted, by these files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(super) fn applied(&self, mut client: ClientBuilder) -> anyhow::Result<ClientBuilder> {
        if let Some(file) = named(self.ca.as_ref()) {
            let trusted = Certificate::from_pem_bundle(&read(file)?);
            let no_pem = || format!("{} holds no certificates as PEM", file.display());
            let trusted = trusted.with_context(no_pem)?;
            if trusted.is_empty() {
                bail!(no_pem());
            }
            client = client.tls_certs_merge(trusted);
        }
        match (named(self.certificate.as_ref()), named(self.certificate_key.as_ref())) {
            (None, None) => Ok(client),
            (Some(certificate), Some(key)) => Ok(client.identity(identity(certificate, key)?)),
            (Some(_), None) | (None, Some(_)) => {
                bail!("--certificate and --certificate-key belong together: name both files")
            }
        }
    }
}

fn named(file: Option<&PathBuf>) -> Option<&PathBuf> {
    file.filter(|file| !file.as_os_str().is_empty())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

fn identity(certificate: &Path, key: &Path) -> anyhow::Result<Identity> {
    let (mut pem, key_pem) = (read(certificate)?, read(key)?);
    // the one may end without a line of its own
    pem.push(b'\n');
    pem.extend(key_pem);
    let unusable = || {
        let (certificate, key) = (certificate.display(), key.display());
        format!("{certificate} and {key} are no certificate and its key as PEM")
    };
    Identity::from_pem(&pem).with_context(unusable)
}
