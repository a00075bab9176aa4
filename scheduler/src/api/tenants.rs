//! Tenants: looked at, added and removed by whoever looks after the deployment.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::tenants::{
    AddedTenant, DEFAULT_TENANT, MOST_TENANTS, RemovedTenant, Tenant, objection,
};

use super::Api;
use super::access::GuardStore;
use super::guard::{Subject, parameters, read};
use super::json::{Answer, Members, object, time};
use super::problem::{Code, Problem};

/// Bytes of a request.
const REQUEST: usize = 64 << 10;

/// All tenants.
pub(super) async fn list<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let found = api.guard.store().tenants().await?;
    let data = found.iter().map(shown).collect();
    Ok(Answer::ok(object([("data", Value::array(data))])))
}

/// Adds a tenant.
pub(super) async fn add<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<(Extension<Subject>, Answer), Problem> {
    let [] = parameters(&uri, [])?;
    let mut members = Members::read(&read(&headers, body, REQUEST).await?)?;
    let name = members.text("name")?;
    members.done()?;
    let name =
        name.ok_or_else(|| Problem::request("name is missing: what the tenant is called"))?;
    if let Some(why) = objection(&name) {
        return Err(Problem::request(format!("name: {why}")));
    }
    match api.guard.store().add_tenant(&name).await? {
        AddedTenant::New => {}
        AddedTenant::There => {
            let detail = format!("there is a tenant {:?} already", &*name);
            return Err(Problem::new(Code::TenantExists, detail));
        }
        AddedTenant::Leaving => {
            let detail = format!(
                "what a removed tenant {:?} had is still being removed; `flowmill purge` does it at once",
                &*name
            );
            return Err(Problem::new(Code::TenantExists, detail));
        }
        AddedTenant::Full => {
            let detail =
                format!("there are {MOST_TENANTS} tenants, which is the most: remove some");
            return Err(Problem::new(Code::TooManyTenants, detail));
        }
    }
    tracing::info!(tenant = %name, "a tenant was added");
    let answer = Answer(StatusCode::CREATED, shown(&find(&api, &name).await?));
    Ok((Extension(Subject(name)), answer))
}

/// A tenant.
pub(super) async fn show<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    Ok(Answer::ok(shown(&find(&api, &name.into()).await?)))
}

/// Removes a tenant for which nothing goes on; its keys go with it.
pub(super) async fn remove<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let name = Name::from(name);
    find(&api, &name).await?;
    match api.guard.store().remove_tenant(&name).await? {
        RemovedTenant::Gone => {}
        RemovedTenant::Unknown => return Err(Problem::no_tenant(&name)),
        RemovedTenant::Needed => {
            let detail = if &*name == DEFAULT_TENANT {
                format!("tenant {DEFAULT_TENANT:?} is always there")
            } else {
                format!("tenant {:?} has runs or batches that have not ended", &*name)
            };
            return Err(Problem::new(Code::TenantNeeded, detail));
        }
    }
    api.guard.forget_tenant(&name);
    tracing::info!(tenant = %name, "a tenant was removed");
    Ok(Answer::ok(object([("name", Value::Str(name)), ("removed", true.into())])))
}

/// A tenant that must be there.
pub(super) async fn find<S: GuardStore>(api: &Api<S>, name: &Name) -> Result<Tenant, Problem> {
    // no store takes every text
    let found = match objection(name) {
        Some(_) => None,
        None => api.guard.store().tenant(name).await?,
    };
    found.ok_or_else(|| Problem::no_tenant(name))
}

fn shown(tenant: &Tenant) -> Value {
    object([
        ("name", Value::Str(tenant.name.clone())),
        ("created_at", time(Some(tenant.created_at))),
    ])
}
