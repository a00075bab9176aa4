//! Runs as text: a graph, what is told to it, and what becomes true (spec/engine.md).
//!
//! Each file in `transcripts/` holds some. A transcript begins with its name after `==`; the
//! graph follows (see `support/notation.rs`), then `--`, then the inputs, each with the facts that
//! it led to, indented. Tasks are granted as soon as they are ready unless the start says
//! `manual`. To write down what happens now: `TRANSCRIPTS=write cargo test --test transcripts`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod shown;
mod support;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::Options;
use flowmill_engine::fact::{ChildCall, ChildEnd, ChildEnded, Event, Fact, FramePath};
use flowmill_engine::fact::{Reason, Returned, Status, TaskId};
use flowmill_engine::plan::{Outputs, Success, TaskClass, Write as Written};
use flowmill_engine::rerun::{self, What};
use flowmill_engine::run::{Completion, End, Input, Outcome, Rejected, Start};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::{Selector, Variable};

use support::catalogue::value;
use support::driver::Driver;
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
        let mut played = String::new();
        for transcript in split(&written) {
            played += &play(transcript);
        }
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

/// The transcripts of a file; each begins with a line `== name`.
fn split(text: &str) -> Vec<&str> {
    let starts = text.match_indices("== ").map(|(at, _)| at);
    let starts = starts.filter(|at| *at == 0 || text[..*at].ends_with('\n'));
    let starts: Vec<usize> = starts.chain([text.len()]).collect();
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Plays one transcript and writes it down anew.
fn play(text: &str) -> String {
    let (graph, script) = text.split_once("\n--\n").unwrap();
    let (name, graph) = graph.split_once('\n').unwrap();
    let mut play: Option<Play> = None;
    let mut out = format!("{name}\n{graph}\n--\n");
    for line in script.lines() {
        if line.starts_with(' ') {
            continue;
        }
        writeln!(out, "{line}").unwrap();
        if line.is_empty() {
            continue;
        }
        let lines = if let Some(play) = &mut play {
            play.say(line)
        } else {
            let (begun, lines) = Play::start(graph, line);
            play = Some(begun);
            lines
        };
        for line in shorten(&lines) {
            writeln!(out, "  {line}").unwrap();
        }
    }
    if let Some(play) = play {
        play.driver.check_facts();
    }
    out
}

/// Long lists are shown by the ends of their slices.
fn shorten(lines: &[String]) -> Vec<String> {
    const MOST: usize = 40;
    if lines.len() <= MOST {
        return lines.to_owned();
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
    /// What workers kept and did not tell.
    kept: Vec<Outcome>,
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
                "dispatch" => {
                    let word = format!("\"{text}\"");
                    start.options.dispatch = serde_json::from_str(&word).unwrap();
                }
                "max_steps" => start.options.max_steps = Some(text.parse().unwrap()),
                "max_time" => start.options.max_time_s = Some(milliseconds() / 1000),
                "pause" => start.options.pause_ms = Some(milliseconds()),
                "deadline" => start.options.deadline_ms = Some(milliseconds()),
                "timeout" => start.options.task_timeout_ms = milliseconds(),
                key => start.inputs.push((key.into(), value(text))),
            }
        }
        let driver = Driver::start(&plan, start);
        let mut play = Self { driver, is_manual, kept: Vec::new() };
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
                self.pass(wait);
                Input::Tick
            }
            ("grant", class) => Input::Grant {
                class: class_of(class),
                count: words[2].parse().unwrap(),
                number: 0,
                workers: 1,
            },
            ("pause", _) => Input::Pause { reason: words[1..].join(" ").into() },
            ("resume", _) => Input::Resume,
            ("away", wait) => {
                self.pass(wait);
                Input::TakeUp
            }
            ("stop", _) => {
                Input::Stop { reason: Reason::User, message: words[1..].join(" ").into() }
            }
            ("answer", node) => {
                let (frame, node) = place(node);
                let values = outputs(&words[3..]).into_iter();
                Input::Answered {
                    frame,
                    node: node.into(),
                    action: words[2].as_str().into(),
                    values: values.map(|(name, held)| (name, held.value().clone())).collect(),
                    by: None,
                }
            }
            ("kept", name) => return self.keep(name, &words[2..]),
            ("rerun", _) => return self.rerun(&words[1..]),
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
            ("more" | "chunk", name) => {
                let facts = self.some(name, &words[2..]);
                self.follow(facts, &mut lines);
                return lines;
            }
            ("return" | "lost" | "suspect", _) => self.give_back(&words),
            ("call", name) => {
                let facts = self.call(name, words.get(2));
                self.follow(facts, &mut lines);
                return lines;
            }
            ("ended", name) => self.ended(name, words.get(2)),
            (other, _) => panic!("no such input: {other}"),
        };
        self.tell(input, &mut lines);
        lines
    }

    /// Outcomes of what a task carries; more of them may follow.
    fn some(&mut self, name: &str, nodes: &[String]) -> Result<Vec<Fact>, Rejected> {
        let (task, attempt, dispatch) = self.task(name);
        let one = |name: &String| {
            let (frame, node) = place(name);
            let task = TaskId { frame, node: node.into(), generation: 1 };
            let outcome = Ok(success(&[]));
            let (started_at, elapsed_us) = (self.driver.now, 1000);
            Outcome { task, attempt: 1, outcome, started_at, elapsed_us }
        };
        let (outcomes, end) = (nodes.iter().map(one).collect(), End::More);
        let completion = Completion { task, attempt, dispatch, outcomes, end };
        self.driver.apply(Input::Completed(completion))
    }

    /// Time passes: `+5s`.
    fn pass(&mut self, wait: &str) {
        let wait = duration_ms(wait.trim_start_matches('+'));
        let wait = Duration::from_millis(u64::try_from(wait).unwrap());
        self.driver.now = self.driver.now.after(wait);
    }

    /// A node needs a run of its own.
    fn call(&mut self, name: &str, call: Option<&String>) -> Result<Vec<Fact>, Rejected> {
        let (task, attempt, dispatch) = self.task(name);
        let call = ChildCall {
            name: call.map_or("1", |name| name).into(),
            workflow: "child".into(),
            inputs: Vec::new(),
        };
        self.driver.complete(&task, (attempt, dispatch), Ok(Success::calling(call)))
    }

    /// The run that a node needed has ended.
    fn ended(&self, name: &str, call: Option<&String>) -> Input {
        let (task, attempt, _) = self.task(name);
        let end = ChildEnd {
            name: call.map_or("1", |name| name).into(),
            run: Some("r".into()),
            status: Status::Succeeded,
            outputs: vec![("x".into(), Value::int(1))],
            error: None,
        };
        Input::ChildEnded(Box::new(ChildEnded { task, attempt, end }))
    }

    fn give_back(&self, words: &[String]) -> Input {
        let (task, attempt, dispatch) = self.task(&words[1]);
        let wait = words.get(2).map(|wait| duration_ms(wait.trim_start_matches('+')));
        let wait = wait.map(|wait| Duration::from_millis(u64::try_from(wait).unwrap()));
        let reason = match &*words[0] {
            "lost" => Returned::WorkerLost,
            "suspect" => Returned::Suspected,
            _ => Returned::HandedBack,
        };
        let not_before = wait.map(|wait| self.driver.now.after(wait));
        Input::Returned { task, attempt, dispatch, reason, not_before }
    }

    /// A worker keeps an outcome, for the next rerun, and does not tell it.
    fn keep(&mut self, name: &str, words: &[String]) -> Vec<String> {
        let (frame, node) = place(name);
        let task = TaskId { frame, node: node.into(), generation: 1 };
        let (outcome, started_at) = (Ok(success(words)), self.driver.now);
        self.kept.push(Outcome { task, attempt: 1, outcome, started_at, elapsed_us: 1000 });
        Vec::new()
    }

    /// Goes on with a new run that takes over what this one did: `rerun from a b.y=5`,
    /// `rerun failed`, `rerun failed-items`.
    fn rerun(&mut self, words: &[String]) -> Vec<String> {
        let (what, sets) = match &*words[0] {
            "from" => (What::From(words[1].as_str().into()), &words[2..]),
            "failed" => (What::Failed, &words[1..]),
            _ => (What::FailedItems, &words[1..]),
        };
        let set = |word: &String| {
            let (selector, text) = word.split_once('=').unwrap();
            (Selector::from_dotted(selector), value(text))
        };
        let sets: Vec<_> = sets.iter().map(set).collect();
        let plan = self.driver.run.plan().clone();
        let kept = std::mem::take(&mut self.kept);
        let facts = &rerun::with_outcomes(&plan, self.driver.facts.clone(), kept);
        let adoption = match rerun::plan(&plan, facts, &what, &sets) {
            Ok(adoption) => adoption,
            Err(refused) => return vec![format!("! {refused}")],
        };
        let start = rerun::start(facts, "s".into(), "".into(), adoption).unwrap();
        self.driver.check_facts();
        self.driver = Driver::start(&plan, start);
        let mut lines: Vec<String> = self.driver.facts[1..].iter().map(shown::fact).collect();
        self.tell(Input::Tick, &mut lines);
        lines
    }

    /// Applies an input, then does what a driver would: ticks while work is left, grants.
    fn tell(&mut self, input: Input, lines: &mut Vec<String>) {
        let facts = self.driver.apply(input);
        self.follow(facts, lines);
    }

    fn follow(&mut self, facts: Result<Vec<Fact>, Rejected>, lines: &mut Vec<String>) {
        match facts {
            Ok(facts) => lines.extend(facts.iter().map(shown::fact)),
            Err(rejected) => lines.push(format!("! {rejected:?}")),
        }
        loop {
            if self.driver.has_work() {
                lines.push(NEXT_SLICE.to_owned());
                let facts = self.driver.tick(Duration::ZERO);
                lines.extend(facts.iter().map(shown::fact));
                continue;
            }
            let now = self.driver.now;
            let ready =
                TaskClass::ALL.into_iter().find(|class| self.driver.run.ready(*class, now) > 0);
            let Some(class) = ready.filter(|_| !self.is_manual) else { return };
            let count = self.driver.run.ready(class, now);
            let facts =
                self.driver.apply(Input::Grant { class, count, number: 0, workers: 1 }).unwrap();
            lines.extend(facts.iter().map(shown::fact));
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
        let (task, mut attempt, mut dispatch) =
            found.unwrap_or_else(|| (TaskId { frame, node: node.into(), generation: 1 }, 1, 1));
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
        errors
            .map(|(index, error)| {
                let name = shown::at(&error.frame, &error.node);
                let cause = error.caused_by.map(|cause| format!(" because of {cause}"));
                let handled = serde_json::to_value(error.handled).unwrap();
                let handled = handled.as_str().unwrap();
                let (attempt, text) = (error.attempt, &error.message);
                format!("{index}: {name}#{attempt} {text:?} {handled}{}", cause.unwrap_or_default())
            })
            .collect()
    }
}

fn class_of(word: &str) -> TaskClass {
    TaskClass::ALL.into_iter().find(|class| format!("{class:?}").to_lowercase() == word).unwrap()
}

fn outputs(words: &[String]) -> Outputs {
    let pairs =
        words.iter().filter(|word| !word.contains(":=")).filter_map(|word| word.split_once('='));
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
        call: None,
    }
}

/// `a@it[0]` as frame and node.
fn place(text: &str) -> (FramePath, &str) {
    let (node, frame) = text.split_once('@').unwrap_or((text, ""));
    (frame.into(), node)
}
