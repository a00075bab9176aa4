//! Where values lie in facts, and in what leads to facts. Whoever keeps large values apart from
//! facts and messages looks here; a new fact does not compile before it is thought of.

use crate::error::NodeError;
use crate::fact::{Adopted, Event, Kept, Pass};
use crate::plan::{Success, Write};
use crate::run::Start;
use crate::value::{Name, Value};
use crate::variables::Variable;

/// The values of a fact, each whole: what lies inside of one is not listed.
pub fn values_of(event: &mut Event) -> Vec<&mut Value> {
    let mut found = Vec::new();
    match event {
        Event::RunStarted(started) => {
            found.extend(plain(&mut started.inputs));
            found.extend(plain(&mut started.system));
            found.extend(named(&mut started.environment));
            found.extend(named(&mut started.conversation));
        }
        Event::Adopted(adopted) => of_adopted(adopted, &mut found),
        Event::NodeSucceeded(done) => of_success(&mut done.success, &mut found),
        Event::NodeFailed(failed) => {
            found.extend(named(&mut failed.error.outputs));
            found.extend(written(&mut failed.writes));
        }
        Event::ContainerStarted { writes, .. } => found.extend(written(writes)),
        Event::FrameOpened { item, .. } => found.extend(item),
        Event::FrameClosed { result, .. } => match result {
            Pass::Value(value) => found.push(value),
            Pass::Failed(error) => found.extend(named(&mut error.outputs)),
            Pass::Next | Pass::Break => {}
        },
        Event::FormAnswered { outputs, .. } => found.extend(named(outputs)),
        Event::ChildCalled(called) => found.extend(plain(&mut called.call.inputs)),
        Event::ChildEnded(ended) => found.extend(plain(&mut ended.end.outputs)),
        Event::RunFinished(finished) => {
            found.extend(plain(&mut finished.outputs));
            found.extend(named(&mut finished.conversation));
        }
        // a form is text for a person
        Event::PauseRequested { .. }
        | Event::TaskDispatched(_)
        | Event::TaskReturned { .. }
        | Event::TaskCancelled { .. }
        | Event::RunPaused
        | Event::RunTakenUp
        | Event::RunResumed { .. } => {}
    }
    found
}

/// The values of what became of a node.
pub fn values_of_outcome(outcome: &mut Result<Success, NodeError>) -> Vec<&mut Value> {
    let mut found = Vec::new();
    match outcome {
        Ok(success) => of_success(success, &mut found),
        Err(error) => found.extend(named(&mut error.outputs)),
    }
    found
}

/// The values of what a run begins with.
pub fn values_of_start(start: &mut Start) -> Vec<&mut Value> {
    let mut found = Vec::new();
    found.extend(plain(&mut start.inputs));
    found.extend(plain(&mut start.system));
    found.extend(named(&mut start.conversation));
    let adopted = start.adoption.iter_mut().flat_map(|adoption| &mut adoption.adopted);
    adopted.for_each(|adopted| of_adopted(adopted, &mut found));
    found
}

fn of_success<'a>(success: &'a mut Success, found: &mut Vec<&'a mut Value>) {
    found.extend(named(&mut success.outputs));
    found.extend(written(&mut success.writes));
    found.extend(success.call.iter_mut().flat_map(|call| plain(&mut call.inputs)));
}

fn of_adopted<'a>(adopted: &'a mut Adopted, found: &mut Vec<&'a mut Value>) {
    match &mut adopted.kept {
        Kept::Outcome(success) => of_success(success, found),
        Kept::Elements(ranges) => {
            found.extend(ranges.iter_mut().flat_map(|range| &mut range.values));
        }
        Kept::Rounds { writes, .. } => found.extend(written(writes)),
    }
    found.extend(plain(&mut adopted.responses));
}

fn plain(values: &mut [(Name, Value)]) -> impl Iterator<Item = &mut Value> {
    values.iter_mut().map(|(_, value)| value)
}

fn named(variables: &mut [(Name, Variable)]) -> impl Iterator<Item = &mut Value> {
    variables.iter_mut().map(|(_, variable)| variable.datum.value_mut())
}

fn written(writes: &mut [Write]) -> impl Iterator<Item = &mut Value> {
    writes.iter_mut().map(|write| write.variable.datum.value_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Fact, FramePath, NodeSucceeded, RunFinished, Status};
    use crate::time::Time;
    use crate::variables::Selector;

    /// What is written of facts without their values holds none of them.
    #[test]
    fn no_value_of_a_fact_is_left_out() {
        let value = || Value::from("here");
        let outputs = || vec![("o".into(), Variable::infer(value()))];
        let selector = Selector::from_dotted("a.b");
        let write = || Write { selector: selector.clone(), variable: Variable::infer(value()) };
        let success =
            || Success { outputs: outputs(), writes: vec![write()], ..Success::default() };
        let adopted = |kept| {
            Event::Adopted(Box::new(Adopted {
                from: "r".into(),
                frame: FramePath::default(),
                node: "n".into(),
                kept,
                responses: vec![("r".into(), value())],
                errors: Vec::new(),
                errors_omitted: 0,
            }))
        };
        let error = || NodeError { outputs: outputs(), ..NodeError::new("k", "m") };
        let closed = |result| Event::FrameClosed { frame: "it[0]".into(), result };
        let range = crate::fact::Range { first: 0, values: vec![value(), value()] };
        let events = [
            adopted(Kept::Outcome(success())),
            adopted(Kept::Elements(vec![range])),
            adopted(Kept::Rounds { count: 1, writes: vec![write()] }),
            Event::NodeSucceeded(NodeSucceeded {
                frame: FramePath::default(),
                node: "n".into(),
                generation: 1,
                attempt: 1,
                success: success(),
                started_at: Time(0),
                elapsed_us: 0,
            }),
            Event::FrameOpened { frame: "it[0]".into(), item: Some(value()) },
            closed(Pass::Value(value())),
            closed(Pass::Failed(error())),
            Event::RunFinished(Box::new(RunFinished {
                status: Status::Succeeded,
                reason: None,
                error: None,
                outputs: vec![("o".into(), value())],
                errors: Vec::new(),
                errors_omitted: 0,
                exceptions_count: 0,
                steps: 0,
                conversation: outputs(),
            })),
        ];
        for event in events {
            let mut fact = Fact { seq: 1, at: Time(0), event };
            assert!(serde_json::to_string(&fact).unwrap().contains("here"), "{fact:?}");
            for value in values_of(&mut fact.event) {
                *value = Value::None;
            }
            assert!(!serde_json::to_string(&fact).unwrap().contains("here"), "{fact:?}");
        }
        let mut outcome = Err(error());
        assert_eq!(values_of_outcome(&mut outcome).len(), 1);
    }
}
