//! Dead letters: people look at them, put them back or drop them. Each is decided on once.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::Uri;
use axum::middleware;
use axum::routing::{get, post};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::dead_letters::{Claim, Fate, LetterBox, LetterFilter, Parked, PutBack};
use flowmill_infra::store::StoreError;

use super::access::{Guard, GuardStore, Session};
use super::guard::{self, parameters};
use super::json::{Answer, number, object, text, time};
use super::no_method;
use super::problem::{Code, Problem};
use super::runs::page;

/// How many letters a page has.
const PAGE: usize = 50;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// Bytes of a message that are shown.
const BODY: usize = 256 << 10;

/// The header with the word for what went wrong.
const CODE: &str = "flowmill-code";

#[derive(Debug)]
struct Letters<S, B> {
    store: Arc<S>,
    back: B,
}

/// What people can ask for; `back` leads to the queues that letters came from.
pub fn letters<S, B, T>(store: Arc<S>, back: B, guard: Guard<T>) -> Router
where
    S: LetterBox,
    B: PutBack,
    T: GuardStore,
{
    let letters = Letters { store, back };
    Router::new()
        .route("/api/v1/dead-letters", get(list::<S, B>))
        .route("/api/v1/dead-letters/{id}", get(show::<S, B>).delete(remove::<S, B>))
        .route("/api/v1/dead-letters/{id}/replay", post(replay::<S, B>))
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(guard, guard::admit::<T>))
        .with_state(Arc::new(letters))
}

/// The latest letters, by pages.
async fn list<S: LetterBox, B: PutBack>(
    api: Session<Letters<S, B>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [queue, state, before, limit] = parameters(&uri, ["queue", "state", "before", "limit"])?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let before = before.map(|before| before.parse()).transpose();
    let filter = LetterFilter {
        queue: queue.map(Name::from),
        fate: state.map(|word| fate(&word)).transpose()?,
        before: before.map_err(|_| Problem::request("before must be what `next` gave"))?,
        // one more tells whether there is another page
        most: most + 1,
    };
    let mut found = api.store.letters(&api.tenant, &filter).await?;
    let has_more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| has_more).map(|last| Value::from(last.id.to_string()));
    let data = found.iter().map(|letter| object(row(letter))).collect();
    Ok(Answer::ok(object([("data", Value::array(data)), ("next", next.unwrap_or_default())])))
}

fn fate(word: &str) -> Result<Fate, Problem> {
    Fate::ALL.into_iter().find(|fate| fate.name() == word).ok_or_else(|| {
        let names = Fate::ALL.map(Fate::name).join(", ");
        Problem::request(format!("state must be one of {names}, not {word:?}"))
    })
}

/// A letter with its message.
async fn show<S: LetterBox, B: PutBack>(
    api: Session<Letters<S, B>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let letter = api.store.letter(&api.tenant, numbered(&id)?).await?;
    let letter = letter.ok_or_else(|| unknown(&id))?;
    let mut members = row(&letter);
    members.push(("properties", named(&letter.letter.properties)));
    members.extend(body(&letter.letter.body));
    Ok(Answer::ok(object(members)))
}

/// Puts a letter back on the queue it came from.
async fn replay<S: LetterBox, B: PutBack>(
    api: Session<Letters<S, B>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    // a caller that goes away must not leave it half done
    let replaying = tokio::spawn(async move {
        let letter = api.claim(&id).await?;
        let (number, origin) = (letter.id, letter.letter.origin.clone());
        let (fate, answer) = match api.back.put_back(&letter.letter).await {
            Ok(true) => (Fate::Replayed, Ok(())),
            Ok(false) => {
                let detail = match origin {
                    Some(origin) => {
                        format!("there is no queue {origin} to put letter {id} back on")
                    }
                    None => format!("it is not known from which queue letter {id} came"),
                };
                (Fate::Waiting, Err(Problem::new(Code::NotReplayable, detail)))
            }
            Err(closed) => {
                (Fate::Waiting, Err(Problem::new(Code::Unavailable, closed.to_string())))
            }
        };
        api.decide(number, fate).await?;
        answer?;
        tracing::info!(
            letter = number,
            run.id = letter.letter.run.as_deref(),
            "a dead letter was put back"
        );
        api.shown(&id).await
    });
    replaying.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a dead letter broke what should put it back");
        Err(Problem::new(Code::Internal, "it could not be put back; the log says why"))
    })
}

/// Nobody wants a letter any more.
async fn remove<S: LetterBox, B: PutBack>(
    api: Session<Letters<S, B>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let letter = api.claim(&id).await?;
    api.decide(letter.id, Fate::Dropped).await?;
    tracing::info!(letter = letter.id, "a dead letter was dropped");
    api.shown(&id).await
}

impl<S: LetterBox, B> Session<Letters<S, B>> {
    /// The letter, for this call to decide on.
    async fn claim(&self, id: &str) -> Result<Parked, Problem> {
        match self.store.claim(&self.tenant, numbered(id)?).await? {
            Claim::Granted(letter) => Ok(*letter),
            Claim::Settled(fate) => {
                let detail = format!("letter {id} was {} before", fate.name());
                Err(Problem::new(Code::LetterSettled, detail))
            }
            Claim::Busy => {
                let detail = format!("another call decides on letter {id}; look again in a moment");
                Err(Problem::new(Code::Unavailable, detail))
            }
            Claim::Unknown => Err(unknown(id)),
        }
    }

    async fn decide(&self, id: i64, fate: Fate) -> Result<(), StoreError> {
        let decided = self.store.decide(&self.tenant, id, fate).await;
        if let Err(error) = &decided {
            tracing::error!(letter = id, fate = fate.name(), %error, "it is not written down");
        }
        decided
    }

    async fn shown(&self, id: &str) -> Result<Answer, Problem> {
        let letter = self.store.letter(&self.tenant, numbered(id)?).await?;
        Ok(Answer::ok(object(row(&letter.ok_or_else(|| unknown(id))?))))
    }
}

fn numbered(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::new(Code::LetterNotFound, format!("there is no dead letter {id:?}"))
}

fn row(parked: &Parked) -> Vec<(&'static str, Value)> {
    let Parked { id, put_at, body_bytes, letter, fate, settled_at } = parked;
    let code = letter.headers.iter().find(|(key, _)| &**key == CODE).map(|(_, code)| code);
    vec![
        ("id", Value::from(id.to_string())),
        ("queue", Value::Str(letter.queue.clone())),
        ("origin", text(letter.origin.as_ref())),
        ("reason", Value::Str(letter.reason.clone())),
        ("code", text(code)),
        ("run", text(letter.run.as_ref())),
        ("state", fate.name().into()),
        ("put_at", time(Some(*put_at))),
        ("settled_at", time(*settled_at)),
        ("bytes", number(*body_bytes)),
        ("headers", named(&letter.headers)),
    ]
}

fn named(pairs: &[(Name, Name)]) -> Value {
    Value::object(pairs.iter().map(|(key, value)| (key.clone(), Value::Str(value.clone()))))
}

/// A message as text if it is some, else as hexadecimal digits; the beginning of one that is long.
fn body(bytes: &[u8]) -> Vec<(&'static str, Value)> {
    let is_cut = bytes.len() > BODY;
    let shown = if is_cut { &bytes[..BODY] } else { bytes };
    let body = match std::str::from_utf8(shown) {
        Ok(text) => ("body", Value::from(text)),
        // cut in the middle of a character
        Err(error) if is_cut && error.error_len().is_none() => {
            let whole = String::from_utf8_lossy(&shown[..error.valid_up_to()]);
            ("body", Value::from(whole.into_owned()))
        }
        Err(_) => {
            let digits: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            ("body_hex", Value::from(digits.concat()))
        }
    };
    vec![body, ("is_cut", is_cut.into())]
}
