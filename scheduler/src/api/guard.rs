//! Who may ask for what, that it is noted, and how long and how large a request may be.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flowmill_engine::value::Name;
use flowmill_infra::tenants::Role;

use super::access::actions::Action;
use super::access::{Caller, Done, Guard, GuardStore};
use super::problem::{Code, Problem};

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(30);

/// How long a request may take in all, a wait for a run's end included.
const WHOLE: Duration = Duration::from_secs(100);

/// Where batches are submitted, and how long one may take to come.
const BATCHES: &str = "/api/v1/batches";
const BATCH: Duration = Duration::from_hours(6);

/// What a request made or was about, where its path does not say it: for whoever notes what was done.
#[derive(Clone, Debug)]
pub(super) struct Subject(pub(super) Name);

/// Goes on with what was noted when it was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unnoted;

/// Lets through who may ask and is no page of another origin; handlers are told who it is. What
/// somebody did is noted before it is answered.
pub(super) async fn admit<T: GuardStore>(
    State(guard): State<Guard<T>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match recognised(&guard, request.headers()).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let pattern = request.extensions().get::<MatchedPath>().cloned();
    let pattern = pattern.as_ref().map(MatchedPath::as_str);
    let action = Action::of(request.method(), pattern);
    let path = request.uri().path();
    let object = pattern.map(|pattern| Action::object(pattern, path)).unwrap_or_default();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.map(|ConnectInfo(peer)| peer.ip());
    let mut response = if caller.role.allows(action.needs) {
        let patience = patience(&request);
        request.extensions_mut().insert(caller.clone());
        match tokio::time::timeout(patience, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(Code::Unavailable, "it took too long").into_response(),
        }
    } else {
        not_allowed(&caller, &action).into_response()
    };
    let (said, code, unnoted) = {
        let extensions = response.extensions_mut();
        let unnoted = extensions.remove::<Unnoted>();
        (extensions.remove::<Subject>(), extensions.get::<Code>().copied(), unnoted)
    };
    // nothing was there to be done
    let was_nothing = matches!(code, Some(Code::MethodNotAllowed | Code::NotFound));
    if action.is_noted && !was_nothing && unnoted.is_none() {
        let object = said.map_or_else(|| object.into(), |Subject(object)| object);
        let outcome = outcome(code, &response);
        guard.note(&caller, Done { action, object, outcome, address }).await;
    }
    response
}

async fn recognised<T: GuardStore>(
    guard: &Guard<T>,
    headers: &HeaderMap,
) -> Result<Caller, Problem> {
    of_same_origin(headers)?;
    guard.caller(headers).await
}

fn not_allowed(caller: &Caller, action: &Action) -> Problem {
    let (role, scope, needed) = (caller.role.name(), caller.role.scope().name(), action.needs);
    let detail = format!(
        "this key is for a {role} (scope {scope}), and that needs scope {} ({})",
        needed.name(),
        Role::up_to(needed).name()
    );
    Problem::new(Code::Forbidden, detail)
}

/// What came of it, in a word.
fn outcome(code: Option<Code>, response: &Response) -> Name {
    match code {
        Some(code) => code.name().into(),
        None if response.status().is_success() => "done".into(),
        None => response.status().as_str().into(),
    }
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
