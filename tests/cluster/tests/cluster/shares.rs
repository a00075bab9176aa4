//! Who gets how much: one who submits very much holds up nobody else, and limits hold over all
//! schedulers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flowmill_engine::fact::Status;
use flowmill_engine::value::Name;
use flowmill_infra::message::PlanKey;
use flowmill_infra::shares::{Party, Share};
use tokio::net::{TcpListener, TcpStream};

use super::deaths::{asked, done};
use super::support::{Cluster, SLOTS, document};

/// How long a call takes.
const CALL: Duration = Duration::from_millis(200);

/// A server that takes its time, and knows how many wait for it.
#[derive(Clone)]
struct Busy {
    port: u16,
    waiting: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Busy {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let busy = Self { port, waiting: Arc::default(), most: Arc::default() };
        let serving = busy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let busy = serving.clone();
                tokio::spawn(async move { busy.answer(stream).await });
            }
        });
        busy
    }

    async fn answer(&self, mut stream: TcpStream) {
        if asked(&mut stream).await.is_none() {
            return;
        }
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(waiting, Ordering::SeqCst);
        tokio::time::sleep(CALL).await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        done(stream).await;
    }

    /// start -> call -> end, a document of its own by its title
    fn document(&self, title: &str) -> String {
        let call = format!(
            "{{id: a, data: {{type: http-request, title: {title}, method: get, url: 'http://127.0.0.1:{}/', headers: '', params: '', authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}}}}}",
            self.port
        );
        let start = "{id: s, data: {type: start, title: S, variables: []}}";
        let end = "{id: e, data: {type: end, title: E, outputs: [{variable: says, value_selector: [a, body]}]}}";
        document(&[start, &call, end], &["{source: s, target: a}", "{source: a, target: e}"])
    }
}

/// How long a run of a tenant takes from its submission to its end.
async fn time_of_one(cluster: &Cluster, tenant: &str, plan: &PlanKey) -> Duration {
    let begun = Instant::now();
    let run = cluster.submit_of(tenant, plan, 1).await.remove(0);
    cluster
        .until("its end", async || cluster.status_of(tenant, &run).await == Some(Status::Succeeded))
        .await;
    begun.elapsed()
}

/// How many runs wait: `FLOWMILL_WAITING_RUNS` makes them more.
fn many() -> usize {
    let given = std::env::var("FLOWMILL_WAITING_RUNS").ok();
    given.map_or(12_000, |given| given.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_very_many_runs_holds_up_no_other() {
    let cluster = Cluster::new("turns").await;
    let calls = Busy::new().await;
    let (_owner, _hand) = (cluster.owner("a").await, cluster.hand("w").await);
    let one = cluster.push_of("one", &calls.document("one")).await;
    let mut idle = Duration::MAX;
    for _ in 0..3 {
        idle = idle.min(time_of_one(&cluster, "one", &one).await);
    }

    let theirs = cluster.push_of("many", &calls.document("many")).await;
    for _ in 0..many() / 1000 {
        cluster.submit_of("many", &theirs, 1000).await;
    }
    // more wait than may begin, and calls are waited for as long as there are slots
    cluster.until("many runs", async || cluster.begun("many").await >= 9000).await;
    assert!(cluster.begun("many").await < 10_000, "no place is left for others");
    for _ in 0..3 {
        let busy = time_of_one(&cluster, "one", &one).await;
        println!("{busy:?} beside {} runs, {idle:?} alone", many());
        assert!(busy < idle + Duration::from_secs(1), "{busy:?}; {idle:?} where nothing else runs");
    }
    assert!(calls.most.load(Ordering::SeqCst) >= SLOTS.http, "slots were idle");
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_all_schedulers() {
    const RUNS: usize = 40;
    let cluster = Cluster::new("limits").await;
    let calls = Busy::new().await;
    let plan = cluster.push_of("acme", &calls.document("acme")).await;
    let limit = Share { weight: 1, runs: Some(5), tasks: Some(3) };
    cluster.limit("acme", &Party::Tenant, &limit).await;
    let _owners = (cluster.owner("a").await, cluster.owner("b").await);
    let _hands = (cluster.hand("v").await, cluster.hand("w").await);
    // each scheduler has its part of the shards before there is anything to do
    cluster.until("both", async || cluster.owners().await == 2).await;
    let runs: Vec<Name> = cluster.submit_of("acme", &plan, RUNS).await;
    cluster
        .until("their ends", async || {
            // in this order: what ends in between began before
            let begun = cluster.begun("acme").await;
            let ended = cluster.ended("acme").await;
            assert!(begun.saturating_sub(ended) <= 5, "{begun} began and {ended} ended");
            ended == runs.len()
        })
        .await;
    assert_eq!(calls.most.load(Ordering::SeqCst), 3, "calls at a time");

    // none may begin, until somebody says so
    cluster.limit("acme", &Party::Tenant, &Share { weight: 1, runs: Some(0), tasks: None }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = cluster.submit_of("acme", &plan, 1).await.remove(0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.status_of("acme", &held).await, None);
    cluster.limit("acme", &Party::Tenant, &Share::default()).await;
    cluster
        .until("its end", async || {
            cluster.status_of("acme", &held).await == Some(Status::Succeeded)
        })
        .await;
    cluster.leave().await;
}
