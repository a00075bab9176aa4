//! Workers die, or are told to stop, over tasks that carry many passes.

use std::time::Duration;

use flowmill_engine::fact::Status;

use super::deaths::Counting;
use super::support::{Cluster, SLOTS, document};

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
