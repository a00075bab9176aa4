//! A provider of models that says what a script says.
//!
//! It speaks the protocols of `OpenAI` (also at Azure), Anthropic and Gemini over real connections,
//! in whole answers and in streams, and fails in all the ways that providers fail. What it was asked
//! it keeps, so that tests can look. Where no rule of its script fits it says the same to the same
//! question, always.

mod answers;
mod asked;
mod sample;
mod script;
mod seen;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use asked::{Asked, Protocol};
pub use script::{Answer, Rule, Script, ScriptedCall, When};
pub use seen::Seen;

use seen::Shared;

/// A provider that listens. It ends with this value.
#[derive(Debug)]
pub struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Provider {
    /// Starts one on a free port of this machine.
    ///
    /// # Errors
    /// When nothing can listen.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        Self::listen(script, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one at an address.
    ///
    /// # Errors
    /// When nothing can listen there.
    pub async fn listen(script: Script, at: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(script));
        // prompts may be as long as they like
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
        let router = router.with_state(shared.clone());
        let serving = tokio::spawn(async move {
            // it ends when it is aborted
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What addresses of a protocol begin with.
    pub fn url(&self, protocol: Protocol) -> String {
        let path = match protocol {
            Protocol::OpenAi => "/v1",
            Protocol::Anthropic => "",
            Protocol::Gemini => "/v1beta",
        };
        format!("http://{}{path}", self.address)
    }

    /// Answers by another script from now on; what was counted stays.
    pub fn follow(&self, script: Script) {
        self.shared.follow(script);
    }

    /// What it was asked, and how.
    pub fn seen(&self) -> Seen {
        self.shared.seen()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let Some(asked) = Asked::read(&uri, &headers, &body) else {
        return answers::nowhere(uri.path());
    };
    let call = shared.begin(asked.clone());
    let answer = shared.answer(&asked);
    if let Some(delay) = answer.delay() {
        tokio::time::sleep(delay).await;
    }
    answers::respond(&asked, &answer, call)
}
