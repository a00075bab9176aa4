//! Files that are sent to a server, and answers that are too long to be held.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
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
            let request = self.request(Method::POST, upload.path, &upload.query);
            let request = request
                .header("content-type", upload.kind)
                .header("idempotency-key", upload.idempotency_key)
                .body(content(upload.file).await?);
            let response = match self.answered(request).await? {
                Ok(response) => response,
                Err(away) => match waits.next() {
                    Some(wait) => {
                        tokio::time::sleep(*wait).await;
                        continue;
                    }
                    None => return Err(away),
                },
            };
            let (status, text) = (response.status(), response.text().await?);
            return self.read(status, text);
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
            match self.answered(self.request(Method::GET, path, &query)).await? {
                Ok(response) => return Ok(response),
                Err(away) => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(away),
                },
            }
        }
    }

    /// A good answer, or why the server is away for a moment; it may be asked again.
    async fn answered(
        &self,
        request: RequestBuilder,
    ) -> anyhow::Result<Result<Response, anyhow::Error>> {
        let response = match request.timeout(WHOLE).send().await {
            Ok(response) if response.status().is_success() => return Ok(Ok(response)),
            Ok(response) => response,
            // nobody listens there: it is rather the address that is wrong
            Err(error) if error.is_connect() => return Err(self.unreachable(&error)),
            Err(error) => return Ok(Err(self.unreachable(&error))),
        };
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        match self.read(status, text) {
            Ok(_) => bail!("{} answered {status}", self.address()),
            Err(error) if status == StatusCode::SERVICE_UNAVAILABLE => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }
}

/// What a file holds, read as it is sent; standard input is read at once.
async fn content(file: &Path) -> anyhow::Result<Body> {
    if file.as_os_str() != "-" {
        let failed = || format!("failed to read {}", file.display());
        return Ok(Body::from(File::open(file).await.with_context(failed)?));
    }
    let read = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    let text = read.await.context("standard input was given up")?;
    Ok(Body::from(text.context("failed to read standard input")?))
}
