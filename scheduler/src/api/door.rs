//! Where requests come in before the API can answer them: the port is open at once, so that whoever
//! watches hears what is missing; until the store is there, requests are told to come again.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tower_service::Service as _;

use super::problem::{Code, Problem};

/// The way to a router that may come later; clones lead to the same.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<RwLock<Option<Router>>>);

impl Door {
    /// A router for all paths that no other has, whoever answers behind it.
    pub fn router(&self) -> Router {
        Router::new().fallback(pass).with_state(self.clone())
    }

    /// From now on this router answers.
    pub fn open(&self, router: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// From now on nobody answers; requests that were let in are dealt with.
    pub fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn inside(&self) -> Option<Router> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass(State(door): State<Door>, request: Request) -> Response {
    let Some(mut router) = door.inside() else {
        let detail = "it waits for its servers, or is about to end; /readyz says more";
        return Problem::new(Code::NotReady, detail).into_response();
    };
    // a router is always ready, and answers whatever happens
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_door_leads_to_what_is_behind_it_at_the_time() {
        let door = Door::default();
        let mut outside = door.router();
        let mut ask = async || {
            let request = Request::builder().uri("/x").body(Body::empty()).unwrap();
            outside.call(request).await.unwrap().status()
        };
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
        door.open(Router::new().route("/x", get(async || "here")));
        assert_eq!(ask().await, StatusCode::OK);
        door.close();
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
