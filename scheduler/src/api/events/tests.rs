//! Readers on a clock that jumps: those who read a run while the feed is away, and those who do not
//! read, or go.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use flowmill_engine::fact::Fact;
use flowmill_engine::run::{Input, Run, Start};
use flowmill_engine::time::Time;
use flowmill_infra::intake::{Attached, Submission};
use flowmill_infra::live::{Seen, Subscription};
use flowmill_infra::memory::SharedStore;
use flowmill_infra::message::{PlanKey, Shard};
use flowmill_infra::store::{Commit, Standing, Store as _};
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::{Reading, Workflow, load};

use super::*;

/// Nodes of the story: each gives several events.
const TEMPLATES: usize = 60;

/// A feed that is away. It counts those who watch.
#[derive(Clone, Debug, Default)]
struct Away(Arc<()>);

#[derive(Debug)]
struct Nothing {
    was_said: bool,
    _counted: Arc<()>,
}

impl Subscribe for Away {
    type Subscription = Nothing;

    fn subscribe(&self, _: &Name, _: u64) -> Nothing {
        Nothing { was_said: false, _counted: self.0.clone() }
    }
}

impl Subscription for Nothing {
    async fn next(&mut self) -> Seen {
        if std::mem::replace(&mut self.was_said, true) {
            std::future::pending::<()>().await;
        }
        Seen::Away
    }
}

/// start -> many templates -> end, and a run of it that ended.
struct Story {
    workflow: Arc<Workflow>,
    facts: Vec<Fact>,
}

fn story() -> Story {
    let template = |at: usize| {
        format!(
            "{{id: t{at}, data: {{type: template-transform, title: T, template: x, variables: []}}}}, "
        )
    };
    let edge = |at: usize| format!("{{source: t{at}, target: t{}}}, ", at + 1);
    let nodes: String = (0..TEMPLATES).map(template).collect();
    let edges: String = (1..TEMPLATES).map(|at| edge(at - 1)).collect();
    let last = TEMPLATES - 1;
    let text = format!(
        "{{kind: app, version: 0.6.0, app: {{name: w, mode: workflow}}, workflow: {{graph: {{
        nodes: [{nodes}{{id: s, data: {{type: start, title: S, variables: []}}}},
            {{id: e, data: {{type: end, title: E, outputs: []}}}}],
        edges: [{edges}{{source: s, target: t0}}, {{source: t{last}, target: e}}]}}}}}}"
    );
    let workflow = Arc::new(load(&text, Reading::default(), Mocks::default()).unwrap());
    let start = Start { run: "r".into(), workflow: workflow.digest.clone(), ..Start::default() };
    let (mut run, mut facts) = Run::start(workflow.plan.clone(), start, Time(1));
    while run.outcome().is_none() {
        facts.extend(run.apply(Time(2), Input::Tick).unwrap());
    }
    Story { workflow, facts }
}

struct Scene {
    store: Arc<SharedStore>,
    live: Away,
    streams: Streams,
    story: Story,
    _enough: oneshot::Sender<()>,
}

impl Scene {
    async fn new() -> Self {
        let story = story();
        let store = Arc::new(SharedStore::new(1, Duration::from_secs(10)));
        let start = Start { run: "r".into(), ..Start::default() };
        let plan = PlanKey { workflow: story.workflow.digest.clone(), ..PlanKey::default() };
        let (shard, wake_at) = (Shard(0), Time(u64::MAX >> 2));
        let submission = Submission {
            tenant: "default".into(),
            shard,
            plan,
            start,
            wake_at,
            key: None,
            turn: None,
            attached: Attached::default(),
        };
        store.submit(&[submission]).await.unwrap();
        let (enough, ended) = oneshot::channel();
        let live = Away::default();
        let (streams, looking, following) = streams(store.clone(), live.clone(), ended);
        tokio::spawn(looking);
        tokio::spawn(following);
        Self { store, live, streams, story, _enough: enough }
    }

    async fn commit(&self, facts: std::ops::Range<usize>) {
        let standing = Standing { wake_at: Some(Time(9)), ..Standing::default() };
        let plan = self.story.workflow.plan.clone();
        let facts = self.story.facts[facts].to_vec().into();
        let commit = Commit { run: "r".into(), plan, facts, standing };
        self.store.commit(&vec![commit].into()).await.unwrap();
    }

    async fn read(&self, seen: Place, follows: bool) -> Body {
        let workflow = self.story.workflow.clone();
        let watch = Watch { run: "r".into(), workflow, seen, follows, form: Form::Lines };
        let permit = self.streams.places.clone().try_acquire_owned().unwrap();
        reader::body(&self.streams.feeds, &self.streams.looks, watch, permit).await
    }
}

async fn next(body: &mut Body) -> Option<Bytes> {
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.unwrap().into_data().unwrap())
}

/// The words of events with their ids, to the end of the stream.
async fn rest(mut body: Body) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(bytes) = next(&mut body).await {
        let line: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        if line["event"] != "ping" {
            let id = line["event_id"].as_str().or(line["code"].as_str()).unwrap();
            words.push(format!("{id} {}", line["event"].as_str().unwrap()));
        }
    }
    words
}

#[tokio::test(start_paused = true)]
async fn without_the_feed_the_journal_is_read() {
    let scene = Scene::new().await;
    let (first, second) = (scene.read(Place::default(), true), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        scene.read(Place::after(3), true).await
    });
    let telling = async {
        let all = scene.story.facts.len();
        for at in 0..all {
            scene.commit(at..at + 1).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let read = async |body: Body| rest(body).await;
    let (first, second, ()) = tokio::join!(
        async { read(first.await).await },
        async { read(second.await).await },
        telling
    );
    let whole = rest(scene.read(Place::default(), false).await).await;
    assert_eq!(whole.first().unwrap(), "1.0 workflow_started");
    assert!(whole.last().unwrap().ends_with(" workflow_finished"), "{whole:?}");
    assert_eq!(first, whole);
    let later: Vec<&String> =
        whole.iter().filter(|word| !["1.", "2.", "3."].contains(&&word[..2])).collect();
    assert_eq!(second.iter().collect::<Vec<_>>(), later);
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_read_is_cut_off_and_comes_back() {
    let scene = Scene::new().await;
    scene.commit(0..scene.story.facts.len()).await;
    let whole = rest(scene.read(Place::default(), false).await).await;
    let body = scene.read(Place::default(), false).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(scene.streams.places.available_permits(), MOST, "nothing is held for it");
    let mut told = rest(body).await;
    assert_eq!(told.pop().unwrap(), "too_slow error");
    let last = told.last().unwrap().split(' ').next().unwrap().parse().unwrap();
    told.extend(rest(scene.read(last, false).await).await);
    assert_eq!(told, whole);
}

#[tokio::test(start_paused = true)]
async fn who_goes_leaves_nothing_behind() {
    let scene = Scene::new().await;
    scene.commit(0..2).await;
    let unwatched = Arc::strong_count(&scene.live.0);
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let mut body = scene.read(Place::default(), true).await;
        next(&mut body).await.unwrap();
        next(&mut body).await.unwrap();
        bodies.push(body);
    }
    assert_eq!(Arc::strong_count(&scene.live.0), unwatched + 1, "all of them share one watch");
    drop(bodies);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(Arc::strong_count(&scene.live.0), unwatched);
    assert_eq!(scene.streams.places.available_permits(), MOST);
    // whoever comes then begins anew
    let reading = rest(scene.read(Place::after(1), true).await);
    let (told, ()) = tokio::join!(reading, scene.commit(2..scene.story.facts.len()));
    assert!(told.first().unwrap().starts_with("2.0 "), "{told:?}");
    assert!(told.last().unwrap().ends_with("workflow_finished"));
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken() {
    let scene = Scene::new().await;
    let mut body = scene.read(Place::default(), true).await;
    for _ in 0..3 {
        assert_eq!(next(&mut body).await.unwrap(), "{\"event\":\"ping\"}\n");
    }
}
