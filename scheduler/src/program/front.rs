//! What answers over HTTP: at first only whether the process lives, then the API.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use tower_service::Service as _;

/// A router whose place another one can take while requests come.
#[derive(Clone, Debug)]
pub(super) struct Front(Arc<RwLock<Router>>);

impl Front {
    /// Begins with a router.
    pub(super) fn of(router: Router) -> Self {
        Self(Arc::new(RwLock::new(router)))
    }

    /// Another router answers from now on.
    pub(super) fn show(&self, router: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    /// What is served: whichever router has its place at the time.
    pub(super) fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

async fn answer(State(front): State<Front>, request: Request) -> Result<Response, Infallible> {
    let mut router = front.0.read().unwrap_or_else(PoisonError::into_inner).clone();
    router.call(request).await
}
