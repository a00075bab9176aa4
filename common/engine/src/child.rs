//! What a node reads of a run that it waited for.
//!
//! It is a variable of the node itself, under a name that no node gives its outputs. So it goes to
//! workers as everything else does that a node holds before it begins.

use crate::fact::{ChildEnd, Status};
use crate::value::{Kind, Name, Value, decode};
use crate::variables::{Variable, Variables};

/// The variable.
pub const NAME: &str = "#child";

const ATTEMPT: &str = "attempt";
const CALL: &str = "call";
const RUN: &str = "run";
const STATUS: &str = "status";
const OUTPUTS: &str = "outputs";
const ERROR: &str = "error";

/// The end of a run, for an attempt of the node that waited for it.
pub fn variable(attempt: u32, end: &ChildEnd) -> Variable {
    let text = |text: &Option<Name>| text.clone().map_or(Value::None, Value::Str);
    let members = [
        (ATTEMPT.into(), Value::int(i64::from(attempt))),
        (CALL.into(), Value::Str(end.name.clone())),
        (RUN.into(), text(&end.run)),
        (STATUS.into(), Value::Str(end.status.name().into())),
        (OUTPUTS.into(), Value::object(end.outputs.iter().cloned())),
        (ERROR.into(), text(&end.error)),
    ];
    Variable::typed(Kind::Object, Value::object(members))
}

/// The end that an attempt of a node was given, if it was given one.
pub fn end(variables: &Variables, node: &str, attempt: u32) -> Option<ChildEnd> {
    let Value::Object(members) = variables.variable(node, NAME)?.value() else { return None };
    if members.get(ATTEMPT) != Some(&Value::int(i64::from(attempt))) {
        return None;
    }
    let text = |name: &str| match members.get(name) {
        Some(Value::Str(text)) => Some(text.clone()),
        _ => None,
    };
    let status: Status = decode(format!("{:?}", text(STATUS)?).as_bytes()).ok()?;
    let outputs = match members.get(OUTPUTS) {
        Some(Value::Object(outputs)) => {
            outputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        _ => Vec::new(),
    };
    Some(ChildEnd { name: text(CALL)?, run: text(RUN), status, outputs, error: text(ERROR) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_by_the_attempt_that_it_is_for() {
        let ended = ChildEnd {
            name: "call".into(),
            run: Some("r".into()),
            status: Status::PartialSucceeded,
            outputs: vec![("x".into(), Value::int(5))],
            error: None,
        };
        let mut variables = Variables::default();
        assert_eq!(end(&variables, "n", 2), None);
        variables.set(&"n".into(), &NAME.into(), variable(2, &ended));
        assert_eq!(end(&variables, "n", 2), Some(ended));
        assert_eq!((end(&variables, "n", 1), end(&variables, "m", 2)), (None, None));
    }
}
