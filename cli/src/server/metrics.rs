//! What a server or a worker counts.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Access, Trust};

/// How long an answer may take: whoever watches looks again soon.
const ANSWER: Duration = Duration::from_secs(3);

/// Its metrics as text.
///
/// # Errors
/// When there is no answer, or it is none of ours.
pub(crate) async fn metrics_of(server: &str, trust: &Trust) -> anyhow::Result<String> {
    let trust = trust.clone();
    let server = Access { server: server.to_owned(), api_key: None, trust }.server()?;
    let url = format!("{}/metrics", server.address());
    let asked = server.client.get(&url).timeout(ANSWER).send().await;
    let answer = asked.with_context(|| format!("{url} does not answer"))?;
    if !answer.status().is_success() {
        bail!("{url} answers {}: does it count anything (metrics.enabled)?", answer.status());
    }
    answer.text().await.with_context(|| format!("{url} broke off"))
}
