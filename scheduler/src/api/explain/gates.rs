//! What holds each node of a run: read off its journal, and off what its owner knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::fact::{Event, Fact, FramePath, Returned, Status, Then, Waiting};
use flowmill_engine::plan::{Behaviour, Plan, TaskClass};
use flowmill_engine::run::{Outstanding, Queued, Run, Wake};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::notes::Note;
use flowmill_infra::waits::Waiting as Call;
use flowmill_services::models::limits::{Standing, Why};

use super::super::json::{object, text, time};
use super::Broker;

/// What holds the nodes of a run.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub(super) nodes: Vec<Hold>,
    /// When the run must be told the time, and why.
    pub(super) wakes: Option<(Time, Wake)>,
    /// Why it is paused.
    pub(super) pauses: Vec<Name>,
    /// What holds calls of models back, if one of the nodes may be about to make some.
    pub(super) providers: Vec<(Name, Standing)>,
}

/// What holds a node.
#[derive(Debug)]
pub(super) struct Hold {
    frame: FramePath,
    node: Name,
    title: Name,
    kind: Name,
    /// For programs: the gate, and what is the matter there.
    pub(super) gate: &'static str,
    code: &'static str,
    since: Option<Time>,
    until: Option<Time>,
    class: Option<TaskClass>,
    worker: Option<Name>,
    /// The provider of models that it waits for.
    provider: Option<Name>,
    /// What its last attempt failed with, if that is why it waits.
    failure: Option<Name>,
    /// For people.
    detail: String,
}

impl Hold {
    fn of(plan: &Plan, frame: FramePath, node: Name) -> Self {
        let found = plan.find(&node).map(|index| plan.node(index));
        let class = found.and_then(|node| match node.behaviour {
            Behaviour::Task(task) => Some(task.class),
            _ => node.passes.as_ref().and_then(|passes| passes.class),
        });
        Self {
            title: found.map_or_else(|| "".into(), |node| node.title.clone()),
            kind: found.map_or_else(|| "".into(), |node| node.kind.clone()),
            frame,
            node,
            gate: "",
            code: "",
            since: None,
            until: None,
            class,
            worker: None,
            provider: None,
            failure: None,
            detail: String::new(),
        }
    }

    fn held(self, gate: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self { gate, code, detail: detail.into(), ..self }
    }

    /// A node that is ready is held by a limit that its run has reached.
    pub(super) fn limit(&mut self, reached: Option<&str>) {
        let is_ready = matches!(self.code, "window_full" | "window_unknown" | "waits_for_turn");
        if let Some(limit) = reached.filter(|_| is_ready && self.class.is_some()) {
            (self.gate, self.code) = ("limit", "limit_of_tasks");
            self.detail = format!("it is ready and waits: {limit}");
        }
    }

    /// A node that is ready, or whose task nobody has, is held by a broker that takes nothing.
    pub(super) fn broker(&mut self, broker: Broker) {
        let is_sent = matches!(self.code, "unconfirmed" | "just_sent" | "waits_for_slot");
        let is_ready =
            matches!(self.code, "window_full" | "window_unknown" | "waits_for_turn" | "no_worker");
        if self.class.is_none() || !(is_sent || is_ready) {
            return;
        }
        let (code, why) = match broker {
            Broker::Well => return,
            Broker::Away => (
                "broker_away",
                "RabbitMQ does not answer: what is ready is sent, and what was \
                sent is heard of, once it does",
            ),
            Broker::Blocked => (
                "broker_blocked",
                "RabbitMQ takes nothing for now: it lacks memory or room on \
                its disk",
            ),
        };
        (self.gate, self.code) = ("broker", code);
        why.clone_into(&mut self.detail);
    }

    /// The worker that has it says that its call waits.
    fn waits_for(self, call: &Call) -> Self {
        let Call { provider, why, until, .. } = call;
        let (code, why) = match why {
            Why::Requests => ("requests_per_minute", "its calls of a minute are used up"),
            Why::Tokens => ("tokens_per_minute", "its tokens of a minute are used up"),
            Why::AtOnce => ("calls_at_once", "as many calls as it takes at a time are under way"),
            Why::Cooling => ("cooling", "it asked for fewer calls"),
        };
        let least =
            until.map_or_else(String::new, |at| format!(", until {} at least", at.rfc3339()));
        let detail = format!("it waits for the provider {provider}: {why}{least}; {}", self.detail);
        let (provider, until) = (Some(provider.clone()), until.or(self.until));
        Self { until, provider, ..self.held("provider", code, detail) }
    }

    /// Whether it asks a model, or is about to do so again.
    pub(super) fn asks_a_model(&self) -> bool {
        let asks = matches!(self.code, "held_by_worker" | "retry");
        self.provider.is_some() || (asks && self.class == Some(TaskClass::Llm))
    }

    /// Whether it waits for this provider, or failed by it.
    fn is_of(&self, provider: &str) -> bool {
        match (&self.provider, &self.failure) {
            (Some(asked), _) => **asked == *provider,
            // errors of models name whom they are about, in these words
            (None, Some(failure)) => {
                failure.contains(&format!("the provider {provider}, asked for "))
            }
            (None, None) => false,
        }
    }

    /// These providers hold calls back. One that is left alone holds all that is for it. Where no worker
    /// says whom a node asks, nobody knows: that is in the services file of its worker.
    pub(super) fn provider(&mut self, holding: &[(Name, Standing)], now: Time) {
        if !self.asks_a_model() {
            return;
        }
        let open = holding.iter().find_map(|(key, standing)| {
            // a key is a provider, or one of its models
            let name = key.split('/').next().unwrap_or_default();
            let open_until = now.after(standing.shut?);
            self.is_of(name).then(|| (Name::from(name), open_until))
        });
        if let Some((name, open_until)) = open {
            let until = self.until.filter(|_| self.code == "retry").unwrap_or(open_until);
            self.until = Some(until.max(open_until));
            let open = format!("its circuit is open until {}", open_until.rfc3339());
            // in place of what its worker was told before
            let others = self.detail.split_once("; ").filter(|_| self.gate == "provider");
            let others = others.map_or(&*self.detail, |(_, others)| others);
            self.detail = format!("it waits for the provider {name}: {open}; {others}");
            (self.gate, self.code, self.provider) = ("provider", "circuit_open", Some(name));
        } else if self.code == "held_by_worker" && !holding.is_empty() {
            let names: Vec<&str> = holding.iter().map(|(key, _)| &**key).collect();
            let names = names.join(", ");
            let more = format!("; its call may wait for {names}: flowmill models status says why");
            self.detail.push_str(&more);
        }
    }

    pub(super) fn shown(self) -> Value {
        object([
            ("frame", self.frame.as_str().into()),
            ("node", Value::Str(self.node)),
            ("title", Value::Str(self.title)),
            ("type", Value::Str(self.kind)),
            ("gate", self.gate.into()),
            ("code", self.code.into()),
            ("class", self.class.map_or(Value::None, |class| class.name().into())),
            ("worker", text(self.worker.as_ref())),
            ("provider", text(self.provider.as_ref())),
            ("since", time(self.since)),
            ("until", time(self.until)),
            ("detail", Value::from(self.detail)),
        ])
    }
}

/// What happened to a node last that made it wait.
#[derive(Clone, Copy, Debug)]
enum Last<'a> {
    Failed(&'a Name),
    Returned(Returned),
    Called,
}

type Lasts<'a> = BTreeMap<(&'a FramePath, &'a Name), (Time, Last<'a>)>;

fn lasts(facts: &[Fact]) -> Lasts<'_> {
    let mut lasts = Lasts::new();
    for fact in facts {
        match &fact.event {
            Event::NodeFailed(failed) if matches!(failed.then, Then::RetryAt(_)) => {
                let why = Last::Failed(&failed.error.message);
                lasts.insert((&failed.frame, &failed.node), (fact.at, why));
            }
            Event::TaskReturned { task, reason, .. } => {
                lasts.insert((&task.frame, &task.node), (fact.at, Last::Returned(*reason)));
            }
            Event::ChildCalled(called) => {
                let task = &called.task;
                lasts.insert((&task.frame, &task.node), (fact.at, Last::Called));
            }
            _ => {}
        }
    }
    lasts
}

pub(super) fn gates(plan: &Arc<Plan>, facts: &[Fact], note: Option<&Note>, now: Time) -> Gates {
    let run = Run::replay(plan.clone(), facts);
    let lasts = lasts(facts);
    let changed_at = facts.last().map(|fact| fact.at);
    let mut nodes = Vec::new();
    for waiting in run.waiting() {
        let gate = Hold::of(plan, waiting.frame.clone(), waiting.node.clone());
        let form = run.form(waiting);
        let detail = match form {
            Some(form) => {
                format!("a person must answer its form until {}", form.expires_at.rfc3339())
            }
            None => "somebody must resume the run".to_owned(),
        };
        let asked = |event: &Event| matches!(event, Event::PauseRequested { .. });
        let since = facts.iter().rev().find(|fact| asked(&fact.event)).map(|fact| fact.at);
        let until = form.map(|form| form.expires_at);
        nodes.push(Hold { since, until, ..gate.held("human", "form_open", detail) });
    }
    nodes.extend(run.outstanding().map(|out| sent(plan, &out, note)));
    let is_asked = |queued: &Queued| {
        let asked =
            |waiting: &Waiting| waiting.frame == queued.frame && waiting.node == queued.node;
        run.waiting().iter().any(asked)
    };
    for queued in run.queued().into_iter().filter(|queued| !is_asked(queued)) {
        let last = lasts.get(&(&queued.frame, &queued.node)).copied();
        nodes.push(waits(plan, &run, queued, last, (note, now, changed_at)));
    }
    let order = |gate: &Hold| (gate.frame.clone(), gate.node.clone());
    nodes.sort_by_key(order);
    let (wakes, pauses) = (run.next_deadline(now), run.pause_reasons().to_vec());
    Gates { nodes, wakes, pauses, providers: Vec::new() }
}

/// A node whose task was sent and has no answer.
fn sent(plan: &Plan, out: &Outstanding<'_>, note: Option<&Note>) -> Hold {
    let gate = Hold::of(plan, out.task.frame.clone(), out.task.node.clone());
    let class = Some(out.class);
    let gate = Hold { since: Some(out.sent_at), until: Some(out.due), class, ..gate };
    let times = format!("attempt {}, sent {}", out.attempt, out.sent_at.rfc3339());
    let Some(note) = note else {
        let detail =
            format!("{times}; its owner's notes cannot be read, so who holds it is unknown");
        return gate.held("sent", "holder_unknown", detail);
    };
    if let Some(worker) = note.holder(out.number) {
        let detail = format!(
            "worker {} runs it or has it in hand, and was heard {}; {times}",
            worker.name,
            worker.heard_at.rfc3339()
        );
        let waits = worker.waits.iter().find(|call| call.number == out.number);
        let worker = Some(worker.name.clone());
        let gate = Hold { worker, ..gate.held("running", "held_by_worker", detail) };
        return match waits {
            Some(call) => gate.waits_for(call),
            None => gate,
        };
    }
    if note.at < out.sent_at {
        let detail = format!("{times}, after its owner wrote what it knows");
        return gate.held("sent", "just_sent", detail);
    }
    if !serves(note, out.class) {
        let detail = format!("no worker is heard of that serves {}; {times}", out.class.name());
        return gate.held("class", "no_worker", detail);
    }
    if out.number > note.mark {
        let detail = format!("the broker has not confirmed it, or its queues were lost; {times}");
        return gate.held("broker", "unconfirmed", detail);
    }
    let detail = format!(
        "it lies in the broker's queue until a slot for {} is free; {times}",
        out.class.name()
    );
    gate.held("class", "waits_for_slot", detail)
}

fn serves(note: &Note, class: TaskClass) -> bool {
    note.workers.iter().any(|worker| worker.slots[class as usize] > 0)
}

/// A node that waits to be sent.
fn waits(
    plan: &Plan,
    run: &Run,
    queued: Queued,
    last: Option<(Time, Last<'_>)>,
    (note, now, changed_at): (Option<&Note>, Time, Option<Time>),
) -> Hold {
    let Queued { frame, node, not_before, is_kept_back } = queued;
    let gate = Hold::of(plan, frame, node);
    if let Some(order) = run
        .children()
        .into_iter()
        .find(|order| order.parent.task.frame == gate.frame && order.parent.task.node == gate.node)
    {
        let detail = format!(
            "it waits for a run of {} of its own; flowmill runs list --parent {} shows it",
            order.call.workflow, order.parent.run
        );
        let since = last.map(|(at, _)| at).or(changed_at);
        return Hold { since, until: not_before, ..gate.held("child", "child_run", detail) };
    }
    if let Some(at) = not_before.filter(|at| *at > now) {
        return delayed(gate, at, last);
    }
    // it has waited at least since then
    let gate = Hold { since: last.map(|(at, _)| at).or(changed_at), ..gate };
    if is_kept_back || run.status() == Status::Paused || !run.pause_reasons().is_empty() {
        return gate.held("paused", "kept_back", "it begins once the run is resumed");
    }
    let Some(class) = gate.class else {
        let asks = plan.find(&gate.node).map(|index| &plan.node(index).behaviour);
        return match asks {
            Some(Behaviour::Pause(_)) => gate.held(
                "human",
                "not_asked_yet",
                "it asks a person once what became ready with it has begun",
            ),
            _ => gate.held("class", "waits_for_turn", "its scheduler gets to it in its turn"),
        };
    };
    match note {
        None => gate.held(
            "class",
            "window_unknown",
            "it is ready and waits for a place; its owner's notes cannot be read (Redis)",
        ),
        Some(note) if !serves(note, class) => {
            let detail = format!("it is ready; no worker is heard of that serves {}", class.name());
            gate.held("class", "no_worker", detail)
        }
        Some(note) if note.out[class as usize] >= note.window[class as usize] => {
            let (out, most) = (note.out[class as usize], note.window[class as usize]);
            let detail = format!(
                "it is ready and waits for a place: {out} of {most} tasks of class {} are out",
                class.name()
            );
            gate.held("class", "window_full", detail)
        }
        Some(_) => gate.held("class", "waits_for_turn", "it is ready and waits for its run's turn"),
    }
}

/// A node that may not be sent before that, and why.
fn delayed(gate: Hold, at: Time, last: Option<(Time, Last<'_>)>) -> Hold {
    let (code, why) = match last {
        Some((_, Last::Failed(_))) => ("retry", "its last attempt failed"),
        Some((_, Last::Returned(Returned::Unroutable))) => {
            ("unroutable", "the broker had no queue for it")
        }
        Some((_, Last::Returned(Returned::WorkerLost))) => ("worker_lost", "its worker was lost"),
        Some((_, Last::Returned(Returned::HandedBack | Returned::Suspected))) => {
            ("handed_back", "a worker gave it back")
        }
        // what it waits for was said above
        Some((_, Last::Called)) | None => ("delayed", "it may not begin before"),
    };
    let detail = format!("{why}; it is sent again at {}", at.rfc3339());
    let kind = if code == "unroutable" { "broker" } else { "timer" };
    let since = last.map(|(at, _)| at);
    let failure = match last {
        Some((_, Last::Failed(why))) => Some(why.clone()),
        Some((_, Last::Returned(_) | Last::Called)) | None => None,
    };
    Hold { since, until: Some(at), failure, ..gate.held(kind, code, detail) }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::error::NodeError;
    use flowmill_engine::run::{Completion, Input, Outcome, Start};
    use flowmill_infra::message::Shard;

    use super::*;
    use crate::owner::plans::plan;

    fn note(at: u64, mark: u64, held: &[u64], slots: u16) -> Note {
        let worker = flowmill_infra::notes::WorkerNote {
            name: "hand".into(),
            heard_at: Time(at),
            slots: [slots; 4],
            held: held.to_vec(),
            waits: Vec::new(),
        };
        Note {
            scheduler: "one".into(),
            at: Time(at),
            mark,
            workers: vec![worker],
            ..Note::default()
        }
    }

    fn told_of(note: Option<&Note>) -> Hold {
        let task = flowmill_engine::fact::TaskId {
            frame: FramePath::default(),
            node: "n".into(),
            generation: 1,
        };
        let out = Outstanding {
            task: &task,
            attempt: 1,
            dispatch: 1,
            class: TaskClass::Llm,
            number: 7,
            sent_at: Time(100),
            due: Time(900),
        };
        sent(&plan("start llm1"), &out, note)
    }

    fn code(note: Option<&Note>) -> (&'static str, &'static str) {
        let hold = told_of(note);
        (hold.gate, hold.code)
    }

    /// A provider that is left alone for another ten seconds.
    fn open(name: &str) -> (Name, Standing) {
        let shut = Some(std::time::Duration::from_secs(10));
        (name.into(), Standing { shut, failures: 5, ..Standing::default() })
    }

    #[test]
    fn a_call_that_waits_names_its_provider() {
        let told = |why, until: Option<u64>, holding: &[(Name, Standing)]| {
            let (provider, until) = ("local".into(), until.map(Time));
            let call = Call { shard: Shard(0), number: 7, provider, why, until };
            let mut note = note(200, 9, &[7], 4);
            note.workers[0].waits = vec![Call { number: 8, ..call.clone() }, call];
            let mut hold = told_of(Some(&note));
            hold.provider(holding, Time(0));
            hold
        };
        let hold = told(Why::AtOnce, None, &[open("other")]);
        assert_eq!(
            (hold.gate, hold.code, hold.until),
            ("provider", "calls_at_once", Some(Time(900)))
        );
        assert_eq!(hold.provider.as_deref(), Some("local"));
        assert!(hold.detail.starts_with("it waits for the provider local: as many"), "{hold:?}");
        let hold = told(Why::Cooling, Some(5_000_000), &[]);
        assert_eq!((hold.code, hold.until), ("cooling", Some(Time(5_000_000))));
        let hold = told(Why::Requests, Some(5), &[open("local/small")]);
        assert_eq!((hold.gate, hold.code), ("provider", "circuit_open"));
        assert_eq!(hold.until, Some(Time(10_000_000)));
        let words = "the provider local: its circuit is open until 1970-01-01T00:00:10.000Z";
        assert!(hold.detail.contains(words) && !hold.detail.contains("minute"), "{hold:?}");
    }

    #[test]
    fn what_is_tried_again_waits_for_the_circuit_of_whom_it_failed_by() {
        let told = |failure: &str, until| {
            let hold = Hold::of(&plan("start llm1"), FramePath::default(), "llm1".into());
            let (failure, until) = (Some(failure.into()), Some(Time(until)));
            let class = Some(TaskClass::Llm);
            let mut hold =
                Hold { until, class, failure, ..hold.held("timer", "retry", "it failed") };
            hold.provider(&[open("local")], Time(0));
            (hold.gate, hold.code, hold.until)
        };
        let by_it = "the provider local, asked for small: it failed again and again";
        let waits = |until| ("provider", "circuit_open", Some(Time(until)));
        assert_eq!(told(by_it, 1), waits(10_000_000));
        assert_eq!(told(by_it, 11_000_000), waits(11_000_000));
        let by_others = "the provider localhost, asked for small: status 500";
        assert_eq!(told(by_others, 1), ("timer", "retry", Some(Time(1))));
    }

    #[test]
    fn a_task_that_is_out_is_told_by_what_its_owner_knows() {
        assert_eq!(code(None), ("sent", "holder_unknown"));
        assert_eq!(code(Some(&note(200, 9, &[7], 4))), ("running", "held_by_worker"));
        assert_eq!(code(Some(&note(50, 9, &[], 4))), ("sent", "just_sent"));
        assert_eq!(code(Some(&note(200, 9, &[], 0))), ("class", "no_worker"));
        assert_eq!(code(Some(&note(200, 6, &[], 4))), ("broker", "unconfirmed"));
        assert_eq!(code(Some(&note(200, 9, &[], 4))), ("class", "waits_for_slot"));
    }

    #[test]
    fn what_calls_a_model_may_wait_for_a_provider() {
        let node = |code, class| {
            let hold = Hold::of(&plan("start llm1"), FramePath::default(), "llm1".into());
            Hold { class, ..hold.held("running", code, "a worker has it") }
        };
        let told = |code, class| {
            let mut hold = node(code, class);
            hold.provider(&[open("openai"), open("local/small")], Time(0));
            hold.detail
        };
        let llm = Some(TaskClass::Llm);
        let waits = told("held_by_worker", llm);
        assert!(waits.contains("wait for openai, local/small"), "{waits}");
        assert_eq!(told("held_by_worker", Some(TaskClass::Http)), "a worker has it");
        assert_eq!(told("waits_for_slot", llm), "a worker has it");
    }

    #[test]
    fn a_broker_that_takes_nothing_holds_what_nobody_has() {
        let hold = |code| {
            let start = Hold::of(&plan("start llm1"), FramePath::default(), "llm1".into());
            start.held("class", code, "")
        };
        let told = |code, broker| {
            let mut hold = hold(code);
            hold.broker(broker);
            (hold.gate, hold.code)
        };
        assert_eq!(told("waits_for_turn", Broker::Away), ("broker", "broker_away"));
        assert_eq!(told("waits_for_slot", Broker::Away), ("broker", "broker_away"));
        assert_eq!(told("unconfirmed", Broker::Blocked), ("broker", "broker_blocked"));
        assert_eq!(told("waits_for_turn", Broker::Well), ("class", "waits_for_turn"));
        // a worker has it: it goes on without the broker
        assert_eq!(told("held_by_worker", Broker::Away), ("class", "held_by_worker"));
    }

    /// What is told of the nodes of a run at a time, without its owner.
    fn of(run: &Run, facts: &[Fact], now: Time) -> Vec<(String, &'static str, &'static str)> {
        let gates = gates(run.plan(), facts, None, now);
        let told = |gate: Hold| (gate.node.to_string(), gate.gate, gate.code);
        gates.nodes.into_iter().map(told).collect()
    }

    /// What is told of a node that is ready while its owner has so many of its class out, of two.
    fn ready(out: usize) -> (&'static str, &'static str, String) {
        let start = Start { run: "r".into(), ..Start::default() };
        let (mut run, mut facts) = Run::start(plan("start llm1"), start, Time(0));
        facts.extend(run.apply(Time(0), Input::Tick).unwrap());
        let (out, window) = ([0, 0, 0, out], [2; 4]);
        let note = Note { out, window, ..note(200, 9, &[], 4) };
        let told = gates(run.plan(), &facts, Some(&note), Time(300)).nodes.remove(0);
        (told.gate, told.code, told.detail)
    }

    #[test]
    fn a_window_is_full_once_so_many_are_out() {
        let (gate, code, detail) = ready(2);
        assert_eq!((gate, code), ("class", "window_full"));
        assert!(detail.ends_with("2 of 2 tasks of class llm are out"), "{detail}");
        assert_eq!(ready(1).1, "waits_for_turn");
    }

    #[test]
    fn what_came_back_says_why_until_it_may_be_sent_again() {
        let second = |count: u64| Time(count * 1_000_000);
        let told = |reason, at| {
            let start = Start { run: "r".into(), ..Start::default() };
            let (mut run, mut facts) = Run::start(plan("start llm1"), start, Time(0));
            facts.extend(run.apply(second(0), Input::Tick).unwrap());
            let class = TaskClass::Llm;
            let grant = Input::Grant { class, count: 1, number: 1, workers: 1 };
            facts.extend(run.apply(second(1), grant).unwrap());
            let sent = run.outstanding().next().unwrap();
            let (task, attempt, dispatch) = (sent.task.clone(), sent.attempt, sent.dispatch);
            let not_before = Some(second(7));
            let back = Input::Returned { task, attempt, dispatch, reason, not_before };
            facts.extend(run.apply(second(2), back).unwrap());
            let told = gates(run.plan(), &facts, None, second(at)).nodes.remove(0);
            (told.gate, told.code, told.since, told.until)
        };
        let until = Some(second(7));
        let waits = |gate, code| (gate, code, Some(second(2)), until);
        assert_eq!(told(Returned::Unroutable, 3), waits("broker", "unroutable"));
        assert_eq!(told(Returned::WorkerLost, 3), waits("timer", "worker_lost"));
        assert_eq!(told(Returned::HandedBack, 3), waits("timer", "handed_back"));
        assert_eq!(told(Returned::Suspected, 3), waits("timer", "handed_back"));
        // then it is ready as any other
        let ready = ("class", "window_unknown", Some(second(2)), None);
        assert_eq!(told(Returned::WorkerLost, 8), ready);
    }

    #[test]
    fn what_the_journal_says_needs_no_owner() {
        let start = Start { run: "r".into(), ..Start::default() };
        let plan = plan("start retry1; start pause1; start llm1");
        let (mut run, mut facts) = Run::start(plan, start, Time(0));
        let second = |count: u64| Time(count * 1_000_000);
        let class = TaskClass::Llm;
        facts.extend(run.apply(second(0), Input::Tick).unwrap());
        let waits = |node: &str, gate, code| (node.to_owned(), gate, code);
        let ready = |node| waits(node, "class", "window_unknown");
        let not_yet = waits("pause1", "human", "not_asked_yet");
        assert_eq!(of(&run, &facts, second(0)), [ready("llm1"), not_yet, ready("retry1")]);
        let grant = Input::Grant { class, count: 2, number: 1, workers: 1 };
        facts.extend(run.apply(second(1), grant).unwrap());
        facts.extend(run.apply(second(1), Input::Tick).unwrap());
        let out = |node| waits(node, "sent", "holder_unknown");
        let human = waits("pause1", "human", "form_open");
        assert_eq!(of(&run, &facts, second(1)), [out("llm1"), human, out("retry1")]);
        let mut run = {
            // the same without a pause, so that tasks go out
            let start = Start { run: "r".into(), ..Start::default() };
            let plan = super::tests::plan("start retry1; start llm1");
            let (run, begun) = Run::start(plan, start, Time(0));
            facts = begun;
            run
        };
        facts.extend(run.apply(second(0), Input::Tick).unwrap());
        assert_eq!(of(&run, &facts, second(0)), [ready("llm1"), ready("retry1")]);
        let grant = Input::Grant { class, count: 2, number: 1, workers: 1 };
        facts.extend(run.apply(second(1), grant).unwrap());
        assert_eq!(of(&run, &facts, second(1)), [out("llm1"), out("retry1")]);
        let task = run.outstanding().find(|out| &*out.task.node == "retry1").unwrap();
        let (task, attempt, dispatch) = (task.task.clone(), task.attempt, task.dispatch);
        let error = Err(NodeError::new("Bad", "it failed"));
        let outcome =
            Outcome { task, attempt, outcome: error, started_at: second(1), elapsed_us: 0 };
        let completion = Completion::of(dispatch, outcome);
        facts.extend(run.apply(second(2), Input::Completed(completion)).unwrap());
        let retry = waits("retry1", "timer", "retry");
        assert_eq!(of(&run, &facts, second(3)), [out("llm1"), retry]);
        let gates = gates(run.plan(), &facts, None, second(3));
        assert_eq!(
            (gates.nodes[1].since, gates.nodes[1].until),
            (Some(second(2)), Some(second(12)))
        );
        assert_eq!(of(&run, &facts, second(20)), [out("llm1"), ready("retry1")]);
    }
}
