//! Keys by which callers are known: looked at, added, given other secrets and revoked by whoever looks after the
//! deployment. A key is told once, when it is new.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use flowmill_engine::time::{Time, parse_duration};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::tenants::{AddedKey, ApiKey, MOST_KEYS, Rate, Role, Rotated, Rotation, Scope};

use super::Api;
use super::access::{Caller, GuardStore, secret};
use super::guard::{Subject, parameters, read};
use super::json::{Answer, Members, number, object, time};
use super::problem::{Code, Problem};
use super::{limits, tenants};

/// Bytes of a request.
const REQUEST: usize = 64 << 10;

/// Letters of a name.
const NAME: usize = 100;

/// The longest time for which a key may be that is not for ever.
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// The most requests a second that a key is held to.
const MOST_RATE: u32 = 1_000_000;

/// How many may come at once, by how many may come in a second.
const TWICE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// How long a secret is of use that was replaced.
const OVERLAP: Duration = Duration::from_hours(24);

/// The longest time that it may be.
const LONGEST_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// Keys of all tenants, or of one.
pub(super) async fn list<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [tenant] = parameters(&uri, ["tenant"])?;
    let tenant = tenant.map(Name::from);
    let store = api.guard.store();
    if let Some(tenant) = &tenant {
        tenants::find(&api, tenant).await?;
    }
    let found = store.keys(tenant.as_ref()).await?;
    let now = api.clock.now();
    let data = found.iter().map(|key| object(row(key, now))).collect();
    Ok(Answer::ok(object([("data", Value::array(data))])))
}

/// Adds a key, and tells it this once.
pub(super) async fn add<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<(Extension<Subject>, Answer), Problem> {
    let [] = parameters(&uri, [])?;
    let mut members = Members::read(&read(&headers, body, REQUEST).await?)?;
    let tenant = members.text("tenant")?.unwrap_or(caller.tenant);
    tenants::find(&api, &tenant).await?;
    let name =
        members.text("name")?.ok_or_else(|| Problem::request("name is missing: what for"))?;
    if name.is_empty() || name.chars().count() > NAME || name.contains(char::is_control) {
        let must_be = format!("1 to {NAME} letters without control characters");
        return Err(members.wrong("name", &must_be));
    }
    let role = role(&mut members)?;
    let now = api.clock.now();
    let expires_at = expiry(&mut members, now)?;
    let rate = rate(&mut members)?;
    members.done()?;
    let (id, text) = secret::generate().map_err(no_chance)?;
    let key = ApiKey {
        id,
        tenant,
        name,
        role,
        hash: api.guard.pepper().hash(&text),
        former: None,
        rotated_at: None,
        rate,
        created_at: now,
        expires_at,
        revoked_at: None,
        used_at: None,
    };
    match api.guard.store().add_key(&key).await? {
        AddedKey::New => {}
        AddedKey::NoTenant => return Err(Problem::no_tenant(&key.tenant)),
        AddedKey::Full => {
            let detail = format!("tenant {} has {MOST_KEYS} keys, which is the most", key.tenant);
            return Err(Problem::new(Code::TooManyKeys, detail));
        }
    }
    tracing::info!(key.id = %key.id, tenant = %key.tenant, role = role.name(), "a key was added");
    let mut shown = row(&key, now);
    shown.push(("key", Value::from(text)));
    Ok((Extension(Subject(key.id)), Answer(StatusCode::CREATED, object(shown))))
}

/// What a key is for: a role, or the last scope of one.
fn role(members: &mut Members) -> Result<Role, Problem> {
    let (role, scope) = (members.text("role")?, members.text("scope")?);
    match (role, scope) {
        (Some(word), None) => Role::of(&word)
            .ok_or_else(|| members.wrong("role", "viewer, submitter, operator or admin")),
        (None, Some(word)) => Scope::of(&word)
            .map(Role::up_to)
            .ok_or_else(|| members.wrong("scope", "read, submit, write or admin")),
        (Some(_), Some(_)) => Err(Problem::request("role and scope say the same: give one")),
        (None, None) => {
            Err(Problem::request("role is missing: viewer, submitter, operator or admin"))
        }
    }
}

/// When a key is of no more use, by how long that is from now.
fn expiry(members: &mut Members, now: Time) -> Result<Option<Time>, Problem> {
    let expires = members.text("expires_in")?.map(|given| period(&given, "90d", LONGEST));
    let expires = expires.transpose().map_err(|why| members.wrong("expires_in", &why))?;
    Ok(expires.map(|expires| now.after(expires)))
}

/// How often it may ask: a rate, and a burst, which is twice that unless it is said.
fn rate(members: &mut Members) -> Result<Option<Rate>, Problem> {
    let per_second = limits::whole(members, "rate", 1..=MOST_RATE)?.and_then(NonZeroU32::new);
    let burst = limits::whole(members, "burst", 1..=2 * MOST_RATE)?.and_then(NonZeroU32::new);
    let Some(per_second) = per_second else {
        let alone = "burst is how many may come at once beyond rate: give that, too";
        return if burst.is_some() { Err(Problem::request(alone)) } else { Ok(None) };
    };
    Ok(Some(Rate { per_second, burst: burst.unwrap_or(per_second.saturating_mul(TWICE)) }))
}

fn no_chance(error: secret::NoRandomness) -> Problem {
    Problem::new(Code::Internal, error.to_string())
}

fn period(given: &str, such_as: &str, longest: Duration) -> Result<Duration, String> {
    let time = parse_duration(given)
        .map_err(|why| format!("a length of time such as {such_as}: {why}"))?;
    let days = longest.as_secs() / (24 * 60 * 60);
    if time > longest { Err(format!("at most {days}d")) } else { Ok(time) }
}

/// Gives a key another secret, and tells it this once; the one before is of use for a while.
pub(super) async fn rotate<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let given = read(&headers, body, REQUEST).await?;
    let mut members = Members::read(if given.trim().is_empty() { "{}" } else { &given })?;
    let overlap = members.text("overlap")?.map(|given| match &*given {
        "0s" => Ok(Duration::ZERO),
        given => period(given, "24h", LONGEST_OVERLAP),
    });
    let overlap = overlap.transpose().map_err(|why| members.wrong("overlap", &why))?;
    let now = api.clock.now();
    let expires_at = expiry(&mut members, now)?;
    members.done()?;
    let id = Name::from(id);
    if !secret::is_id(&id) {
        return Err(no_key(&id));
    }
    let text = secret::another(&id).map_err(no_chance)?;
    let hash = api.guard.pepper().hash(&text);
    let rotation = Rotation { hash, overlap: overlap.unwrap_or(OVERLAP), expires_at };
    let store = api.guard.store();
    match store.rotate_key(&id, &rotation).await? {
        Rotated::Done => {}
        Rotated::Unknown => return Err(no_key(&id)),
        Rotated::Ended => {
            let detail = format!("key {id} was revoked or has expired: make another one");
            return Err(Problem::new(Code::KeyEnded, detail));
        }
    }
    api.guard.forget_key(&id);
    tracing::info!(key.id = %id, "a key has another secret");
    let found = store.key(&id).await?.ok_or_else(|| no_key(&id))?;
    let mut shown = row(&found, api.clock.now());
    shown.push(("key", Value::from(text)));
    Ok(Answer::ok(object(shown)))
}

fn no_key(id: &Name) -> Problem {
    Problem::new(Code::KeyNotFound, format!("there is no key {:?}", &**id))
}

/// Makes a key of no more use.
pub(super) async fn revoke<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let id = Name::from(id);
    let store = api.guard.store();
    if !secret::is_id(&id) || !store.revoke_key(&id).await? {
        return Err(no_key(&id));
    }
    api.guard.forget_key(&id);
    tracing::info!(key.id = %id, "a key was revoked");
    let found = store.key(&id).await?.ok_or_else(|| no_key(&id))?;
    Ok(Answer::ok(object(row(&found, api.clock.now()))))
}

/// Who asks, for whom, and what it may.
pub(super) async fn this<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    caller: Caller,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let now = api.clock.now();
    let key = caller.key.as_ref().map_or(Value::None, |key| object(row(key, now)));
    Ok(Answer::ok(object([
        ("tenant", Value::Str(caller.tenant)),
        ("actor", Value::Str(caller.actor)),
        ("role", caller.role.name().into()),
        ("scope", caller.role.scope().name().into()),
        ("scopes", scopes(caller.role)),
        ("key", key),
    ])))
}

fn scopes(role: Role) -> Value {
    Value::array(role.scopes().map(|scope| scope.name().into()).collect())
}

fn row(key: &ApiKey, now: Time) -> Vec<(&'static str, Value)> {
    let former = key.former.map(|former| former.until).filter(|until| *until > now);
    let rate = |of: fn(&Rate) -> NonZeroU32| {
        key.rate.as_ref().map_or(Value::None, |rate| number(of(rate).get().into()))
    };
    vec![
        ("id", Value::Str(key.id.clone())),
        ("tenant", Value::Str(key.tenant.clone())),
        ("name", Value::Str(key.name.clone())),
        ("role", key.role.name().into()),
        ("scope", key.role.scope().name().into()),
        ("rate", rate(|rate| rate.per_second)),
        ("burst", rate(|rate| rate.burst)),
        ("created_at", time(Some(key.created_at))),
        ("expires_at", time(key.expires_at)),
        ("rotated_at", time(key.rotated_at)),
        ("former_until", time(former)),
        ("revoked_at", time(key.revoked_at)),
        ("used_at", time(key.used_at)),
    ]
}
