//! Every recorded case gives the answer that Dify's own engine gave.
//!
//! `fixtures/hand.jsonl` are small cases made for one rule each, `fixtures/generated.jsonl` are
//! random workflows, `fixtures/edges.jsonl` is odd values in odd places: every operator and every kind
//! of value, failures in containers, variables that are taken over. A line holds the case and the reference's answer under `want`.
//! How much one task carries makes no difference: each file is answered in every way of dispatch.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::fmt::Write as _;
use std::path::Path;

use flowmill_conformance::{BY_CHANCE, differences};
use flowmill_engine::fact::Dispatch;
use flowmill_engine::value::{Value, loads};

#[tokio::test(flavor = "multi_thread")]
async fn hand_written_cases_agree() {
    agree("hand.jsonl", 55, Dispatch::Hop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_written_cases_agree_in_fragments() {
    agree("hand.jsonl", 55, Dispatch::Fragments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_written_cases_agree_fused() {
    agree("hand.jsonl", 55, Dispatch::Fused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_written_cases_agree_node_by_node() {
    agree("hand.jsonl", 55, Dispatch::Each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_cases_agree() {
    agree("generated.jsonl", 250, Dispatch::Hop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_cases_agree_in_fragments() {
    agree("generated.jsonl", 250, Dispatch::Fragments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_cases_agree_fused() {
    agree("generated.jsonl", 250, Dispatch::Fused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_cases_agree_node_by_node() {
    agree("generated.jsonl", 250, Dispatch::Each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_cases_agree() {
    agree("edges.jsonl", 55, Dispatch::Hop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_cases_agree_in_fragments() {
    agree("edges.jsonl", 55, Dispatch::Fragments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_cases_agree_fused() {
    agree("edges.jsonl", 55, Dispatch::Fused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_cases_agree_node_by_node() {
    agree("edges.jsonl", 55, Dispatch::Each).await;
}

async fn agree(file: &str, at_least: usize, dispatch: Dispatch) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let cases: Vec<Value> = text.lines().map(|line| loads(line).unwrap()).collect();
    assert!(cases.len() >= at_least, "{} cases in {file}", cases.len());
    let answers = flowmill_cli::conform::cases(&cases, dispatch).await.unwrap();
    let mut report = String::new();
    let mut bad = 0;
    for (case, got) in cases.iter().zip(&answers) {
        let Value::Object(case) = case else { panic!("a case is an object") };
        if dispatch == Dispatch::Fused && case["id"].as_str() == Some(BY_CHANCE) {
            continue;
        }
        let racy = case.get("racy_failure").is_some_and(|racy| *racy == Value::Bool(true));
        let found = differences(racy, &case["want"], got);
        bad += usize::from(!found.is_empty());
        for difference in found {
            writeln!(report, "{}: {difference}", case["id"].to_python()).unwrap();
        }
    }
    assert!(bad == 0, "{bad} of {} cases in {file} differ:\n{report}", cases.len());
}
