//! A cluster tells the story that one process tells, and that Dify's own engine told, however much
//! one task carries.
//!
//! The recorded cases of `tests/conformance` are answered by two workers over real servers.
//! `FLOWMILL_PARITY_CASES` names a file of other cases; one without an answer under `want` is
//! compared with what this process makes of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flowmill_cli::conform;
use flowmill_conformance::{BY_CHANCE, differences};
use flowmill_engine::fact::{Dispatch, Fact, Options};
use flowmill_engine::report::{History, Report};
use flowmill_engine::run::{Run, Start};
use flowmill_engine::value::{Object, Style, Value, dumps, loads};
use flowmill_infra::message::PlanKey;
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::{Reading, load};
use futures::{StreamExt as _, stream};

use super::support::Cluster;

const MODES: [Dispatch; 4] = [Dispatch::Hop, Dispatch::Fragments, Dispatch::Fused, Dispatch::Each];

/// Runs that are on their way at a time.
const ABREAST: usize = 48;

#[tokio::test(flavor = "multi_thread")]
async fn recorded_cases_are_answered_alike_by_a_cluster() {
    let mut cases = Vec::new();
    match std::env::var_os("FLOWMILL_PARITY_CASES") {
        Some(file) => {
            cases.extend(read(&PathBuf::from(file)));
            with_answers(&mut cases).await;
        }
        None => cases = recorded(),
    }
    cases.retain(ends);
    assert!(!cases.is_empty(), "no case has an end");
    let cluster = Cluster::new("parity").await;
    let owner = cluster.owner("one").await;
    let left = cluster.hand_in("left", conform::surroundings().unwrap()).await;
    let right = cluster.hand_in("right", conform::surroundings().unwrap()).await;
    let runs = cases.iter().flat_map(|case| MODES.map(|mode| (case, mode)));
    let told = runs.map(|(case, mode)| tell(&cluster, case, mode));
    let told: Vec<String> = stream::iter(told).buffer_unordered(ABREAST).collect().await;
    let wrong: Vec<String> = told.into_iter().filter(|text| !text.is_empty()).collect();
    let (bad, all) = (wrong.len(), cases.len() * MODES.len());
    assert!(wrong.is_empty(), "{bad} of {all} runs differ:\n{}", wrong.concat());
    left.stop().await;
    right.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

/// The recorded cases.
pub(crate) fn recorded() -> Vec<Object> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/fixtures");
    let file = |name| fixtures.join(name).with_extension("jsonl");
    ["hand", "edges", "generated"].into_iter().flat_map(|name| read(&file(name))).collect()
}

fn read(path: &Path) -> Vec<Object> {
    let text = std::fs::read_to_string(path).unwrap();
    let cases = text.lines().map(|line| match loads(line).unwrap() {
        Value::Object(case) => case.as_ref().clone(),
        other => panic!("{other:?} is no case"),
    });
    cases.collect()
}

/// Answers the cases that have no answer, one node in a task, in this process.
async fn with_answers(cases: &mut [Object]) {
    let open: Vec<&mut Object> =
        cases.iter_mut().filter(|case| !case.contains_key("want")).collect();
    let values: Vec<Value> = open.iter().map(|case| Value::object((**case).clone())).collect();
    let answers = conform::cases(&values, Dispatch::Hop).await.unwrap();
    for (case, answer) in open.into_iter().zip(answers) {
        case.insert("want".into(), answer);
    }
}

pub(crate) fn member(object: &Object, name: &str) -> Value {
    object.get(name).cloned().unwrap_or_default()
}

/// Whether a case has one end to compare: a run that cannot begin, or waits for a person, has none.
pub(crate) fn ends(case: &Object) -> bool {
    let Value::Object(want) = member(case, "want") else { panic!("no answer") };
    let has_end = !["invalid", "paused"].contains(&&*want["status"].to_python());
    has_end && member(case, "id").as_str() != Some(BY_CHANCE)
}

/// Runs a case and tells what differs from its answer; nothing if all is as it should be.
async fn tell(cluster: &Cluster, case: &Object, mode: Dispatch) -> String {
    let (workflow, start) = conform::prepare(&Value::object(case.clone())).unwrap();
    let mut plan = PlanKey { dify_sizes: true, ..cluster.push(&workflow.text).await };
    if let Some(mocks) = mocks(case) {
        plan.mocks = Some(cluster.push(&mocks).await.workflow);
    }
    let more = start.options;
    let options = Options { dispatch: mode, mocks: plan.mocks.clone(), dify_sizes: true, ..more };
    let run = cluster.begin(&plan, Start { options, ..start }, Duration::from_hours(1)).await;
    judge(case, &workflow.text, mode, &cluster.story(&run).await)
}

/// The mocks of a case, as text.
pub(crate) fn mocks(case: &Object) -> Option<String> {
    let given = member(case, "mocks");
    matches!(given, Value::Object(_)).then(|| dumps(&given, Style::Line))
}

/// What differs from a case's answer in what became of it.
pub(crate) fn judge(case: &Object, text: &str, mode: Dispatch, facts: &[Fact]) -> String {
    let given = member(case, "mocks");
    let mocks = match given {
        Value::Object(_) => Mocks::from_value(&given).unwrap(),
        _ => Mocks::default(),
    };
    let reading = Reading { dify_sizes: true, ..Reading::default() };
    let compiled = load(text, reading, mocks).unwrap().plan;
    let mut report = Report::new(History::Full);
    for fact in facts {
        report.add(&compiled, fact);
    }
    let run = Run::replay(compiled, facts);
    let got = conform::answer(member(case, "id"), &run, &report, Duration::ZERO);
    let racy = member(case, "racy_failure") == Value::Bool(true);
    let mut told = String::new();
    for difference in differences(racy, &case["want"], &got) {
        writeln!(told, "{} as {mode:?}: {difference}", case["id"].to_python()).unwrap();
    }
    told
}
