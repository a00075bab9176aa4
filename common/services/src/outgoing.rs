//! The way to servers that whoever runs this has named: no proxy of the environment, and no redirect
//! to another server, as what is sent may hold keys.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Url, redirect};

/// How long to wait for a connection, as Dify does.
const CONNECT: Duration = Duration::from_secs(10);

/// How many redirects are followed within one server.
const MAX_REDIRECTS: usize = 5;

/// A client. It reads nothing of the environment.
pub(crate) fn client() -> Result<Client, String> {
    // an error only says that one is installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .no_proxy()
        .user_agent(concat!("flowmill/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::custom(within_one_server))
        .build();
    client.map_err(|error| error.to_string())
}

fn within_one_server(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let is_same = attempt.previous().first().is_some_and(|first| {
        let next = attempt.url();
        first.host_str() == next.host_str()
            && (first.scheme() == next.scheme() || next.scheme() == "https")
            && (first.scheme() != next.scheme() || first.port() == next.port())
    });
    if is_same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// A server's name without what may be secret of its address.
pub(crate) fn server_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "the server".to_owned(),
    }
}

/// How many seconds a server wants to be left alone.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
