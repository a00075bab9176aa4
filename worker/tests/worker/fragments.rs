//! What a worker does with tasks that carry several nodes or passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::fact::{FramePath, Passes, Returned, TaskId};
use flowmill_engine::plan::TaskClass::Http;
use flowmill_engine::run::{Completion, End, Fragment, Outcome};
use flowmill_engine::value::Value;
use flowmill_infra::broker::TaskPublisher as _;
use flowmill_infra::message::{Control, Task};
use flowmill_worker::Slots;

use super::cluster::{Memory, remembering_in};
use super::support::{Count, Nodes, World, done};
use super::{LONG, slow};

const SLOTS: Slots = Slots { light: 9, code: 9, http: 9, llm: 9 };

fn call(id: &str, more: &str) -> String {
    format!(
        "{{id: {id}, {more} data: {{type: http-request, title: {id}, method: get, url: 'http://x/', headers: '', params: '', authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}}}}}"
    )
}

fn document(nodes: &[String], edges: &[&str]) -> String {
    let edges: Vec<String> = edges
        .iter()
        .map(|edge| edge.split_once('>').unwrap())
        .map(|(source, target)| format!("{{source: {source}, target: {target}}}"))
        .collect();
    format!(
        "{{kind: app, version: 0.6.0, app: {{name: test, mode: workflow}}, workflow: {{graph: {{nodes: [{}], edges: [{}]}}}}}}",
        nodes.join(", "),
        edges.join(", ")
    )
}

/// s -> a -> b -> c
fn chain() -> String {
    let start = "{id: s, data: {type: start, title: S, variables: []}}".to_owned();
    document(&[start, call("a", ""), call("b", ""), call("c", "")], &["s>a", "a>b", "b>c"])
}

/// s -> it { i -> a -> b }
fn passes() -> String {
    let inside = "parentId: it,";
    let nodes = [
        "{id: s, data: {type: start, title: S, variables: []}}".to_owned(),
        "{id: it, data: {type: iteration, title: It, start_node_id: i, iterator_selector: [s, xs], output_selector: [b, text], is_parallel: true, parallel_nums: 3, error_handle_mode: terminated}}".to_owned(),
        "{id: i, parentId: it, data: {type: iteration-start}}".to_owned(),
        call("a", inside),
        call("b", inside),
    ];
    document(&nodes, &["s>it", "i>a", "a>b"])
}

fn chain_of(world: &mut World, nodes: &[&str]) -> Task {
    let fragment = Fragment::Nodes(nodes.iter().map(|node| (*node).into()).collect());
    Task { fragment, ..world.task("r", nodes[0], Http) }
}

fn chunk_of(world: &mut World, first: u64, count: u64, lanes: u32) -> Task {
    let items = (0..count).map(|_| Value::int(1)).collect();
    let fragment = Fragment::Passes(Passes { first, count, lanes }, items);
    let frame = FramePath::default().pass("it", first);
    let task = TaskId { frame, node: "it".into(), generation: 1 };
    Task { task, fragment, ..world.task("r", "it", Http) }
}

/// Nodes that note what they do.
fn noting(document: &str, wait: Duration) -> (Nodes, Arc<Mutex<Vec<&'static str>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut nodes = Nodes::default().of(document).costly();
    for name in ["a", "b", "c"] {
        let seen = seen.clone();
        nodes = nodes.with(name, move |_| {
            seen.lock().unwrap().push(name);
            async move {
                tokio::time::sleep(wait).await;
                done()
            }
        });
    }
    (nodes, seen)
}

async fn last(world: &mut World) -> Completion {
    let mut all: Vec<Outcome> = Vec::new();
    for _ in 0..100 {
        let Some((_, completion)) = world.answer().await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        all.extend(completion.outcomes.iter().cloned());
        if completion.end != End::More {
            return Completion { outcomes: all, ..completion };
        }
    }
    panic!("no answer");
}

fn names(completion: &Completion) -> Vec<String> {
    let one = |told: &Outcome| format!("{}{}", told.task.frame, told.task.node);
    completion.outcomes.iter().map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_done_in_its_order() {
    let (nodes, seen) = noting(&chain(), Duration::from_millis(100));
    let memory = Memory::default();
    let mut world = remembering_in(SLOTS, nodes, &memory);
    let task = chain_of(&mut world, &["a", "b", "c"]);
    world.publisher.publish(vec![task]).await.unwrap();
    let completion = last(&mut world).await;
    assert_eq!(
        (names(&completion), completion.end),
        (vec!["a".into(), "b".into(), "c".into()], End::Done)
    );
    assert_eq!(*seen.lock().unwrap(), ["a", "b", "c"]);
    assert_eq!(memory.nodes(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_paid_for_in_a_chain_is_not_done_again() {
    let (nodes, seen) = noting(&chain(), Duration::ZERO);
    let memory = Memory::default();
    let mut world = remembering_in(SLOTS, nodes, &memory);
    let task = chain_of(&mut world, &["a", "b"]);
    world.publisher.publish(vec![task]).await.unwrap();
    last(&mut world).await;
    let again = Task { dispatch: 2, ..chain_of(&mut world, &["a", "b", "c"]) };
    world.publisher.publish(vec![again]).await.unwrap();
    let completion = last(&mut world).await;
    assert_eq!((names(&completion).len(), completion.dispatch), (3, 2));
    assert_eq!(*seen.lock().unwrap(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_halted_fragment_comes_back_between_its_nodes() {
    let (nodes, seen) = noting(&chain(), LONG);
    let mut world = remembering_in(SLOTS, nodes, &Memory::default());
    let task = chain_of(&mut world, &["a", "b", "c"]);
    let before = task.number + 1;
    world.publisher.publish(vec![task]).await.unwrap();
    tokio::time::sleep(LONG / 2).await;
    world.publisher.control(Control::Halt { run: "r".into(), before }).await.unwrap();
    let completion = last(&mut world).await;
    assert_eq!(names(&completion), ["a"]);
    assert_eq!(completion.end, End::Returned(Returned::HandedBack));
    assert_eq!(*seen.lock().unwrap(), ["a"]);
}

/// Time goes by in which nothing of the process runs.
async fn stand_still() {
    tokio::time::sleep(LONG / 2).await;
    tokio::time::advance(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stood_still_goes_on_with_nothing() {
    let (nodes, seen) = noting(&chain(), LONG);
    let mut world = remembering_in(SLOTS, nodes, &Memory::default());
    let task = chain_of(&mut world, &["a", "b", "c"]);
    world.publisher.publish(vec![task]).await.unwrap();
    stand_still().await;
    let completion = last(&mut world).await;
    assert_eq!(names(&completion), ["a"]);
    assert_eq!(completion.end, End::Returned(Returned::HandedBack));
    assert_eq!(*seen.lock().unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_slot_in_a_standstill_is_not_begun() {
    let (nodes, seen) = noting(&passes(), LONG);
    let slots = Slots { http: 1, ..SLOTS };
    let mut world = remembering_in(slots, nodes, &Memory::default());
    let task = chunk_of(&mut world, 5, 7, 3);
    world.publisher.publish(vec![task]).await.unwrap();
    stand_still().await;
    let completion = last(&mut world).await;
    assert_eq!(names(&completion), ["it[5]a"]);
    assert_eq!(completion.end, End::Returned(Returned::HandedBack));
    assert_eq!(*seen.lock().unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn passes_run_in_their_lanes() {
    let alive = Count::default();
    let nodes = slow(Nodes::default().of(&passes()), "a", &alive, LONG);
    let nodes = slow(nodes, "b", &alive, LONG);
    let mut world = remembering_in(SLOTS, nodes, &Memory::default());
    let task = chunk_of(&mut world, 5, 7, 3);
    world.publisher.publish(vec![task]).await.unwrap();
    tokio::time::sleep(LONG / 2).await;
    assert_eq!(alive.get(), 3);
    let completion = last(&mut world).await;
    let mut names = names(&completion);
    names.sort();
    let mut wanted: Vec<String> =
        (5..12).flat_map(|pass| [format!("it[{pass}]a"), format!("it[{pass}]b")]).collect();
    wanted.sort();
    assert_eq!((names, completion.end), (wanted, End::Done));
}
