//! `--output events`: what happens, as JSON lines in Dify's words (spec/engine.md §21).
//!
//! Every line is `{"event", "workflow_run_id", "data"}`. Times are seconds since the epoch,
//! `elapsed_time` is in seconds. Differences to Dify's stream: a node's `id` is its own name in the
//! results (`id@container[index]`), inputs of nodes are not recorded, and a container that fails
//! before its first pass still has its start and its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Adopted, Event, Fact, FramePath, Kept, RunFinished, RunStarted};
use flowmill_engine::form::Form;
use flowmill_engine::graph::{Item, Mode};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::NodeStatus;
use flowmill_engine::stream::{AnswerStream, Piece};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::live;

use super::journal::{Answered, Container, Finish, Journal, Place, Seen, container};
use super::json::{errors, key, number, seconds, text, waiting};
use crate::embedded::Ended;
use crate::result::{member, object};
use crate::workflow::Workflow;

/// Makes events of facts.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    journal: Journal<'a>,
    /// Orders the text of response nodes.
    stream: AnswerStream,
    shape: Shape<'a>,
}

/// What the events' data is taken from besides the facts.
#[derive(Debug)]
struct Shape<'a> {
    workflow: &'a Workflow,
    run: Name,
    started_at: Time,
    /// Passes of each container that is open, for its `steps`.
    passes: BTreeMap<(FramePath, Name), u64>,
    /// What people are asked.
    forms: BTreeMap<(FramePath, Name), (Arc<Form>, Time)>,
    /// What is said of people when the run pauses, and when it goes on: as Dify does.
    waits: Vec<Value>,
    answers: Vec<Value>,
}

impl<'a> Events<'a> {
    pub(super) fn new(workflow: &'a Workflow) -> Self {
        let plan: &'a Arc<Plan> = &workflow.plan;
        Self {
            journal: Journal::new(plan),
            stream: AnswerStream::new(plan),
            shape: Shape {
                workflow,
                run: "".into(),
                started_at: Time::default(),
                passes: BTreeMap::new(),
                forms: BTreeMap::new(),
                waits: Vec::new(),
                answers: Vec::new(),
            },
        }
    }

    /// The lines of something that happened.
    pub(super) fn event(&mut self, event: &live::Event) -> Vec<Value> {
        let mut lines = Vec::new();
        match event {
            live::Event::Facts(facts) => {
                for fact in facts.iter() {
                    self.fact(fact, &mut lines);
                }
            }
            live::Event::Chunk { frame, node, output, text, is_final, .. } => {
                let pieces = self.stream.chunk(frame, node, output, text.clone(), *is_final);
                lines.extend(pieces.iter().map(|piece| self.piece(piece)));
            }
        }
        lines
    }

    /// The last lines of a run that waits; one that ended has had its last line.
    pub(super) fn ended(&mut self, ended: &Ended) -> Vec<Value> {
        if ended.run.outcome().is_some() {
            return Vec::new();
        }
        let outputs = ended.run.outputs().map(|(name, value)| (name.clone(), value.clone()));
        let data = vec![
            member("id", Value::Str(self.shape.run.clone())),
            member("status", Value::from(ended.run.status().name())),
            member("outputs", object(outputs)),
            member("paused_nodes", waiting(ended)),
            member("total_steps", number(ended.run.root_steps())),
            member("exceptions_count", number(ended.run.exceptions_count())),
            member("errors", errors(ended.run.errors())),
            member("created_at", time(self.shape.started_at)),
        ];
        vec![self.shape.envelope("workflow_paused", data)]
    }

    /// Text comes before the end of the node that it waited for, and after the run's start.
    fn fact(&mut self, fact: &Fact, lines: &mut Vec<Value>) {
        let pieces = self.stream.fact(fact);
        let starts = matches!(fact.event, Event::RunStarted(_));
        if !starts {
            lines.extend(pieces.iter().map(|piece| self.piece(piece)));
        }
        let shape = &mut self.shape;
        self.journal.add(fact, &mut |seen| shape.lines(&seen, lines));
        if starts {
            lines.extend(pieces.iter().map(|piece| self.piece(piece)));
        }
    }

    /// Text for the user: `message` in a chat, `text_chunk` in a workflow, as Dify has it.
    fn piece(&self, piece: &Piece) -> Value {
        let (event, what) = match self.journal.plan().mode() {
            Mode::Chat => ("message", "answer"),
            Mode::Workflow => ("text_chunk", "text"),
        };
        let selector = piece.selector.parts().iter().map(|part| Value::Str(part.clone()));
        let data = vec![
            member(what, Value::Str(piece.text.clone())),
            member("from_variable_selector", Value::array(selector.collect())),
            member("is_final", piece.is_final.into()),
        ];
        self.shape.envelope(event, data)
    }
}

impl Shape<'_> {
    fn envelope(&self, event: &str, data: Vec<(Name, Value)>) -> Value {
        object([
            member("event", event.into()),
            member("workflow_run_id", Value::Str(self.run.clone())),
            member("data", object(data)),
        ])
    }

    fn lines(&mut self, seen: &Seen<'_>, lines: &mut Vec<Value>) {
        let line = self.line(seen);
        match seen {
            Seen::Waits(..) => self.waits.extend(line),
            Seen::Answered(_) => self.answers.extend(line),
            Seen::Paused => lines.append(&mut self.waits),
            Seen::Resumed(_) => {
                lines.extend(line);
                lines.append(&mut self.answers);
            }
            _ => lines.extend(line),
        }
    }

    fn line(&mut self, seen: &Seen<'_>) -> Option<Value> {
        let (event, data) = match seen {
            Seen::RunStarted(started, at) => {
                self.run = started.run.clone();
                self.started_at = *at;
                ("workflow_started", run_started(started, *at))
            }
            Seen::Started(at, length) => self.started(at, *length),
            Seen::Finished(finish) => self.finished(finish),
            Seen::Adopted(at, adopted) => ("node_adopted", self.adopted(at, adopted)),
            Seen::Retry(at, failed, now) => {
                let mut data = self.node(at);
                data.push(member("status", "retry".into()));
                data.push(member("retry_index", number(u64::from(failed.attempt))));
                data.push(member("error", Value::Str(failed.error.message.clone())));
                data.push(member("error_type", Value::Str(failed.error.kind.clone())));
                data.push(member("elapsed_time", elapsed(at.started_at, *now)));
                ("node_retry", data)
            }
            Seen::Pass(at, index) => return self.pass(at, *index),
            Seen::Waits(at, form) => ("human_input_required", self.required(at, *form)),
            Seen::Answered(answered) => self.answered(answered),
            Seen::Resumed(at) => {
                let data = vec![
                    member("id", Value::Str(self.run.clone())),
                    member("reason", "resumption".into()),
                    member("created_at", time(*at)),
                ];
                ("workflow_started", data)
            }
            // what came out so far is not in the fact
            Seen::Paused | Seen::PassEnded(..) => return None,
            Seen::RunFinished(finished, at) => {
                ("workflow_finished", self.run_finished(finished, *at))
            }
        };
        Some(self.envelope(event, data))
    }

    fn started(
        &mut self,
        at: &Place<'_>,
        length: Option<u64>,
    ) -> (&'static str, Vec<(Name, Value)>) {
        let mut data = self.node(at);
        let Some(kind) = container(at.node) else { return ("node_started", data) };
        self.passes.insert((at.frame.clone(), at.node.id.clone()), 0);
        let (event, length_name) = match kind {
            Container::Iteration => ("iteration_started", "iteration_length"),
            Container::Loop => ("loop_started", "loop_length"),
        };
        let metadata = length.map(|length| member(length_name, number(length)));
        data.push(member("metadata", object(metadata)));
        (event, data)
    }

    fn finished(&mut self, finish: &Finish<'_>) -> (&'static str, Vec<(Name, Value)>) {
        let mut data = self.node(&finish.at);
        data.push(member("status", finish.status.name().into()));
        let outputs =
            finish.outputs.iter().map(|(name, held)| (name.clone(), held.value().clone()));
        data.push(member("outputs", object(outputs)));
        let failed = finish.status != NodeStatus::Succeeded;
        let error = finish.error.filter(|_| failed);
        data.push(member("error", text(error.map(|error| error.message.clone()))));
        if let Some(error) = error {
            data.push(member("error_type", Value::Str(error.kind.clone())));
        }
        if let Some(handle) = &finish.handle {
            data.push(member("handle", Value::Str(handle.clone())));
        }
        data.push(member("retries", number(u64::from(finish.retries))));
        data.push(member("elapsed_time", elapsed(finish.at.started_at, finish.finished_at)));
        data.push(member("finished_at", time(finish.finished_at)));
        let Some(kind) = container(finish.at.node) else { return ("node_finished", data) };
        let passes = self.passes.remove(&(finish.at.frame.clone(), finish.at.node.id.clone()));
        data.push(member("steps", number(passes.unwrap_or(0))));
        let event = match kind {
            Container::Iteration => "iteration_completed",
            Container::Loop => "loop_completed",
        };
        (event, data)
    }

    /// A node, or elements of an iteration, that an earlier run did.
    fn adopted(&self, at: &Place<'_>, adopted: &Adopted) -> Vec<(Name, Value)> {
        let mut data = self.node(at);
        data.push(member("adopted_from", Value::Str(adopted.from.clone())));
        match &adopted.kept {
            Kept::Outcome(success) => {
                let error = adopted.own_error();
                let status = error.map_or(NodeStatus::Succeeded, |_| NodeStatus::Exception).name();
                data.push(member("status", status.into()));
                let outputs = success.outputs.iter();
                let outputs = outputs.map(|(name, held)| (name.clone(), held.value().clone()));
                data.push(member("outputs", object(outputs)));
                data.push(member("error", text(error.map(|error| error.message.clone()))));
            }
            Kept::Elements(ranges) => {
                let elements = ranges.iter().map(|range| range.values.len() as u64).sum();
                data.push(member("elements", number(elements)));
            }
            Kept::Rounds { count, .. } => data.push(member("rounds", number(*count))),
        }
        data
    }

    /// Of a loop's rounds the first is no next one.
    fn pass(&mut self, at: &Place<'_>, index: u64) -> Option<Value> {
        if let Some(passes) = self.passes.get_mut(&(at.frame.clone(), at.node.id.clone())) {
            *passes += 1;
        }
        let event = match container(at.node)? {
            Container::Iteration => "iteration_next",
            Container::Loop if index == 0 => return None,
            Container::Loop => "loop_next",
        };
        let mut data = self.node(at);
        data.retain(|(name, _)| &**name != "index" && &**name != "created_at");
        data.push(member("index", number(index)));
        Some(self.envelope(event, data))
    }

    /// What every event of a node says.
    fn node(&self, at: &Place<'_>) -> Vec<(Name, Value)> {
        let mut data = vec![
            member("id", Value::from(key(&at.frame, &at.node.id))),
            member("node_id", Value::Str(at.node.id.clone())),
            member("node_type", Value::Str(at.node.kind.clone())),
            member("title", Value::Str(at.node.title.clone())),
            member("index", number(at.number)),
            member("created_at", time(at.started_at)),
        ];
        self.around(&at.frame, &mut data);
        data
    }

    /// The nearest iteration and the nearest loop around a frame.
    fn around(&self, frame: &FramePath, data: &mut Vec<(Name, Value)>) {
        let plan = &self.workflow.plan;
        let mut frame = frame.clone();
        let (mut iteration, mut looped) = (None, None);
        while let Some((outer, id, index)) = frame.split() {
            let kind = plan.find(&id).and_then(|found| container(plan.node(found)));
            let nearest = match kind {
                Some(Container::Iteration) => &mut iteration,
                Some(Container::Loop) => &mut looped,
                None => break,
            };
            nearest.get_or_insert_with(|| (Value::from(&*id), index));
            frame = outer;
        }
        for (id_name, index_name, found) in
            [("iteration_id", "iteration_index", iteration), ("loop_id", "loop_index", looped)]
        {
            if let Some((id, index)) = found {
                data.push(member(id_name, id));
                data.push(member(index_name, number(index)));
            }
        }
    }

    /// What a person is asked (spec/api.md §2.6). Nothing can be answered over an interface here,
    /// so there is no token.
    fn required(&mut self, at: &Place<'_>, form: Option<&Arc<Form>>) -> Vec<(Name, Value)> {
        let mut data = self.node(at);
        let key = (at.frame.clone(), at.node.id.clone());
        if let Some(form) = form {
            let expires_at = at.started_at.after(Duration::from_millis(form.wait_ms));
            self.forms.insert(key.clone(), (Arc::clone(form), expires_at));
        }
        let Some((form, expires_at)) = self.forms.get(&key) else {
            data.extend(self.form_as_written(&at.node.id));
            return data;
        };
        data.extend([
            member("form_id", Value::from(key_of(at))),
            member("node_title", Value::Str(at.node.title.clone())),
            member("form_content", Value::Str(form.content.clone())),
            member("inputs", form.inputs()),
            member("actions", form.user_actions()),
            member("display_in_ui", form.webapp.into()),
            member("form_token", Value::None),
            member("resolved_default_values", form.resolved_defaults()),
            member("expiration_time", time(*expires_at)),
        ]);
        data
    }

    fn answered(&mut self, answered: &Answered<'_>) -> (&'static str, Vec<(Name, Value)>) {
        let at = &answered.at;
        let asked = self.forms.remove(&(at.frame.clone(), at.node.id.clone()));
        let mut data = vec![
            member("form_id", Value::from(key_of(at))),
            member("node_id", Value::Str(at.node.id.clone())),
            member("node_title", Value::Str(at.node.title.clone())),
        ];
        if answered.timed_out {
            let expired = asked.map_or(answered.when, |(_, expires_at)| expires_at);
            data.push(member("expiration_time", time(expired)));
            return ("human_input_form_timeout", data);
        }
        let output = |name: &str| {
            let found = answered.outputs.iter().find(|(key, _)| &**key == name);
            found.map_or(Value::None, |(_, held)| held.value().clone())
        };
        let entered = answered.outputs.iter().filter(|(name, _)| !name.starts_with("__"));
        let entered = entered.map(|(name, held)| (name.clone(), held.value().clone()));
        data.extend([
            member("rendered_content", output("__rendered_content")),
            member("action_id", Value::Str(answered.handle.clone())),
            member("action_text", output("__action_value")),
            member("submitted_data", object(entered)),
        ]);
        ("human_input_form_filled", data)
    }

    /// The form as the document has it, where a mock or Dify's rules keep it from being made.
    fn form_as_written(&self, node: &Name) -> Vec<(Name, Value)> {
        let nodes = &self.workflow.graph.nodes;
        let found = nodes.iter().find(|entry| entry.id.as_name() == Some(node));
        let part = |key| found.and_then(|entry| entry.data.get(key)).map(Item::to_value);
        let parts =
            [("form_content", "form_content"), ("inputs", "inputs"), ("actions", "user_actions")];
        let parts = parts.into_iter().map(|(name, key)| (name, part(key).unwrap_or_default()));
        parts.map(|(name, value)| member(name, value)).collect()
    }

    fn run_finished(&self, finished: &RunFinished, at: Time) -> Vec<(Name, Value)> {
        vec![
            member("id", Value::Str(self.run.clone())),
            member("workflow_id", Value::Str(self.workflow.digest.clone())),
            member("status", finished.status.name().into()),
            member("outputs", object(finished.outputs.iter().cloned())),
            member("error", text(finished.error.clone())),
            member("exceptions_count", number(finished.exceptions_count)),
            member("total_steps", number(finished.steps)),
            member("elapsed_time", elapsed(self.started_at, at)),
            member("created_at", time(self.started_at)),
            member("finished_at", time(at)),
            member("errors", errors(&finished.errors)),
        ]
    }
}

/// Inputs as Dify shows them: the user's, and the system's as `sys.<name>`.
fn run_started(started: &RunStarted, at: Time) -> Vec<(Name, Value)> {
    let system = started.system.iter().filter(|(name, _)| &**name != "conversation_id");
    let system = system.map(|(name, value)| (format!("sys.{name}").into(), value.clone()));
    let inputs = started.inputs.iter().cloned().chain(system);
    vec![
        member("id", Value::Str(started.run.clone())),
        member("workflow_id", Value::Str(started.workflow.clone())),
        member("reason", "initial".into()),
        member("inputs", object(inputs)),
        member("created_at", time(at)),
    ]
}

fn key_of(at: &Place<'_>) -> String {
    key(&at.frame, &at.node.id)
}

fn time(at: Time) -> Value {
    Value::Float(seconds(at.0))
}

fn elapsed(from: Time, to: Time) -> Value {
    Value::Float(seconds(to.0.saturating_sub(from.0)))
}
