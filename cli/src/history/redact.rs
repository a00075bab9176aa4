//! Values of secret variables, wherever they came to, are replaced by `***`.

use std::sync::Arc;

use flowmill_engine::error::{ErrorRecord, NodeError};
use flowmill_engine::fact::{Event, Fact, Kept, Pass};
use flowmill_engine::plan::{Outputs, Write};
use flowmill_engine::value::{Kind, Name, Value};
use flowmill_engine::variables::Variable;

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Parts of texts are looked at from this length on; a shorter secret is only found as a whole.
const SHORTEST: usize = 4;

/// Replaces secrets in all facts of a run.
pub(super) fn facts(journal: &mut [Fact]) {
    let secrets = Secrets::of(journal);
    if secrets.0.is_empty() {
        return;
    }
    for fact in journal {
        secrets.event(&mut fact.event);
    }
}

/// The texts to hide, long ones first.
struct Secrets(Vec<Name>);

impl Secrets {
    fn of(journal: &[Fact]) -> Self {
        let Some(Event::RunStarted(started)) = journal.first().map(|fact| &fact.event) else {
            return Self(Vec::new());
        };
        let declared = started.environment.iter().map(|(_, held)| held);
        let secret = declared.filter(|held| held.kind == Kind::Secret);
        let texts = secret.filter_map(|held| held.value().as_str());
        let mut texts: Vec<Name> = texts.filter(|text| !text.is_empty()).map(Name::from).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    fn event(&self, event: &mut Event) {
        match event {
            Event::RunStarted(started) => {
                self.named(&mut started.inputs);
                self.named(&mut started.system);
                self.outputs(&mut started.environment);
                self.outputs(&mut started.conversation);
            }
            Event::Adopted(adopted) => {
                match &mut adopted.kept {
                    Kept::Outcome(success) => {
                        self.outputs(&mut success.outputs);
                        self.writes(&mut success.writes);
                    }
                    Kept::Elements(ranges) => {
                        for value in ranges.iter_mut().flat_map(|range| &mut range.values) {
                            self.value(value);
                        }
                    }
                }
                self.named(&mut adopted.responses);
                self.records(&mut adopted.errors);
            }
            Event::NodeSucceeded(done) => {
                self.outputs(&mut done.success.outputs);
                self.writes(&mut done.success.writes);
            }
            Event::NodeFailed(failed) => {
                self.error(&mut failed.error);
                self.writes(&mut failed.writes);
            }
            Event::ContainerStarted { writes, .. } => self.writes(writes),
            Event::FrameOpened { item: Some(item), .. } => self.value(item),
            Event::FrameClosed { result, .. } => match result {
                Pass::Value(value) => self.value(value),
                Pass::Failed(error) => self.error(error),
                Pass::Next | Pass::Break => {}
            },
            Event::FormAnswered { outputs, .. } => self.outputs(outputs),
            Event::RunFinished(finished) => {
                self.named(&mut finished.outputs);
                self.maybe(&mut finished.error);
                self.records(&mut finished.errors);
            }
            Event::PauseRequested { reason, .. } => self.text(reason),
            Event::TaskDispatched(_)
            | Event::TaskReturned { .. }
            | Event::TaskCancelled { .. }
            | Event::FrameOpened { item: None, .. }
            | Event::RunPaused
            | Event::RunTakenUp
            | Event::RunResumed { .. } => {}
        }
    }

    fn records(&self, records: &mut [ErrorRecord]) {
        for record in records {
            self.text(&mut record.message);
            self.maybe(&mut record.traceback);
        }
    }

    fn outputs(&self, outputs: &mut Outputs) {
        for (_, held) in outputs {
            self.variable(held);
        }
    }

    fn writes(&self, writes: &mut [Write]) {
        for write in writes {
            self.variable(&mut write.variable);
        }
    }

    fn variable(&self, held: &mut Variable) {
        let mut value = held.value().clone();
        if held.kind == Kind::Secret {
            value = HIDDEN.into();
        } else {
            self.value(&mut value);
        }
        *held = Variable::typed(held.kind, value);
    }

    fn error(&self, error: &mut NodeError) {
        self.text(&mut error.message);
        self.maybe(&mut error.traceback);
        self.outputs(&mut error.outputs);
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::Str(text) => self.text(text),
            Value::Array(items) => {
                for item in Arc::make_mut(items) {
                    self.value(item);
                }
            }
            Value::Object(members) => {
                for member in Arc::make_mut(members).values_mut() {
                    self.value(member);
                }
            }
            Value::File(file) => {
                let file = Arc::make_mut(file);
                self.maybe(&mut file.remote_url);
                self.maybe(&mut file.url);
            }
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }

    fn named(&self, values: &mut [(Name, Value)]) {
        for (_, value) in values {
            self.value(value);
        }
    }

    fn maybe(&self, text: &mut Option<Name>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn text(&self, text: &mut Name) {
        for secret in &self.0 {
            if text == secret {
                *text = HIDDEN.into();
            } else if secret.len() >= SHORTEST && text.contains(&**secret) {
                *text = text.replace(&**secret, HIDDEN).into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_came_to() {
        let secrets = Secrets(vec!["hunter22".into(), "ab".into()]);
        let mut value = Value::object([
            ("url".into(), Value::from("https://x/?key=hunter22&a")),
            ("list".into(), Value::array(vec!["ab".into(), "cab".into()])),
        ]);
        secrets.value(&mut value);
        assert_eq!(value.to_python(), "{'url': 'https://x/?key=***&a', 'list': ['***', 'cab']}");
    }
}
