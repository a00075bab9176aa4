//! Which documents count, by what is known of them.

use flowmill_engine::value::{Name, Value};

/// Conditions on what is known of documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Whether all must hold; otherwise one is enough.
    pub all: bool,
    /// The conditions. None at all lets everything through.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// As Dify's services take it.
    #[cfg(feature = "knowledge")]
    pub(super) fn to_json(&self) -> serde_json::Value {
        let condition = |Condition { field, operator, value }: &Condition| {
            let number = matches!(value, Some(Value::Int(_) | Value::Float(_)));
            serde_json::json!({
                "name": &**field,
                "comparison_operator": operator.word(number),
                "value": value.as_ref().map(Value::to_json),
            })
        };
        let conditions: Vec<_> = self.conditions.iter().map(condition).collect();
        let operator = if self.all { "and" } else { "or" };
        serde_json::json!({"logical_operator": operator, "conditions": conditions})
    }
}

/// A condition on what is known of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What it is about: `author`.
    pub field: Name,
    /// How it is compared.
    pub operator: Operator,
    /// With what; None with [`Operator::Empty`] and [`Operator::NotEmpty`].
    pub value: Option<Value>,
}

/// How something known is compared (spec/nodes.md §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `contains`
    Contains,
    /// `not contains`
    NotContains,
    /// `start with`
    StartsWith,
    /// `end with`
    EndsWith,
    /// `is`, `=`
    Is,
    /// `is not`, `≠`
    IsNot,
    /// `empty`
    Empty,
    /// `not empty`
    NotEmpty,
    /// `before`, `<`
    Less,
    /// `after`, `>`
    Greater,
    /// `≤`
    AtMost,
    /// `≥`
    AtLeast,
    /// `in`
    In,
    /// `not in`
    NotIn,
}

/// The words of documents, the one that Dify's services take first.
const WORDS: &[(&str, Operator)] = &[
    ("contains", Operator::Contains),
    ("not contains", Operator::NotContains),
    ("start with", Operator::StartsWith),
    ("end with", Operator::EndsWith),
    ("is", Operator::Is),
    ("=", Operator::Is),
    ("is not", Operator::IsNot),
    ("≠", Operator::IsNot),
    ("empty", Operator::Empty),
    ("not empty", Operator::NotEmpty),
    ("<", Operator::Less),
    ("before", Operator::Less),
    (">", Operator::Greater),
    ("after", Operator::Greater),
    ("≤", Operator::AtMost),
    ("<=", Operator::AtMost),
    ("≥", Operator::AtLeast),
    (">=", Operator::AtLeast),
    ("in", Operator::In),
    ("not in", Operator::NotIn),
];

impl Operator {
    /// The operator that a document's word stands for.
    pub fn of(word: &str) -> Option<Self> {
        WORDS.iter().find(|(known, _)| *known == word).map(|(_, operator)| *operator)
    }

    /// The word for it, where what it is compared with is a number or not: texts are `is`,
    /// numbers are `=`.
    pub fn word(self, number: bool) -> &'static str {
        match self {
            Self::Is if number => "=",
            Self::IsNot if number => "≠",
            _ => WORDS.iter().find(|(_, operator)| *operator == self).map_or("", |(word, _)| word),
        }
    }
}
