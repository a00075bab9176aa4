//! Large values in answers: a link to the payload stands in their place.

use flowmill_engine::value::{Name, Object, Value};
use flowmill_infra::stash::Stash;
use flowmill_workflow::redact::has_hidden;

use super::json::{number, object};
use super::problem::Problem;

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
    pub(super) fn put<'a>(
        &mut self,
        values: impl Iterator<Item = (&'a Name, &'a mut Value)>,
    ) -> Vec<Name> {
        let mut put = Vec::new();
        for (name, value) in values {
            if let Some(link) = self.link(value) {
                *value = link;
                put.push(name.clone());
            }
        }
        put
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
        let mut members =
            vec![("type", Value::from(kind)), ("bytes", number(u64::try_from(bytes).ok()?))];
        if self.hides && has_hidden(value) {
            members.extend([("hidden", true.into()), ("digest", Value::None)]);
            members.push(("href", Value::None));
        } else {
            let digest = digest.to_string();
            let href = format!("/api/v1/runs/{}/payloads/{digest}", self.run);
            members.extend([("digest", Value::from(digest)), ("href", Value::from(href))]);
        }
        Some(object(members))
    }
}

/// What says which members are links; nothing when none is.
pub(super) fn by_reference(names: Vec<Name>) -> Option<Value> {
    let names = names.into_iter().map(Value::Str).collect::<Vec<_>>();
    (!names.is_empty()).then(|| Value::array(names))
}
