//! Conditions of if-else nodes and loops (spec/engine.md §16, spec/nodes.md §3.1).
//!
//! They follow Python to the letter, its asymmetries included: a loop tells value errors from type
//! errors, so every failure carries the name of the exception that Dify's own code would raise.

mod files;
mod number;
mod operator;

use crate::graph::{Content, Fields, Item, lax_bool};
use crate::template::Template;
use crate::value::{Kind, Name, Value, loads};
use crate::variables::{Selector, Variable, Variables};

use files::SubConditions;
use operator::Operator;

/// A group of conditions with its logical operator.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    join: Join,
    conditions: Vec<Condition>,
}

/// `logical_operator`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Join {
    #[default]
    And,
    Or,
}

#[derive(Clone, Debug)]
struct Condition {
    selector: Selector,
    operator: Operator,
    expected: Expected,
    sub_conditions: Option<SubConditions>,
}

/// `value` as the document has it.
#[derive(Clone, Debug)]
enum Expected {
    Nothing,
    Bool(bool),
    Text(Template),
    List(Vec<Name>),
}

/// Which Python exception a condition ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// `ValueError` or one of its kind.
    Value,
    /// `TypeError`.
    Type,
    /// Another class; if-else does not catch it.
    Other(&'static str),
}

impl Exception {
    /// The class's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "ValueError",
            Self::Type => "TypeError",
            Self::Other(name) => name,
        }
    }
}

/// Why a condition could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// The exception in Dify's own code.
    pub exception: Exception,
    /// Its text.
    pub message: String,
}

impl ConditionError {
    fn value(message: impl Into<String>) -> Self {
        Self { exception: Exception::Value, message: message.into() }
    }

    fn type_error(message: impl Into<String>) -> Self {
        Self { exception: Exception::Type, message: message.into() }
    }

    fn other(name: &'static str, message: impl Into<String>) -> Self {
        Self { exception: Exception::Other(name), message: message.into() }
    }
}

impl Conditions {
    /// Reads the conditions in the list `conditions_key` and the operator in `operator_key`, both
    /// required.
    pub fn read(fields: &mut Fields<'_>, conditions_key: &str, operator_key: &str) -> Self {
        let join = Join::of(fields.one_of(operator_key, Join::WORDS));
        Self { join, conditions: fields.list(conditions_key, Condition::read) }
    }

    /// The same where either may be absent or null: `and` over nothing.
    pub fn read_optional(
        fields: &mut Fields<'_>,
        conditions_key: &str,
        operator_key: &str,
    ) -> Self {
        let join = match fields.given(operator_key) {
            Some(_) => Join::of(fields.one_of(operator_key, Join::WORDS)),
            None => Join::And,
        };
        let conditions = fields.list_opt(conditions_key, Condition::read).unwrap_or_default();
        Self { join, conditions }
    }

    /// Whether there is none. An empty group is true under `and` and false under `or`, but a loop
    /// without conditions never breaks.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Evaluates them from left to right and stops at the first that decides.
    ///
    /// # Errors
    /// Where Dify's own code would raise; the text is Dify's.
    pub fn evaluate(&self, variables: &Variables) -> Result<bool, ConditionError> {
        let decides = self.join == Join::Or;
        for condition in &self.conditions {
            if condition.evaluate(variables)? == decides {
                return Ok(decides);
            }
        }
        Ok(!decides)
    }

    /// All that evaluating them may read.
    pub fn references(&self) -> Vec<Selector> {
        let mut found = Vec::new();
        for condition in &self.conditions {
            found.push(condition.selector.clone());
            if let Expected::Text(template) = &condition.expected {
                found.extend(template.references());
            }
        }
        found
    }
}

impl Join {
    const WORDS: &'static [&'static str] = &["and", "or"];

    fn of(word: &str) -> Self {
        if word == "or" { Self::Or } else { Self::And }
    }
}

impl Condition {
    fn read(fields: &mut Fields<'_>) -> Self {
        let selector = fields.selector("variable_selector");
        let operator = Operator::read(fields);
        let expected = Expected::read(fields);
        let sub_conditions = fields.mapping_opt("sub_variable_condition", SubConditions::read);
        Self { selector, operator, expected, sub_conditions }
    }

    fn evaluate(&self, variables: &Variables) -> Result<bool, ConditionError> {
        let Some(variable) = variables.get(self.selector.parts()) else {
            return Err(ConditionError::value(format!("Variable {} not found", self.selector)));
        };
        if variable.kind == Kind::ArrayFile && self.operator.compares_files() {
            let Some(sub_conditions) = &self.sub_conditions else {
                return Err(ConditionError::value("Sub variable is required"));
            };
            return sub_conditions.evaluate(variable.value());
        }
        if self.operator.is_existence() {
            return self.operator.apply(variable.value(), &Value::None);
        }
        let expected = self.expected.prepare(&variable, variables)?;
        self.operator.apply(variable.value(), &expected)
    }
}

impl Expected {
    /// Text, a list of text, a boolean or null; 0 and 1 pass for booleans, as in pydantic.
    fn read(fields: &mut Fields<'_>) -> Self {
        let Some(item) = fields.given("value") else { return Self::Nothing };
        match &item.content {
            Content::Str(text) => Self::Text(Template::parse(text)),
            Content::Seq(items) => {
                let names: Option<Vec<Name>> = items.iter().map(|i| i.as_name().cloned()).collect();
                names.map_or_else(|| Self::refuse(fields, item), Self::List)
            }
            _ => lax_bool(item).map_or_else(|| Self::refuse(fields, item), Self::Bool),
        }
    }

    fn refuse(fields: &mut Fields<'_>, item: &Item) -> Self {
        let message =
            format!("must be text, a list of text, true or false, not {}", item.type_name());
        fields.error("value", message);
        Self::Nothing
    }

    /// The value to compare with: text rendered, and turned to a boolean where the variable is of
    /// booleans.
    fn prepare(&self, variable: &Variable, variables: &Variables) -> Result<Value, ConditionError> {
        let prepared = match self {
            Self::Nothing => return Ok(Value::None),
            Self::Bool(value) => Value::Bool(*value),
            Self::Text(template) => {
                let text = template.render_text(variables);
                Value::Str(text.map_err(|error| ConditionError::value(error.to_string()))?)
            }
            Self::List(items) => Value::array(items.iter().cloned().map(Value::Str).collect()),
        };
        if !matches!(variable.kind, Kind::Boolean | Kind::ArrayBoolean) {
            return Ok(prepared);
        }
        match &prepared {
            Value::Array(items) => {
                let items: Result<Vec<Value>, _> = items.iter().map(to_bool).collect();
                items.map(Value::array)
            }
            one => to_bool(one),
        }
    }
}

/// Text as a JSON boolean or integer.
fn to_bool(value: &Value) -> Result<Value, ConditionError> {
    let Value::Str(text) = value else { return Ok(value.clone()) };
    match loads(text).map_err(|error| ConditionError::value(error.to_string()))? {
        Value::Bool(flag) => Ok(Value::Bool(flag)),
        Value::Int(number) => Ok(Value::Bool(!number.is_zero())),
        _ => Err(ConditionError::type_error(format!(
            "unexpected value: type=<class 'str'>, value={text}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Problems;

    fn text(text: &str) -> Item {
        Item { line: 1, content: Content::Str(text.into()) }
    }

    fn map(members: &[(&str, Item)]) -> Item {
        let members = members.iter().map(|(key, item)| (text(key), item.clone()));
        Item { line: 1, content: Content::Map(members.collect()) }
    }

    fn seq(items: &[Item]) -> Item {
        Item { line: 1, content: Content::Seq(items.to_vec()) }
    }

    fn condition(name: &str, operator: &str, value: Item) -> Item {
        map(&[
            ("variable_selector", seq(&[text("n"), text(name)])),
            ("comparison_operator", text(operator)),
            ("value", value),
        ])
    }

    fn read(join: &str, conditions: &[Item]) -> (Conditions, Problems) {
        let item = map(&[("op", text(join)), ("list", seq(conditions))]);
        let mut problems = Problems::new();
        let name = Name::from("n");
        let conditions =
            Conditions::read(&mut Fields::new(&item, &name, "", &mut problems), "list", "op");
        (conditions, problems)
    }

    fn evaluate(join: &str, conditions: &[Item]) -> Result<bool, ConditionError> {
        let mut variables = Variables::default();
        let node = Name::from("n");
        variables.set(&node, &"five".into(), Variable::infer(Value::int(5)));
        variables.set(&node, &"yes".into(), Variable::infer(Value::Bool(true)));
        variables.set(&node, &"none".into(), Variable::infer(Value::None));
        let (conditions, problems) = read(join, conditions);
        assert!(problems.is_empty(), "{problems:?}");
        conditions.evaluate(&variables)
    }

    #[test]
    fn evaluation_stops_at_what_decides() {
        let missing = condition("zz", "is", text("x"));
        let five = condition("five", "=", text("5"));
        let six = condition("five", "=", text("6"));
        assert_eq!(evaluate("and", &[six.clone(), missing.clone()]), Ok(false));
        assert_eq!(evaluate("or", &[five.clone(), missing.clone()]), Ok(true));
        assert_eq!(evaluate("or", &[six, five]), Ok(true));
        assert_eq!(evaluate("and", &[]), Ok(true));
        assert_eq!(evaluate("or", &[]), Ok(false));
        let error = evaluate("or", &[missing]).unwrap_err();
        assert_eq!(error.exception, Exception::Value);
        assert_eq!(error.message, "Variable ['n', 'zz'] not found");
    }

    #[test]
    fn equality_and_order_read_text_differently() {
        let five = |operator| evaluate("and", &[condition("five", operator, text("5.0"))]);
        assert_eq!(five("≥"), Ok(true));
        let message = "invalid literal for int() with base 10: '5.0'";
        assert_eq!(five("=").unwrap_err().message, message);
    }

    #[test]
    fn null_is_nothing_and_is_not_nothing_either() {
        for operator in ["is", "is not", "=", "≠", ">", "≤", "not null", "not empty"] {
            let none = condition("none", operator, text("x"));
            assert_eq!(evaluate("and", &[none]), Ok(false), "{operator}");
        }
        assert_eq!(evaluate("and", &[condition("none", "not exists", text("x"))]), Ok(true));
    }

    #[test]
    fn type_errors_are_told_from_value_errors() {
        let exception = |name, operator, value| {
            evaluate("and", &[condition(name, operator, text(value))]).unwrap_err().exception
        };
        assert_eq!(exception("five", "start with", "5"), Exception::Type);
        assert_eq!(exception("yes", "is", "1.5"), Exception::Type);
        assert_eq!(exception("yes", "is", "yes"), Exception::Value);
    }

    #[test]
    fn only_known_operators_and_values_load() {
        let count = |item| read("and", &[item]).1.len();
        assert_eq!(count(condition("five", "is empty", text("x"))), 1);
        let number = |value| Item { line: 1, content: Content::Int(i64::into(value)) };
        assert_eq!(count(condition("five", "is", number(5))), 1);
        assert_eq!(count(condition("five", "is", number(1))), 0, "1 passes for true");
        assert_eq!(count(condition("five", "is", seq(&[number(1)]))), 1);
        assert_eq!(read("xor", &[]).1.len(), 1);
    }

    #[test]
    fn references_are_all_that_is_read() {
        let (conditions, _) = read("and", &[condition("five", "=", text("{{#a.b#}}"))]);
        let found: Vec<String> =
            conditions.references().iter().map(|found| found.parts().join(".")).collect();
        assert_eq!(found, ["n.five", "a.b"]);
    }
}
