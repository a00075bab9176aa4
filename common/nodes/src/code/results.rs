//! From the JSON text of a result to a node's outputs: numbers in disguise, then the checks
//! against what the node declares (spec/engine.md §11).

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{
    Integer, JsonError, Name, Object, Value, decimal_digit, loads, python_float,
};

use super::spec::{Output, Schema};

const MAX_NUMBER: i64 = i64::MAX;
const MIN_NUMBER: i64 = -i64::MAX;
const TWO_TO_THE_63: f64 = 9_223_372_036_854_775_808.0;
const MAX_DECIMALS: usize = 20;

/// How large a result may be. What all of it may have in bytes, the program's output, is the
/// runner's to limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The characters of a text.
    string_chars: usize,
    /// How deeply objects may be nested; the result itself is the first level.
    depth: usize,
    /// The elements of a list of numbers.
    numbers: usize,
    /// The elements of a list of texts.
    strings: usize,
    /// The elements of a list of objects.
    objects: usize,
}

impl Limits {
    /// Dify's own (`CODE_MAX_*`).
    pub(super) const DIFY: Self =
        Self { string_chars: 400_000, depth: 5, numbers: 1000, strings: 30, objects: 30 };

    /// Ours, where a document is not held to Dify's: a text as long as a template's, and lists that
    /// one program can print.
    pub(super) const OURS: Self = Self {
        string_chars: 10_000_000,
        depth: 64,
        numbers: 1_000_000,
        strings: 1_000_000,
        objects: 1_000_000,
    };
}

/// Checks a result and gives the outputs. The order of the checks is the reference's: it decides
/// which of several errors is reported.
pub(super) fn outputs(
    mut result: Object,
    schema: &Schema,
    limits: &Limits,
) -> Result<Vec<(Name, Value)>, NodeError> {
    result.values_mut().for_each(unmask_numbers);
    limits.declared(&result, schema, "", 1)
}

/// Reads a result.
pub(super) fn read(json: &str) -> Result<Object, NodeError> {
    let result = loads(json).map_err(|error| match error {
        JsonError::Syntax { .. } => {
            NodeError::escaped(format!("Failed to parse JSON response: {error}."))
        }
        // Python raises these as other exceptions, which nobody catches.
        JsonError::TooDeep(_) | JsonError::TooManyDigits(_) | JsonError::Surrogate => {
            NodeError::escaped(error.to_string())
        }
    })?;
    match result {
        Value::Object(members) => Ok(Arc::unwrap_or_clone(members)),
        other => {
            let name = other.type_name();
            Err(NodeError::escaped(format!("Result must be a dict, got {name}")))
        }
    }
}

/// Turns text like `1e+5` into the number, at any depth.
fn unmask_numbers(value: &mut Value) {
    match value {
        Value::Str(text) => {
            if let Some(number) = masked_number(text) {
                *value = Value::Float(number);
            }
        }
        Value::Array(items) => {
            Arc::make_mut(items).iter_mut().for_each(unmask_numbers);
        }
        Value::Object(members) => {
            Arc::make_mut(members).values_mut().for_each(unmask_numbers);
        }
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::File(_) => {}
    }
}

/// `^-?\d+\.?\d*e[+-]\d+$` without regard to case, as Python reads it: digits of any script, and
/// one final newline is not part of the text.
fn masked_number(text: &str) -> Option<f64> {
    let digit = |c: char| decimal_digit(c).is_some();
    let line = text.strip_suffix('\n').unwrap_or(text);
    let number = line.strip_prefix('-').unwrap_or(line);
    let rest = number.trim_start_matches(digit);
    if rest.len() == number.len() {
        return None;
    }
    let rest = rest.strip_prefix('.').unwrap_or(rest).trim_start_matches(digit);
    let exponent = rest.strip_prefix(['e', 'E'])?.strip_prefix(['+', '-'])?;
    if exponent.is_empty() || !exponent.chars().all(digit) {
        return None;
    }
    python_float(text)
}

fn invalid(message: String) -> NodeError {
    NodeError::new("OutputValidationError", message)
}

fn path_of(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

impl Limits {
    fn deep_enough(&self, depth: usize) -> Result<(), NodeError> {
        if depth <= self.depth {
            return Ok(());
        }
        let most = self.depth;
        let message = format!("Depth limit {most} reached, object too deep.");
        Err(NodeError::new("DepthLimitError", message))
    }

    /// An object whose members are declared.
    fn declared(
        &self,
        result: &Object,
        schema: &Schema,
        prefix: &str,
        depth: usize,
    ) -> Result<Vec<(Name, Value)>, NodeError> {
        self.deep_enough(depth)?;
        let mut outputs = Vec::with_capacity(schema.len());
        for (name, output) in schema {
            let path = path_of(prefix, name);
            let Some(value) = result.get(name) else {
                return Err(invalid(format!("Output {path} is missing.")));
            };
            outputs.push((name.clone(), self.fitting(value, output, &path, depth)?));
        }
        if outputs.len() != result.len() {
            let message = "Not all output parameters are validated.";
            return Err(NodeError::new("CodeNodeError", message));
        }
        Ok(outputs)
    }

    /// A value of a declared type. Null is of every type.
    fn fitting(
        &self,
        value: &Value,
        output: &Output,
        path: &str,
        depth: usize,
    ) -> Result<Value, NodeError> {
        match (output, value) {
            (_, Value::None) | (Output::Boolean, _) => Ok(value.clone()),
            (Output::String, _) => self.string(value, path),
            (Output::Number, _) => number(value, path),
            (Output::Object(children), Value::Object(members)) => {
                self.object(members, children.as_ref(), path, depth + 1)
            }
            (Output::Object(_), _) => Err(invalid(format!(
                "Output {path} is not an object, got {} instead.",
                class_of(value)
            ))),
            (Output::ArrayNumber, _) => self.numbers(list(value, path)?, path),
            (Output::ArrayString, _) => self.strings(list(value, path)?, path),
            (Output::ArrayBoolean, _) => booleans(list(value, path)?, path).map(|()| value.clone()),
            (Output::ArrayObject(children), _) => {
                self.objects(list(value, path)?, children.as_ref(), path, depth)
            }
        }
    }

    fn string(&self, value: &Value, path: &str) -> Result<Value, NodeError> {
        let Value::Str(text) = value else {
            let name = value.type_name();
            return Err(invalid(format!("Output {path} must be a string, got {name} instead.")));
        };
        self.string_length(text, path)?;
        if text.contains('\0') {
            return Ok(Value::from(text.replace('\0', "")));
        }
        Ok(value.clone())
    }

    fn string_length(&self, text: &str, path: &str) -> Result<(), NodeError> {
        // No text has more characters than bytes.
        let most = self.string_chars;
        if text.len() > most && text.chars().count() > most {
            return Err(invalid(format!(
                "The length of output variable `{path}` must be less than {most} characters"
            )));
        }
        Ok(())
    }

    fn object(
        &self,
        members: &Arc<Object>,
        children: Option<&Schema>,
        path: &str,
        depth: usize,
    ) -> Result<Value, NodeError> {
        if let Some(schema) = children {
            return Ok(Value::object(self.declared(members, schema, path, depth)?));
        }
        self.undeclared(members, path, depth)?;
        Ok(Value::Object(Arc::clone(members)))
    }

    fn numbers(&self, items: &[Value], path: &str) -> Result<Value, NodeError> {
        length(items, self.numbers, path)?;
        if let Some(index) = items.iter().position(|item| !is_number(item)) {
            return Err(invalid(format!(
                "The element at index {index} of output variable `{path}` must be a number."
            )));
        }
        Ok(Value::array(items.iter().map(without_boolean).collect()))
    }

    fn strings(&self, items: &[Value], path: &str) -> Result<Value, NodeError> {
        length(items, self.strings, path)?;
        let each = |(index, item): (usize, &Value)| match item {
            Value::None => Ok(Value::None),
            item => self.string(item, &format!("{path}[{index}]")),
        };
        let checked: Result<Vec<Value>, NodeError> = items.iter().enumerate().map(each).collect();
        Ok(Value::array(checked?))
    }

    /// All elements are looked at before any is looked into.
    fn objects(
        &self,
        items: &[Value],
        children: Option<&Schema>,
        path: &str,
        depth: usize,
    ) -> Result<Value, NodeError> {
        length(items, self.objects, path)?;
        for (index, item) in items.iter().enumerate() {
            if !matches!(item, Value::None | Value::Object(_)) {
                let class = class_of(item);
                return Err(invalid(format!(
                    "Output {path}[{index}] is not an object, got {class} instead at index {index}."
                )));
            }
        }
        let each = |(index, item): (usize, &Value)| match item {
            Value::Object(members) => {
                self.object(members, children, &format!("{path}[{index}]"), depth + 1)
            }
            other => Ok(other.clone()),
        };
        let checked: Result<Vec<Value>, NodeError> = items.iter().enumerate().map(each).collect();
        Ok(Value::array(checked?))
    }

    /// An object whose members are not declared: looked at, never changed.
    fn undeclared(&self, members: &Object, prefix: &str, depth: usize) -> Result<(), NodeError> {
        self.deep_enough(depth)?;
        for (name, value) in members {
            let path = path_of(prefix, name);
            match value {
                Value::Object(members) => self.undeclared(members, &path, depth + 1)?,
                Value::Int(_) | Value::Float(_) => number_range(value, &path)?,
                Value::Str(text) => self.string_length(text, &path)?,
                Value::Array(items) => self.undeclared_list(items, &path, depth)?,
                Value::None | Value::Bool(_) | Value::File(_) => {}
            }
        }
        Ok(())
    }

    /// A list that is not declared: its first element says what the others must be.
    fn undeclared_list(&self, items: &[Value], path: &str, depth: usize) -> Result<(), NodeError> {
        let alike = |fits: fn(&Value) -> bool| {
            items.iter().all(|item| matches!(item, Value::None) || fits(item))
        };
        let at = |index: usize| format!("{path}[{index}]");
        let uniform = match items.first() {
            None | Some(Value::None) => return Ok(()),
            Some(Value::Bool(_) | Value::Int(_) | Value::Float(_)) => alike(is_number),
            Some(Value::Str(_)) => alike(|item| matches!(item, Value::Str(_))),
            Some(Value::Object(_)) => alike(|item| matches!(item, Value::Object(_))),
            Some(Value::Array(_)) => alike(|item| matches!(item, Value::Array(_))),
            Some(Value::File(_)) => false,
        };
        if !uniform {
            return Err(invalid(format!(
                "Output {path} is not a valid array. make sure all elements are of the same type."
            )));
        }
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::Int(_) | Value::Float(_) => number_range(item, &at(index))?,
                Value::Str(text) => self.string_length(text, &at(index))?,
                Value::Object(members) => self.undeclared(members, &at(index), depth + 1)?,
                Value::Array(_) => {
                    self.deep_enough(depth + 1)?;
                    // The reference treats it as an object, which does not end well.
                    return Err(NodeError::escaped("'list' object has no attribute 'items'"));
                }
                Value::None | Value::Bool(_) | Value::File(_) => {}
            }
        }
        Ok(())
    }
}

fn number(value: &Value, path: &str) -> Result<Value, NodeError> {
    if !is_number(value) {
        let class = class_of(value);
        return Err(invalid(format!("Output {path} is not a number, got {class} instead.")));
    }
    number_range(value, path)?;
    Ok(without_boolean(value))
}

/// Whether Python would call it an `int` or a `float`.
fn is_number(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_))
}

fn without_boolean(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::int(i64::from(*value)),
        other => other.clone(),
    }
}

fn number_range(value: &Value, path: &str) -> Result<(), NodeError> {
    let fits = match value {
        Value::Int(value) => {
            *value <= Integer::from(MAX_NUMBER) && *value >= Integer::from(MIN_NUMBER)
        }
        // The floats next to the limits are ±2^63, both outside. NaN is within.
        Value::Float(value) => value.is_nan() || value.abs() < TWO_TO_THE_63,
        _ => true,
    };
    if !fits {
        return Err(invalid(format!(
            "Output variable `{path}` is out of range, \
             it must be between {MIN_NUMBER} and {MAX_NUMBER}."
        )));
    }
    match value {
        Value::Float(value) if decimals(*value) > MAX_DECIMALS => Err(invalid(format!(
            "Output variable `{path}` has too high precision, \
             it must be less than {MAX_DECIMALS} digits."
        ))),
        _ => Ok(()),
    }
}

/// How many digits stand behind the point when the shortest form is written out in full.
fn decimals(value: f64) -> usize {
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return 0 };
    let digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let exponent: isize = exponent.parse().unwrap_or_default();
    digits.saturating_add_signed(-exponent)
}

fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], NodeError> {
    if let Value::Array(items) = value {
        return Ok(items);
    }
    let class = class_of(value);
    Err(invalid(format!("Output {path} is not an array, got {class} instead.")))
}

fn length(items: &[Value], limit: usize, path: &str) -> Result<(), NodeError> {
    if items.len() > limit {
        return Err(invalid(format!(
            "The length of output variable `{path}` must be less than {limit} elements."
        )));
    }
    Ok(())
}

fn booleans(items: &[Value], path: &str) -> Result<(), NodeError> {
    let wrong = |item: &&Value| !matches!(item, Value::None | Value::Bool(_));
    let Some((index, item)) = items.iter().enumerate().find(|(_, item)| wrong(item)) else {
        return Ok(());
    };
    let class = class_of(item);
    Err(invalid(format!("Output {path}[{index}] is not a boolean, got {class} instead.")))
}

/// Python's `type(value)` as text.
fn class_of(value: &Value) -> String {
    format!("<class '{}'>", value.type_name())
}

#[cfg(test)]
mod tests {
    use flowmill_engine::graph::{Fields, Problems};

    use super::super::spec::{Spec, tests::item};
    use super::*;

    fn schema(outputs: &serde_json::Value) -> Schema {
        let data = serde_json::json!({
            "code_language": "python3", "code": "", "variables": [], "outputs": outputs,
        });
        let (data, id, mut problems) = (item(&data), "c".into(), Problems::new());
        let spec = Spec::read(&mut Fields::new(&data, &id, "", &mut problems));
        assert!(problems.is_empty(), "{problems:?}");
        spec.outputs
    }

    fn check(result: &str, outputs_json: &serde_json::Value) -> Result<Value, NodeError> {
        outputs(read(result)?, &schema(outputs_json), &Limits::DIFY).map(Value::object)
    }

    fn message(result: &str, kind: &str) -> String {
        let outputs = serde_json::json!({"y": {"type": kind}});
        check(result, &outputs).map_or_else(|error| error.message.to_string(), |_| "ok".to_owned())
    }

    /// Answers of the reference engine, recorded by `generate.py` beside them.
    #[test]
    fn results_are_what_the_reference_makes_of_them() {
        let recorded = include_str!("../../tests/fixtures/code/results.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(recorded).unwrap();
        assert!(cases.len() >= 300);
        for case in cases {
            let text = |name: &str| case[name].as_str();
            match check(text("result").unwrap(), &case["schema"]) {
                Ok(value) => {
                    let expected = text("outputs").map(|json| loads(json).unwrap());
                    assert_eq!(Some(value), expected, "{case}");
                }
                Err(error) => {
                    assert_eq!(Some(&*error.message), text("error"), "{case}");
                    assert_eq!(Some(&*error.kind), text("error_type"), "{case}");
                }
            }
        }
    }

    #[test]
    fn strings_are_measured_in_characters() {
        let fits = format!("{{\"y\": \"{}\"}}", "é".repeat(400_000));
        assert_eq!(message(&fits, "string"), "ok");
        let long = format!("{{\"y\": \"{}\"}}", "é".repeat(400_001));
        let expected = "The length of output variable `y` must be less than 400000 characters";
        assert_eq!(message(&long, "string"), expected);
        let inner = format!("{{\"y\": {{\"k\": [\"{}\"]}}}}", "x".repeat(400_001));
        assert_eq!(message(&inner, "object"), expected.replace("`y`", "`y.k[0]`"));
    }

    #[test]
    fn our_limits_are_wider() {
        let schema = schema(&serde_json::json!({"y": {"type": "array[object]"}}));
        let objects = |count: usize| format!("{{\"y\": [{}]}}", vec!["{}"; count].join(","));
        let ours = |json: &str| outputs(read(json)?, &schema, &Limits::OURS);
        assert!(outputs(read(&objects(31)).unwrap(), &schema, &Limits::DIFY).is_err());
        assert!(ours(&objects(40_000)).is_ok());
        let nested = |depth: usize| {
            format!("{{\"y\": [{}1{}]}}", "{\"k\":".repeat(depth), "}".repeat(depth))
        };
        assert!(ours(&nested(63)).is_ok());
        let error = ours(&nested(64)).unwrap_err();
        assert_eq!(&*error.message, "Depth limit 64 reached, object too deep.");
    }

    #[test]
    fn what_python_reads_but_cannot_use_fails() {
        let error = check(r#"{"y": "\ud800"}"#, &serde_json::json!({"y": {"type": "string"}}));
        let error = error.unwrap_err();
        assert_eq!(&*error.message, "str is not valid UTF-8: surrogates not allowed");
        assert_eq!(&*error.kind, "WorkflowNodeError");
        let deep = format!("{{\"y\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(message(&deep, "boolean").starts_with("maximum recursion depth exceeded"));
    }

    #[test]
    fn a_float_has_the_decimals_of_its_shortest_form() {
        let cases = [(0.0, 0), (1.0, 0), (0.5, 1), (1e-7, 7), (1.25e-3, 5), (1e22, 0), (12.5, 1)];
        for (value, expected) in cases {
            assert_eq!(decimals(value), expected, "{value}");
        }
    }
}
