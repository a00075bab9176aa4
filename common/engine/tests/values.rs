//! Values against what Python 3.12 and graphon 0.8 say of them (`fixtures/record.py`).

use flowmill_engine::value::{
    Form, JsonError, Kind, Operator, Style, Value, dumps, float_error, float_repr, int_error,
    loads, python_float, python_int,
};
use flowmill_engine::variables::Variable;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What the reference answered.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Answer<T> {
    Ok(T),
    Error(String),
}

impl<T> Answer<T> {
    fn of<E: ToString>(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(error.to_string()),
        }
    }
}

fn recorded<T: DeserializeOwned>(json: &str) -> Vec<T> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("unreadable recording: {error}"))
}

#[derive(Deserialize)]
struct Printed {
    value: Value,
    str: String,
    repr: String,
    r#type: String,
    line: Option<String>,
    ascii: Option<String>,
    indented: Option<String>,
    compact: Option<String>,
}

#[test]
fn values_print_as_in_python() {
    for row in recorded::<Printed>(include_str!("fixtures/values.json")) {
        assert_eq!(row.value.to_python(), row.str);
        assert_eq!(row.value.repr(), row.repr);
        assert_eq!(row.value.type_name(), row.r#type);
        let styles = [
            (Style::Line, row.line),
            (Style::Ascii, row.ascii),
            (Style::Indented, row.indented),
            (Style::Compact, row.compact),
        ];
        for (style, want) in styles {
            if let Some(want) = want {
                assert_eq!(dumps(&row.value, style), want);
                assert_eq!(loads(&want), Ok(row.value.clone()), "{want}");
            }
        }
    }
}

#[test]
fn floats_print_as_in_python() {
    for (bits, want) in recorded::<(String, String)>(include_str!("fixtures/floats.json")) {
        let float = f64::from_bits(u64::from_str_radix(&bits, 16).unwrap());
        assert_eq!(float_repr(float), want);
    }
}

#[derive(Deserialize)]
struct Number {
    text: String,
    int: Answer<Value>,
    float: Answer<Value>,
}

#[test]
fn texts_become_numbers_as_in_python() {
    for row in recorded::<Number>(include_str!("fixtures/numbers.json")) {
        let text = &row.text;
        let int = python_int(text).map(Value::Int).ok_or_else(|| int_error(text));
        assert_eq!(Answer::of(int), row.int, "int({text:?})");
        let float = python_float(text).map(Value::Float).ok_or_else(|| float_error(text));
        assert_eq!(sign_free(Answer::of(float)), sign_free(row.float), "float({text:?})");
    }
}

/// A NaN's sign is nothing Python shows.
fn sign_free(answer: Answer<Value>) -> Answer<Value> {
    match answer {
        Answer::Ok(Value::Float(float)) if float.is_nan() => Answer::Ok(Value::Float(f64::NAN)),
        other => other,
    }
}

#[test]
fn values_compare_as_in_python() {
    for (left, right, want) in
        recorded::<(Value, Value, bool)>(include_str!("fixtures/equality.json"))
    {
        assert_eq!(left.py_eq(&right), want, "{left:?} == {right:?}");
        assert_eq!(right.py_eq(&left), want, "{right:?} == {left:?}");
    }
}

#[test]
fn arithmetic_is_python_s() {
    type Row = (Value, String, Value, Answer<Value>);
    for (left, symbol, right, want) in recorded::<Row>(include_str!("fixtures/arithmetic.json")) {
        let operators = [Operator::Add, Operator::Sub, Operator::Mul, Operator::Div];
        let operator = operators.into_iter().find(|o| o.symbol() == symbol).unwrap();
        let got = Answer::of(left.arithmetic(operator, &right));
        assert_eq!(sign_free(got), sign_free(want), "{left:?} {symbol} {right:?}");
    }
}

#[derive(Deserialize)]
struct Parsed {
    text: String,
    #[serde(flatten)]
    answer: Answer<Value>,
}

#[test]
fn json_is_read_as_in_python() {
    for row in recorded::<Parsed>(include_str!("fixtures/json.json")) {
        assert_eq!(Answer::of(loads(&row.text)), row.answer, "{:?}", row.text);
    }
}

#[test]
fn lone_surrogates_are_refused() {
    for text in
        [r#""\ud83d""#, r#""\ude00 later""#, r#"["\ud83d\u0041 later"]"#, r#""\ud83dxxxxxxx""#]
    {
        assert_eq!(loads(text), Err(JsonError::Surrogate), "{text}");
    }
}

#[derive(Deserialize)]
struct Formed {
    kind: Kind,
    value: Value,
    text: Answer<String>,
    markdown: Answer<String>,
    log: Option<Answer<String>>,
}

#[test]
fn variables_are_written_by_their_kind() {
    for row in recorded::<Formed>(include_str!("fixtures/forms.json")) {
        let variable = Variable::typed(row.kind, row.value);
        let form = |form| Answer::of(variable.render(form).map(Into::into));
        assert_eq!(form(Form::Text), row.text, "text of {variable:?}");
        assert_eq!(form(Form::Markdown), row.markdown, "markdown of {variable:?}");
        if let Some(log) = row.log {
            assert_eq!(form(Form::Log), log, "log of {variable:?}");
        }
    }
}

#[test]
fn kinds_are_inferred_as_in_the_reference() {
    for (value, kind) in recorded::<(Value, Kind)>(include_str!("fixtures/kinds.json")) {
        assert_eq!(Kind::of(&value), kind, "{value:?}");
    }
}
