//! Endpoints: people add, change, try and remove them.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use flowmill_engine::time::{Time, parse_duration};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::store::StoreError;
use flowmill_infra::webhooks::{Added, EVENTS, Endpoint, Format, Secret, Webhooks};
use uuid::Uuid;

use super::chosen::{full, read_url};
use super::{Hooks, body, signature};
use crate::api::access::Session;
use crate::api::guard::{Subject, parameters, read};
use crate::api::json::{Answer, Members, number, object, text, time};
use crate::api::problem::{Code, Problem};

/// Bytes of a request.
const REQUEST: usize = 64 << 10;

/// Bytes of a description, and of a status's name.
const DESCRIPTION: usize = 1000;
const STATUS_NAME: usize = 100;

/// How long a secret signs on that was replaced.
const OVERLAP: Duration = Duration::from_hours(24);

/// The longest time that it may.
const LONGEST_OVERLAP: Duration = Duration::from_hours(7 * 24);

/// Secrets that sign at the same time.
const SECRETS: usize = 3;

/// Adds an endpoint; its secret is told now and never again.
pub(super) async fn add<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<(Extension<Subject>, Answer), Problem> {
    let [] = parameters(&uri, [])?;
    let mut members = Members::read(&read(&headers, body, REQUEST).await?)?;
    let text = secret(&mut members)?;
    let fresh = Endpoint {
        id: format!("ep_{}", Uuid::now_v7().simple()).into(),
        url: "".into(),
        events: EVENTS.map(Name::from).to_vec(),
        is_for_all: true,
        description: "".into(),
        format: Format::Standard,
        status_names: Vec::new(),
        disabled: None,
        secrets: Ok(vec![Secret { text: text.clone(), until: None }]),
        created_at: hooks.clock.now(),
        revision: 1,
        failures: 0,
        rests_until: None,
    };
    let endpoint = changed(fresh, &mut members)?;
    members.done()?;
    if endpoint.url.is_empty() {
        return Err(Problem::request("url is missing: where events are sent"));
    }
    match hooks.store.add_endpoint(&hooks.tenant, &endpoint).await.map_err(sealing)? {
        Added::New | Added::There => {}
        Added::Full => return Err(full()),
    }
    tracing::info!(endpoint = %endpoint.id, "an endpoint was added");
    let mut shown = row(&endpoint);
    shown.push(("secret", Value::Str(text)));
    let answer = Answer(StatusCode::CREATED, object(shown));
    Ok((Extension(Subject(endpoint.id)), answer))
}

/// All endpoints.
pub(super) async fn list<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let found = hooks.store.endpoints(&hooks.tenant).await?;
    let data = found.iter().map(|endpoint| object(row(endpoint))).collect();
    Ok(Answer::ok(object([("data", Value::array(data))])))
}

/// An endpoint.
pub(super) async fn show<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    Ok(Answer::ok(object(row(&find(&hooks, &id).await?))))
}

/// Changes what is given; then the endpoint is tried at once, however it failed before.
pub(super) async fn change<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let mut members = Members::read(&read(&headers, body, REQUEST).await?)?;
    let endpoint = changed(find(&hooks, &id).await?, &mut members)?;
    members.done()?;
    keep(&hooks, &endpoint).await?;
    tracing::info!(endpoint = %endpoint.id, enabled = endpoint.disabled.is_none(), "an endpoint was changed");
    Ok(Answer::ok(object(row(&find(&hooks, &id).await?))))
}

/// Removes an endpoint; what waits for it is given up.
pub(super) async fn remove<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let id = Name::from(id);
    if !hooks.store.remove_endpoint(&hooks.tenant, &id).await? {
        return Err(Problem::no_endpoint(&id));
    }
    tracing::info!(endpoint = %id, "an endpoint was removed");
    Ok(Answer::ok(object([("id", Value::Str(id)), ("removed", true.into())])))
}

/// Gives an endpoint a new secret; the one before signs for a while, too.
pub(super) async fn rotate<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let given = read(&headers, body, REQUEST).await?;
    let mut members = Members::read(if given.trim().is_empty() { "{}" } else { &given })?;
    let text = secret(&mut members)?;
    let overlap = members.text("overlap")?.map(|overlap| parse_overlap(&overlap)).transpose();
    let overlap = overlap.map_err(|why| members.wrong("overlap", &why))?.unwrap_or(OVERLAP);
    members.done()?;
    let mut endpoint = find(&hooks, &id).await?;
    let now = hooks.clock.now();
    let until = now.after(overlap);
    // those that cannot be opened are of no more use
    let before = std::mem::replace(&mut endpoint.secrets, Ok(Vec::new())).unwrap_or_default();
    endpoint.secrets = Ok(rotated(text.clone(), before, now, until));
    keep(&hooks, &endpoint).await?;
    tracing::info!(endpoint = %endpoint.id, "an endpoint has a new secret");
    let mut shown = row(&endpoint);
    shown.push(("secret", Value::Str(text)));
    Ok(Answer::ok(object(shown)))
}

/// A new secret before those of before, which sign until a time at most.
fn rotated(text: Name, before: Vec<Secret>, now: Time, until: Time) -> Vec<Secret> {
    let live = before.into_iter().filter(|secret| secret.until.is_none_or(|end| now < end));
    let older = live
        .map(|secret| Secret { until: Some(secret.until.unwrap_or(until).min(until)), ..secret });
    let older = older.filter(|secret| secret.until > Some(now));
    std::iter::once(Secret { text, until: None }).chain(older).take(SECRETS).collect()
}

fn parse_overlap(overlap: &str) -> Result<Duration, String> {
    if overlap == "0s" {
        return Ok(Duration::ZERO);
    }
    let overlap = parse_duration(overlap).map_err(|why| format!("a length of time: {why}"))?;
    if overlap > LONGEST_OVERLAP { Err("at most 7d".to_owned()) } else { Ok(overlap) }
}

/// Sends a sample, and tells what came back.
pub(super) async fn test<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let endpoint = find(&hooks, &id).await?;
    let event = endpoint.events.first().cloned().unwrap_or_else(|| EVENTS[0].into());
    let sample = Uuid::now_v7().to_string();
    let delivery = body::sample_delivery(&sample, &endpoint, &event, hooks.clock.now());
    let sent = body::sample(&endpoint, &delivery);
    let outcome = hooks.courier.deliver(&endpoint, &delivery, (&sent, None)).await;
    let mut shown = vec![
        ("endpoint", Value::Str(endpoint.id)),
        ("webhook_id", Value::Str(delivery.message)),
        ("delivered", outcome.answer.error.is_none().into()),
    ];
    shown.extend(super::deliveries::answer(Some(&outcome.answer)));
    shown.push(("body", Value::Str(sent)));
    Ok(Answer::ok(object(shown)))
}

async fn find<S: Webhooks>(hooks: &Session<Hooks<S>>, id: &str) -> Result<Endpoint, Problem> {
    let id = Name::from(id);
    let found = hooks.store.endpoint(&hooks.tenant, &id).await?;
    found.ok_or_else(|| Problem::no_endpoint(&id))
}

async fn keep<S: Webhooks>(hooks: &Session<Hooks<S>>, endpoint: &Endpoint) -> Result<(), Problem> {
    if hooks.store.change_endpoint(&hooks.tenant, endpoint).await.map_err(sealing)? {
        return Ok(());
    }
    let detail = format!("somebody else changed endpoint {}; look and try again", endpoint.id);
    Err(Problem::new(Code::EndpointChanged, detail))
}

/// Without a key, secrets are not kept.
fn sealing(error: StoreError) -> Problem {
    match error {
        StoreError::Sealed(why) => Problem::new(Code::KeyMissing, why),
        other => other.into(),
    }
}

/// A secret that is given, or else a new one.
fn secret(members: &mut Members) -> Result<Name, Problem> {
    let Some(given) = members.text("secret")? else {
        return signature::generate()
            .map_err(|error| Problem::new(Code::Internal, error.to_string()));
    };
    match signature::objection(&given) {
        Some(why) => Err(Problem::request(format!("secret: {why}"))),
        None => Ok(given),
    }
}

/// An endpoint with what a caller wants to be otherwise.
fn changed(mut endpoint: Endpoint, members: &mut Members) -> Result<Endpoint, Problem> {
    if let Some(url) = members.text("url")? {
        let url = read_url(&url).map_err(|why| Problem::request(format!("url: {why}")))?;
        endpoint.url = url.as_str().into();
    }
    if let Some(events) = members.take("events") {
        endpoint.events = read_events(members, &events)?;
    }
    match members.text("runs")?.as_deref() {
        None => {}
        Some("all") => endpoint.is_for_all = true,
        Some("named") => endpoint.is_for_all = false,
        Some(_) => return Err(members.wrong("runs", "\"all\" or \"named\"")),
    }
    if let Some(description) = members.text("description")? {
        if description.len() > DESCRIPTION {
            return Err(members.wrong("description", &format!("at most {DESCRIPTION} bytes")));
        }
        endpoint.description = plain(&description);
    }
    if let Some(format) = members.text("format")? {
        let known = Format::ALL.into_iter().find(|known| known.name() == &*format);
        let wrong = || members.wrong("format", "\"standard\" or \"cloudevents\"");
        endpoint.format = known.ok_or_else(wrong)?;
    }
    if let Some(names) = members.mapping("status_names")? {
        endpoint.status_names = names
            .into_iter()
            .map(|(word, name)| status_name(members, word, name))
            .collect::<Result<_, _>>()?;
    }
    if let Some(enabled) = members.take("enabled") {
        endpoint.disabled = match enabled {
            Value::Bool(true) => None,
            Value::Bool(false) => Some(endpoint.disabled.unwrap_or_else(|| "by hand".into())),
            _ => return Err(members.wrong("enabled", "true or false")),
        };
    }
    Ok(endpoint)
}

fn status_name(members: &Members, word: Name, name: Value) -> Result<(Name, Name), Problem> {
    let is_known = body::statuses().any(|known| known == &*word);
    match name {
        Value::Str(name) if is_known && !name.is_empty() && name.len() <= STATUS_NAME => {
            Ok((word, plain(&name)))
        }
        _ => {
            let known: Vec<&str> = body::statuses().collect();
            let must_be = format!(
                "an object with names of up to {STATUS_NAME} bytes for some of {}",
                known.join(", ")
            );
            Err(members.wrong("status_names", &must_be))
        }
    }
}

fn read_events(members: &Members, events: &Value) -> Result<Vec<Name>, Problem> {
    let known = |event: &Value| EVENTS.into_iter().find(|known| event.as_str() == Some(known));
    let read: Option<Vec<Name>> = match events {
        Value::Array(events) if !events.is_empty() => {
            events.iter().map(|event| known(event).map(Name::from)).collect()
        }
        _ => None,
    };
    let Some(mut events) = read else {
        return Err(members.wrong("events", &format!("a list of some of {}", EVENTS.join(", "))));
    };
    events.sort();
    events.dedup();
    Ok(events)
}

/// A text that every store keeps.
fn plain(text: &str) -> Name {
    text.replace('\0', "\u{fffd}").into()
}

fn row(endpoint: &Endpoint) -> Vec<(&'static str, Value)> {
    let words = |words: &[Name]| Value::array(words.iter().cloned().map(Value::Str).collect());
    let names = endpoint.status_names.iter();
    let names = names.map(|(word, name)| (word.clone(), Value::Str(name.clone())));
    let secrets = endpoint.secrets.as_deref().unwrap_or_default();
    let older = secrets.iter().filter_map(|secret| secret.until).max();
    vec![
        ("id", Value::Str(endpoint.id.clone())),
        ("url", Value::Str(endpoint.url.clone())),
        ("events", words(&endpoint.events)),
        ("runs", if endpoint.is_for_all { "all" } else { "named" }.into()),
        ("description", Value::Str(endpoint.description.clone())),
        ("format", endpoint.format.name().into()),
        ("status_names", Value::object(names)),
        ("enabled", endpoint.disabled.is_none().into()),
        ("disabled_reason", text(endpoint.disabled.as_ref())),
        ("created_at", time(Some(endpoint.created_at))),
        ("older_secret_until", time(older)),
        ("failures", number(u64::from(endpoint.failures))),
        ("rests_until", time(endpoint.rests_until)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str, until: Option<u64>) -> Secret {
        Secret { text: text.into(), until: until.map(Time) }
    }

    #[test]
    fn a_secret_that_was_replaced_signs_until_its_time() {
        let after = |before: &[Secret]| rotated("new".into(), before.to_vec(), Time(10), Time(50));
        assert_eq!(after(&[secret("a", None)]), [secret("new", None), secret("a", Some(50))]);
        // neither longer than before, nor more than a few of them, nor those that are over
        let before =
            [secret("a", None), secret("b", Some(30)), secret("c", Some(40)), secret("d", Some(9))];
        assert_eq!(
            after(&before),
            [secret("new", None), secret("a", Some(50)), secret("b", Some(30))]
        );
        let at_once = rotated("new".into(), vec![secret("a", None)], Time(10), Time(10));
        assert_eq!(at_once, [secret("new", None)]);
    }
}
