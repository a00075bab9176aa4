//! Python's arithmetic on numbers: integers of any size, floats, booleans as 0 and 1.

use num_bigint::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive, Zero};
use thiserror::Error;

use super::compare::Number;
use super::{Integer, Value};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`, true division: it always gives a float.
    Div,
}

/// Why arithmetic failed, in Python's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArithmeticError {
    /// `ZeroDivisionError`
    #[error("{0}")]
    ZeroDivision(&'static str),
    /// `OverflowError`
    #[error("{0}")]
    Overflow(&'static str),
    /// `TypeError`: not two numbers. Text and lists are not added or repeated here.
    #[error("unsupported operand type(s) for {0}: '{1}' and '{2}'")]
    Unsupported(&'static str, &'static str, &'static str),
    /// `TypeError`: something added to text or to a list.
    #[error("can only concatenate {0} (not \"{1}\") to {0}")]
    Concatenate(&'static str, &'static str),
    /// `TypeError`: text or a list times something else than an integer.
    #[error("can't multiply sequence by non-int of type '{0}'")]
    Repeat(&'static str),
}

impl Operator {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
        }
    }
}

impl Value {
    /// Applies an operator to two numbers as Python does.
    pub fn arithmetic(&self, operator: Operator, other: &Self) -> Result<Self, ArithmeticError> {
        let (Some(left), Some(right)) = (Number::of(self), Number::of(other)) else {
            return Err(unsupported(operator, self, other));
        };
        match (left, right) {
            (Number::Int(a), Number::Int(b)) => on_ints(operator, &a, &b),
            (Number::Int(a), Number::Float(b)) => on_floats(operator, to_float(&a)?, b),
            (Number::Float(a), Number::Int(b)) => on_floats(operator, a, to_float(&b)?),
            (Number::Float(a), Number::Float(b)) => on_floats(operator, a, b),
        }
    }
}

fn unsupported(operator: Operator, left: &Value, right: &Value) -> ArithmeticError {
    let sequence = |value: &Value| matches!(value, Value::Str(_) | Value::Array(_));
    let (on_left, on_right) = (sequence(left), sequence(right));
    let (left, right) = (left.type_name(), right.type_name());
    let whole = |name: &str| matches!(name, "int" | "bool");
    match operator {
        Operator::Add if on_left => ArithmeticError::Concatenate(left, right),
        Operator::Mul if on_left && !whole(right) => ArithmeticError::Repeat(right),
        Operator::Mul if on_right && !on_left && !whole(left) => ArithmeticError::Repeat(left),
        _ => ArithmeticError::Unsupported(operator.symbol(), left, right),
    }
}

fn to_float(int: &Integer) -> Result<f64, ArithmeticError> {
    let float = int.to_f64();
    if float.is_finite() {
        Ok(float)
    } else {
        Err(ArithmeticError::Overflow("int too large to convert to float"))
    }
}

fn on_floats(operator: Operator, a: f64, b: f64) -> Result<Value, ArithmeticError> {
    let value = match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div if b == 0.0 => {
            return Err(ArithmeticError::ZeroDivision("float division by zero"));
        }
        Operator::Div => a / b,
    };
    Ok(Value::Float(value))
}

fn on_ints(operator: Operator, a: &Integer, b: &Integer) -> Result<Value, ArithmeticError> {
    let small = a.to_i64().zip(b.to_i64());
    let quick = small.and_then(|(a, b)| match operator {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::Div => None,
    });
    if let Some(value) = quick {
        return Ok(Value::int(value));
    }
    let value = match operator {
        Operator::Add => a.to_big() + b.to_big(),
        Operator::Sub => a.to_big() - b.to_big(),
        Operator::Mul => a.to_big() * b.to_big(),
        Operator::Div => return divide(a, b).map(Value::Float),
    };
    Ok(Value::Int(Integer::from(value)))
}

/// The float nearest to the exact quotient.
fn divide(a: &Integer, b: &Integer) -> Result<f64, ArithmeticError> {
    const EXACT: i64 = 1 << 53;
    if b.is_zero() {
        return Err(ArithmeticError::ZeroDivision("division by zero"));
    }
    let exact = |int: &Integer| int.to_i64().filter(|value| (-EXACT..=EXACT).contains(value));
    if let (Some(_), Some(_)) = (exact(a), exact(b)) {
        // Both are floats exactly, so the processor rounds the quotient correctly.
        return Ok(a.to_f64() / b.to_f64());
    }
    let (a, b) = (a.to_big(), b.to_big());
    let negative = (a.sign() == Sign::Minus) != (b.sign() == Sign::Minus);
    let magnitude = divide_magnitudes(&a.abs(), &b.abs())
        .ok_or(ArithmeticError::Overflow("integer division result too large for a float"))?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// `a / b` for `a ≥ 0`, `b > 0`, rounded half to even; none beyond the largest float.
fn divide_magnitudes(a: &BigInt, b: &BigInt) -> Option<f64> {
    if a.is_zero() {
        return Some(0.0);
    }
    let bits = |value: &BigInt| i64::try_from(value.bits()).unwrap_or(i64::MAX);
    // The quotient gets 64 to 66 bits; whatever is below only matters as "not exactly half".
    let shift = 65 - (bits(a) - bits(b));
    if shift < -1024 {
        return None;
    }
    if shift > 1200 {
        return Some(0.0);
    }
    let scale = shift.unsigned_abs();
    let (a, b) = if shift >= 0 { (a << scale, b.clone()) } else { (a.clone(), b << scale) };
    let quotient = &a / &b;
    let inexact = &quotient * &b != a;
    let quotient = quotient.to_u128()? | u128::from(inexact);
    round_to_float(quotient, -shift)
}

/// `value × 2^exponent` with `value` of at least 64 bits, rounded half to even.
fn round_to_float(value: u128, exponent: i64) -> Option<f64> {
    let top = i64::from(value.ilog2()) + exponent;
    if top > i64::from(f64::MAX_EXP) {
        return None;
    }
    // Below the normal floats the mantissa loses bits, at last all of them.
    let width = 53.min(top + 1075);
    if width < 0 {
        return Some(0.0);
    }
    let dropped = i64::from(value.ilog2()) + 1 - width;
    let half = 1_u128 << (dropped - 1);
    let rest = value & ((half << 1) - 1);
    let kept = value >> dropped;
    let up = rest > half || rest == half && kept & 1 == 1;
    let kept = u64::try_from(kept).ok()? + u64::from(up);
    // A carry out of the mantissa moves into the exponent, which is what rounding up means.
    let biased = u64::try_from((top + 1022).max(0)).ok()?;
    let float = f64::from_bits((biased << 52) + kept);
    float.is_finite().then_some(float)
}
