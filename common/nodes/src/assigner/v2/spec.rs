//! What version 2 of an `assigner` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::value::Value;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::list_or_empty;

const INPUTS: &[&str] = &["variable", "constant"];

const OPERATIONS: [(&str, Operation); 11] = [
    ("over-write", Operation::OverWrite),
    ("clear", Operation::Clear),
    ("append", Operation::Append),
    ("extend", Operation::Extend),
    ("set", Operation::Set),
    ("+=", Operation::Add),
    ("-=", Operation::Subtract),
    ("*=", Operation::Multiply),
    ("/=", Operation::Divide),
    ("remove-first", Operation::RemoveFirst),
    ("remove-last", Operation::RemoveLast),
];

const OPERATION_NAMES: &[&str] = &[
    "over-write",
    "clear",
    "append",
    "extend",
    "set",
    "+=",
    "-=",
    "*=",
    "/=",
    "remove-first",
    "remove-last",
];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("items", FieldKind::List, "[]", "the changes, in order; if one fails none takes effect"),
    field("items[].variable_selector", FieldKind::Selector, REQUIRED, "the variable to change"),
    field("items[].input_type", FieldKind::Word(INPUTS), REQUIRED, "what `value` is"),
    field("items[].operation", FieldKind::Word(OPERATION_NAMES), REQUIRED, "how it changes"),
    field("items[].value", FieldKind::Any, "null", "the selector of a variable, or the value"),
];

#[derive(Debug)]
pub(super) struct Item {
    pub(super) target: Selector,
    pub(super) input_type: InputType,
    pub(super) operation: Operation,
    pub(super) input: Input,
}

/// What an item works with.
#[derive(Debug)]
pub(super) enum Input {
    /// A value of its own.
    Constant(Value),
    /// A variable's value.
    Variable(Selector),
    /// Something that names no variable, as Python prints it.
    Missing(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputType {
    Variable,
    Constant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    OverWrite,
    Clear,
    Append,
    Extend,
    Set,
    Add,
    Subtract,
    Multiply,
    Divide,
    RemoveFirst,
    RemoveLast,
}

impl InputType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Variable => "variable",
            Self::Constant => "constant",
        }
    }
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        let found = OPERATIONS.iter().find(|(_, operation)| *operation == self);
        found.map_or("", |(name, _)| name)
    }

    pub(super) fn is_arithmetic(self) -> bool {
        matches!(self, Self::Add | Self::Subtract | Self::Multiply | Self::Divide)
    }

    /// Whether it changes the variable without any value.
    fn takes_nothing(self) -> bool {
        matches!(self, Self::Clear | Self::RemoveFirst | Self::RemoveLast)
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Vec<Item> {
    list_or_empty(fields, "items", read_item)
}

fn read_item(fields: &mut Fields<'_>) -> Item {
    let target = fields.selector("variable_selector");
    let input_type = match fields.one_of("input_type", INPUTS) {
        "constant" => InputType::Constant,
        _ => InputType::Variable,
    };
    let word = fields.one_of("operation", OPERATION_NAMES);
    let operation = OPERATIONS.iter().find(|(name, _)| *name == word);
    let operation = operation.map_or(Operation::OverWrite, |(_, operation)| *operation);
    let input = match fields.given("value") {
        Some(item) if input_type == InputType::Variable && !operation.takes_nothing() => {
            let parts = item.as_seq().map(|parts| parts.iter().map(|part| part.as_name().cloned()));
            match parts.and_then(Iterator::collect::<Option<Vec<_>>>) {
                Some(parts) => Input::Variable(Selector::new(parts)),
                None => Input::Missing(item.to_value().to_python()),
            }
        }
        Some(item) => Input::Constant(item.to_value()),
        None => Input::Constant(Value::None),
    };
    Item { target, input_type, operation, input }
}
