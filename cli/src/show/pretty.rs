//! `--output pretty`: a line for each node of the root graph as it begins and ends, one for each
//! container with counts of what happened in it, errors with what lies behind them; then the
//! outputs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use flowmill_engine::error::{ErrorRecord, Handled};
#[cfg(feature = "store")]
use flowmill_engine::fact::Fact;
use flowmill_engine::fact::{Adopted, FramePath, Kept, NodeFailed, Status, Then};
use flowmill_engine::graph::Item;
use flowmill_engine::plan::{Node, Outputs};
use flowmill_engine::report::NodeStatus;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::live;
use flowmill_workflow::watch::{
    Container, Finish, Journal, Place, Seen, causes, container, handled, key,
};

use super::outputs::{for_terminal, lone_answer, outputs_text};
use super::view::View;
use crate::console::{Paint, Tone, one_line, plain, print, talk};
use crate::duration::show;
use crate::embedded::Ended;
use crate::people::{how_to_answer, show_form};
use crate::words::counted;
use crate::workflow::Workflow;

/// Failures inside of one container that get a line of their own.
const MOST_FAILURES: u64 = 3;

/// Errors that are shown at the end.
const MOST_ERRORS: usize = 10;

/// Letters of an error's message on a line.
const LINE: usize = 300;

/// Lines of a message or traceback at the end.
const MOST_LINES: usize = 40;

/// Shows a run to a person.
#[derive(Debug)]
pub(crate) struct Pretty<'a> {
    journal: Journal,
    screen: Screen<'a>,
}

#[derive(Debug)]
struct Screen<'a> {
    workflow: &'a Workflow,
    paint: Paint,
    started_at: Time,
    /// Nothing is to be shown yet.
    is_silent: bool,
    /// What happened inside of the root's containers.
    inside: BTreeMap<Name, Inside>,
    /// What models say that they used.
    tokens: u64,
    view: View,
}

/// Counts of a container that runs.
#[derive(Debug, Default)]
struct Inside {
    passes: u64,
    failed_passes: u64,
    nodes: u64,
    failures: u64,
}

impl<'a> Pretty<'a> {
    pub(super) fn new(workflow: &'a Workflow) -> Self {
        Self {
            journal: Journal::default(),
            screen: Screen {
                workflow,
                paint: Paint::of_stderr(),
                started_at: Time::default(),
                is_silent: false,
                inside: BTreeMap::new(),
                tokens: 0,
                view: View::new(&workflow.plan),
            },
        }
    }

    /// Something happened.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn event(&mut self, event: &live::Event) -> anyhow::Result<()> {
        let screen = &mut self.screen;
        let live::Event::Facts(facts) = event else { return screen.view.chunk(event) };
        for fact in facts.iter() {
            // text comes before the end of the node that it waited for
            screen.view.fact(fact)?;
            let plan = &screen.workflow.plan;
            self.journal.add(plan, fact, &mut |seen| screen.see(&seen));
        }
        Ok(())
    }

    /// Whether it moves on by itself.
    pub(super) fn is_live(&self) -> bool {
        self.screen.view.is_live()
    }

    /// Moves on by itself.
    pub(super) fn frame(&mut self) {
        self.screen.view.frame(self.screen.paint);
    }

    /// Leaves the terminal to others until something happens.
    pub(super) fn rest(&mut self) {
        self.screen.view.rest();
    }

    /// Takes what happened before. Nothing is shown of it but the beginning of a chat's answer, so
    /// that all of the answer stands in one place.
    ///
    /// # Errors
    /// When standard output is closed.
    #[cfg(feature = "store")]
    pub(super) fn catch_up(&mut self, facts: &[Fact]) -> anyhow::Result<()> {
        let screen = &mut self.screen;
        screen.is_silent = true;
        for fact in facts {
            screen.view.fact(fact)?;
            let plan = &screen.workflow.plan;
            self.journal.add(plan, fact, &mut |seen| screen.see(&seen));
        }
        screen.is_silent = false;
        Ok(())
    }

    /// The run ended or waits.
    pub(super) fn ended(&mut self, ended: &Ended, elapsed: Duration) -> anyhow::Result<()> {
        self.screen.view.clear();
        let outputs: Vec<(&Name, &Value)> = ended.run.outputs().collect();
        let view = &self.screen.view;
        let rest = lone_answer(&outputs).and_then(|answer| view.rest_of(answer));
        // an answer that was shown is ended, whatever became of the run
        match rest {
            Some(rest) => print(&format!("{rest}\n"))?,
            None if view.is_within_a_line() => print("\n")?,
            None => {}
        }
        self.screen.view.answer_ended();
        self.screen.view.rest();
        self.screen.errors(ended.run.errors(), omitted(ended));
        if ended.run.status() == Status::Paused {
            self.screen.waiting(ended);
        }
        self.screen.last_line(ended, elapsed);
        if ended.run.status() == Status::Failed || rest.is_some() {
            return Ok(());
        }
        let text = outputs_text(&outputs);
        if io::stdout().is_terminal() { print(&for_terminal(&text)) } else { print(&text) }
    }
}

fn omitted(ended: &Ended) -> u64 {
    ended.run.outcome().map_or(0, |outcome| outcome.errors_omitted)
}

impl Screen<'_> {
    fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::RunStarted(_, at) => self.started_at = *at,
            Seen::Adopted(at, adopted) => self.adopted(at, adopted),
            Seen::Started(at, length) => {
                self.view.tree.started(at, *length);
                self.started(at, *length);
            }
            Seen::Finished(finish) => {
                self.view.tree.finished(&finish.at);
                self.finished(finish);
            }
            Seen::Retry(at, failed, now) => {
                let message = in_short(&failed.error.message);
                self.view.tree.note(at, &format!("attempt {} failed: {message}", failed.attempt));
                if at.frame.is_root() {
                    self.retry(at, failed, *now);
                }
            }
            // a node that waits once more waits for the same answer
            Seen::Waits(_, None) | Seen::Resumed(_) | Seen::Paused(_) | Seen::RunFinished(..) => {}
            Seen::Pass(at, _) => {
                if at.frame.is_root() {
                    self.inside(&at.node.id).passes += 1;
                }
            }
            Seen::PassEnded(frame, failed) => {
                self.view.tree.pass_ended(frame, *failed);
                if let Some((outer, id, _)) = frame.split().filter(|_| *failed)
                    && outer.is_root()
                {
                    self.inside(&id.into()).failed_passes += 1;
                }
            }
            Seen::Waits(at, Some(_)) => {
                self.line(at.started_at, Tone::Odd, "waits", &whole_name(at, ": for a person"));
            }
            Seen::Answered(answered) => {
                let word = if answered.timed_out { "late" } else { "answered" };
                let more = format!(": {}", one_line(answered.handle, LINE));
                self.line(answered.when, Tone::Dim, word, &whole_name(&answered.at, &more));
            }
        }
    }

    fn inside(&mut self, container: &Name) -> &mut Inside {
        self.inside.entry(container.clone()).or_default()
    }

    /// Nodes that the core evaluates have ended by the time they are seen: one line is enough.
    fn started(&mut self, at: &Place<'_>, length: Option<u64>) {
        use flowmill_engine::plan::Behaviour;
        let more = match (&at.node.behaviour, length) {
            (Behaviour::Inline(_) | Behaviour::Pause(_), _) => return,
            (Behaviour::Iteration(iteration), Some(length)) => {
                let width = match iteration.width {
                    0 | 1 => String::new(),
                    width => format!(", {width} at a time"),
                };
                format!(": {}{width}", counted(length, "element"))
            }
            (Behaviour::Loop(_), Some(length)) => {
                format!(": at most {}", counted(length, "round"))
            }
            (Behaviour::Task(_) | Behaviour::Iteration(_) | Behaviour::Loop(_), _) => String::new(),
        };
        // what runs at present is drawn where that can be
        if at.frame.is_root() && !self.view.is_live() {
            self.line(at.started_at, Tone::Dim, "started", &whole_name(at, &more));
        }
    }

    fn finished(&mut self, finish: &Finish<'_>) {
        let at = &finish.at;
        let tokens = tokens_of(&finish.outputs);
        self.tokens += tokens;
        if let Some(outermost) = outermost(&at.frame) {
            self.finished_inside(&outermost, finish);
            return;
        }
        let took = Duration::from_micros(finish.finished_at.0.saturating_sub(at.started_at.0));
        let mut more = if took.is_zero() { String::new() } else { format!(", {}", show(took)) };
        if let Some(kind) = container(at.node) {
            let inside = self.inside.remove(&at.node.id).unwrap_or_default();
            more.push_str(&inside.describe(kind));
        }
        if tokens > 0 {
            let _ = write!(more, ", {}", counted(tokens, "token"));
        }
        if finish.retries > 0 {
            let _ = write!(more, ", attempt {}", finish.retries + 1);
        }
        if let Some(handle) = finish.handle.as_deref().filter(|handle| *handle != "source") {
            let _ = write!(more, ", takes {}", one_line(handle, LINE));
        }
        if let Some(error) = finish.error {
            let _ = write!(more, ": {}", in_short(&error.message));
        }
        let tone = tone(finish.status);
        self.line(finish.finished_at, tone, finish.status.name(), &whole_name(at, &more));
    }

    /// What an earlier run did is named, but for the nodes inside of containers.
    fn adopted(&mut self, at: &Place<'_>, adopted: &Adopted) {
        if !at.frame.is_root() {
            return;
        }
        let more = match &adopted.kept {
            Kept::Outcome(success) => {
                let handle = success.handle.as_deref().filter(|handle| *handle != "source");
                handle.map(|handle| format!(", takes {}", one_line(handle, LINE)))
            }
            Kept::Elements(ranges) => {
                let elements = ranges.iter().map(|range| range.values.len() as u64).sum();
                Some(format!(": {}", counted(elements, "element")))
            }
            Kept::Rounds { count, .. } => Some(format!(": {}", counted(*count, "round"))),
        };
        let name = whole_name(at, &more.unwrap_or_default());
        self.line(at.started_at, Tone::Dim, "kept", &name);
    }

    fn finished_inside(&mut self, container: &Name, finish: &Finish<'_>) {
        let inside = self.inside(container);
        inside.nodes += 1;
        let Some(error) = finish.error else { return };
        inside.failures += 1;
        let failures = inside.failures;
        let text = match failures {
            0..=MOST_FAILURES => whole_name(&finish.at, &format!(": {}", in_short(&error.message))),
            _ if failures == MOST_FAILURES + 1 => {
                format!("more nodes in {container}; they are counted, not shown")
            }
            _ => return,
        };
        self.line(finish.finished_at, tone(finish.status), finish.status.name(), &text);
    }

    fn retry(&mut self, at: &Place<'_>, failed: &NodeFailed, now: Time) {
        let wait = match failed.then {
            Then::RetryAt(at) => show(at.since(now)),
            Then::DefaultValue | Then::FailBranch | Then::Unhandled => String::new(),
        };
        let message = in_short(&failed.error.message);
        let more = format!(", attempt {} failed, again in {wait}: {message}", failed.attempt);
        self.line(now, Tone::Odd, "retry", &whole_name(at, &more));
    }

    fn line(&mut self, at: Time, tone: Tone, word: &str, text: &str) {
        if self.is_silent {
            return;
        }
        let since = show(at.since(self.started_at));
        let word = self.paint.paint(tone, &format!("{word:<9}"));
        self.view.say(format!("{since:>10}  {word}  {text}"));
    }

    /// Errors nothing followed from come first; then those that were handled.
    fn errors(&self, records: &[ErrorRecord], omitted: u64) {
        let mut is_cause = vec![false; records.len()];
        for place in records.iter().filter_map(|record| record.caused_by) {
            if let Some(cause) = is_cause.get_mut(place as usize) {
                *cause = true;
            }
        }
        let heads = records
            .iter()
            .zip(&is_cause)
            .filter(|(record, is_cause)| !**is_cause && record.handled != Handled::Retried);
        // passes of a container often fail alike
        let mut groups: Vec<(&ErrorRecord, u64)> = Vec::new();
        for (record, _) in heads {
            let alike = |(other, _): &&mut (&ErrorRecord, u64)| {
                (&other.node, &other.message, other.handled)
                    == (&record.node, &record.message, record.handled)
            };
            match groups.iter_mut().find(alike) {
                Some((_, times)) => *times += 1,
                None => groups.push((record, 1)),
            }
        }
        groups.sort_by_key(|(record, _)| record.handled != Handled::Unhandled);
        for (record, times) in groups.iter().take(MOST_ERRORS) {
            self.error(records, record, *times);
        }
        let hidden = groups.len().saturating_sub(MOST_ERRORS) as u64 + omitted;
        if hidden > 0 {
            let noun = if hidden == 1 { "error" } else { "errors" };
            talk(format_args!("and {hidden} more {noun} (--output json lists up to 100)"));
        }
    }

    fn error(&self, records: &[ErrorRecord], record: &ErrorRecord, times: u64) {
        let (tone, word) = match record.handled {
            Handled::Unhandled | Handled::FailedContainer => (Tone::Bad, "error".to_owned()),
            other => (Tone::Odd, format!("handled by {}", handled(other))),
        };
        let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
        let word = self.paint.paint(tone, &word);
        talk(format_args!("{word}{times}: {}", describe(record, 2)));
        for cause in causes(records, record) {
            talk(format_args!("  caused by: {}", describe(cause, 4)));
        }
    }

    fn waiting(&self, ended: &Ended) {
        for waiting in ended.run.waiting() {
            let key = key(&waiting.frame, &waiting.node);
            let Some(asked) = ended.run.form(waiting) else {
                talk(format_args!("node {key} waits for one of: {}", self.actions(&waiting.node)));
                continue;
            };
            talk(show_form(&ended.run, waiting, asked, ended.at).trim_end());
            let ids: Vec<String> =
                asked.form.actions.iter().map(|action| one_line(&action.id, LINE)).collect();
            talk(format_args!("node {key} waits for one of: {}", ids.join(", ")));
            talk(format_args!("answer it with {}", how_to_answer(waiting, asked)));
        }
    }

    /// The actions as the document has them.
    fn actions(&self, node: &str) -> String {
        let nodes = &self.workflow.graph.nodes;
        let data = nodes.iter().find(|found| found.id.as_str() == Some(node));
        let actions = data.and_then(|found| found.data.get("user_actions")?.as_seq());
        let ids = actions.unwrap_or_default().iter();
        let ids = ids.filter_map(|action| action.get("id").and_then(Item::as_str));
        ids.map(|id| one_line(id, LINE)).collect::<Vec<_>>().join(", ")
    }

    fn last_line(&self, ended: &Ended, elapsed: Duration) {
        let status = ended.run.status();
        let tone = match status {
            Status::Succeeded => Tone::Good,
            Status::PartialSucceeded | Status::Paused | Status::Running => Tone::Odd,
            Status::Failed | Status::Stopped => Tone::Bad,
        };
        let mut text = self.paint.paint(tone, status.name());
        // writing to a string cannot fail
        let _ = write!(text, " in {}, {}", show(elapsed), counted(ended.run.root_steps(), "step"));
        if self.tokens > 0 {
            let _ = write!(text, ", {}", counted(self.tokens, "token"));
        }
        let exceptions = ended.run.exceptions_count();
        if exceptions > 0 {
            let _ = write!(text, ", {}", counted(exceptions, "exception"));
        }
        let error = ended.run.outcome().and_then(|outcome| outcome.error.as_ref());
        if let Some(error) = error.filter(|_| status == Status::Stopped) {
            let _ = write!(text, ": {}", one_line(error, LINE));
        }
        talk(text);
    }
}

/// The tokens that a model says it used.
fn tokens_of(outputs: &Outputs) -> u64 {
    let usage = outputs.iter().find(|(name, _)| &**name == "usage").map(|(_, held)| held.value());
    let Some(Value::Object(usage)) = usage else { return 0 };
    match usage.get("total_tokens") {
        Some(Value::Int(tokens)) => tokens.to_i64().and_then(|tokens| u64::try_from(tokens).ok()),
        _ => None,
    }
    .unwrap_or(0)
}

impl Inside {
    fn describe(&self, kind: Container) -> String {
        let noun = match kind {
            Container::Iteration => "element",
            Container::Loop => "round",
        };
        let mut text = format!(", {}, {}", counted(self.passes, noun), counted(self.nodes, "node"));
        if self.failed_passes > 0 {
            let _ = write!(text, ", {} failed", counted(self.failed_passes, noun));
        }
        text
    }
}

fn tone(status: NodeStatus) -> Tone {
    match status {
        NodeStatus::Succeeded => Tone::Good,
        NodeStatus::Failed => Tone::Bad,
        NodeStatus::Exception | NodeStatus::Paused | NodeStatus::Running => Tone::Odd,
    }
}

/// The root's container around a frame; None in the root itself.
fn outermost(frame: &FramePath) -> Option<Name> {
    let (mut outer, id, _) = frame.split()?;
    let mut name: Name = id.into();
    while let Some((next, id, _)) = outer.split() {
        name = id.into();
        outer = next;
    }
    Some(name)
}

/// `Greeting (template-transform 1764)` and what is said about it.
fn whole_name(at: &Place<'_>, more: &str) -> String {
    let node: &Node = at.node;
    let id = key(&at.frame, &node.id);
    let title = one_line(&node.title, LINE);
    if title.is_empty() {
        format!("{} {id}{more}", node.kind)
    } else {
        format!("{title} ({} {id}){more}", node.kind)
    }
}

/// A message on one line; of a traceback the last one, which says what it was.
fn in_short(message: &str) -> String {
    let last = message.lines().rfind(|line| !line.trim().is_empty());
    let message = last.filter(|_| message.starts_with("Traceback (")).unwrap_or(message);
    one_line(message, LINE)
}

pub(crate) fn describe(record: &ErrorRecord, indent: usize) -> String {
    let id = key(&record.frame, &record.node);
    let title = match one_line(&record.title, LINE) {
        title if title.is_empty() => String::new(),
        title => format!(" \"{title}\""),
    };
    let kind = match &*record.error_type {
        "" => String::new(),
        kind => format!("{}: ", one_line(kind, LINE)),
    };
    let attempt = match record.attempt {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let message = indented(&record.message, indent);
    let mut text = format!("{} {id}{title}{attempt}: {kind}{message}", record.node_type);
    let traceback =
        record.traceback.as_ref().filter(|traceback| !record.message.contains(&***traceback));
    if let Some(traceback) = traceback {
        // writing to a string cannot fail
        let _ = write!(text, "\n{:indent$}{}", "", indented(traceback, indent));
    }
    text
}

/// A text's lines, those after the first indented; the middle of a long one is left out.
fn indented(text: &str, indent: usize) -> String {
    let text = plain(text.trim_end());
    let lines: Vec<&str> = text.lines().collect();
    let join = |lines: &[&str]| lines.join(&format!("\n{:indent$}", ""));
    if lines.len() <= MOST_LINES {
        return join(&lines);
    }
    let half = MOST_LINES / 2;
    let (head, tail) = (&lines[..half], &lines[lines.len() - half..]);
    format!("{}\n{:indent$}\u{2026}\n{:indent$}{}", join(head), "", "", join(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_traceback_the_last_line_is_enough_while_it_runs() {
        let traceback = "Traceback (most recent call last):\n  File \"<code>\"\nKeyError: 'a'\n";
        assert_eq!(in_short(traceback), "KeyError: 'a'");
        assert_eq!(in_short("a\nb"), "a b");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        let long: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let text = indented(&long.join("\n"), 2);
        assert!(text.starts_with("0\n  1\n") && text.ends_with("\n  98\n  99"), "{text}");
        assert_eq!(text.lines().count(), MOST_LINES + 1);
    }

    #[test]
    fn the_outermost_container_counts_what_is_in_it() {
        assert_eq!(outermost(&FramePath::default()), None);
        assert_eq!(outermost(&"it[3]/inner[0]".into()).as_deref(), Some("it"));
    }
}
