//! What happens in a run, as events in Dify's words (spec/engine.md §21).
//!
//! Every event is `{"event", "workflow_run_id", "data"}`. Times are seconds since the epoch,
//! `elapsed_time` is in seconds. Differences to Dify's stream: a node's `id` is its own name in the
//! results (`id@container[index]`), inputs of nodes are not recorded, text says how many bytes of
//! text came before it, and a container that fails before its first pass still has its start and its
//! end.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{
    Adopted, Event, Fact, FramePath, Kept, RunFinished, RunStarted, Status,
};
use flowmill_engine::form::Form;
use flowmill_engine::graph::{Item, Mode};
use flowmill_engine::report::NodeStatus;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::live;

use super::answer::{Answer, Text};
use super::journal::{Answered, Container, Finish, Journal, Place, Seen, container};
use super::words::{elapsed, errors, key, member, number, object, text, time};
use crate::load::Workflow;
use crate::redact::Secrets;

/// Makes events of facts. `W` is how the workflow is held: `&Workflow`, or `Arc<Workflow>`.
#[derive(Debug)]
pub struct Events<W> {
    journal: Journal,
    answer: Answer,
    shape: Shape<W>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its place among the events of its fact, counted from 0: the same whoever makes it, and
    /// whenever. None for text that was shown before the journal had it: who reads again may get
    /// it again, in other pieces.
    pub index: Option<u32>,
    /// Dify's word for it.
    pub event: &'static str,
    /// What it says.
    pub data: Vec<(Name, Value)>,
}

/// What the events' data is taken from besides the facts.
#[derive(Debug)]
struct Shape<W> {
    workflow: W,
    run: Name,
    started_at: Time,
    /// Passes of each container that is open, for its `steps`.
    passes: BTreeMap<(FramePath, Name), u64>,
    /// What people are asked.
    forms: BTreeMap<(FramePath, Name), (Arc<Form>, Time)>,
    /// Who is waited for, and what is said of it.
    waiting: BTreeMap<(FramePath, Name), Value>,
    /// What is said of people when the run pauses, and when it goes on: as Dify does.
    waits: Vec<Line>,
    answers: Vec<Line>,
}

impl<W: Deref<Target = Workflow> + Clone> Events<W> {
    /// Nothing has happened so far.
    pub fn new(workflow: W) -> Self {
        Self {
            journal: Journal::default(),
            answer: Answer::new(&workflow.plan),
            shape: Shape {
                workflow,
                run: "".into(),
                started_at: Time::default(),
                passes: BTreeMap::new(),
                forms: BTreeMap::new(),
                waiting: BTreeMap::new(),
                waits: Vec::new(),
                answers: Vec::new(),
            },
        }
    }

    /// What is never to be shown of text that comes in chunks. Facts are told without it.
    pub fn hide(&mut self, secrets: Secrets) {
        self.answer.hide(secrets);
    }

    /// The events of the run's next fact. Text comes before the end of the node that it waited for,
    /// and after the run's start.
    pub fn fact(&mut self, fact: &Fact) -> Vec<Line> {
        let told = self.answer.fact(fact);
        let (workflow, shape) = (self.shape.workflow.clone(), &mut self.shape);
        let answer = &self.answer;
        let mut lines: Vec<Line> = Vec::new();
        self.journal.add(&workflow.plan, fact, &mut |seen| shape.lines(&seen, answer, &mut lines));
        let mut texts: Vec<Line> = told.texts.iter().map(|text| self.text(text)).collect();
        let starts = matches!(fact.event, Event::RunStarted(_));
        let (first_text, first_line) = if starts { (lines.len(), 0) } else { (0, told.places) };
        if told.is_certain {
            for (place, line) in (first_text..).zip(&mut texts) {
                line.index = u32::try_from(place).ok();
            }
        }
        for (place, line) in (first_line..).zip(&mut lines) {
            line.index = Some(place);
        }
        let (mut first, second) = if starts { (lines, texts) } else { (texts, lines) };
        first.extend(second);
        first
    }

    /// The text that a chunk lets out.
    pub fn chunk(&mut self, event: &live::Event) -> Vec<Line> {
        let texts = self.answer.chunk(event);
        texts.iter().map(|text| self.text(text)).collect()
    }

    /// The text that chunks let out and the journal did not so far, for who has seen only what
    /// facts let out.
    pub fn ahead(&self) -> Option<Line> {
        self.answer.ahead().map(|text| self.text(&text))
    }

    /// The run's id; empty before its first fact.
    pub fn run(&self) -> &Name {
        &self.shape.run
    }

    /// Text for the user: `message` in a chat, `text_chunk` in a workflow, as Dify has it.
    fn text(&self, Text { piece, offset }: &Text) -> Line {
        let (event, what) = match self.shape.workflow.plan.mode() {
            Mode::Chat => ("message", "answer"),
            Mode::Workflow => ("text_chunk", "text"),
        };
        let selector = piece.selector.parts().iter().map(|part| Value::Str(part.clone()));
        let data = vec![
            member(what, Value::Str(piece.text.clone())),
            member("from_variable_selector", Value::array(selector.collect())),
            member("is_final", piece.is_final.into()),
            member("offset", number(*offset)),
        ];
        Line { index: None, event, data }
    }
}

impl Line {
    /// The whole event of this run.
    pub fn of(self, run: &Name) -> Value {
        object([
            member("event", self.event.into()),
            member("workflow_run_id", Value::Str(run.clone())),
            member("data", object(self.data)),
        ])
    }
}

impl<W: Deref<Target = Workflow>> Shape<W> {
    fn lines(&mut self, seen: &Seen<'_>, answer: &Answer, lines: &mut Vec<Line>) {
        let line = self.line(seen, answer);
        match seen {
            Seen::Waits(..) => self.waits.extend(line),
            Seen::Answered(_) => self.answers.extend(line),
            Seen::Paused(_) => {
                lines.append(&mut self.waits);
                lines.extend(line);
            }
            Seen::Resumed(_) => {
                lines.extend(line);
                lines.append(&mut self.answers);
            }
            _ => lines.extend(line),
        }
    }

    fn line(&mut self, seen: &Seen<'_>, answer: &Answer) -> Option<Line> {
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
            Seen::Paused(at) => ("workflow_paused", self.paused(answer, *at)),
            Seen::PassEnded(..) => return None,
            Seen::RunFinished(finished, at) => {
                ("workflow_finished", self.run_finished(finished, *at))
            }
        };
        Some(Line { index: None, event, data })
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
    fn pass(&mut self, at: &Place<'_>, index: u64) -> Option<Line> {
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
        Some(Line { index: None, event, data })
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
        let mut waiting = vec![
            member("node_id", Value::Str(at.node.id.clone())),
            member("node_title", Value::Str(at.node.title.clone())),
            member("frame", Value::from(at.frame.as_str())),
        ];
        let Some((form, expires_at)) = self.forms.get(&key) else {
            self.waiting.insert(key, object(waiting));
            data.extend(self.form_as_written(&at.node.id));
            return data;
        };
        waiting.extend([
            member("form_content", Value::Str(form.content.clone())),
            member("inputs", form.inputs()),
            member("actions", form.user_actions()),
            member("resolved_default_values", form.resolved_defaults()),
            member("expiration_time", time(*expires_at)),
        ]);
        self.waiting.insert(key, object(waiting));
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
        let key = (at.frame.clone(), at.node.id.clone());
        self.waiting.remove(&key);
        let asked = self.forms.remove(&key);
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

    /// The run waits: for whom, and what came out of it so far.
    fn paused(&self, answer: &Answer, now: Time) -> Vec<(Name, Value)> {
        vec![
            member("id", Value::Str(self.run.clone())),
            member("status", Status::Paused.name().into()),
            member("outputs", answer.outputs()),
            member("paused_nodes", Value::array(self.waiting.values().cloned().collect())),
            member("total_steps", number(answer.steps())),
            member("elapsed_time", elapsed(self.started_at, now)),
            member("created_at", time(self.started_at)),
        ]
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
