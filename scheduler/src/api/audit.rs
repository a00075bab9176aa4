//! What people did, for whoever asks: an operator sees what concerned its tenant, an admin all.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::audit::{Entry, EntryFilter};
use flowmill_infra::tenants::Role;

use super::Api;
use super::access::{Caller, GuardStore};
use super::guard::parameters;
use super::json::{Answer, object, text, time};
use super::problem::{Code, Problem};
use super::runs::{page, point};

/// How many entries a page has.
const PAGE: usize = 50;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// The parameter that says since when.
const SINCE: &str = "since";

/// The latest entries, by pages.
pub(super) async fn list<S: GuardStore>(
    State(api): State<Arc<Api<S>>>,
    caller: Caller,
    uri: Uri,
) -> Result<Answer, Problem> {
    let known = ["tenant", SINCE, "actor", "action", "before", "limit"];
    let [tenant, since, actor, action, before, limit] = parameters(&uri, known)?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let before = before.map(|before| before.parse()).transpose();
    let filter = EntryFilter {
        tenant: whose(&caller, tenant.map(Name::from))?,
        since: point(SINCE, since.as_deref())?,
        actor: actor.map(Name::from),
        action: action.map(Name::from),
        before: before.map_err(|_| Problem::request("before must be what `next` gave"))?,
        // one more tells whether there is another page
        most: most + 1,
    };
    let mut found = api.guard.store().deeds(&filter).await?;
    let has_more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| has_more).map(|last| Value::from(last.id.to_string()));
    let data = found.iter().map(row).collect();
    Ok(Answer::ok(object([("data", Value::array(data)), ("next", next.unwrap_or_default())])))
}

/// Whose entries somebody sees; None: everybody's.
fn whose(caller: &Caller, asked: Option<Name>) -> Result<Option<Name>, Problem> {
    if caller.role == Role::Admin {
        return Ok(asked);
    }
    if asked.as_ref().is_some_and(|asked| *asked != caller.tenant) {
        let detail = format!("this key is of tenant {:?}", &*caller.tenant);
        return Err(Problem::new(Code::Forbidden, detail));
    }
    Ok(Some(caller.tenant.clone()))
}

fn row(entry: &Entry) -> Value {
    let deed = &entry.deed;
    object([
        ("id", Value::from(entry.id.to_string())),
        ("noted_at", time(Some(entry.noted_at))),
        ("tenant", Value::Str(deed.tenant.clone())),
        ("actor", Value::Str(deed.actor.clone())),
        ("key", text(deed.key.as_ref())),
        ("action", Value::Str(deed.action.clone())),
        ("object", Value::Str(deed.object.clone())),
        ("outcome", Value::Str(deed.outcome.clone())),
        ("address", deed.address.map_or(Value::None, |at| Value::from(at.to_string()))),
    ])
}
