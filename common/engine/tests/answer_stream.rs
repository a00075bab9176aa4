//! What the answer stream shows is what Dify's own filter showed for the same events
//! (`fixtures/answer_stream.py` recorded them).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

#[path = "support/catalogue.rs"]
mod catalogue;
#[path = "support/notation.rs"]
mod notation;

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Event, Fact, FramePath, NodeFailed, NodeSucceeded, Then};
use flowmill_engine::plan::{Outputs, Plan, Success, TaskClass, Write};
use flowmill_engine::rerun::{self, What};
use flowmill_engine::run::{Completion, Input, Outcome, Outstanding, Run, Start};
use flowmill_engine::stream::{AnswerStream, Piece};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value, decode};
use flowmill_engine::variables::{Selector, Variable};

type Shown = (Vec<Name>, Name, bool);

fn shown(pieces: &[Piece]) -> Vec<Shown> {
    pieces
        .iter()
        .map(|piece| (piece.selector.parts().to_vec(), piece.text.clone(), piece.is_final))
        .collect()
}

/// A member of a recorded step.
fn of<'a>(value: &'a Value, key: &str) -> &'a Value {
    let Value::Object(members) = value else { panic!("{value:?} is no object") };
    members.get(key).unwrap_or(&Value::None)
}

fn text(value: &Value, key: &str) -> Name {
    match of(value, key) {
        Value::Str(text) => text.clone(),
        other => panic!("{key} is {other:?}"),
    }
}

fn members(value: &Value) -> Outputs {
    let Value::Object(members) = value else { return Outputs::new() };
    members.iter().map(|(name, value)| (name.clone(), Variable::infer(value.clone()))).collect()
}

#[test]
fn pieces_are_those_of_difys_filter() {
    let file = include_bytes!("fixtures/answer_stream.json");
    let cases: Vec<Value> = decode(file).unwrap();
    for (number, case) in cases.iter().enumerate() {
        let plan = notation::plan(&text(case, "graph"));
        let mut stream = AnswerStream::new(&plan);
        let Value::Array(steps) = of(case, "steps") else { panic!("no steps") };
        for (at, step) in steps.iter().enumerate() {
            let expected: Vec<Shown> = serde_json::from_value(json(of(step, "shows"))).unwrap();
            let pieces = play(&mut stream, &plan, of(case, "inputs"), step);
            let graph = text(case, "graph");
            assert_eq!(shown(&pieces), expected, "case {number}, step {at} {step:?}\n{graph}");
        }
    }
}

#[test]
fn what_was_kept_is_shown_as_if_it_had_happened_now() {
    let graph = "start -> a -> answer1 -> b -> answer2\n\
                 answer1: answer says=\"<{{#a.y#}}>\"\n\
                 answer2: answer says=\"[{{#b.y#}}]\"";
    let plan = notation::plan(graph);
    let texts = |facts: &[Fact]| {
        let mut stream = AnswerStream::new(&plan);
        let pieces = facts.iter().flat_map(|fact| stream.fact(fact));
        pieces.map(|piece| piece.text.to_string()).collect::<Vec<_>>().concat()
    };
    let first = to_the_end(&plan, Start::default());
    assert_eq!(texts(&first), "<a>[b]");
    let adoption = rerun::plan(&plan, &first, &What::From("b".into()), &[]).unwrap();
    let start = rerun::start(&first, "again".into(), "".into(), adoption).unwrap();
    assert_eq!(texts(&to_the_end(&plan, start)), "<a>[b]");
}

/// Every task gives its node's id.
fn to_the_end(plan: &Arc<Plan>, start: Start) -> Vec<Fact> {
    let (mut run, mut facts) = Run::start(Arc::clone(plan), start, Time(0));
    facts.extend(run.apply(Time(0), Input::Tick).unwrap());
    while run.outcome().is_none() {
        let grant = Input::Grant { class: TaskClass::Light, count: 1, number: 0, workers: 1 };
        facts.extend(run.apply(Time(0), grant).unwrap());
        let Outstanding { task, attempt, dispatch, .. } = run.outstanding().next().unwrap();
        let outcome = Ok(Success::of([("y".into(), Value::Str(task.node.clone()))]));
        let (task, started_at) = (task.clone(), Time(0));
        let elapsed_us = 0;
        let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us };
        let completion = Completion::of(dispatch, outcome);
        facts.extend(run.apply(Time(0), Input::Completed(completion)).unwrap());
    }
    facts
}

fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

fn play(stream: &mut AnswerStream, plan: &Arc<Plan>, inputs: &Value, step: &Value) -> Vec<Piece> {
    let Value::Object(members_of_step) = step else { panic!("{step:?} is no step") };
    let (kind, what) = members_of_step.first().unwrap();
    if &**kind == "started" {
        let inputs = members(inputs);
        let inputs = inputs.into_iter().map(|(name, held)| (name, held.value().clone())).collect();
        let system = vec![("user_id".into(), "oracle-user".into())];
        let start = Start { inputs, system, ..Start::default() };
        let (_, facts) = Run::start(Arc::clone(plan), start, Time(0));
        return stream.fact(&facts[0]);
    }
    let (frame, node) = (FramePath::from(&*text(what, "frame")), text(what, "node"));
    let times = (Time(0), 0);
    let event = match &**kind {
        "chunk" => {
            let is_final = *of(what, "final") == Value::Bool(true);
            let output = text(what, "output");
            return stream.chunk(&frame, &node, &output, text(what, "text"), is_final);
        }
        "loop" => {
            let labels = members(of(what, "labels")).into_iter();
            let writes = labels.map(|(label, variable)| {
                let selector = Selector::of(&node, &label);
                Write { selector, variable }
            });
            let writes = writes.collect();
            Event::ContainerStarted { frame, node, generation: 1, length: 2, writes }
        }
        "ok" => Event::NodeSucceeded(NodeSucceeded {
            frame,
            node,
            generation: 1,
            attempt: 1,
            success: Success {
                outputs: members(of(what, "outputs")),
                handle: Some(text(what, "handle")),
                writes: writes(of(what, "writes")),
                call: None,
            },
            started_at: times.0,
            elapsed_us: times.1,
        }),
        "exception" | "failed" => Event::NodeFailed(NodeFailed {
            frame,
            node,
            generation: 1,
            attempt: 1,
            error: NodeError::new("MockError", text(what, "error")),
            then: match of(what, "strategy").as_str() {
                None => Then::Unhandled,
                Some(strategy) if strategy.contains("fail") => Then::FailBranch,
                Some(_) => Then::DefaultValue,
            },
            writes: Vec::new(),
            started_at: times.0,
            elapsed_us: times.1,
        }),
        other => panic!("no such step: {other}"),
    };
    stream.fact(&Fact { seq: 0, at: Time(0), event })
}

fn writes(writes: &Value) -> Vec<Write> {
    let Value::Array(writes) = writes else { return Vec::new() };
    let write = |write: &Value| {
        let Value::Array(pair) = write else { panic!("{write:?} is no write") };
        let Value::Array(path) = &pair[0] else { panic!("{write:?} has no selector") };
        let parts = path.iter().map(|part| part.as_str().unwrap().into());
        Write { selector: Selector::new(parts), variable: Variable::infer(pair[1].clone()) }
    };
    writes.iter().map(write).collect()
}

/// A run beside its stream.
struct Watched {
    run: Run,
    stream: AnswerStream,
    shown: String,
}

impl Watched {
    fn start(graph: &str) -> Self {
        let plan = notation::plan(graph);
        let (run, facts) = Run::start(Arc::clone(&plan), Start::default(), Time(0));
        let mut watched = Self { run, stream: AnswerStream::new(&plan), shown: String::new() };
        watched.follow(&facts);
        watched.tell(Input::Tick);
        watched
    }

    /// Tells the run something and sends what it has ready then.
    fn tell(&mut self, input: Input) {
        for input in
            [input, Input::Grant { class: TaskClass::Light, count: 9, number: 0, workers: 1 }]
        {
            let facts = self.run.apply(Time(0), input).unwrap_or_default();
            self.follow(&facts);
        }
    }

    fn follow(&mut self, facts: &[Fact]) {
        for piece in facts.iter().flat_map(|fact| self.stream.fact(fact)) {
            self.shown += &piece.text;
        }
    }

    fn chunk(&mut self, node: &str, text: &str, is_final: bool) {
        let frame = FramePath::default();
        for piece in self.stream.chunk(&frame, &node.into(), "text", text.into(), is_final) {
            self.shown += &piece.text;
        }
    }

    fn end(&mut self, node: &str, outcome: Result<Success, NodeError>) {
        let mut out = self.run.outstanding();
        let sent = out.find(|sent| &*sent.task.node == node).unwrap();
        let Outstanding { task, attempt, dispatch, .. } = sent;
        let (task, started_at) = (task.clone(), Time(0));
        drop(out);
        let elapsed_us = 1;
        let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us };
        let completion = Completion::of(dispatch, outcome);
        self.tell(Input::Completed(completion));
    }
}

fn said(text: &str) -> Success {
    Success::of([("text".into(), text.into())])
}

#[test]
fn what_was_not_streamed_is_filled_in_when_the_node_ends() {
    let mut watched =
        Watched::start("start -> a -> answer\nanswer: answer says=\"{{#a.text#}}, done\"");
    watched.chunk("a", "one ", false);
    assert_eq!(watched.shown, "one ");
    watched.end("a", Ok(said("one two")));
    assert_eq!(watched.shown, "one two, done");
}

#[test]
fn a_stream_whose_node_fails_is_ended_so_that_others_get_their_turn() {
    let mut watched = Watched::start(
        "start -> a, b; a -> answer1; b -> answer2\na: task or={\"text\":\"sorry\"}\n\
         answer1: answer says=\"1: {{#a.text#}}. \"; answer2: answer says=\"2: {{#b.text#}}\"",
    );
    watched.chunk("a", "half", false);
    watched.chunk("b", "two", true);
    watched.end("a", Err(NodeError::new("", "broken")));
    assert_eq!(watched.shown, "1: half. 2: two");
}

#[test]
fn late_chunks_and_chunks_of_passes_are_dropped() {
    let mut watched = Watched::start("start -> a -> answer\nanswer: answer says=\"{{#a.text#}}\"");
    let inside = FramePath::from("it[0]");
    assert!(watched.stream.chunk(&inside, &"a".into(), "text", "no".into(), false).is_empty());
    watched.end("a", Ok(said("all")));
    watched.chunk("a", "late", true);
    assert_eq!(watched.shown, "all");
}

#[test]
fn thoughts_are_shown_while_a_template_that_uses_the_text_has_been_reached() {
    let graph = "start -> if; if -1-> a -> answer; if -2-> b\n\
                 if: choose; answer: answer says=\"{{#a.text#}}\"";
    let mut watched = Watched::start(graph);
    assert!(!watched.stream.shows_reasoning("a"));
    watched.end("if", Ok(Success::default().with_handle("1")));
    assert!(watched.stream.shows_reasoning("a"));
    assert!(!watched.stream.shows_reasoning("b"));
    watched.end("a", Ok(said("all")));
    assert!(!watched.stream.shows_reasoning("a"));
}
