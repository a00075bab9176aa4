//! How many facts a database takes. It brings the database up to date and leaves runs in it, so
//! give it one that holds nothing else:
//!
//!     createdb flows
//!     cargo run --release -p flowmill-infra --features postgres --example commits -- \
//!         postgres://postgres@127.0.0.1:5432/flows
//!
//! Each of two owners commits batches of 100 runs with 3 facts each, 10 batches for the same runs.

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]
#![expect(clippy::cast_precision_loss, reason = "what is measured is no more precise")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use flowmill_engine::fact::{Event, Fact, FramePath, NodeSucceeded};
use flowmill_engine::graph::{Content, Graph, Item, Node, Problems};
use flowmill_engine::plan::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Options, Plan, Source, Success,
    compile,
};
use flowmill_engine::run::Start;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;
use flowmill_infra::intake::{Attached, Intake as _, Submission};
use flowmill_infra::message::PlanKey;
use flowmill_infra::postgres::{PostgresStore, SHARDS, Settings, migrate};
use flowmill_infra::shards::{Announcement, Shards as _};
use flowmill_infra::store::{Batch, Commit, Standing, Store as _, Tenure};

const OWNERS: u64 = 2;
const GROUPS: u64 = 10;
const RUNS: u64 = 100;
const COMMITS: u64 = 10;
const FACTS: u64 = 3;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let url = std::env::args().nth(1).ok_or("which database? postgres://…")?;
    migrate(&url, SHARDS).await?;
    let store = Arc::new(PostgresStore::open(&Settings::of(url)).await?);
    let plan = plan()?;
    let began = Instant::now();
    let owners: Vec<_> =
        (0..OWNERS).map(|owner| tokio::spawn(own(store.clone(), plan.clone(), owner))).collect();
    let mut commits = Vec::new();
    for owner in owners {
        commits.extend(owner.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    commits.sort_by(f64::total_cmp);
    let of = |share: usize| commits.get(commits.len() * share / 100).copied().unwrap_or_default();
    let count = commits.len() as f64;
    println!(
        "{count} batches of {RUNS} runs with {FACTS} facts each: {:.0} batches/s, {:.0} rows of the \
         journal/s, {:.0} facts/s; a commit took {:.1} ms (p50), {:.1} ms (p99)",
        count / seconds,
        count * RUNS as f64 / seconds,
        count * (RUNS * FACTS) as f64 / seconds,
        of(50),
        of(99),
    );
    Ok(())
}

/// Answers how long each commit took, in milliseconds.
async fn own(store: Arc<PostgresStore>, plan: Arc<Plan>, owner: u64) -> Result<Vec<f64>, Failed> {
    let me = Announcement { scheduler: format!("owner-{owner}").into(), reads: 1 };
    let held = store.hold(&me, SHARDS / u16::try_from(OWNERS)?).await?;
    let tenure = *held.tenures.first().ok_or("no shard is free; wait ten seconds")?;
    let mut took = Vec::new();
    for group in 0..GROUPS {
        let id = |run| {
            let ms = held.now.0 / 1000;
            let (high, low) = (ms >> 16, ms & 0xffff);
            Name::from(format!("{high:08x}-{low:04x}-7{owner:03x}-8000-{group:06x}{run:06x}"))
        };
        let runs: Vec<Name> = (0..RUNS).map(id).collect();
        let submit: Vec<Submission> = runs.iter().map(|run| submission(run, tenure)).collect();
        store.submit(&submit).await?;
        for commit in 0..COMMITS {
            let batch = batch(&plan, &runs, tenure, commit);
            let began = Instant::now();
            store.commit(&batch).await?;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    store.release(&me, &[]).await?;
    Ok(took)
}

fn submission(run: &Name, tenure: Tenure) -> Submission {
    Submission {
        tenant: "default".into(),
        shard: tenure.shard,
        plan: PlanKey::default(),
        start: Start { run: run.clone(), ..Start::default() },
        wake_at: Time(1),
        key: None,
        turn: None,
        attached: Attached::default(),
    }
}

fn batch(plan: &Arc<Plan>, runs: &[Name], tenure: Tenure, commit: u64) -> Batch {
    let first = commit * FACTS + 1;
    let facts: Arc<[Fact]> = (first..first + FACTS).map(fact).collect();
    let one = |(place, run): (u64, &Name)| {
        let last_number = commit * RUNS + place;
        let standing = Standing {
            shard: tenure.shard,
            wake_at: Some(Time(last_number)),
            is_ready: commit.is_multiple_of(2),
            in_flight: 1,
            last_number,
        };
        Commit { run: run.clone(), plan: plan.clone(), facts: facts.clone(), standing }
    };
    let commits = (1..).zip(runs).map(one).collect();
    Batch { commits, tenures: vec![tenure], signals: Vec::new() }
}

fn fact(seq: u64) -> Fact {
    let text = "as much as a short answer of a model has, or a row of a table";
    let event = Event::NodeSucceeded(NodeSucceeded {
        frame: FramePath::default(),
        node: "1764000001371".into(),
        generation: 1,
        attempt: 1,
        success: Success::of([("text".into(), text.into())]),
        started_at: Time(seq),
        elapsed_us: 1000,
    });
    Fact { seq, at: Time(seq), event }
}

/// A commit names its run's plan; this store does not look at it.
fn plan() -> Result<Arc<Plan>, Failed> {
    let text = |text: &str| Item { line: 1, content: Content::Str(text.into()) };
    let data = Item { line: 1, content: Content::Map(vec![(text("type"), text("start"))]) };
    let node = Node { id: text("start"), data, ..Node::default() };
    let graph = Graph { nodes: vec![node], ..Graph::default() };
    let plan = compile(&graph, &OnlyStart, Options::default());
    plan.map(Arc::new).map_err(|problems| format!("{problems:?}").into())
}

#[derive(Debug)]
struct OnlyStart;

impl Catalogue for OnlyStart {
    fn compile(&self, _: &Source<'_>, _: &mut Problems) -> Option<Compiled> {
        Some(Compiled {
            category: Category::Root,
            behaviour: Behaviour::Inline(Arc::new(Self)),
            retries: false,
            reads: Vec::new(),
            writes: Vec::new(),
            response: Vec::new(),
        })
    }
}

impl Inline for OnlyStart {
    fn run(&self, _: &Variables) -> Evaluation {
        Evaluation::Succeeded(Success::default())
    }
}
