//! Processes: schedulers and workers that can be killed, frozen and begun anew, and what they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Dispatch, Event, Fact, Options, Status};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Run, Start, invariants};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::CompletionPublisher as _;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::intake::{Accepted, Attached, Document, Intake as _, Submission};
use flowmill_infra::memory::{MemoryLive, SharedStore};
use flowmill_infra::message::{Delivery, PlanKey, Shard};
use flowmill_infra::shards::{Announcement, Shards as _, Wish};
use flowmill_infra::store::Store as _;
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use flowmill_scheduler::{Handle, Service as Scheduler, Sharded, Window};
use flowmill_worker::{Checkpointed, Service as Worker, Settings, Slots};
use flowmill_workflow::{Workflows, digest};
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::chaos::{Gate, Weather};
use crate::dice::Dice;
use crate::nodes::{Shelf, documents};
use crate::store::Reach;

pub(crate) const SHARDS: u16 = 4;

const SLOTS: Slots = Slots { light: 2, code: 2, http: 4, llm: 2 };

/// When every simulation begins.
const BEGINNING: Time = Time(1_800_000_000_000_000);

/// What all processes share.
pub(crate) struct Cluster {
    seed: u64,
    pub(crate) store: SharedStore,
    pub(crate) broker: Broker,
    pub(crate) weather: Weather,
    clock: SystemClock,
    plans: Vec<PlanKey>,
    begun: u64,
}

/// A scheduler or a worker.
pub(crate) struct Process {
    service: JoinHandle<()>,
    pub(crate) gate: Gate,
    pub(crate) reach: Reach,
    _handle: Option<Handle>,
}

impl Process {
    /// It is gone at once, wherever it was.
    pub(crate) fn kill(&mut self) {
        self.service.abort();
    }

    /// Whether it ended by itself, which none may.
    pub(crate) fn has_ended(&self) -> bool {
        self.service.is_finished()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What is known of a run at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) outputs: Vec<(String, String)>,
    /// What went wrong in the order of names.
    pub(crate) errors: Vec<String>,
}

impl Cluster {
    pub(crate) async fn new(seed: u64) -> Self {
        let clock = SystemClock::beginning_at(BEGINNING);
        let store = SharedStore::new(SHARDS, Duration::from_secs(10)).with_clock(clock.clone());
        let mut plans = Vec::new();
        for text in documents() {
            let digest = digest(&text);
            let (name, text) = (digest.clone(), text.as_str().into());
            let (pushed_at, has_secrets) = (Time(0), false);
            let document = Document { digest: digest.clone(), name, text, pushed_at, has_secrets };
            store.push(&"default".into(), &document).await.unwrap();
            plans.push(PlanKey { workflow: digest, ..PlanKey::default() });
        }
        let (broker, weather) = (Broker::default(), Weather::default());
        Self { seed, store, broker, weather, clock, plans, begun: 0 }
    }

    fn gate(&mut self, role: &str) -> (Gate, Name) {
        self.begun += 1;
        let name = format!("{role}{}", self.begun);
        (Gate::new(Dice::of(self.seed, &name), self.weather.clone()), name.as_str().into())
    }

    pub(crate) fn scheduler(&mut self) -> Process {
        let (gate, name) = self.gate("scheduler");
        let reach = Reach::new(&self.store, &gate);
        let store = Arc::new(reach.clone());
        let workflows = Arc::new(Workflows::new(store.clone()));
        let duties =
            Sharded::new(store.clone(), workflows, Announcement { scheduler: name, reads: 1 });
        let window = Window::for_slots(|class: TaskClass| SLOTS.of(class) * 2);
        let ends = self.broker.scheduler(&gate);
        let (live, clock) = (MemoryLive::default(), self.clock.clone());
        let (service, handle) = Scheduler::sharing(store, ends, live, clock, window, duties);
        Process { service: tokio::spawn(service.run()), gate, reach, _handle: Some(handle) }
    }

    pub(crate) fn worker(&mut self) -> Process {
        let (gate, name) = self.gate("worker");
        let reach = Reach::new(&self.store, &gate);
        let store = Arc::new(reach.clone());
        let workflows = Arc::new(Workflows::new(store.clone()));
        let shelf =
            Arc::new(Shelf { workflows, dice: Dice::of(self.seed, &format!("{name}'s nodes")) });
        let settings = Settings {
            name,
            slots: SLOTS,
            drain: Duration::from_secs(5),
            beat: Some(Duration::from_secs(5)),
        };
        let outside = NodeContext {
            attempt: 1,
            timeout: Duration::from_mins(1),
            code: Arc::new(CodeRunner::new(&CodeSettings::default())),
            http: Arc::new(Offline),
            files: Arc::new(MemoryFiles::default()),
            documents: Arc::default(),
            services: Arc::default(),
            caller: Arc::default(),
            steps: None,
            children: None,
            chunks: None,
        };
        let (live, clock) = (MemoryLive::default(), self.clock.clone());
        let remembered = (outside, Checkpointed::new(store));
        let ends = self.broker.worker(&gate);
        let service = Worker::remembering(ends, live, shelf, clock, settings, remembered);
        Process { service: tokio::spawn(service.run()), gate, reach, _handle: None }
    }

    /// Accepts a run of one of the documents. Its owner may hear of it or not.
    pub(crate) async fn submit(&self, number: usize) -> Name {
        let run = self.accept(number).await;
        self.poke(&run).await;
        run
    }

    /// The same, and its owner hears nothing of it.
    pub(crate) async fn accept(&self, number: usize) -> Name {
        let run: Name = format!("run-{number}").into();
        let plan = self.plans[number % self.plans.len()].clone();
        let ways = [Dispatch::Fragments, Dispatch::Hop, Dispatch::Fused, Dispatch::Each];
        let dispatch = ways[number / self.plans.len() % ways.len()];
        let start = Start {
            run: run.clone(),
            workflow: plan.workflow.clone(),
            inputs: vec![("who".into(), (&*run).into())],
            options: Options { dispatch, ..Options::default() },
            ..Start::default()
        };
        let submission = Submission {
            tenant: "default".into(),
            shard: Shard::of(&run, SHARDS),
            plan,
            start,
            wake_at: self.clock.now().after(Duration::from_hours(24)),
            key: None,
            turn: None,
            attached: Attached::default(),
        };
        assert_eq!(self.store.submit(&[submission]).await.unwrap(), [Accepted::New]);
        run
    }

    /// Wants a run to stop; false when it has ended.
    pub(crate) async fn stop(&self, run: &Name) -> bool {
        let wished = self.store.wish(&"default".into(), run, &Wish::Stop, &"ada".into()).await;
        self.poke(run).await;
        wished.unwrap().is_some()
    }

    async fn poke(&self, run: &Name) {
        let gate = Gate::new(Dice::of(self.seed, run), self.weather.clone());
        let (_, pokes) = self.broker.worker(&gate);
        pokes.answer(Shard::of(run, SHARDS), Delivery::Poke { run: run.clone() }).await.unwrap();
    }

    /// Runs that nobody would ever wake.
    pub(crate) async fn without_deadline(&self) -> Vec<Name> {
        let all: Vec<Shard> = (0..SHARDS).map(Shard).collect();
        self.store.without_deadline(&all, 100).await.unwrap()
    }

    pub(crate) async fn has_ended(&self, run: &Name) -> bool {
        let row = self.store.run(&"default".into(), run).await.unwrap().unwrap();
        row.finished_at.is_some()
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// When a run began.
    pub(crate) async fn began(&self, run: &Name) -> Time {
        self.store.journal(run).await.unwrap()[0].at
    }

    /// A run's facts as text.
    pub(crate) async fn journal(&self, run: &Name) -> String {
        format!("{run}: {:?}\n", self.store.journal(run).await.unwrap())
    }

    /// What became of a run, when its journal holds what was promised.
    pub(crate) async fn end(&self, run: &Name) -> End {
        let journal = self.store.journal(run).await.unwrap();
        promised(run, &journal);
        let plan = self.store.facts(&"default".into(), run, 0).await.unwrap().unwrap().0;
        let workflows = Workflows::new(Arc::new(self.store.clone()));
        let plan = workflows.get(&"default".into(), &plan).await.unwrap().plan.clone();
        let replayed = Run::replay(plan, &journal);
        let Some(Event::RunFinished(finished)) = journal.last().map(|fact| &fact.event) else {
            panic!("{run} has no end: {journal:#?}")
        };
        assert_eq!(replayed.outcome(), Some(&**finished), "{run}: replay gives another end");
        assert_eq!(invariants::finished_asks_for_nothing(&replayed), Ok(()), "{run}");
        let shown = |(name, value): &(Name, _)| {
            let value: &flowmill_engine::value::Value = value;
            (name.to_string(), value.to_python())
        };
        let mut errors: Vec<String> = finished
            .errors
            .iter()
            .map(|error| format!("{}{} {}", error.frame, error.node, error.error_type))
            .collect();
        errors.sort();
        let outputs = finished.outputs.iter().map(shown).collect();
        End { status: finished.status, outputs, errors }
    }
}

/// Facts without a gap, one end, and of each attempt of a node one outcome.
fn promised(run: &Name, journal: &[Fact]) {
    let mut ends = 0;
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (fact, seq) in journal.iter().zip(1..) {
        assert_eq!(fact.seq, seq, "{run}: facts are missing or there twice");
        let attempt = match &fact.event {
            Event::NodeSucceeded(node) => (&node.frame, &node.node, node.generation, node.attempt),
            Event::NodeFailed(node) => (&node.frame, &node.node, node.generation, node.attempt),
            Event::RunFinished(_) => {
                ends += 1;
                continue;
            }
            _ => continue,
        };
        *outcomes.entry(format!("{attempt:?}")).or_default() += 1;
    }
    assert_eq!(ends, 1, "{run}: {journal:#?}");
    let twice: Vec<_> = outcomes.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{run}: outcomes counted twice: {twice:?}");
}
