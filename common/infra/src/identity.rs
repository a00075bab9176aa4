//! What a program shows to servers that want to know who it is: a certificate, and its key.

use std::io;
use std::path::PathBuf;

/// Where a certificate of a client and its key lie, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and then those that lead from it to one that servers trust.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A file of it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}", file = file.display())]
pub struct IdentityError {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub why: io::Error,
}

impl Identity {
    /// What lies in the files: the certificate, and the key. They are small.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn read(&self) -> Result<[Vec<u8>; 2], IdentityError> {
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|why| IdentityError { file: file.clone(), why })
        };
        Ok([read(&self.certificate)?, read(&self.key)?])
    }
}
