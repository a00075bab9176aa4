//! Files that are sent to a server, and answers that are too long to be held.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Body, Method, Response, StatusCode};
use tokio::fs::File;

use super::{AGAIN, Reply, Server};

/// How long it may take in all.
const WHOLE: Duration = Duration::from_hours(24);

/// A file to send. What broke off is sent again: the key makes that the same.
#[derive(Clone, Debug)]
pub(crate) struct Upload<'a> {
    /// The parts of the path below `/api/v1`.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: Vec<(&'a str, String)>,
    /// Its content type.
    pub(crate) kind: &'static str,
    /// Where it lies; `-` is standard input, which is sent once.
    pub(crate) file: &'a Path,
    pub(crate) idempotency_key: &'a str,
}

impl Server {
    /// Sends a file while it is read.
    ///
    /// # Errors
    /// When it cannot be read, there is no answer, or it is no good: [`super::Refused`].
    pub(crate) async fn post_file(&self, upload: Upload<'_>) -> anyhow::Result<Reply> {
        let is_file = upload.file.as_os_str() != "-";
        let mut waits = AGAIN.iter().filter(|_| is_file);
        loop {
            let body = if is_file {
                let failed = || format!("failed to read {}", upload.file.display());
                Body::from(File::open(upload.file).await.with_context(failed)?)
            } else {
                let read =
                    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
                let text = read.await.context("standard input was given up")?;
                Body::from(text.context("failed to read standard input")?)
            };
            let request = self.request(Method::POST, upload.path, &upload.query);
            let request = request
                .header("content-type", upload.kind)
                .header("idempotency-key", upload.idempotency_key)
                .timeout(WHOLE)
                .body(body);
            let failed = match request.send().await {
                Ok(response) => {
                    let status = response.status();
                    let text = response.text().await.unwrap_or_default();
                    match self.read(status, text) {
                        Ok(reply) => return Ok(reply),
                        Err(error) if status == StatusCode::SERVICE_UNAVAILABLE => error,
                        Err(error) => return Err(error),
                    }
                }
                // nobody listens there: it is rather the address that is wrong
                Err(error) if error.is_connect() => return Err(self.unreachable(&error)),
                Err(error) => self.unreachable(&error),
            };
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(failed),
            }
        }
    }

    /// Asks for something that is read piece by piece.
    ///
    /// # Errors
    /// When there is no answer, or it is no good: [`super::Refused`].
    pub(crate) async fn open(
        &self,
        path: &[&str],
        query: Vec<(&str, String)>,
    ) -> anyhow::Result<Response> {
        let mut waits = AGAIN.iter();
        loop {
            let request = self.request(Method::GET, path, &query).timeout(WHOLE);
            let failed = match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let text = response.text().await.unwrap_or_default();
                    match self.read(status, text) {
                        Ok(_) => bail!("{} answered {status}", self.address()),
                        Err(error) if status == StatusCode::SERVICE_UNAVAILABLE => error,
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if error.is_connect() => return Err(self.unreachable(&error)),
                Err(error) => self.unreachable(&error),
            };
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(failed),
            }
        }
    }
}
