//! Conversations of chats: what a turn begins with, and what is kept of them.

use axum::extract::Path;
use axum::http::Uri;
use flowmill_engine::graph::Mode;
use flowmill_engine::history;
use flowmill_engine::plan::Plan;
use flowmill_engine::value::{Kind, Name, Object, Value};
use flowmill_engine::variables::Variable;
use flowmill_infra::intake::{Conversation, Document, Intake};
use uuid::Uuid;

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::json::{Answer, number, object};
use super::problem::{Code, Problem};

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A turn that begins.
#[derive(Debug)]
pub(super) struct Turn {
    /// The conversation's id.
    pub(super) conversation: Name,
    /// Which turn it is, counted from 1.
    pub(super) number: u64,
    /// What earlier turns wrote.
    pub(super) values: Vec<(Name, Variable)>,
}

/// The next turn of a conversation, or the first one of a new one.
pub(super) async fn turn<S: Intake>(
    api: &Session<Api<S>>,
    plan: &Plan,
    version: &Document,
    id: Option<Name>,
) -> Result<Turn, Problem> {
    let Some(id) = id else {
        let conversation = Uuid::now_v7().to_string().into();
        return Ok(Turn { conversation, number: 1, values: Vec::new() });
    };
    if plan.mode() != Mode::Chat {
        let detail = "conversation_id: only chats (advanced-chat) have conversations";
        return Err(Problem::request(detail));
    }
    let Conversation { app, turns, values } = find(api, &id).await?;
    if app != version.name {
        let detail = format!("conversation {id:?} is none of workflow {:?}", version.name);
        return Err(Problem::new(Code::ConversationNotFound, detail));
    }
    Ok(Turn { conversation: id, number: turns + 1, values })
}

async fn find<S: Intake>(api: &Session<Api<S>>, id: &Name) -> Result<Conversation, Problem> {
    api.store.conversation(&api.tenant, id).await?.ok_or_else(|| {
        Problem::new(Code::ConversationNotFound, format!("there is no conversation {id:?}"))
    })
}

/// A conversation with its variables; secret ones are hidden.
pub(super) async fn show<S: Intake>(
    api: Session<Api<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let id = Name::from(id);
    let Conversation { app, turns, values } = find(&api, &id).await?;
    let (history, values): (Vec<_>, Vec<_>) =
        values.into_iter().partition(|(name, _)| &**name == history::NAME);
    let said = history.into_iter().next().map_or(Value::None, |(_, held)| held.value().clone());
    let shown = |(name, held): (Name, Variable)| {
        let is_secret = held.kind == Kind::Secret;
        (name, if is_secret { HIDDEN.into() } else { held.value().clone() })
    };
    Ok(Answer::ok(object([
        ("id", Value::Str(id)),
        ("workflow", Value::Str(app)),
        ("turns", number(turns)),
        ("variables", Value::object(values.into_iter().map(shown))),
        ("history", said),
    ])))
}

/// Values of conversation variables, each of its declared type: those that were given, else those
/// that were kept. What the document does not declare any more, or otherwise, begins as it says.
pub(super) fn values(
    plan: &Plan,
    kept: Vec<(Name, Variable)>,
    given: Object,
) -> Result<Vec<(Name, Variable)>, Problem> {
    let declared = |name: &Name| plan.conversation().iter().find(|(held, _)| held == name);
    let mut values: Vec<(Name, Variable)> = kept
        .into_iter()
        .filter(|(name, _)| !given.contains_key(name))
        .filter_map(|(name, held)| {
            if &*name == history::NAME {
                return plan.has_memory().then_some((name, held));
            }
            let kind = declared(&name)?.1.kind;
            let value = held.value();
            fits(kind, value).then(|| (name, Variable::typed(kind, value.clone())))
        })
        .collect();
    for (name, value) in given {
        let Some((_, declared)) = declared(&name) else {
            let detail = format!("the workflow declares no conversation variable {name:?}");
            return Err(Problem::request(detail));
        };
        if !fits(declared.kind, &value) {
            let (kind, found) = (declared.kind.name(), Kind::of(&value).name());
            let detail = format!("conversation.{name} must be of type {kind}, not {found}");
            return Err(Problem::request(detail));
        }
        values.push((name, Variable::typed(declared.kind, value)));
    }
    Ok(values)
}

fn fits(kind: Kind, value: &Value) -> bool {
    let found = Kind::of(value);
    let is_number = |kind| matches!(kind, Kind::Integer | Kind::Float);
    let is_empty = matches!(value, Value::Array(items) if items.is_empty());
    found == kind
        || is_number(found) && is_number(kind)
        || found == Kind::String && kind == Kind::Secret
        || found.is_array() && kind == Kind::ArrayAny
        || is_empty && kind.is_array()
}
