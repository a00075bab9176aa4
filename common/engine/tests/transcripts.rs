//! Runs as text: a graph, what is told to it, and what becomes true (spec/engine.md).
//!
//! Each file in `transcripts/` holds some. A transcript begins with its name after `==`; the
//! graph follows (see `support/notation.rs`), then `--`, then the inputs, each with the facts that
//! it led to, indented. Tasks are granted as soon as they are ready unless the start says
//! `manual`. To write down what happens now: `TRANSCRIPTS=write cargo test --test transcripts`.

mod support;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{CancelMode, Event, Fact, FramePath, Pass, Reason, Returned, TaskId, Then};
use flowmill_engine::fact::Options;
use flowmill_engine::plan::{Outputs, Success, TaskClass, Write as Written};
use flowmill_engine::run::{Input, Rejected, Start};
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_engine::variables::{Selector, Variable};

use support::catalogue::value;
use support::driver::{CLASSES, Driver, place};
use support::notation::{self, duration_ms, tokens};

#[test]
fn transcripts_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = String::new();
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let played: String = written.split_inclusive('\n').collect::<Vec<_>>().split(|line| {
            line.starts_with("== ")
        }).skip(1).zip(written.lines().filter(|line| line.starts_with("== "))).map(|(lines, name)| {
            format!("{name}\n{}", play(name, &lines.concat()))
        }).collect();
        if std::env::var("TRANSCRIPTS").as_deref() == Ok("write") {
            std::fs::write(&file, &played).unwrap();
        } else if let Some((line, (is, was))) =
            played.lines().zip(written.lines()).enumerate().find(|(_, (is, was))| is != was)
        {
            let file = file.file_name().unwrap().display();
            writeln!(wrong, "{file}:{}: written {was:?}, happens {is:?}", line + 1).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Plays one transcript and writes it down anew.
fn play(name: &str, text: &str) -> String {
    let (graph, script) = text.split_once("\n--\n").unwrap_or_else(|| panic!("{name}: no --"));
    let mut play: Option<Play> = None;
    let mut out = format!("{graph}\n--\n");
    for line in script.lines() {
        if line.starts_with(' ') {
            continue;
        }
        writeln!(out, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let lines = match &mut play {
            Some(play) => play.say(line),
            None => {
                let (begun, lines) = Play::start(graph, line);
                play = Some(begun);
                lines
            }
        };
        for line in shorten(lines) {
            writeln!(out, "  {line}").unwrap();
        }
    }
    if let Some(play) = play {
        play.driver.check_facts();
    }
    out
}

/// Long lists are shown by the ends of their slices.
fn shorten(lines: Vec<String>) -> Vec<String> {
    const MOST: usize = 40;
    if lines.len() <= MOST {
        return lines;
    }
    let mut short = Vec::new();
    for slice in lines.split(|line| line == NEXT_SLICE) {
        if !short.is_empty() {
            short.push(NEXT_SLICE.to_owned());
        }
        let (first, last) = (slice.len().min(2), slice.len().saturating_sub(2));
        short.extend_from_slice(&slice[..first]);
        if last > first {
            short.push(format!("({} more)", last - first));
        }
        short.extend_from_slice(&slice[last.max(first)..]);
    }
    short
}

const NEXT_SLICE: &str = "(next slice)";

struct Play {
    driver: Driver,
    is_manual: bool,
}

impl Play {
    fn start(graph: &str, line: &str) -> (Self, Vec<String>) {
        let plan = notation::plan(graph);
        let mut start = Start { run: "r".into(), ..Start::default() };
        start.options = Options { deadline_ms: None, ..Options::default() };
        let mut is_manual = false;
        for token in tokens(line).into_iter().skip(1) {
            let (key, text) = token.split_once('=').unwrap_or((&token, ""));
            let milliseconds = || u64::try_from(duration_ms(text)).unwrap();
            match key {
                "manual" => is_manual = true,
                "max_steps" => start.options.max_steps = Some(text.parse().unwrap()),
                "max_time" => start.options.max_time_s = Some(milliseconds() / 1000),
                "deadline" => start.options.deadline_ms = Some(milliseconds()),
                "timeout" => start.options.task_timeout_ms = milliseconds(),
                key => start.inputs.push((key.into(), value(text))),
            }
        }
        let driver = Driver::start(&plan, start);
        let mut play = Self { driver, is_manual };
        let mut lines = Vec::new();
        play.tell(Input::Tick, &mut lines);
        (play, lines)
    }

    fn say(&mut self, line: &str) -> Vec<String> {
        let words = tokens(line);
        let mut lines = Vec::new();
        let input = match (&*words[0], words.get(1).map_or("", |word| word)) {
            ("states", _) => return self.states(),
            ("errors", _) => return self.errors(),
            ("wake", _) => {
                let wake = self.driver.run.next_deadline(self.driver.now);
                return vec![match wake {
                    Some((at, why)) => format!("{why:?} in {:?}", at.since(self.driver.now)),
                    None => "never".to_owned(),
                }];
            }
            ("tick", wait) => {
                let wait = duration_ms(wait.trim_start_matches('+'));
                let wait = Duration::from_millis(u64::try_from(wait).unwrap());
                self.driver.now = self.driver.now.after(wait);
                Input::Tick
            }
            ("grant", class) => Input::Grant {
                class: class_of(class),
                count: words[2].parse().unwrap(),
            },
            ("pause", _) => Input::Pause { reason: words[1..].join(" ").into() },
            ("resume", _) => Input::Resume,
            ("stop", _) => {
                Input::Stop { reason: Reason::User, message: words[1..].join(" ").into() }
            }
            ("answer", node) => {
                let (frame, node) = place(node);
                let handle = words[2].as_str().into();
                Input::Answered { frame, node: node.into(), handle, outputs: outputs(&words[3..]) }
            }
            ("ok" | "fail", name) => {
                let (task, attempt, dispatch) = self.task(name);
                let outcome = match &*words[0] {
                    "ok" => Ok(success(&words[2..])),
                    _ => Err(NodeError::new("Bad", words[2..].join(" "))),
                };
                let facts = self.driver.complete(&task, (attempt, dispatch), outcome);
                self.follow(facts, &mut lines);
                return lines;
            }
            ("return" | "lost", name) => {
                let (task, attempt, dispatch) = self.task(name);
                let wait = words.get(2).map(|wait| duration_ms(wait.trim_start_matches('+')));
                let wait = wait.map(|wait| Duration::from_millis(u64::try_from(wait).unwrap()));
                let reason = match &*words[0] {
                    "lost" => Returned::WorkerLost,
                    _ => Returned::HandedBack,
                };
                let not_before = wait.map(|wait| self.driver.now.after(wait));
                Input::Returned { task, attempt, dispatch, reason, not_before }
            }
            (other, _) => panic!("no such input: {other}"),
        };
        self.tell(input, &mut lines);
        lines
    }

    /// Applies an input, then does what a driver would: ticks while work is left, grants.
    fn tell(&mut self, input: Input, lines: &mut Vec<String>) {
        let facts = self.driver.apply(input);
        self.follow(facts, lines);
    }

    fn follow(&mut self, facts: Result<Vec<Fact>, Rejected>, lines: &mut Vec<String>) {
        match facts {
            Ok(facts) => lines.extend(facts.iter().map(|fact| self.shown(fact))),
            Err(rejected) => lines.push(format!("! {rejected:?}")),
        }
        loop {
            if self.driver.has_work() {
                lines.push(NEXT_SLICE.to_owned());
                let facts = self.driver.tick(Duration::ZERO);
                lines.extend(facts.iter().map(|fact| self.shown(fact)));
                continue;
            }
            let now = self.driver.now;
            let ready = CLASSES.into_iter().find(|class| self.driver.run.ready(*class, now) > 0);
            let Some(class) = ready.filter(|_| !self.is_manual) else { return };
            let count = self.driver.run.ready(class, now);
            let facts = self.driver.apply(Input::Grant { class, count }).unwrap();
            lines.extend(facts.iter().map(|fact| self.shown(fact)));
        }
    }

    /// `a@it[0]#2.1`: attempt and sending, else those that are out or were out last.
    fn task(&self, name: &str) -> (TaskId, u32, u32) {
        let (name, numbers) = name.split_once('#').unwrap_or((name, ""));
        let (frame, node) = place(name);
        let mut found = None;
        for fact in &self.driver.facts {
            if let Event::TaskDispatched(sent) = &fact.event
                && sent.task.frame == frame
                && &*sent.task.node == node
            {
                found = Some((sent.task.clone(), sent.attempt, sent.dispatch));
            }
        }
        let (task, mut attempt, mut dispatch) = found.unwrap_or_else(|| {
            (TaskId { frame, node: node.into(), generation: 1 }, 1, 1)
        });
        if !numbers.is_empty() {
            let (first, second) = numbers.split_once('.').unwrap_or((numbers, "1"));
            (attempt, dispatch) = (first.parse().unwrap(), second.parse().unwrap());
        }
        (task, attempt, dispatch)
    }

    fn states(&self) -> Vec<String> {
        let run = &self.driver.run;
        let nodes = run.node_states().map(|(id, state)| format!("{id} {}", state.name()));
        let edges = run.edge_states().map(|(id, state)| format!("{id} {}", state.name()));
        vec![nodes.collect::<Vec<_>>().join(", "), edges.collect::<Vec<_>>().join(", ")]
    }

    fn errors(&self) -> Vec<String> {
        let errors = self.driver.run.errors().iter().enumerate();
        errors.map(|(index, error)| {
            let name = at(&error.frame, &error.node);
            let cause = error.caused_by.map(|cause| format!(" because of {cause}"));
            let handled = serde_json::to_value(error.handled).unwrap();
            let handled = handled.as_str().unwrap();
            let (attempt, text) = (error.attempt, &error.message);
            format!("{index}: {name}#{attempt} {text:?} {handled}{}", cause.unwrap_or_default())
        }).collect()
    }

    fn shown(&self, fact: &Fact) -> String {
        let after = |time: flowmill_engine::time::Time| time.since(fact.at);
        match &fact.event {
            Event::RunStarted(_) => "started".to_owned(),
            Event::TaskDispatched(sent) => {
                let again = match sent.dispatch {
                    1 => String::new(),
                    again => format!(".{again}"),
                };
                let generation = match sent.task.generation {
                    1 => String::new(),
                    other => format!(" (activation {other})"),
                };
                let class = match sent.class {
                    TaskClass::Light => String::new(),
                    class => format!(" {class:?}").to_lowercase(),
                };
                let name = at(&sent.task.frame, &sent.task.node);
                format!("> {name}#{}{again}{class}{generation}", sent.attempt)
            }
            Event::TaskReturned { task, reason, not_before, .. } => {
                let wait = not_before.map(|at| format!(", not before {:?}", after(at)));
                let name = at(&task.frame, &task.node);
                format!("< {name} {reason:?}{}", wait.unwrap_or_default())
            }
            Event::TaskCancelled { task, mode } => {
                let name = task.as_ref().map_or("all".to_owned(), |task| at(&task.frame, &task.node));
                let mode = if *mode == CancelMode::Drop { "drop" } else { "halt" };
                format!("x {name} {mode}")
            }
            Event::NodeSucceeded(done) => {
                let handle = done.success.handle.as_ref();
                let handle = handle.map(|handle| format!(" -{handle}->")).unwrap_or_default();
                let name = at(&done.frame, &done.node);
                let again = if done.attempt > 1 { format!("#{}", done.attempt) } else { String::new() };
                let outputs = shown_outputs(&done.success.outputs);
                format!("{name}{again}{handle}{outputs}{}", shown_writes(&done.success.writes))
            }
            Event::NodeFailed(failed) => {
                let name = at(&failed.frame, &failed.node);
                let then = match &failed.then {
                    Then::RetryAt(at) => format!("retry in {:?}", after(*at)),
                    Then::DefaultValue => "default value".to_owned(),
                    Then::FailBranch => "fail branch".to_owned(),
                    Then::Unhandled => "unhandled".to_owned(),
                };
                let (attempt, error) = (failed.attempt, &failed.error);
                let kind = if error.kind.is_empty() { String::new() } else { format!("{}: ", error.kind) };
                let outputs = shown_outputs(&error.outputs);
                let writes = shown_writes(&failed.writes);
                format!("{name}#{attempt} failed, {kind}{}, {then}{outputs}{writes}", error.message)
            }
            Event::ContainerStarted { frame, node, length, writes, .. } => {
                format!("{} begins, {length} passes{}", at(frame, node), shown_writes(writes))
            }
            Event::FrameOpened { frame, item } => {
                let item = item.as_ref().map(|item| format!(" {}", json(item)));
                format!("[ {frame}{}", item.unwrap_or_default())
            }
            Event::FrameClosed { frame, result } => match result {
                Pass::Value(value) => format!("] {frame} {}", json(value)),
                Pass::Next => format!("] {frame} next"),
                Pass::Break => format!("] {frame} break"),
                Pass::Failed(error) => format!("] {frame} failed, {}", error.message),
            },
            Event::PauseRequested { node, reason } => match node {
                Some(node) => {
                    let again = if node.generation > 1 { format!("#{}", node.generation) } else { String::new() };
                    format!("{}{again} waits, {reason}", at(&node.frame, &node.node))
                }
                None => format!("pausing, {reason}"),
            },
            Event::RunPaused => "paused".to_owned(),
            Event::RunResumed { reactivated } => {
                let again = reactivated.iter().map(|node| format!(" {}#{}", at(&node.frame, &node.node), node.generation));
                format!("resumed{}", again.collect::<String>())
            }
            Event::FormAnswered { frame, node, handle, .. } => {
                format!("{} answered {handle}", at(frame, node))
            }
            Event::RunFinished(end) => {
                let outputs = Value::object(end.outputs.iter().cloned());
                let error = end.error.as_ref().map(|error| format!(", {error}"));
                let reason = end.reason.map(|reason| format!(" ({reason:?})"));
                let (status, exceptions, steps) = (end.status.name(), end.exceptions_count, end.steps);
                let counts = format!("{exceptions} exceptions, {steps} steps");
                let (error, reason) = (error.unwrap_or_default(), reason.unwrap_or_default());
                format!("= {status}{reason}{error} {} ({counts})", json(&outputs))
            }
        }
    }
}

fn class_of(word: &str) -> TaskClass {
    CLASSES.into_iter().find(|class| format!("{class:?}").to_lowercase() == word).unwrap()
}

fn at(frame: &FramePath, node: &str) -> String {
    if frame.is_root() { node.to_owned() } else { format!("{node}@{frame}") }
}

fn json(value: &Value) -> String {
    dumps(value, Style::Line)
}

fn shown_outputs(outputs: &Outputs) -> String {
    if outputs.is_empty() {
        return String::new();
    }
    let members = outputs.iter().map(|(name, held)| (name.clone(), held.value().clone()));
    format!(" {}", json(&Value::object(members)))
}

fn shown_writes(writes: &[Written]) -> String {
    let shown = |write: &Written| format!(" {:?} := {}", write.selector, json(write.variable.value()));
    writes.iter().map(shown).collect()
}

fn outputs(words: &[String]) -> Outputs {
    let pairs = words.iter().filter(|word| !word.contains(":=")).filter_map(|word| word.split_once('='));
    pairs.map(|(name, text)| (Name::from(name), Variable::infer(value(text)))).collect()
}

/// `-true->`, `y=1`, `a.x:=1`
fn success(words: &[String]) -> Success {
    let handle = |word: &String| Some(word.strip_prefix('-')?.strip_suffix("->")?.into());
    let write = |word: &String| {
        let (target, text) = word.split_once(":=")?;
        let selector = Selector::from_dotted(target);
        Some(Written { selector, variable: Variable::infer(value(text)) })
    };
    Success {
        outputs: outputs(words),
        handle: words.iter().find_map(handle),
        writes: words.iter().filter_map(write).collect(),
    }
}
