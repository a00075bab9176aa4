//! Which operation, input and value fit which type of variable.

use flowmill_engine::value::{Kind, Value};

use super::spec::{InputType, Item, Operation};

/// Whether the item's operation and input type go with a variable of this type; if not, what Dify
/// says.
pub(super) fn supported(item: &Item, kind: Kind) -> Result<(), String> {
    let operation = item.operation;
    if !operation_fits(operation, kind) {
        let (operation, kind) = (operation.name(), kind.name());
        return Err(format!("Operation {operation} is not supported for type {kind}"));
    }
    let fits = match item.input_type {
        InputType::Variable => !(operation == Operation::Set || operation.is_arithmetic()),
        InputType::Constant => constant_fits(operation, kind),
    };
    if fits {
        return Ok(());
    }
    let (input, operation) = (item.input_type.name(), operation.name());
    Err(format!("Input type {input} is not supported for operation {operation}"))
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Float)
}

fn operation_fits(operation: Operation, kind: Kind) -> bool {
    match operation {
        Operation::OverWrite | Operation::Clear => true,
        Operation::Set => {
            is_number(kind) || matches!(kind, Kind::Object | Kind::String | Kind::Boolean)
        }
        Operation::Add | Operation::Subtract | Operation::Multiply | Operation::Divide => {
            is_number(kind)
        }
        Operation::Append | Operation::Extend | Operation::RemoveFirst | Operation::RemoveLast => {
            kind.is_array()
        }
    }
}

fn constant_fits(operation: Operation, kind: Kind) -> bool {
    let replaces = matches!(operation, Operation::OverWrite | Operation::Set);
    match kind {
        Kind::String | Kind::Object | Kind::Boolean => replaces,
        Kind::Integer | Kind::Float => replaces || operation.is_arithmetic(),
        _ => false,
    }
}

/// Whether the value fits a variable of this type.
pub(super) fn fits(operation: Operation, kind: Kind, value: &Value) -> bool {
    match operation {
        Operation::Clear | Operation::RemoveFirst | Operation::RemoveLast => return true,
        Operation::Divide if value.is_falsy() => return false,
        _ => {}
    }
    match kind {
        Kind::Integer | Kind::Float => is_numeric(value),
        Kind::String => matches!(value, Value::Str(_)),
        Kind::Boolean => matches!(value, Value::Bool(_)),
        Kind::Object => matches!(value, Value::Object(_)),
        _ => match (operation, value) {
            (Operation::Append, value) => is_item(kind, value),
            (Operation::Extend | Operation::OverWrite, Value::Array(items)) => {
                has_items(kind) && items.iter().all(|item| is_item(kind, item))
            }
            _ => false,
        },
    }
}

fn is_numeric(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_))
}

/// Lists that can be given items at all; those of files cannot.
fn has_items(kind: Kind) -> bool {
    kind.is_array() && kind != Kind::ArrayFile
}

fn is_item(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::ArrayAny => is_numeric(value) || matches!(value, Value::Str(_) | Value::Object(_)),
        Kind::ArrayString => matches!(value, Value::Str(_)),
        Kind::ArrayNumber => is_numeric(value),
        Kind::ArrayObject => matches!(value, Value::Object(_)),
        Kind::ArrayBoolean => matches!(value, Value::Bool(_)),
        _ => false,
    }
}
