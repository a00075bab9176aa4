//! The variables of a template, as they are after Dify's round trip through JSON.

use std::sync::Arc;

use flowmill_engine::value::{Integer, Name, Value};
use num_bigint::BigInt;
use num_traits::Signed;

use super::fail::{Fail, R, raise, refuse};

/// How deep a value may be nested; `orjson` allows 254 levels.
const MAX_DEPTH: u32 = 200;

/// The variables of a template.
#[derive(Clone, Debug, Default)]
pub struct Context {
    values: Vec<(Name, Value)>,
}

impl Context {
    /// Variables by name; of equal names the last counts. What does not survive JSON is changed as
    /// there: NaN and infinities become none.
    ///
    /// # Errors
    /// [`Fail::Raised`] for what `orjson` refuses: files and integers beyond 64 bits.
    pub fn new(values: impl IntoIterator<Item = (Name, Value)>) -> Result<Self, Fail> {
        let mut context = Self::default();
        for (name, value) in values {
            match context.values.iter_mut().find(|(known, _)| *known == name) {
                Some(held) => held.1 = value,
                None => context.values.push((name, value)),
            }
        }
        for (_, value) in &mut context.values {
            match check(value, 0) {
                Ok(false) => {}
                Ok(true) => *value = finite(value),
                Err(fail) => return Err(*fail),
            }
        }
        if context.values.iter().any(|(name, _)| &**name == "self") {
            return Err(Fail::Raised {
                kind: "TypeError".into(),
                message: "Template.render() got multiple values for argument 'self'".to_owned(),
            });
        }
        Ok(context)
    }

    pub(super) fn values(&self) -> &[(Name, Value)] {
        &self.values
    }
}

/// Whether a value has to be changed.
fn check(value: &Value, depth: u32) -> R<bool> {
    if depth > MAX_DEPTH {
        return refuse("a value nested deeper than 200 levels");
    }
    Ok(match value {
        Value::None | Value::Bool(_) | Value::Str(_) => false,
        Value::Int(value) if fits(value) => false,
        Value::Int(_) => return raise("TypeError", "Integer exceeds 64-bit range"),
        Value::Float(value) => !value.is_finite(),
        Value::File(_) => return raise("TypeError", "Type is not JSON serializable: File"),
        Value::Array(items) => {
            let mut changed = false;
            for item in items.iter() {
                changed |= check(item, depth + 1)?;
            }
            changed
        }
        Value::Object(members) => {
            let mut changed = false;
            for item in members.values() {
                changed |= check(item, depth + 1)?;
            }
            changed
        }
    })
}

fn fits(value: &Integer) -> bool {
    value.to_i64().is_some() || {
        let value: BigInt = value.to_big();
        value.is_positive() && value.bits() <= 64
    }
}

/// The value without NaN and infinities.
fn finite(value: &Value) -> Value {
    match value {
        Value::Float(value) if !value.is_finite() => Value::None,
        Value::Array(items) => Value::array(items.iter().map(finite).collect()),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| (key.clone(), finite(value)));
            Value::Object(Arc::new(members.collect()))
        }
        other => other.clone(),
    }
}
