//! Who may ask, and how long and how large a request may be.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flowmill_infra::tenants::{Scope, Tenants};

use super::access::{Caller, Guard};
use super::problem::{Code, Problem};

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(30);

/// How long a request may take in all, a wait for a run's end included.
const WHOLE: Duration = Duration::from_secs(100);

/// Where batches are submitted, and how long one may take to come.
const BATCHES: &str = "/api/v1/batches";
const BATCH: Duration = Duration::from_hours(6);

/// Lets through who may ask and is no page of another origin; handlers are told who it is.
pub(super) async fn admit<T: Tenants>(
    State(guard): State<Guard<T>>,
    mut request: Request,
    next: Next,
) -> Response {
    match let_in(&guard, request.headers(), request.method()).await {
        Ok(caller) => {
            let patience = patience(&request);
            request.extensions_mut().insert(caller);
            match tokio::time::timeout(patience, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Problem::new(Code::Unavailable, "it took too long").into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    }
}

async fn let_in<T: Tenants>(
    guard: &Guard<T>,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Caller, Problem> {
    of_same_origin(headers)?;
    let caller = guard.caller(headers).await?;
    let only_looks = [Method::GET, Method::HEAD].contains(method);
    if caller.scope == Scope::Read && !only_looks {
        let detail = "this key is for looking at things (scope read) and changes none";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    Ok(caller)
}

/// How long a request may take: a batch is taken in while it comes, and that its sender lives is
/// seen by its pieces.
fn patience(request: &Request) -> Duration {
    let is_batch = request.uri().path().starts_with(BATCHES) && request.method() == Method::POST;
    if is_batch { BATCH } else { WHOLE }
}

/// Browsers say on whose behalf they change something. Without a key, any page that a person visits
/// could otherwise submit runs to a server on the person's own machine.
fn of_same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (origin, host) {
        (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Problem::new(Code::CrossOrigin, "the request comes from another web page")),
    }
}

/// A body as text.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    most_bytes: usize,
) -> Result<String, Problem> {
    let too_large = || {
        let detail = format!("at most {most_bytes} bytes are taken");
        Problem::new(Code::TooLarge, detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|value| value.parse::<usize>().ok()).is_some_and(|len| len > most_bytes) {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(body, most_bytes);
    let Ok(bytes) = tokio::time::timeout(BODY, reading).await else {
        return Err(Problem::new(Code::Timeout, format!("it took longer than {BODY:?}")));
    };
    // a connection that breaks needs no answer: what is left is the size
    let bytes = bytes.map_err(|_| too_large())?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(Code::InvalidBody, "it is not UTF-8 text"))
}

/// The parameters of a request, each of which must be among those known and come once.
pub(super) fn parameters<const N: usize>(
    uri: &Uri,
    known: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    use axum::extract::Query;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Problem::request(format!("the query cannot be read: {error}")))?;
    let mut found = [const { None }; N];
    for (name, value) in pairs {
        let Some(at) = known.iter().position(|known| *known == name) else {
            let known = known.join(", ");
            let detail = format!("unknown parameter {name:?}; known are: {known}");
            return Err(Problem::request(detail));
        };
        if found[at].replace(value).is_some() {
            return Err(Problem::request(format!("{name} is given twice")));
        }
    }
    Ok(found)
}

/// A parameter that is on or off.
pub(super) fn flag(name: &str, given: Option<&str>, usual: bool) -> Result<bool, Problem> {
    match given {
        None => Ok(usual),
        Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(other) => {
            Err(Problem::request(format!("{name} must be true or false, not {other:?}")))
        }
    }
}
