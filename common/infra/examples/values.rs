//! What large values cost on their way from a scheduler to a worker. It brings the database up to
//! date and leaves nothing in it or at the broker but the tables:
//!
//!     createdb flows
//!     cargo run --release -p flowmill-infra --features postgres,rabbitmq --example values -- \
//!         postgres://postgres@127.0.0.1:5432/flows amqp://guest:guest@127.0.0.1:5672/%2f
//!
//! Sender and receiver have nothing in common but the servers, as if each were a process.

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::error::Error;
use std::time::{Duration, Instant};

use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Fragment;
use flowmill_engine::value::Value;
use flowmill_engine::variables::{Variable, Variables};
use flowmill_infra::broker::{Receipt as _, TaskConsumer as _, TaskPublisher as _, Work};
use flowmill_infra::message::{PlanKey, Shard, Task};
use flowmill_infra::payloads::{Owner, Payloads as _};
use flowmill_infra::postgres::{PostgresStore, SHARDS, Settings, migrate};
use flowmill_infra::rabbitmq::{self, Settings as Broker};
use flowmill_infra::seal::Keys;
use flowmill_infra::wire::Transit;

type Failed = Box<dyn Error + Send + Sync>;

/// Tasks that are sent together.
const BATCH: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let database = arguments.next().ok_or("which database? postgres://…")?;
    let broker = arguments.next().ok_or("which broker? amqp://…")?;
    migrate(&database, SHARDS).await?;
    measure(&database, &broker, 40_000_000, 1).await?;
    measure(&database, &broker, 5_000_000, 1000).await
}

/// Sends tasks that read the same list, and takes them.
async fn measure(database: &str, broker: &str, bytes: usize, count: usize) -> Result<(), Failed> {
    let run = format!("values-{}", std::process::id());
    let settings = Broker { prefix: run.clone(), ..Broker::new(broker) };
    let (sending, receiving) = (open(database).await?, open(database).await?);
    let transit = transit(&sending);
    let with = |transit: Transit| Broker { transit, ..settings.clone() };
    let (publisher, _inbox) = rabbitmq::scheduler(&with(transit.clone())).await?;
    let (mut consumer, _answers) =
        rabbitmq::worker(&with(self::transit(&receiving)), [128; 4]).await?;

    let list = (0..bytes / 100).map(|at| Value::from(format!("{at:0>97}"))).collect();
    let task = task(&run, Value::array(list));
    let (again, began) = (task.clone(), Instant::now());
    let sent = tokio::spawn(async move {
        for tasks in vec![task; count].chunks(BATCH) {
            publisher.publish(tasks.to_vec()).await?;
        }
        Ok::<_, Failed>(publisher)
    });
    let mut held = Vec::new();
    while held.len() < count {
        let Some(work) = consumer.next().await else { return Err("the broker closed".into()) };
        if let Work::Task(task, receipt) = work {
            held.push(task);
            receipt.settle().await;
        }
    }
    let took = began.elapsed();
    let publisher = sent.await??;
    let message = transit.write_task(&again).await?.len();
    println!(
        "{count} tasks that read a list of {bytes} bytes: {took:.2?} until the last is read, \
         {message} bytes a message, at most {} MB of memory",
        peak_kb()? / 1000
    );
    sending.payloads().remove(&Owner::Run(run.as_str().into())).await?;
    drop((publisher, consumer));
    tokio::time::sleep(Duration::from_millis(200)).await;
    rabbitmq::remove(&settings, SHARDS).await?;
    Ok(())
}

async fn open(database: &str) -> Result<PostgresStore, Failed> {
    Ok(PostgresStore::open(&Settings::of(database)).await?)
}

fn transit(store: &PostgresStore) -> Transit {
    Transit::new(Keys::default()).with_stash(store.stash())
}

fn task(run: &str, value: Value) -> Task {
    let mut variables = Variables::default();
    variables.set(&"n".into(), &"list".into(), Variable::infer(value));
    Task {
        tenant: "default".into(),
        run: run.into(),
        shard: Shard(0),
        plan: PlanKey { workflow: "w".into(), ..PlanKey::default() },
        task: TaskId { frame: "".into(), node: "n".into(), generation: 1 },
        attempt: 1,
        dispatch: 1,
        number: 1,
        class: TaskClass::Light,
        fragment: Fragment::Nodes(vec!["n".into()]),
        is_fused: false,
        variables,
        timeout: Duration::from_mins(1),
        sent_at: None,
        trace: None,
    }
}

/// The most memory that this process had, sender and receiver together.
fn peak_kb() -> Result<u64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word.ok_or("no VmHWM")?.parse()?)
}
