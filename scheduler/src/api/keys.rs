//! Keys by which callers are known: looked at, added and revoked by whoever looks after the
//! deployment. A key is told once, when it is new.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::tenants::{AddedKey, ApiKey, MOST_KEYS, Scope, Tenants};

use super::Api;
use super::access::{Admin, Caller, secret};
use super::guard::{parameters, read};
use super::json::{Answer, Members, object, time};
use super::problem::{Code, Problem};
use super::tenants;

/// Bytes of a request.
const REQUEST: usize = 64 << 10;

/// Letters of a name.
const NAME: usize = 100;

/// The longest time for which a key may be that is not for ever.
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

/// Keys of all tenants, or of one.
pub(super) async fn list<S: Tenants>(
    State(api): State<Arc<Api<S>>>,
    _: Admin,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [tenant] = parameters(&uri, ["tenant"])?;
    let tenant = tenant.map(Name::from);
    let store = api.guard.store();
    if let Some(tenant) = &tenant {
        tenants::find(&api, tenant).await?;
    }
    let found = store.keys(tenant.as_ref()).await?;
    let data = found.iter().map(|key| object(row(key))).collect();
    Ok(Answer::ok(object([("data", Value::array(data))])))
}

/// Adds a key, and tells it this once.
pub(super) async fn add<S: Tenants>(
    State(api): State<Arc<Api<S>>>,
    Admin(caller): Admin,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
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
    let scope = members.text("scope")?.ok_or_else(|| Problem::request("scope is missing"));
    let scope = Scope::of(&scope?);
    let scope = scope.ok_or_else(|| members.wrong("scope", "read, write or admin"))?;
    let expires = members.text("expires_in")?.map(|given| lifetime(&given)).transpose();
    let expires = expires.map_err(|why| members.wrong("expires_in", &why))?;
    members.done()?;
    let no_chance = |error: secret::NoRandomness| Problem::new(Code::Internal, error.to_string());
    let (id, text) = secret::generate().map_err(no_chance)?;
    let now = api.clock.now();
    let key = ApiKey {
        id,
        tenant,
        name,
        scope,
        hash: api.guard.pepper().hash(&text),
        created_at: now,
        expires_at: expires.map(|expires| now.after(expires)),
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
    tracing::info!(key.id = %key.id, tenant = %key.tenant, scope = scope.name(), "a key was added");
    let mut shown = row(&key);
    shown.push(("key", Value::from(text)));
    Ok(Answer(StatusCode::CREATED, object(shown)))
}

fn lifetime(given: &str) -> Result<Duration, String> {
    let time =
        parse_duration(given).map_err(|why| format!("a length of time such as 90d: {why}"))?;
    if time > LONGEST { Err("at most 3660d".to_owned()) } else { Ok(time) }
}

/// Makes a key of no more use.
pub(super) async fn revoke<S: Tenants>(
    State(api): State<Arc<Api<S>>>,
    _: Admin,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let id = Name::from(id);
    let none = || Problem::new(Code::KeyNotFound, format!("there is no key {:?}", &*id));
    let store = api.guard.store();
    if !secret::is_id(&id) || !store.revoke_key(&id).await? {
        return Err(none());
    }
    api.guard.forget_key(&id);
    tracing::info!(key.id = %id, "a key was revoked");
    let found = store.key(&id).await?.ok_or_else(none)?;
    Ok(Answer::ok(object(row(&found))))
}

/// Who asks, for whom, and what it may.
pub(super) async fn this(caller: Caller, uri: Uri) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let key = caller.key.as_ref().map_or(Value::None, |key| object(row(key)));
    Ok(Answer::ok(object([
        ("tenant", Value::Str(caller.tenant)),
        ("actor", Value::Str(caller.actor)),
        ("scope", caller.scope.name().into()),
        ("key", key),
    ])))
}

fn row(key: &ApiKey) -> Vec<(&'static str, Value)> {
    vec![
        ("id", Value::Str(key.id.clone())),
        ("tenant", Value::Str(key.tenant.clone())),
        ("name", Value::Str(key.name.clone())),
        ("scope", key.scope.name().into()),
        ("created_at", time(Some(key.created_at))),
        ("expires_at", time(key.expires_at)),
        ("revoked_at", time(key.revoked_at)),
        ("used_at", time(key.used_at)),
    ]
}
