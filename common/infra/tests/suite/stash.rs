//! Large values: left behind when they leave a process, and had again once by whoever reads them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::plan::Success;
use flowmill_engine::run::{Completion, Outcome};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Kind, Value};
use flowmill_engine::variables::Variable;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints as _};
use flowmill_infra::intake::Intake as _;
use flowmill_infra::memory::MemoryPayloads;
use flowmill_infra::message::{Delivery, Shard, Task};
use flowmill_infra::payloads::{Answer, Digest, Owner, Part, Payload, PayloadError, Payloads};
use flowmill_infra::postgres::{PostgresStore, Settings};
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::Shards as _;
use flowmill_infra::stash::{Limits, Stash, StashError};
use flowmill_infra::store::{Commit, Standing, Store as _};
use flowmill_infra::wire::{EncodeError, Transit, Unreadable};

use super::broker::task;
use super::server::Schema;
use super::shards::{begin, submission};
use super::store::{plan, together};

/// Counts what is read and written, and is slow.
#[derive(Debug, Default)]
struct Counted {
    inner: MemoryPayloads,
    put: AtomicUsize,
    got: AtomicUsize,
    /// How many of the next calls fail.
    failing: AtomicUsize,
}

impl Counted {
    fn fails(&self) -> Result<(), PayloadError> {
        let fewer = |left: usize| left.checked_sub(1);
        match self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) {
            Ok(_) => Err(PayloadError::Unavailable("away".to_owned())),
            Err(_) => Ok(()),
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.put.load(Ordering::SeqCst), self.got.load(Ordering::SeqCst))
    }
}

impl Payloads for Counted {
    fn put<'a>(&'a self, owner: &'a Owner, payload: &'a Payload) -> Answer<'a, ()> {
        Box::pin(async move {
            self.fails()?;
            self.put.fetch_add(1, Ordering::SeqCst);
            self.inner.put(owner, payload).await
        })
    }

    fn get<'a>(&'a self, owner: &'a Owner, digest: Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            self.fails()?;
            self.got.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.inner.get(owner, digest).await
        })
    }

    fn get_range<'a>(
        &'a self,
        owner: &'a Owner,
        digest: Digest,
        range: Range<u64>,
    ) -> Answer<'a, Part> {
        self.inner.get_range(owner, digest, range)
    }

    fn remove<'a>(&'a self, owner: &'a Owner) -> Answer<'a, ()> {
        self.inner.remove(owner)
    }
}

/// What one process has of some payloads.
fn process(payloads: &Arc<Counted>) -> Stash {
    Stash::new(payloads.clone())
}

fn transit(payloads: &Arc<Counted>) -> Transit {
    Transit::new(Keys::parse(&"a".repeat(64)).unwrap()).with_stash(process(payloads))
}

/// A list of so many bytes of text, no two the same.
fn list(bytes: usize) -> Value {
    Value::array((0..bytes / 100).map(|at| format!("{at:0>97}").into()).collect())
}

fn reading(values: &[Value]) -> Task {
    let mut task = task(4);
    for (at, value) in values.iter().enumerate() {
        let name = format!("v{at}").as_str().into();
        task.variables.set(&"n".into(), &name, Variable::infer(value.clone()));
    }
    task
}

fn answer(outcome: Result<Success, NodeError>) -> Delivery {
    let Task { run, task, attempt, dispatch, .. } = task(4);
    let outcome = Outcome { task, attempt, outcome, started_at: Time(5), elapsed_us: 6 };
    let completion = Completion::of(dispatch, outcome);
    Delivery::Completed { run, completion }
}

fn outputs(value: Value) -> Delivery {
    answer(Ok(Success::of([("out".into(), value)])))
}

fn outcome(delivery: Delivery) -> Result<Success, NodeError> {
    match delivery {
        Delivery::Completed { mut completion, .. } => completion.outcomes.remove(0).outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_large_value_travels_once_and_is_read_once() {
    let payloads = Arc::new(Counted::default());
    let (sender, receiver) = (transit(&payloads), transit(&payloads));
    let task = reading(&[list(5_000_000), "small".into()]);
    let mut messages = Vec::new();
    for _ in 0..50 {
        messages.push(sender.write_task(&task).await.unwrap());
    }
    assert!(messages.iter().all(|message| message.len() < 1000), "{}", messages[0].len());
    assert_eq!(payloads.counts(), (1, 0));
    let reads = messages.into_iter().map(|message| {
        let receiver = receiver.clone();
        tokio::spawn(async move { receiver.read_task(&message).await.unwrap() })
    });
    let mut tasks = Vec::new();
    for read in reads.collect::<Vec<_>>() {
        tasks.push(read.await.unwrap());
    }
    assert_eq!(payloads.counts(), (1, 1), "one fetch for all who wait");
    let shared = |task: &Task| match task.variables.variable("n", "v0").unwrap().value() {
        Value::Array(items) => Arc::as_ptr(items),
        other => panic!("{other:?}"),
    };
    assert!(tasks.iter().all(|task| shared(task) == shared(&tasks[0])), "it is shared");
    assert_eq!(tasks[0].variables.sorted(), task.variables.sorted());
    // who has it by its ticket sends it on without encoding it
    let list = tasks[0].variables.variable("n", "v0").unwrap().value().clone();
    let sent = receiver.write_delivery(&outputs(list.clone())).await.unwrap();
    assert_eq!(payloads.counts(), (1, 1));
    let read = sender.read_delivery(&sent).await.unwrap();
    assert_eq!(outcome(read), outcome(outputs(list)));
    assert_eq!(payloads.counts(), (1, 1));
}

#[tokio::test]
async fn of_a_large_message_the_largest_values_stay_behind() {
    let payloads = Arc::new(Counted::default());
    let values: Vec<Value> = (1..=10).map(|at| list(at * 6000)).collect();
    let message = transit(&payloads).write_task(&reading(&values)).await.unwrap();
    // 330 kB, and without the largest 270 kB, and without the next it fits
    assert_eq!(payloads.counts(), (2, 0));
    assert!((200_000..262_144).contains(&message.len()), "{}", message.len());
    let read = transit(&payloads).read_task(&message).await.unwrap();
    assert_eq!(read.variables.sorted(), reading(&values).variables.sorted());
}

#[tokio::test]
async fn nothing_is_taken_for_a_ticket_that_is_none() {
    let payloads = Arc::new(Counted::default());
    let digest = Digest::of(b"x");
    let texts = [
        format!("flowmill-payload:1:{digest}:5"),
        "flowmill-payload:".to_owned(),
        format!("flowmill-payload:2:{digest}:5"),
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| Value::from(&**text)).collect();
    values.push(Value::array(values.clone()));
    let message = transit(&payloads).write_task(&reading(&values)).await.unwrap();
    let read = transit(&payloads).read_task(&message).await.unwrap();
    assert_eq!(read.variables.sorted(), reading(&values).variables.sorted());
    // a ticket of a later release is not guessed at, and a process without payloads says so
    let forged = Transit::default().write_task(&reading(&values[2..3])).await.unwrap();
    let told = transit(&payloads).read_task(&forged).await;
    assert!(matches!(told, Err(Unreadable::Value { why: StashError::Unknown, .. })));
    let told = Transit::default().read_task(&message).await;
    assert!(matches!(told, Err(Unreadable::Value { why: StashError::NoPayloads, .. })));
}

#[tokio::test]
async fn a_lost_payload_fails_its_node_and_one_that_is_away_is_waited_for() {
    let payloads = Arc::new(Counted::default());
    payloads.failing.store(2, Ordering::SeqCst);
    let message = transit(&payloads).write_task(&reading(&[list(100_000)])).await.unwrap();
    assert_eq!(payloads.counts(), (1, 0));
    let answered = transit(&payloads).write_delivery(&outputs(list(100_000))).await.unwrap();
    payloads.failing.store(1, Ordering::SeqCst);
    let receiver = transit(&payloads);
    let away = receiver.read_task(&message).await.unwrap_err();
    assert!(away.is_passing(), "{away}");
    assert!(receiver.read_task(&message).await.is_ok());
    payloads.remove(&Owner::Run("r".into())).await.unwrap();
    let lost = transit(&payloads).read_task(&message).await.unwrap_err();
    assert!(!lost.is_passing());
    let (shard, failure) = lost.failure(Time(9)).unwrap();
    assert_eq!(shard, task(4).shard);
    let error = outcome(failure).unwrap_err();
    assert_eq!(&*error.kind, "ValueUnavailable");
    assert!(error.message.contains("is not there"), "{}", error.message);
    let lost = transit(&payloads).read_delivery(&answered).await.unwrap_err();
    assert_eq!(&*outcome(lost.failure().unwrap()).unwrap_err().kind, "ValueUnavailable");
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused() {
    let payloads = Arc::new(Counted::default());
    let limits = Limits { value_bytes: 200_000, ..Limits::default() };
    let stash = Stash::with_limits(payloads.clone(), limits);
    let transit = Transit::default().with_stash(stash);
    assert!(transit.write_task(&reading(&[list(190_000)])).await.is_ok());
    let refused = transit.write_task(&reading(&[list(210_000)])).await.unwrap_err();
    let too_large = StashError::TooLarge { most: 200_000 };
    assert!(matches!(&refused, EncodeError::Value { why, .. } if *why == too_large), "{refused}");
    assert_eq!(payloads.counts(), (1, 0));
}

const SECRET: &str = "tops3cret";

/// A large secret, which is sealed before it is left behind.
fn secret() -> Variable {
    Variable::typed(Kind::Secret, SECRET.repeat(20_000).into())
}

fn large_facts(run: &str, value: &Value) -> Vec<Fact> {
    let (_, mut facts) = begin(run);
    let Event::RunStarted(started) = &mut facts[0].event else { panic!("{facts:?}") };
    started.environment.push(("key".into(), secret()));
    started.inputs.push(("list".into(), value.clone()));
    let next = facts.len() as u64 + 1;
    for seq in next..next + 3 {
        let mut fact = super::facts(seq, seq).remove(0);
        if let Event::NodeSucceeded(done) = &mut fact.event {
            done.success.outputs.push(("list".into(), Variable::infer(value.clone())));
        }
        facts.push(fact);
    }
    facts
}

fn checkpoint(value: &Value) -> Checkpoint {
    let Delivery::Completed { run, mut completion } = outputs(value.clone()) else {
        unreachable!()
    };
    let key = CheckpointKey {
        tenant: "default".into(),
        run,
        task: completion.task.clone(),
        attempt: completion.attempt,
    };
    Checkpoint { key, outcome: completion.outcomes.remove(0) }
}

#[tokio::test]
async fn a_large_value_lies_once_beside_the_rows_of_its_run() {
    const ROWS: &str = "
        SELECT (SELECT sum(length(facts)) FROM journal)
            + (SELECT sum(length(start)) FROM runs)
            + (SELECT sum(length(completion)) FROM checkpoints)";
    const PAYLOADS: &str = "SELECT count(*) FROM payloads";
    let schema = Schema::migrated().await;
    let keys = Keys::parse(&"a".repeat(64)).unwrap();
    let settings = Settings { keys, ..schema.settings() };
    let store = PostgresStore::open(&settings).await.unwrap();
    let value = list(2_000_000);
    let facts = large_facts("r", &value);
    let commit = |facts: &[Fact]| Commit {
        run: "r".into(),
        plan: plan(),
        facts: facts.to_vec().into(),
        standing: Standing::default(),
    };
    let (first, rest) = facts.split_at(facts.len() - 1);
    store.commit(&together([commit(first)])).await.unwrap();
    store.commit(&together([commit(rest)])).await.unwrap();
    store.save(&[checkpoint(&value)]).await.unwrap();
    assert_eq!(schema.number(PAYLOADS).await, 2, "the list and the secret");
    let mut queued = submission("queued", 1);
    queued.start.inputs.push(("list".into(), value.clone()));
    store.submit(&[queued.clone()]).await.unwrap();
    assert_eq!(schema.number(PAYLOADS).await, 3);
    assert!(schema.number(ROWS).await < 10_000, "{}", schema.number(ROWS).await);
    assert!(!schema.dump().await.contains(SECRET));

    // another process
    let other = PostgresStore::open(&settings).await.unwrap();
    assert_eq!(other.journal(&"r".into()).await.unwrap(), facts);
    assert_eq!(other.journals(&["r".into()]).await.unwrap()[0].as_ref().unwrap().facts, facts);
    let (_, after) = other.facts(&"default".into(), &"r".into(), 1).await.unwrap().unwrap();
    assert_eq!(after, facts[1..]);
    let found = other.outcome(&checkpoint(&value).key).await.unwrap();
    assert_eq!(found, Some(checkpoint(&value).outcome));
    let begins = other.queued(&[Shard(1)], 9).await.unwrap();
    assert_eq!(begins[0].as_ref().unwrap().start, queued.start);

    store.forget(&"r".into()).await.unwrap();
    assert_eq!(schema.number(PAYLOADS).await, 1, "they go with their run");
}
