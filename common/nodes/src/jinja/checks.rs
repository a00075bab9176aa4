//! Jinja2's tests: what may follow `is`.

use super::ast::{Binary, Compare};
use super::call::CallArgs;
use super::fail::{R, raise, refuse};
use super::interp::Interp;
use super::text;
use super::value::Val;

/// What a test asks.
type Run = fn(&mut Interp<'_>, &Val, &CallArgs) -> R<bool>;

/// A test.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: &'static str,
    pub(super) run: Run,
}

const fn test(name: &'static str, run: Run) -> Test {
    Test { name, run }
}

static TESTS: [Test; 39] = [
    test("odd", |interp, value, args| remainder(interp, value, args, 2, 1)),
    test("even", |interp, value, args| remainder(interp, value, args, 2, 0)),
    test("divisibleby", divisible),
    test("defined", |_, value, args| plain(args, !matches!(value, Val::Undef(_)))),
    test("undefined", |_, value, args| plain(args, matches!(value, Val::Undef(_)))),
    test("filter", is_filter),
    test("test", is_test),
    test("none", |_, value, args| plain(args, matches!(value, Val::None))),
    test("boolean", |_, value, args| plain(args, matches!(value, Val::Bool(_)))),
    test("false", |_, value, args| plain(args, matches!(value, Val::Bool(false)))),
    test("true", |_, value, args| plain(args, matches!(value, Val::Bool(true)))),
    test("integer", |_, value, args| plain(args, matches!(value, Val::Int(_)))),
    test("float", |_, value, args| plain(args, matches!(value, Val::Float(_)))),
    test("lower", is_lower),
    test("upper", is_upper),
    test("string", |_, value, args| plain(args, value.as_text().is_some())),
    test("mapping", |_, value, args| plain(args, matches!(value, Val::Dict(_)))),
    test("number", |_, value, args| {
        plain(args, matches!(value, Val::Int(_) | Val::Float(_) | Val::Bool(_)))
    }),
    test("sequence", is_sequence),
    test("iterable", is_iterable),
    test("callable", is_callable),
    test("sameas", same_as),
    test("escaped", |_, value, args| plain(args, matches!(value, Val::Safe(_)))),
    test("in", |interp, value, args| {
        let [sequence] = args.bind(["seq"])?;
        match sequence {
            Some(sequence) => interp.contains(&sequence, value),
            None => refuse("`is in` without a value"),
        }
    }),
    test("==", |interp, value, args| compare(interp, Compare::Eq, value, args)),
    test("eq", |interp, value, args| compare(interp, Compare::Eq, value, args)),
    test("equalto", |interp, value, args| compare(interp, Compare::Eq, value, args)),
    test("!=", |interp, value, args| compare(interp, Compare::Ne, value, args)),
    test("ne", |interp, value, args| compare(interp, Compare::Ne, value, args)),
    test(">", |interp, value, args| compare(interp, Compare::Gt, value, args)),
    test("gt", |interp, value, args| compare(interp, Compare::Gt, value, args)),
    test("greaterthan", |interp, value, args| compare(interp, Compare::Gt, value, args)),
    test("ge", |interp, value, args| compare(interp, Compare::Ge, value, args)),
    test(">=", |interp, value, args| compare(interp, Compare::Ge, value, args)),
    test("<", |interp, value, args| compare(interp, Compare::Lt, value, args)),
    test("lt", |interp, value, args| compare(interp, Compare::Lt, value, args)),
    test("lessthan", |interp, value, args| compare(interp, Compare::Lt, value, args)),
    test("<=", |interp, value, args| compare(interp, Compare::Le, value, args)),
    test("le", |interp, value, args| compare(interp, Compare::Le, value, args)),
];

/// The test of this name.
pub(super) fn find(name: &str) -> Option<&'static Test> {
    TESTS.iter().find(|test| test.name == name)
}

impl Interp<'_> {
    /// `environment.call_test`
    pub(super) fn test_by_name(&mut self, name: &Val, value: Val, args: &CallArgs) -> R<bool> {
        match name {
            Val::Str(name) => match find(name) {
                Some(test) => (test.run)(self, &value, args),
                None => {
                    let shown = flowmill_engine::value::str_repr(name);
                    raise("TemplateRuntimeError", format!("No test named {shown}."))
                }
            },
            _ => refuse("a test name that is no text"),
        }
    }
}

fn plain(args: &CallArgs, answer: bool) -> R<bool> {
    args.none()?;
    Ok(answer)
}

fn compare(interp: &mut Interp<'_>, op: Compare, value: &Val, args: &CallArgs) -> R<bool> {
    match args.positional.as_slice() {
        [other] if args.named.is_empty() => interp.compare(op, value, other),
        _ => refuse("a comparing test without one value"),
    }
}

/// `value % divisor == rest`; text would be formatted, which gives no number.
fn remainder(
    interp: &mut Interp<'_>,
    value: &Val,
    args: &CallArgs,
    divisor: i64,
    rest: i64,
) -> R<bool> {
    args.none()?;
    let found = interp.binary(Binary::Mod, value, &Val::int(divisor))?;
    interp.equal(&found, &Val::int(rest))
}

fn divisible(interp: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    let [divisor] = args.bind(["num"])?;
    let Some(divisor) = divisor else { return refuse("`divisibleby` without a number") };
    let found = interp.binary(Binary::Mod, value, &divisor)?;
    interp.equal(&found, &Val::int(0))
}

fn is_filter(_: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    match value {
        Val::Str(name) => Ok(super::filters::find(name).is_some()),
        _ => refuse("`is filter` of something that is no text"),
    }
}

fn is_test(_: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    match value {
        Val::Str(name) => Ok(find(name).is_some()),
        _ => refuse("`is test` of something that is no text"),
    }
}

fn is_lower(interp: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    let value = interp.text_of(value)?;
    text::is_all_case(&value, char::is_lowercase, char::is_uppercase)
}

fn is_upper(interp: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    let value = interp.text_of(value)?;
    text::is_all_case(&value, char::is_uppercase, char::is_lowercase)
}

/// `len(x)` and `x.__getitem__` work.
fn is_sequence(_: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    match value {
        Val::Str(_) | Val::Safe(_) | Val::List(_) | Val::Tuple(_) | Val::Dict(_) => Ok(true),
        Val::Range(_) | Val::Undef(_) => Ok(true),
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::View(..) => Ok(false),
        Val::Iter(iter) if iter.kind == "generator" => Ok(false),
        _ => refuse("`is sequence` of an unusual object"),
    }
}

fn is_iterable(_: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    match value {
        Val::Str(_) | Val::Safe(_) | Val::List(_) | Val::Tuple(_) | Val::Dict(_) => Ok(true),
        Val::Range(_) | Val::Undef(_) | Val::View(..) | Val::Iter(_) => Ok(true),
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => Ok(false),
        _ => refuse("`is iterable` of an unusual object"),
    }
}

fn is_callable(_: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    args.none()?;
    match value {
        Val::Macro(_) | Val::Method(_) | Val::Global(_) | Val::Joiner(_) | Val::Loop(_) => Ok(true),
        // a class with `__call__`, whatever it does
        Val::Undef(_) => Ok(true),
        Val::Namespace(_) | Val::Cycler(_) => refuse("`is callable` of an unusual object"),
        _ => Ok(false),
    }
}

/// Only objects of which there is one are surely the same or not.
fn same_as(_: &mut Interp<'_>, value: &Val, args: &CallArgs) -> R<bool> {
    let [other] = args.bind(["other"])?;
    match (value, other) {
        (_, None) => refuse("`sameas` without a value"),
        (Val::None, Some(other)) => Ok(matches!(other, Val::None)),
        (Val::Bool(a), Some(Val::Bool(b))) => Ok(*a == b),
        (Val::Bool(_), Some(_)) | (_, Some(Val::Bool(_) | Val::None)) => Ok(false),
        _ => refuse("`sameas` of values that may be one object"),
    }
}
