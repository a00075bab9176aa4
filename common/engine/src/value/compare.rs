//! Python's `==` between values.

use std::cmp::Ordering;
use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::FromPrimitive;

use super::{Integer, Value};

impl Value {
    /// Python's `==`: `True`, `1` and `1.0` are equal, integers compare with floats exactly, the
    /// order of an object's members does not matter, NaN equals nothing (except inside one and
    /// the same list or object).
    pub fn py_eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => {
                Arc::ptr_eq(a, b)
                    || a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.py_eq(b))
            }
            (Self::Object(a), Self::Object(b)) => {
                Arc::ptr_eq(a, b)
                    || a.len() == b.len()
                        && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| a.py_eq(b)))
            }
            (Self::File(a), Self::File(b)) => a == b,
            _ => self.py_cmp(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two numbers (booleans count as 0 and 1), exactly; none for anything else and
    /// for NaN.
    pub fn py_cmp(&self, other: &Self) -> Option<Ordering> {
        match (Number::of(self)?, Number::of(other)?) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
            (Number::Int(a), Number::Float(b)) => compare_exactly(&a, b),
            (Number::Float(a), Number::Int(b)) => compare_exactly(&b, a).map(Ordering::reverse),
        }
    }
}

/// A value as arithmetic sees it.
#[derive(Clone)]
pub(super) enum Number {
    Int(Integer),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Int(Integer::from(i64::from(*value)))),
            Value::Int(value) => Some(Self::Int(value.clone())),
            Value::Float(value) => Some(Self::Float(*value)),
            Value::None | Value::Str(_) | Value::Object(_) | Value::Array(_) | Value::File(_) => {
                None
            }
        }
    }
}

fn compare_exactly(int: &Integer, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    let Some(whole) = BigInt::from_f64(float.trunc()) else {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    };
    let fraction = float.fract();
    let by_fraction = 0.0_f64.partial_cmp(&fraction)?;
    Some(int.cmp(&Integer::from(whole)).then(by_fraction))
}
