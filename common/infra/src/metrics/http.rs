//! Metrics over HTTP: where they are read, and what is counted of requests.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::{Counter, Family, Gauge, Histogram, Metrics, table};

/// What the answer is.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What a path is called that no route has.
const NOWHERE: &str = "none";

impl Metrics {
    /// `GET /metrics` answers with all of them; nothing does where nothing is counted.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        if !self.is_on() {
            return Router::new();
        }
        let metrics = self.clone();
        let answer = async move || ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text());
        Router::new().route("/metrics", get(answer))
    }
}

/// Counts requests.
#[derive(Clone, Debug)]
pub struct Requests {
    total: Family<Counter>,
    seconds: Family<Histogram>,
    in_flight: Gauge,
    is_on: bool,
}

impl Requests {
    /// What counts them.
    pub fn of(metrics: &Metrics) -> Self {
        Self {
            total: metrics.family(&table::HTTP_REQUESTS),
            seconds: metrics.family(&table::HTTP_REQUEST_SECONDS),
            in_flight: metrics.one(&table::HTTP_REQUESTS_IN_FLIGHT),
            is_on: metrics.is_on(),
        }
    }

    /// The same routes; what is asked of them is counted. What they are called is how they are
    /// written in the router, so nothing of a request becomes a label.
    pub fn watch(self, router: Router) -> Router {
        if !self.is_on {
            return router;
        }
        router.layer(middleware::from_fn_with_state(self, count))
    }
}

async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = name(request.method());
    let under_way = requests.in_flight.during();
    let response = next.run(request).await.into_response();
    drop(under_way);
    let route = route.as_ref().map_or(NOWHERE, MatchedPath::as_str);
    requests.total.of(&[route, method, response.status().as_str()]).inc();
    requests.seconds.of(&[route]).observe(begun.elapsed());
    response
}

/// A method by a name of a closed list.
fn name(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use futures::FutureExt as _;

    use super::super::Program;
    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let mut router = router.clone();
        let asked = tower_service::Service::call(&mut router, request).map(Result::unwrap);
        let response = asked.await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_never_by_path() {
        let metrics = Metrics::of(Program::Scheduler);
        let routes = Router::new().route("/runs/{run}", get(async || "a run"));
        let watched = Requests::of(&metrics).watch(routes.fallback(async || StatusCode::NOT_FOUND));
        for path in ["/runs/1", "/runs/2", "/secret"] {
            ask(&watched, path).await;
        }
        let (status, text) = ask(&metrics.router(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        let lines = [
            r#"flowmill_http_requests_total{code="200",method="GET",route="/runs/{run}"} 2"#,
            r#"flowmill_http_requests_total{code="404",method="GET",route="none"} 1"#,
            r#"flowmill_http_request_seconds_count{route="/runs/{run}"} 2"#,
            "flowmill_http_requests_in_flight 0",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("secret"));
    }

    #[tokio::test]
    async fn nothing_answers_where_nothing_is_counted() {
        let (status, _) = ask(&Metrics::off().router(), "/metrics").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}
