//! Runs to their ends, over two workers.

use flowmill_engine::fact::Status;
use flowmill_engine::value::Value;

use super::support::{Cluster, document};

const START: &str = "{id: s, data: {type: start, title: S, variables: [{variable: who, label: who, type: text-input}]}}";

pub(crate) fn shout() -> String {
    let code = "{id: c, data: {type: code, title: C, code_language: javascript, code: 'function main({who}) { return {loud: who.toUpperCase()} }', variables: [{variable: who, value_selector: [s, who]}], outputs: {loud: {type: string}}}}";
    let end = "{id: e, data: {type: end, title: E, outputs: [{variable: says, value_selector: [c, loud]}]}}";
    document(&[START, code, end], &["{source: s, target: c}", "{source: c, target: e}"])
}

fn each() -> String {
    let list = "{id: l, data: {type: code, title: L, code_language: javascript, code: 'function main() { return {items: Array.from({length: 60}, (_, i) => i)} }', variables: [], outputs: {items: {type: 'array[number]'}}}}";
    let nodes = [
        START,
        list,
        "{id: it, data: {type: iteration, title: It, start_node_id: b, iterator_selector: [l, items], output_selector: [d, double], is_parallel: true, parallel_nums: 10, error_handle_mode: terminated}}",
        "{id: b, parentId: it, data: {type: iteration-start}}",
        "{id: d, parentId: it, data: {type: code, title: D, code_language: javascript, code: 'function main({x}) { return {double: x * 2} }', variables: [{variable: x, value_selector: [it, item]}], outputs: {double: {type: number}}}}",
        "{id: e, data: {type: end, title: E, outputs: [{variable: all, value_selector: [it, output]}]}}",
    ];
    let edges = [
        "{source: s, target: l}",
        "{source: l, target: it}",
        "{source: b, target: d}",
        "{source: it, target: e}",
    ];
    document(&nodes, &edges)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_with_their_outputs() {
    let cluster = Cluster::new("ends").await;
    let owner = cluster.owner("one").await;
    let (left, right) = (cluster.hand("left").await, cluster.hand("right").await);
    let plan = cluster.push(&shout()).await;
    let mut runs = Vec::new();
    for number in 0..60 {
        let who = format!("run {number}");
        runs.push((cluster.submit(&plan, &[("who", Value::from(&*who))]).await, who));
    }
    let each = cluster.submit(&cluster.push(&each()).await, &[("who", "x".into())]).await;
    for (run, who) in runs {
        let ended = cluster.end(&run).await;
        assert_eq!(ended.status, Status::Succeeded);
        assert_eq!(ended.outputs["says"], who.to_uppercase());
        assert_eq!(ended.returned, 0);
    }
    let ended = cluster.end(&each).await;
    let all: Vec<String> = (0..60).map(|number| (number * 2).to_string()).collect();
    assert_eq!(ended.outputs["all"], format!("[{}]", all.join(", ")));
    left.stop().await;
    right.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_waits_for_a_scheduler() {
    let cluster = Cluster::new("waits").await;
    let plan = cluster.push(&shout()).await;
    let run = cluster.submit(&plan, &[("who", "ada".into())]).await;
    assert_eq!(cluster.status(&run).await, None);
    let hand = cluster.hand("hand").await;
    let owner = cluster.owner("late").await;
    assert_eq!(cluster.end(&run).await.outputs["says"], "ADA");
    hand.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_its_node_and_no_row() {
    let cluster = Cluster::new("secret").await;
    let (owner, hand) = (cluster.owner("owner").await, cluster.hand("hand").await);
    let code = "{id: c, data: {type: code, title: C, code_language: javascript, code: 'function main({key}) { return {size: key.length} }', variables: [{variable: key, value_selector: [env, key]}], outputs: {size: {type: number}}}}";
    let end = "{id: e, data: {type: end, title: E, outputs: [{variable: size, value_selector: [c, size]}]}}";
    let secret =
        "environment_variables: [{id: v, name: key, value_type: secret, value: tops3cret}], graph:";
    let text = document(&[START, code, end], &["{source: s, target: c}", "{source: c, target: e}"])
        .replace("graph:", secret);
    let run = cluster.submit(&cluster.push(&text).await, &[("who", "ada".into())]).await;
    let ended = cluster.end(&run).await;
    assert_eq!((ended.status, &*ended.outputs["size"]), (Status::Succeeded, "9"));
    let dump = cluster.dump().await.to_lowercase();
    // as bytes are written
    let hex = "746f70733363726574";
    assert!(dump.contains("flowmill-sealed:1:") && dump.contains("ada"), "{dump}");
    assert!(!dump.contains("tops3cret") && !dump.contains(hex), "{dump}");
    hand.stop().await;
    owner.stop().await;
    cluster.leave().await;
}
