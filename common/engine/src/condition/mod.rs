//! Conditions of if-else nodes and loops (spec/engine.md §16, spec/nodes.md §3.1).
//!
//! They follow Python to the letter, its asymmetries included: a loop tells value errors from type
//! errors, so every failure carries the name of the exception that Dify's own code would raise.

mod files;
mod number;
mod operator;

use std::fmt;

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

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::And => "and",
            Self::Or => "or",
        })
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
