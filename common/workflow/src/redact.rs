//! Values of secret variables, wherever they came to, are replaced by `***`.

use std::fmt;
use std::sync::Arc;

use flowmill_engine::error::{ErrorRecord, NodeError};
use flowmill_engine::fact::{Event, Fact, Kept, Pass};
use flowmill_engine::form::{EntryKind, Form};
use flowmill_engine::plan::{Outputs, Write};
use flowmill_engine::value::{Kind, Name, Style, Value, dumps};
use flowmill_engine::variables::Variable;

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Parts of texts are looked at from this length on; a shorter secret is only found as a whole.
const SHORTEST: usize = 4;

/// Replaces secrets in all facts of a run.
pub fn facts(journal: &mut [Fact]) {
    let secrets = Secrets::of(journal);
    if secrets.is_empty() {
        return;
    }
    for fact in journal {
        secrets.fact(fact);
    }
}

/// The secrets of one run: the texts to hide, long ones first.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Name>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Those that a run knows, which its first fact tells; none of a journal without it.
    pub fn of(journal: &[Fact]) -> Self {
        let Some(Event::RunStarted(started)) = journal.first().map(|fact| &fact.event) else {
            return Self(Vec::new());
        };
        let declared = started.environment.iter().chain(&started.conversation);
        Self::among(declared.map(|(_, held)| held))
    }

    /// Those among these variables.
    pub fn among<'a>(declared: impl Iterator<Item = &'a Variable>) -> Self {
        let secret = declared.filter(|held| held.kind == Kind::Secret);
        let texts = secret.filter_map(|held| held.value().as_str());
        let mut texts: Vec<Name> = texts.filter(|text| !text.is_empty()).map(Name::from).collect();
        // as they look inside of JSON
        let escaped = texts.iter().map(|text| dumps(&Value::Str(text.clone()), Style::Finite));
        let escaped: Vec<Name> = escaped.map(|text| text.trim_matches('"').into()).collect();
        texts.extend(escaped);
        texts.dedup();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one in JSON. Of a text that is looked through in parts, parts must overlap by
    /// all but one byte of [`Secrets::reach`].
    pub fn are_in(&self, json: &str) -> bool {
        self.as_json().any(|secret| json.contains(&secret))
    }

    /// The most bytes of JSON that one of them takes.
    pub fn reach(&self) -> usize {
        self.as_json().map(|secret| secret.len()).max().unwrap_or(0)
    }

    /// What they look like in JSON: a short one only counts as a whole text.
    fn as_json(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|secret| {
            let quoted = dumps(&Value::Str(secret.clone()), Style::Finite);
            if secret.len() < SHORTEST {
                return quoted;
            }
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            inner.unwrap_or(&quoted).to_owned()
        })
    }

    /// Replaces them in a fact.
    pub fn fact(&self, fact: &mut Fact) {
        self.event(&mut fact.event);
    }

    /// Replaces them in text that comes in pieces. What may be the beginning of one is held back in
    /// `held` until more of the text comes.
    pub fn piece(&self, held: &mut String, text: &str) -> Name {
        held.push_str(text);
        let long = || self.0.iter().filter(|secret| secret.len() >= SHORTEST);
        for secret in long() {
            if held.contains(&**secret) {
                *held = held.replace(&**secret, HIDDEN);
            }
        }
        let begins = |at: &usize| {
            let end = &held[*at..];
            long().any(|secret| secret.starts_with(end))
        };
        let longest = self.0.first().map_or(0, |secret| secret.len());
        let may_begin = held.char_indices().map(|(at, _)| at);
        let mut may_begin = may_begin.skip_while(|at| held.len() - at > longest);
        let shown = may_begin.find(begins).unwrap_or(held.len());
        let rest = held.split_off(shown);
        std::mem::replace(held, rest).into()
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
                    Kept::Rounds { writes, .. } => self.writes(writes),
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
            Event::ChildCalled(called) => self.named(&mut called.call.inputs),
            Event::ChildEnded(ended) => {
                self.named(&mut ended.end.outputs);
                self.maybe(&mut ended.end.error);
            }
            Event::RunFinished(finished) => {
                self.named(&mut finished.outputs);
                self.outputs(&mut finished.conversation);
                self.maybe(&mut finished.error);
                self.records(&mut finished.errors);
            }
            Event::PauseRequested { reason, form, .. } => {
                self.text(reason);
                if let Some(form) = form {
                    self.form(Arc::make_mut(form));
                }
            }
            Event::TaskDispatched(_)
            | Event::TaskReturned { .. }
            | Event::TaskCancelled { .. }
            | Event::FrameOpened { item: None, .. }
            | Event::RunPaused
            | Event::RunTakenUp
            | Event::RunResumed { .. } => {}
        }
    }

    fn form(&self, form: &mut Form) {
        self.text(&mut form.content);
        for entry in &mut form.entries {
            match &mut entry.kind {
                EntryKind::Paragraph { default } => self.maybe(default),
                EntryKind::Select { options } => {
                    for option in options {
                        self.text(option);
                    }
                }
                EntryKind::File(_) | EntryKind::FileList(_) => {}
            }
        }
        for action in &mut form.actions {
            self.text(&mut action.title);
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
                let members = Arc::make_mut(members);
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(mut key, mut member)| {
                        self.text(&mut key);
                        self.value(&mut member);
                        (key, member)
                    })
                    .collect();
            }
            Value::File(file) => {
                let file = Arc::make_mut(file);
                self.maybe(&mut file.filename);
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

/// Whether a value may be what is left of one after secrets were replaced in it.
pub fn has_hidden(value: &Value) -> bool {
    match value {
        Value::Str(text) => text.contains(HIDDEN),
        Value::Array(items) => items.iter().any(has_hidden),
        Value::Object(members) => {
            members.iter().any(|(key, member)| key.contains(HIDDEN) || has_hidden(member))
        }
        Value::File(file) => {
            let texts = [&file.filename, &file.remote_url, &file.url];
            texts.into_iter().flatten().any(|text| text.contains(HIDDEN))
        }
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::error::Handled;
    use flowmill_engine::fact::{
        Adopted, NodeFailed, NodeSucceeded, Range, RunFinished, RunStarted, Status, Then,
    };
    use flowmill_engine::form::{Action, Entry};
    use flowmill_engine::plan::Success;
    use flowmill_engine::time::Time;
    use flowmill_engine::variables::Selector;

    use super::*;

    const SECRET: &str = "hunter\"22";

    #[test]
    fn secrets_are_hidden_across_pieces_of_text() {
        let secrets = Secrets(vec!["hunter22".into(), "hut".into()]);
        let told = |pieces: &[&str]| {
            let mut held = String::new();
            let tell = |piece: &&str| secrets.piece(&mut held, piece).to_string();
            pieces.iter().map(tell).collect::<Vec<_>>()
        };
        assert_eq!(told(&["it is hun", "ter", "22, ö", "k"]), ["it is ", "", "***, ö", "k"]);
        assert_eq!(told(&["hunt", "hunter2", "1"]), ["", "hunt", "hunter21"]);
        assert_eq!(told(&["a h", ""]), ["a ", ""]);
    }

    #[test]
    fn secrets_are_hidden_wherever_they_came_to() {
        let secrets = Secrets(vec!["hunter22".into(), "ab".into()]);
        let mut value = Value::object([
            ("url".into(), Value::from("https://x/?key=hunter22&a")),
            ("hunter22".into(), Value::array(vec!["ab".into(), "cab".into()])),
        ]);
        secrets.value(&mut value);
        assert_eq!(value.to_python(), "{'url': 'https://x/?key=***&a', '***': ['***', 'cab']}");
    }

    #[test]
    fn secrets_are_found_in_json_and_what_hides_them_too() {
        let declared = [
            Variable::typed(Kind::Secret, SECRET.into()),
            Variable::typed(Kind::Secret, "ab".into()),
            Variable::infer(Value::from("open")),
        ];
        let secrets = Secrets::among(declared.iter());
        let found = |value: &Value| secrets.are_in(&serde_json::to_string(value).unwrap());
        assert!(found(&Value::Str(leak())) && found(&Value::array(vec!["ab".into()])));
        assert!(!found(&"cab, open".into()));
        assert_eq!(secrets.reach(), SECRET.len() + 3, "escaped twice");
        let mut value = Value::array(vec![Value::Str(leak())]);
        assert!(!has_hidden(&value));
        secrets.value(&mut value);
        assert!(has_hidden(&value) && !found(&value));
    }

    fn leak() -> Name {
        format!("it is {SECRET}, {{\"key\": {}}}", dumps(&SECRET.into(), Style::Finite)).into()
    }

    fn outputs() -> Outputs {
        vec![("x".into(), Variable::infer(Value::Str(leak())))]
    }

    fn writes() -> Vec<Write> {
        let variable = Variable::infer(Value::array(vec![Value::Str(leak())]));
        vec![Write { selector: Selector::from_dotted("a.b"), variable }]
    }

    fn success() -> Success {
        Success { outputs: outputs(), writes: writes(), ..Success::default() }
    }

    fn error() -> NodeError {
        NodeError {
            outputs: outputs(),
            traceback: Some(leak()),
            ..NodeError::new("Bad", leak().to_string())
        }
    }

    fn records() -> Vec<ErrorRecord> {
        vec![ErrorRecord {
            node: "n".into(),
            node_type: "code".into(),
            title: "N".into(),
            frame: "".into(),
            error_type: "Bad".into(),
            message: leak(),
            traceback: Some(leak()),
            at: Time(1),
            attempt: 1,
            handled: Handled::Unhandled,
            caused_by: None,
        }]
    }

    fn form() -> Form {
        let entry = |kind| Entry { name: "e".into(), kind, source: None };
        Form {
            content: leak(),
            entries: vec![
                entry(EntryKind::Paragraph { default: Some(leak()) }),
                entry(EntryKind::Select { options: vec![leak()] }),
            ],
            actions: vec![Action { id: "ok".into(), title: leak(), style: "primary".into() }],
            ..Form::default()
        }
    }

    fn started() -> Event {
        let secret = Variable::typed(Kind::Secret, SECRET.into());
        Event::RunStarted(Box::new(RunStarted {
            version: 1,
            rules: 1,
            run: "r".into(),
            workflow: "w".into(),
            root: "s".into(),
            inputs: vec![("i".into(), Value::Str(leak()))],
            system: vec![("query".into(), Value::Str(leak()))],
            environment: vec![("KEY".into(), secret)],
            conversation: outputs(),
            options: flowmill_engine::fact::Options::default(),
            rerun_of: None,
            line: None,
            parent: None,
        }))
    }

    fn adopted(kept: Kept) -> Event {
        Event::Adopted(Box::new(Adopted {
            from: "q".into(),
            frame: "".into(),
            node: "n".into(),
            kept,
            responses: vec![("answer".into(), Value::Str(leak()))],
            errors: records(),
            errors_omitted: 0,
        }))
    }

    #[test]
    fn no_kind_of_fact_shows_a_secret() {
        let (frame, node, at) = (|| "".into(), || Name::from("n"), Time(1));
        let range = Range { first: 0, values: vec![Value::Str(leak())] };
        let events = vec![
            started(),
            adopted(Kept::Outcome(success())),
            adopted(Kept::Elements(vec![range])),
            adopted(Kept::Rounds { count: 1, writes: writes() }),
            Event::NodeSucceeded(NodeSucceeded {
                frame: frame(),
                node: node(),
                generation: 1,
                attempt: 1,
                success: success(),
                started_at: at,
                elapsed_us: 0,
            }),
            Event::NodeFailed(NodeFailed {
                frame: frame(),
                node: node(),
                generation: 1,
                attempt: 1,
                error: error(),
                then: Then::Unhandled,
                writes: writes(),
                started_at: at,
                elapsed_us: 0,
            }),
            Event::ContainerStarted {
                frame: frame(),
                node: node(),
                generation: 1,
                length: 1,
                writes: writes(),
            },
            Event::FrameOpened { frame: frame(), item: Some(Value::Str(leak())) },
            Event::FrameClosed { frame: frame(), result: Pass::Value(Value::Str(leak())) },
            Event::FrameClosed { frame: frame(), result: Pass::Failed(error()) },
            Event::PauseRequested { node: None, reason: leak(), form: Some(Arc::new(form())) },
            Event::FormAnswered {
                frame: frame(),
                node: node(),
                handle: "ok".into(),
                outputs: outputs(),
                timed_out: false,
                by: None,
            },
            Event::RunFinished(Box::new(RunFinished {
                status: Status::Failed,
                reason: None,
                error: Some(leak()),
                outputs: vec![("o".into(), Value::Str(leak()))],
                errors: records(),
                errors_omitted: 0,
                exceptions_count: 0,
                steps: 1,
                conversation: outputs(),
            })),
        ];
        let count = events.len();
        let fact = |(seq, event)| Fact { seq, at, event };
        let mut journal: Vec<Fact> = (1..).zip(events).map(fact).collect();
        let shows = |fact: &Fact| serde_json::to_string(fact).unwrap().contains("hunter");
        assert_eq!(journal.iter().filter(|fact| shows(fact)).count(), count);
        facts(&mut journal);
        for fact in &journal {
            assert!(!shows(fact), "{fact:?}");
        }
    }
}
