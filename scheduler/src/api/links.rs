//! Large values in answers: a link to the payload stands in their place.

use flowmill_engine::value::{Name, Object, Value};
use flowmill_infra::payloads::{Digest, Owner, Payloads};
use flowmill_infra::stash::{Stash, StashError};
use flowmill_workflow::redact::has_hidden;

use super::json::{number, object};
use super::problem::{Code, Problem};

/// How many bytes of large values an answer holds whole, if that is asked for.
const WHOLE_BYTES: usize = 16 << 20;

/// Puts links in the place of large values of a run.
#[derive(Clone, Debug)]
pub(super) struct Links {
    run: Name,
    /// None where large values are no payloads.
    stash: Option<Stash>,
    /// How many bytes of large values may stay.
    left: usize,
    /// Whether parts of the values may be hidden.
    hides: bool,
}

impl Links {
    /// In place of all large values of a run.
    pub(super) fn of(run: &Name, stash: Option<Stash>) -> Self {
        Self { run: run.clone(), stash, left: 0, hides: false }
    }

    /// In place of those that do not fit, if the whole values are wanted.
    pub(super) fn wanted(
        run: &Name,
        stash: Option<Stash>,
        values: Option<&str>,
    ) -> Result<Self, Problem> {
        let left = match values {
            None | Some("links") => 0,
            Some("whole") => WHOLE_BYTES,
            Some(other) => {
                let detail = format!("values must be links or whole, not {other:?}");
                return Err(Problem::request(detail));
            }
        };
        Ok(Self { left, ..Self::of(run, stash) })
    }

    /// The same for values in which secrets were hidden: one that was changed by that is no payload.
    pub(super) fn hiding(self, hides: bool) -> Self {
        Self { hides, ..self }
    }

    /// How many bytes of large values may stay.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Puts links in the place of large values, and answers whose.
    fn put<'a>(&mut self, values: impl Iterator<Item = (&'a Name, &'a mut Value)>) -> Vec<Name> {
        let mut put = Vec::new();
        for (name, value) in values {
            if let Some(link) = self.link(value) {
                *value = link;
                put.push(name.clone());
            }
        }
        put
    }

    /// The same for values in which tickets stand for large ones. Of these only such are read that
    /// stay, and of the others the first byte.
    pub(super) async fn put_apart<'a>(
        &mut self,
        payloads: &dyn Payloads,
        values: impl Iterator<Item = (&'a Name, &'a mut Value)>,
    ) -> Result<Vec<Name>, Problem> {
        let mut put = Vec::new();
        let Some(stash) = self.stash.clone() else { return Ok(put) };
        let owner = Owner::Run(self.run.clone());
        for (name, value) in values {
            let Some((digest, bytes)) = stash.ticket_in(value).map_err(of_stash)? else { continue };
            // a text that only looks like a ticket is a small payload
            let is_small = bytes <= stash.limits().inline_bytes;
            if is_small || bytes <= self.left {
                self.left -= if is_small { 0 } else { bytes };
                stash.redeem(&owner, vec![value]).await.map_err(of_stash)?;
                continue;
            }
            let first = payloads.get_range(&owner, digest, 0..1).await?.bytes;
            let kind = match first.first() {
                Some(b'"') => "string",
                Some(b'[') => "array",
                Some(b'{') => "object",
                _ => "number",
            };
            *value = object(self.shown(kind, digest, bytes));
            put.push(name.clone());
        }
        Ok(put)
    }

    /// The same in an object.
    pub(super) fn put_in(&mut self, values: &Value) -> (Value, Vec<Name>) {
        let Value::Object(members) = values else { return (values.clone(), Vec::new()) };
        let mut changed: Object = members.as_ref().clone();
        let put = self.put(changed.iter_mut());
        if put.is_empty() { (values.clone(), put) } else { (Value::object(changed), put) }
    }

    fn link(&mut self, value: &Value) -> Option<Value> {
        let (digest, bytes) = self.stash.as_ref()?.reference(value)?;
        if bytes <= self.left {
            self.left -= bytes;
            return None;
        }
        let kind = match value {
            Value::Str(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) | Value::File(_) => "object",
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => "number",
        };
        let mut members = self.shown(kind, digest, bytes);
        if self.hides && has_hidden(value) {
            members.truncate(2);
            members.extend([("digest", Value::None), ("href", Value::None)]);
            members.push(("hidden", true.into()));
        }
        Some(object(members))
    }

    /// A link's members.
    fn shown(&self, kind: &str, digest: Digest, bytes: usize) -> Vec<(&'static str, Value)> {
        let digest = digest.to_string();
        let href = format!("/api/v1/runs/{}/payloads/{digest}", self.run);
        vec![
            ("type", Value::from(kind)),
            ("bytes", number(bytes as u64)),
            ("digest", Value::from(digest)),
            ("href", Value::from(href)),
        ]
    }
}

/// A value that is kept could not be had.
fn of_stash(error: StashError) -> Problem {
    match error {
        StashError::Payload(error) => error.into(),
        error => {
            tracing::error!(%error, "a request failed");
            Problem::new(Code::Internal, error.to_string())
        }
    }
}

/// What says which members are links; nothing when none is.
pub(super) fn by_reference(names: Vec<Name>) -> Option<Value> {
    let names = names.into_iter().map(Value::Str).collect::<Vec<_>>();
    (!names.is_empty()).then(|| Value::array(names))
}
