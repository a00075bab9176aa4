//! Everything that can die does, from a seed, while runs flow: each ends once with the right
//! outputs, and nothing whose result was kept is paid for again.
//!
//! `FLOWMILL_CHAOS_SEED`, `FLOWMILL_CHAOS_RUNS` and `FLOWMILL_CHAOS_FAULTS` make it another or a
//! longer one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::cluster::{Api, Cluster, SLOTS};
use crate::documents::{calls_of_items, two_calls};
use crate::http::{Counter, Seen};
use crate::process::Process;
use crate::random::Random;

const WORKERS: usize = 3;
const SCHEDULERS: usize = 2;

/// How many elements the iterations have.
const ITEMS: usize = 20;

/// How long Redis needs until claims are there again that it lost.
const CLAIMS_ARE_BACK: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    KillWorker,
    FreezeWorker,
    StopWorker,
    KillScheduler,
    FreezeScheduler,
    RestartRabbit,
    WipeRabbit,
    RestartPostgres,
    StopRedis,
    FlushRedis,
}

const FAULTS: [Fault; 10] = [
    Fault::KillWorker,
    Fault::KillScheduler,
    Fault::RestartRabbit,
    Fault::FreezeScheduler,
    Fault::RestartPostgres,
    Fault::FreezeWorker,
    Fault::WipeRabbit,
    Fault::StopRedis,
    Fault::StopWorker,
    Fault::FlushRedis,
];

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Accepted runs by their ids, each with what it was begun for.
type Runs = Arc<RwLock<BTreeMap<String, String>>>;

/// Faults that were done, and what they allow.
struct Chaos {
    random: Random,
    /// Calls that may have been made twice.
    repeats: usize,
    redis_is_well_since: Instant,
    /// Calls whose results were kept, with how often they had been made when that was seen.
    paid: Seen,
}

/// What is to be mended, and when.
struct Wound {
    until: Instant,
    fault: Fault,
    at: usize,
}

impl Chaos {
    /// Claims keep a task from being executed twice at once, while Redis has them.
    fn has_claims(&self) -> bool {
        self.redis_is_well_since.elapsed() > CLAIMS_ARE_BACK
    }

    /// Does some harm; what has to be mended later, if anything has.
    async fn harm(&mut self, cluster: &mut Cluster, fault: Fault) -> Option<Wound> {
        let pause = Duration::from_millis(500 + self.random.below(2500) as u64);
        let wound = |at, after| Some(Wound { until: Instant::now() + after, fault, at });
        match fault {
            Fault::KillWorker | Fault::FreezeWorker | Fault::StopWorker => {
                let program = self.random.below(WORKERS);
                let process = &mut cluster.workers[program].process;
                let for_how_long = hurt(process, fault).await?;
                self.repeats += if fault == Fault::StopWorker { 0 } else { SLOTS };
                wound(program, for_how_long.unwrap_or(pause))
            }
            Fault::KillScheduler | Fault::FreezeScheduler => {
                let program = self.random.below(SCHEDULERS);
                let process = &mut cluster.schedulers[program].process;
                let for_how_long = hurt(process, fault).await?;
                self.repeats += if self.has_claims() { 0 } else { WORKERS * SLOTS };
                wound(program, for_how_long.unwrap_or(pause))
            }
            Fault::RestartRabbit | Fault::WipeRabbit => {
                self.repeats += if self.has_claims() { 0 } else { WORKERS * SLOTS };
                cluster.rabbit.crash();
                if fault == Fault::WipeRabbit {
                    cluster.rabbit.wipe();
                }
                tokio::time::sleep(pause).await;
                cluster.rabbit.go_on().await;
                None
            }
            Fault::RestartPostgres => {
                cluster.postgres.crash().await;
                tokio::time::sleep(pause).await;
                cluster.postgres.go_on().await;
                None
            }
            Fault::StopRedis => {
                if !cluster.redis.runs() {
                    return None;
                }
                cluster.redis.crash();
                wound(0, pause)
            }
            Fault::FlushRedis => {
                if cluster.redis.runs() {
                    cluster.redis.flush().await;
                    self.redis_is_well_since = Instant::now();
                }
                None
            }
        }
    }

    async fn mend(&mut self, cluster: &mut Cluster, wound: &Wound) {
        match wound.fault {
            Fault::KillWorker | Fault::StopWorker => cluster.workers[wound.at].process.start(),
            Fault::FreezeWorker => cluster.workers[wound.at].process.thaw(),
            Fault::KillScheduler => cluster.schedulers[wound.at].process.start(),
            Fault::FreezeScheduler => cluster.schedulers[wound.at].process.thaw(),
            Fault::StopRedis => {
                cluster.redis.go_on().await;
                self.redis_is_well_since = Instant::now();
            }
            Fault::RestartRabbit
            | Fault::WipeRabbit
            | Fault::RestartPostgres
            | Fault::FlushRedis => {}
        }
    }

    /// Each fault once, then by chance, until there were so many and all is mended.
    async fn rage(&mut self, cluster: &mut Cluster, faults: usize, calls: &Counter, runs: &Runs) {
        let mut wounds: Vec<Wound> = Vec::new();
        let mut done = 0;
        while done < faults || !wounds.is_empty() {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            self.note_paid(cluster, calls, runs).await;
            let now = Instant::now();
            let (due, later): (Vec<_>, Vec<_>) =
                wounds.into_iter().partition(|wound| wound.until <= now);
            wounds = later;
            for wound in &due {
                self.mend(cluster, wound).await;
            }
            if done < faults {
                let by_chance = self.random.below(FAULTS.len());
                let fault = FAULTS.get(done).copied().unwrap_or(FAULTS[by_chance]);
                eprintln!("{} calls made, {fault:?}", calls.total());
                wounds.extend(self.harm(cluster, fault).await);
                done += 1;
            }
        }
    }

    /// Notes which calls have results that are kept by now.
    async fn note_paid(&mut self, cluster: &Cluster, calls: &Counter, runs: &Runs) {
        let query = "SELECT run, task::json->>0, task::json->>1 FROM checkpoints WHERE n = 0";
        let kept = cluster.postgres.ask(query);
        // counted after they were kept: what is made from now on is one too many
        let seen = calls.seen();
        let runs = runs.read().await;
        for row in kept {
            let columns: Vec<&str> = row.split('|').collect();
            let [run, frame, node] = columns[..] else { panic!("{row}") };
            // its submitter does not know its id yet
            let Some(who) = runs.get(run) else { continue };
            let item = frame.strip_prefix("it[").and_then(|rest| rest.strip_suffix(']'));
            let path = match (item, node) {
                (Some(item), _) => format!("/{who}-{item}"),
                (None, "a") => format!("/{who}-a"),
                (None, "b") => format!("/{who}-a-b"),
                // free, and kept with what rests on it
                _ => continue,
            };
            let count = seen.get(&path).copied().unwrap_or_default();
            self.paid.entry(path).or_insert(count);
        }
    }
}

/// Does harm to one of our programs, unless it is hurt already; how long it stays so, if that is
/// not by chance.
async fn hurt(process: &mut Process, fault: Fault) -> Option<Option<Duration>> {
    if !process.runs() || process.is_frozen() {
        return None;
    }
    match fault {
        Fault::KillWorker | Fault::KillScheduler => process.kill(),
        Fault::StopWorker => process.end(Signal::SIGTERM).await,
        _ => process.freeze(),
    }
    match fault {
        Fault::FreezeWorker => Some(Some(Duration::from_secs(35))),
        Fault::FreezeScheduler => Some(Some(Duration::from_secs(13))),
        _ => Some(None),
    }
}

async fn submit(api: &Api, runs: Runs, workflows: [String; 2], count: usize) {
    for number in 0..count {
        let (who, workflow, inputs) = if number % 10 == 9 {
            let who = format!("w{number}");
            let inputs = json!({ "who": who, "count": ITEMS });
            (who, &workflows[1], inputs)
        } else {
            let who = format!("r{number}");
            let inputs = json!({ "who": who });
            (who, &workflows[0], inputs)
        };
        let id = api.submit(workflow, inputs, &who).await;
        let again = runs.write().await.insert(id, who);
        assert_eq!(again, None, "two submissions became one run");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a run gives, and the calls that it takes.
fn expectation(who: &str) -> (Value, Vec<String>) {
    if who.starts_with('r') {
        let says = format!("{who}-a-b");
        return (json!({ "says": says }), vec![format!("/{who}-a"), format!("/{says}")]);
    }
    let items: Vec<String> = (0..ITEMS).map(|item| format!("{who}-{item}")).collect();
    (json!({ "items": items }), items.iter().map(|item| format!("/{item}")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_every_run_ends_once_and_nothing_kept_is_paid_twice() {
    let seed = setting("FLOWMILL_CHAOS_SEED", 1);
    let count = setting("FLOWMILL_CHAOS_RUNS", 300);
    let faults = setting("FLOWMILL_CHAOS_FAULTS", FAULTS.len());
    eprintln!("seed {seed}, {count} runs, {faults} faults");
    let calls = Counter::start(Duration::from_millis(150)).await;
    let mut cluster = Cluster::start(SCHEDULERS, WORKERS).await;
    let api = cluster.api.clone();
    let workflows =
        [api.push(&two_calls(calls.port)).await, api.push(&calls_of_items(calls.port, "")).await];
    let runs = Runs::default();
    let submitting = {
        let (api, runs) = (api.clone(), runs.clone());
        tokio::spawn(async move { submit(&api, runs, workflows, count).await })
    };
    let mut chaos = Chaos {
        random: Random::new(seed as u64),
        repeats: 0,
        redis_is_well_since: Instant::now().checked_sub(CLAIMS_ARE_BACK).unwrap(),
        paid: Seen::new(),
    };
    chaos.rage(&mut cluster, faults, &calls, &runs).await;
    submitting.await.unwrap();
    let runs = runs.read().await.clone();
    assert_eq!(runs.len(), count);
    let mut expected = Seen::new();
    for (id, who) in &runs {
        let run = api.end(id).await;
        assert_eq!(run["status"], "succeeded", "{run}");
        let (outputs, paths) = expectation(who);
        assert_eq!(run["outputs"], outputs);
        expected.extend(paths.into_iter().map(|path| (path, 1)));
    }
    let seen = calls.seen();
    assert_eq!(seen.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let repeats = calls.total() - expected.len();
    eprintln!(
        "{} calls, {repeats} of them repeated; {} were allowed",
        calls.total(),
        chaos.repeats
    );
    let again: Vec<_> = chaos.paid.iter().filter(|(path, count)| seen[*path] != **count).collect();
    assert_eq!(again, [], "calls were made after their results were kept");
    assert!(repeats <= chaos.repeats, "{repeats} calls were repeated, {} allowed", chaos.repeats);
    let ends = "SELECT count(*), count(DISTINCT run) FROM journal WHERE facts LIKE '%\"fact\":\"run_finished\"%'";
    assert_eq!(cluster.postgres.ask(ends), [format!("{count}|{count}")]);
    let left = "SELECT run FROM runs WHERE finished_at IS NULL OR wake_at IS NOT NULL";
    assert_eq!(cluster.postgres.ask(left), [""; 0]);
}
