//! Python's operators.

use std::cmp::Ordering;

use flowmill_engine::value::{Integer, Name};
use num_bigint::BigInt;
use num_traits::{Pow, Signed, Zero};

use super::ast::{Binary, Compare, Unary};
use super::fail::{R, raise, refuse, type_error};
use super::interp::Interp;
use super::text::escape;
use super::value::{MAX_DEPTH, Val, View};

/// Integers larger than this are left to Python, which would not print them much longer either.
const MAX_BITS: u64 = 8192;

/// An operand that is a number.
#[derive(Clone)]
enum Num {
    Int(Integer),
    Float(f64),
}

fn number(value: &Val) -> Option<Num> {
    match value {
        Val::Bool(value) => Some(Num::Int(Integer::from(i64::from(*value)))),
        Val::Int(value) => Some(Num::Int(value.clone())),
        Val::Float(value) => Some(Num::Float(*value)),
        _ => None,
    }
}

/// A float, if it is one that Python and JSON can print as a number.
pub(super) fn float(value: f64) -> R<Val> {
    if value.is_finite() { Ok(Val::Float(value)) } else { refuse("an infinite float") }
}

/// An integer of bearable size.
pub(super) fn big(value: BigInt) -> R<Val> {
    if value.bits() > MAX_BITS {
        return refuse("a huge integer");
    }
    Ok(Val::Int(Integer::from(value)))
}

fn to_float(value: &Num) -> R<f64> {
    match value {
        Num::Float(value) => Ok(*value),
        Num::Int(value) => match value.to_i64() {
            #[expect(clippy::cast_precision_loss, reason = "Python rounds alike")]
            Some(small) => Ok(small as f64),
            None => refuse("a huge integer as a float"),
        },
    }
}

fn symbol(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "** or pow()",
    }
}

fn is_sequence(value: &Val) -> bool {
    matches!(value, Val::Str(_) | Val::Safe(_) | Val::List(_) | Val::Tuple(_))
}

fn is_plain(value: &Val) -> bool {
    is_sequence(value)
        || matches!(value, Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Dict(_))
}

impl Interp<'_> {
    pub(super) fn binary(&mut self, op: Binary, left: &Val, right: &Val) -> R<Val> {
        if let (Some(left), Some(right)) = (number(left), number(right)) {
            return match (left, right) {
                (Num::Int(left), Num::Int(right)) => integers(op, &left, &right),
                (left, right) => floats(op, to_float(&left)?, to_float(&right)?),
            };
        }
        if let Val::Undef(undef) = left {
            return raise("UndefinedError", undef.message());
        }
        if op == Binary::Mod
            && let Val::Str(text) = left
        {
            return self.percent(text, right).map(Val::str);
        }
        let escaped = [left, right].into_iter().any(|value| matches!(value, Val::Safe(_)));
        if escaped && (op != Binary::Add || matches!(right, Val::Undef(_))) {
            return refuse("an operator with escaped text");
        }
        if let Val::Undef(undef) = right {
            return raise("UndefinedError", undef.message());
        }
        if !is_plain(left) || !is_plain(right) {
            return refuse("an operator with unusual values");
        }
        match op {
            Binary::Add => self.add(left, right),
            Binary::Mul => self.repeat(left, right),
            _ => unsupported(op, left, right),
        }
    }

    fn add(&mut self, left: &Val, right: &Val) -> R<Val> {
        match (left, right) {
            (Val::Str(a), Val::Str(b)) => self.join_text(a, b).map(Val::Str),
            (Val::Safe(a), Val::Safe(b)) => self.join_text(a, b).map(Val::Safe),
            (Val::Safe(a), Val::Str(b)) => self.join_text(a, &escape(b)).map(Val::Safe),
            (Val::Str(a), Val::Safe(b)) => self.join_text(&escape(a), b).map(Val::Safe),
            (Val::List(a), Val::List(b)) => {
                self.allocate((a.len() + b.len()) * 16)?;
                let mut items = a.to_vec();
                items.extend(b.to_vec());
                Ok(Val::list(items))
            }
            (Val::Tuple(a), Val::Tuple(b)) => {
                self.allocate((a.items.len() + b.items.len()) * 16)?;
                Ok(Val::tuple(a.items.iter().chain(&b.items).cloned().collect()))
            }
            (Val::Safe(_), _) => refuse("`+` with escaped text"),
            (Val::Str(_) | Val::List(_) | Val::Tuple(_), other) => {
                let name = if matches!(left, Val::Tuple(_)) { "tuple" } else { left.type_name() };
                let other = other.type_name();
                type_error(format!("can only concatenate {name} (not \"{other}\") to {name}"))
            }
            _ => unsupported(Binary::Add, left, right),
        }
    }

    fn join_text(&mut self, a: &str, b: &str) -> R<Name> {
        self.allocate(a.len() + b.len())?;
        Ok([a, b].concat().into())
    }

    fn repeat(&mut self, left: &Val, right: &Val) -> R<Val> {
        let (sequence, count) = match (is_sequence(left), is_sequence(right)) {
            (true, _) => (left, right),
            (false, true) => (right, left),
            (false, false) => return unsupported(Binary::Mul, left, right),
        };
        let Some(Num::Int(count)) = number(count) else {
            let name = count.type_name();
            return type_error(format!("can't multiply sequence by non-int of type '{name}'"));
        };
        let count = match count.to_i64() {
            Some(count) => usize::try_from(count).unwrap_or(0),
            None => return refuse("a huge repetition"),
        };
        if let Some(text) = sequence.as_text() {
            self.allocate(text.len().saturating_mul(count))?;
            return Ok(sequence.like(text.repeat(count)));
        }
        let items = self.collect(sequence)?;
        self.allocate(items.len().saturating_mul(count).saturating_mul(16))?;
        let repeated = items.iter().cycle().take(items.len() * count).cloned().collect();
        Ok(if matches!(sequence, Val::List(_)) {
            Val::list(repeated)
        } else {
            Val::tuple(repeated)
        })
    }

    pub(super) fn unary(&mut self, op: Unary, value: &Val) -> R<Val> {
        if op == Unary::Not {
            return Ok(Val::Bool(!value.truthy()));
        }
        match (number(value), op) {
            (Some(Num::Int(value)), Unary::Neg) => big(-value.to_big()),
            (Some(Num::Float(value)), Unary::Neg) => Ok(Val::Float(-value)),
            (Some(Num::Int(value)), _) => Ok(Val::Int(value)),
            (Some(Num::Float(value)), _) => Ok(Val::Float(value)),
            (None, _) => {
                if let Val::Undef(undef) = value {
                    return raise("UndefinedError", undef.message());
                }
                if !is_plain(value) {
                    return refuse("an operator with unusual values");
                }
                let symbol = if op == Unary::Neg { "-" } else { "+" };
                let name = value.type_name();
                type_error(format!("bad operand type for unary {symbol}: '{name}'"))
            }
        }
    }

    pub(super) fn compare(&mut self, op: Compare, left: &Val, right: &Val) -> R<bool> {
        match op {
            Compare::Eq => self.equal(left, right),
            Compare::Ne => Ok(!self.equal(left, right)?),
            Compare::In => self.contains(right, left),
            Compare::NotIn => Ok(!self.contains(right, left)?),
            Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => self.order(op, left, right, 0),
        }
    }

    /// `left == right`
    pub(super) fn equal(&mut self, left: &Val, right: &Val) -> R<bool> {
        self.equal_at(left, right, 0)
    }

    fn equal_at(&mut self, left: &Val, right: &Val, depth: u32) -> R<bool> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return refuse("a deeply nested value");
        }
        if let (Some(a), Some(b)) = (number(left), number(right)) {
            return Ok(compare_numbers(&a, &b)? == Ordering::Equal);
        }
        if let (Some(a), Some(b)) = (left.as_text(), right.as_text()) {
            return Ok(a == b);
        }
        match (left, right) {
            (Val::Undef(_), Val::Undef(_)) | (Val::None, Val::None) => Ok(true),
            (Val::List(a), Val::List(b)) => {
                if a.same(b) {
                    return Ok(true);
                }
                if a.len() != b.len() {
                    return Ok(false);
                }
                for index in 0..a.len() {
                    let (Some(x), Some(y)) = (a.get(index), b.get(index)) else { continue };
                    if !self.equal_at(&x, &y, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Val::Tuple(a), Val::Tuple(b)) => {
                if a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (x, y) in a.items.iter().zip(&b.items) {
                    if !self.equal_at(x, y, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Val::Dict(a), Val::Dict(b)) => {
                if a.same(b) {
                    return Ok(true);
                }
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (key, x) in a.entries() {
                    let Some(y) = b.get(&key.key()?) else { return Ok(false) };
                    if !self.equal_at(&x, &y, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ if (is_plain(left) || matches!(left, Val::Undef(_) | Val::Range(_)))
                && (is_plain(right) || matches!(right, Val::Undef(_))) =>
            {
                Ok(false)
            }
            (Val::Undef(_), _) | (_, Val::Undef(_)) => Ok(false),
            _ => refuse("a comparison of unusual values"),
        }
    }

    /// `<`, `<=`, `>`, `>=`
    pub(super) fn order(&mut self, op: Compare, left: &Val, right: &Val, depth: u32) -> R<bool> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return refuse("a deeply nested value");
        }
        let decide = |ordering: Ordering| match op {
            Compare::Lt => ordering.is_lt(),
            Compare::Le => ordering.is_le(),
            Compare::Gt => ordering.is_gt(),
            _ => ordering.is_ge(),
        };
        if let (Some(a), Some(b)) = (number(left), number(right)) {
            return Ok(decide(compare_numbers(&a, &b)?));
        }
        if let (Some(a), Some(b)) = (left.as_text(), right.as_text()) {
            return Ok(decide(a.cmp(b)));
        }
        match (left, right) {
            (Val::Undef(undef), _) | (_, Val::Undef(undef)) => {
                raise("UndefinedError", undef.message())
            }
            (Val::List(_), Val::List(_)) | (Val::Tuple(_), Val::Tuple(_)) => {
                let (a, b) = (self.collect(left)?, self.collect(right)?);
                for (x, y) in a.iter().zip(&b) {
                    if !self.equal_at(x, y, depth + 1)? {
                        return self.order(op, x, y, depth + 1);
                    }
                }
                Ok(decide(a.len().cmp(&b.len())))
            }
            _ if is_plain(left) && is_plain(right) => {
                let symbol = match op {
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Gt => ">",
                    _ => ">=",
                };
                let (left, right) = (left.type_name(), right.type_name());
                type_error(format!(
                    "'{symbol}' not supported between instances of '{left}' and '{right}'"
                ))
            }
            _ => refuse("a comparison of unusual values"),
        }
    }

    /// `item in container`
    pub(super) fn contains(&mut self, container: &Val, item: &Val) -> R<bool> {
        match container {
            Val::Str(text) | Val::Safe(text) => match item.as_text() {
                Some(part) => {
                    self.spend(text.len() / 64)?;
                    Ok(text.contains(&**part))
                }
                None => type_error(format!(
                    "'in <string>' requires string as left operand, not {}",
                    item.type_name()
                )),
            },
            Val::Dict(dict) | Val::View(View::Keys, dict) => Ok(dict.get(&item.key()?).is_some()),
            Val::List(_)
            | Val::Tuple(_)
            | Val::Undef(_)
            | Val::Iter(_)
            | Val::Range(_)
            | Val::View(View::Values, _) => {
                let iter = self.iterate(container)?;
                while let Some(next) = self.advance(&iter)? {
                    if self.equal(&next, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
                type_error(format!("argument of type '{}' is not iterable", container.type_name()))
            }
            _ => refuse("`in` an unusual value"),
        }
    }
}

fn unsupported(op: Binary, left: &Val, right: &Val) -> R<Val> {
    type_error(format!(
        "unsupported operand type(s) for {}: '{}' and '{}'",
        symbol(op),
        left.type_name(),
        right.type_name()
    ))
}

fn compare_numbers(left: &Num, right: &Num) -> R<Ordering> {
    Ok(match (left, right) {
        (Num::Int(a), Num::Int(b)) => a.cmp(b),
        // all floats are finite here
        (Num::Float(a), Num::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Num::Int(a), Num::Float(b)) => compare_mixed(a, *b)?,
        (Num::Float(a), Num::Int(b)) => compare_mixed(b, *a)?.reverse(),
    })
}

fn compare_mixed(int: &Integer, float: f64) -> R<Ordering> {
    let Some(int) = int.to_i64() else { return refuse("a huge integer against a float") };
    if float >= 9.3e18 {
        return Ok(Ordering::Less);
    }
    if float <= -9.3e18 {
        return Ok(Ordering::Greater);
    }
    let floor = float.floor();
    #[expect(clippy::cast_possible_truncation, reason = "whole and in the range of i128")]
    let whole = floor as i128;
    Ok(i128::from(int).cmp(&whole).then(if float > floor {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

fn integers(op: Binary, a: &Integer, b: &Integer) -> R<Val> {
    if let (Some(a), Some(b)) = (a.to_i64(), b.to_i64())
        && let Some(result) = small_integers(op, a, b)?
    {
        return Ok(result);
    }
    let (x, y) = (a.to_big(), b.to_big());
    match op {
        Binary::Add => big(x + y),
        Binary::Sub => big(x - y),
        Binary::Mul => {
            if x.bits() + y.bits() > MAX_BITS {
                return refuse("a huge integer");
            }
            big(x * y)
        }
        Binary::FloorDiv if !y.is_zero() => big(div_mod(&x, &y).0),
        Binary::Mod if !y.is_zero() => big(div_mod(&x, &y).1),
        Binary::Pow if !y.is_negative() => power(x, &y),
        _ => refuse("arithmetic with huge integers"),
    }
}

fn power(base: BigInt, exponent: &BigInt) -> R<Val> {
    let Ok(exponent) = u64::try_from(exponent) else { return refuse("a huge power") };
    // the size is known before the work is done
    if base.bits().saturating_mul(exponent) > MAX_BITS + base.bits() {
        return if base.bits() <= 1 {
            Ok(small_power(&base, exponent))
        } else {
            refuse("a huge power")
        };
    }
    big(base.pow(exponent))
}

/// Powers of 0, 1 and -1, whatever the exponent.
fn small_power(base: &BigInt, exponent: u64) -> Val {
    let odd = exponent % 2 == 1;
    Val::int(match (base.is_zero(), base.is_negative()) {
        (true, _) => i64::from(exponent == 0),
        (false, true) if odd => -1,
        (false, _) => 1,
    })
}

fn div_mod(x: &BigInt, y: &BigInt) -> (BigInt, BigInt) {
    let (mut quotient, mut rest) = (x / y, x % y);
    if !rest.is_zero() && rest.is_negative() != y.is_negative() {
        quotient -= 1;
        rest += y;
    }
    (quotient, rest)
}

/// None where 64 bits do not do.
fn small_integers(op: Binary, a: i64, b: i64) -> R<Option<Val>> {
    let zero = |text| raise("ZeroDivisionError", text);
    Ok(match op {
        Binary::Add => a.checked_add(b).map(Val::int),
        Binary::Sub => a.checked_sub(b).map(Val::int),
        Binary::Mul => a.checked_mul(b).map(Val::int),
        Binary::Div if b == 0 => return zero("division by zero"),
        Binary::Div => {
            if a.unsigned_abs() > 1 << 53 || b.unsigned_abs() > 1 << 53 {
                return refuse("a quotient of huge integers");
            }
            #[expect(clippy::cast_precision_loss, reason = "both fit 53 bits")]
            Some(float(a as f64 / b as f64)?)
        }
        Binary::FloorDiv if b == 0 => return zero("integer division or modulo by zero"),
        Binary::Mod if b == 0 => return zero("integer modulo by zero"),
        Binary::FloorDiv => a.checked_div(b).map(|quotient| {
            let down = a % b != 0 && (a < 0) != (b < 0);
            Val::int(quotient - i64::from(down))
        }),
        Binary::Mod => a
            .checked_rem(b)
            .map(|rest| Val::int(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })),
        Binary::Pow if b < 0 => {
            if a == 0 {
                return zero("0.0 cannot be raised to a negative power");
            }
            #[expect(clippy::cast_precision_loss, reason = "Python rounds alike")]
            Some(float((a as f64).powf(b as f64))?)
        }
        Binary::Pow => None,
    })
}

fn floats(op: Binary, a: f64, b: f64) -> R<Val> {
    let zero = |text| raise("ZeroDivisionError", text);
    match op {
        Binary::Add => float(a + b),
        Binary::Sub => float(a - b),
        Binary::Mul => float(a * b),
        Binary::Div if b == 0.0 => zero("float division by zero"),
        Binary::Div => float(a / b),
        Binary::FloorDiv if b == 0.0 => zero("float floor division by zero"),
        Binary::FloorDiv => float(float_div_mod(a, b).0),
        Binary::Mod if b == 0.0 => zero("float modulo"),
        Binary::Mod => float(float_div_mod(a, b).1),
        Binary::Pow if a == 0.0 && b < 0.0 => zero("0.0 cannot be raised to a negative power"),
        Binary::Pow if a < 0.0 && b.fract() != 0.0 => refuse("a complex number"),
        Binary::Pow => float(a.powf(b)),
    }
}

/// `float_div_mod` of `CPython`.
fn float_div_mod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    let floor = if quotient == 0.0 {
        0.0_f64.copysign(a / b)
    } else {
        let floor = quotient.floor();
        if quotient - floor > 0.5 { floor + 1.0 } else { floor }
    };
    (floor, rest)
}
