//! How much one task carries makes no difference to a run, whoever dies over it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use flowmill_engine::fact::{Dispatch, Status};
use flowmill_engine::value::{Style, Value, dumps, loads};
use flowmill_infra::message::PlanKey;

use super::deaths::Counting;
use super::support::{Cluster, Ended, SLOTS, document};

const MODES: [Dispatch; 3] = [Dispatch::Hop, Dispatch::Fragments, Dispatch::Fused];

/// What of an end must be the same, however the run was sent.
fn shown(end: &Ended, is_racy: bool) -> String {
    let mut text = end.status.name().to_owned();
    // what runs beside a failure may or may not come to its end
    if !is_racy && !matches!(end.status, Status::Failed | Status::Stopped) {
        let (outputs, attempts) = (&end.outputs, &end.attempts);
        write!(text, " {} {outputs:?} {attempts:?}", end.exceptions).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_cases_end_alike_in_all_modes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/fixtures/hand.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let cluster = Cluster::new("modes").await;
    let owner = cluster.owner("one").await;
    let (left, right) = (cluster.hand("left").await, cluster.hand("right").await);
    let mut begun = Vec::new();
    for case in text.lines().map(|line| loads(line).unwrap()) {
        let Value::Object(case) = case else { panic!("a case is an object") };
        let mut plan = cluster.push(&case["dsl"].to_python()).await;
        if let Some(mocks @ Value::Object(_)) = case.get("mocks") {
            let mocks = cluster.push(&dumps(mocks, Style::Line)).await;
            plan = PlanKey { mocks: Some(mocks.workflow), ..plan };
        }
        let Some(Value::Object(given)) = case.get("inputs") else { continue };
        let inputs: Vec<(&str, Value)> =
            given.iter().map(|(name, value)| (&**name, value.clone())).collect();
        // a run that cannot begin, or waits for a person, has no end to compare
        let want = match &case["want"] {
            Value::Object(want) => want["status"].to_python(),
            other => panic!("{other:?} is no result"),
        };
        if ["invalid", "paused"].contains(&&*want) {
            continue;
        }
        let mut runs = Vec::new();
        for mode in MODES {
            runs.push(cluster.submit_as(&plan, &inputs, mode).await);
        }
        let is_racy = case.get("racy_failure") == Some(&Value::Bool(true));
        begun.push((case["id"].to_python(), want, is_racy, runs));
    }
    assert!(begun.len() > 40, "{} cases", begun.len());
    let (mut wrong, mut as_wanted) = (String::new(), 0);
    for (id, want, is_racy, runs) in &begun {
        let mut ends = Vec::new();
        for run in runs {
            ends.push(shown(&cluster.end(run).await, *is_racy));
        }
        as_wanted += usize::from(ends[0].split(' ').next() == Some(want));
        if ends.iter().any(|end| *end != ends[0]) {
            writeln!(wrong, "{id}: {ends:#?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // the reference has limits of its own that this cluster has not
    assert!(as_wanted * 10 > begun.len() * 9, "{as_wanted} of {} as recorded", begun.len());
    left.stop().await;
    right.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

const ITEMS: usize = 60;

/// An iteration that calls once for each of its elements, `width` at a time.
fn each(calls: &Counting, width: usize) -> String {
    let list = format!(
        "{{id: l, data: {{type: code, title: L, code_language: javascript, code: 'function main() {{ return {{items: Array.from({{length: {ITEMS}}}, (_, i) => i)}} }}', variables: [], outputs: {{items: {{type: 'array[number]'}}}}}}}}"
    );
    let call = format!(
        "{{id: a, parentId: it, data: {{type: http-request, title: A, method: get, url: 'http://127.0.0.1:{}/{{{{#it.item#}}}}', headers: '', params: '', authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}}}}}",
        calls.port
    );
    let iteration = format!(
        "{{id: it, data: {{type: iteration, title: It, start_node_id: b, iterator_selector: [l, items], output_selector: [a, body], is_parallel: true, parallel_nums: {width}, error_handle_mode: terminated}}}}"
    );
    let nodes = [
        "{id: s, data: {type: start, title: S, variables: []}}",
        &list,
        &iteration,
        "{id: b, parentId: it, data: {type: iteration-start}}",
        &call,
        "{id: e, data: {type: end, title: E, outputs: [{variable: all, value_selector: [it, output]}]}}",
    ];
    let edges = [
        "{source: s, target: l}",
        "{source: l, target: it}",
        "{source: b, target: a}",
        "{source: it, target: e}",
    ];
    document(&nodes, &edges)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_over_passes_repeats_at_most_those_in_hand() {
    let cluster = Cluster::new("passes").await;
    let calls = Counting::new(Duration::from_millis(100)).await;
    let owner = cluster.owner("owner").await;
    let doomed = cluster.hand("doomed").await;
    let plan = cluster.push(&each(&calls, 6)).await;
    let run = cluster.submit(&plan, &[]).await;
    cluster.until("a third of the calls", async || calls.total() > ITEMS / 3).await;
    drop(doomed);
    let heir = cluster.hand("heir").await;
    let ended = cluster.end(&run).await;
    assert_eq!(ended.status, Status::Succeeded);
    assert_eq!(ended.outputs["all"].matches("done").count(), ITEMS);
    let again = calls.total() - ITEMS;
    assert!(again <= SLOTS.http, "{again} calls were made again");
    assert!(ended.tasks < ITEMS / 2, "{} tasks", ended.tasks);
    heir.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_gives_back_passes() {
    let cluster = Cluster::new("gives").await;
    let calls = Counting::new(Duration::from_millis(400)).await;
    let owner = cluster.owner("owner").await;
    let leaving = cluster.hand("leaving").await;
    let plan = cluster.push(&each(&calls, 6)).await;
    let run = cluster.submit(&plan, &[]).await;
    cluster.until("a third of the calls", async || calls.total() > ITEMS / 3).await;
    let heir = cluster.hand("heir").await;
    leaving.stop().await;
    let ended = cluster.end(&run).await;
    assert_eq!(ended.outputs["all"].matches("done").count(), ITEMS);
    assert_eq!(calls.total(), ITEMS, "nothing was called twice");
    assert!(ended.returned > 0);
    heir.stop().await;
    owner.stop().await;
    cluster.leave().await;
}
