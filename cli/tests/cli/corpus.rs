//! Real exports: each validates, or has a problem that is truly in it.
//!
//! The corpus lies outside the repository (`FLOWMILL_SHARED`, or `shared` beside it); without it
//! there is nothing to test.

#![expect(clippy::print_stderr, reason = "says that it was skipped")]

use std::collections::BTreeMap;

use super::*;

/// Files that Dify refuses too, with the lines of their errors and why.
const REFUSED: &[(&str, &[u64], &str)] = &[
    (
        "akabane71-01-enterprise-customer-service-ticket-workf.yml",
        &[122, 1200],
        "written by hand: its knowledge nodes lack the required retrieval_mode",
    ),
    (
        "lazeyliu-02-trigger-plugin-code-workflow.yml",
        &[28],
        "written by hand: its code node lacks the required variables",
    ),
    (
        "lazeyliu-03-trigger-webhook-code-workflow.yml",
        &[32],
        "written by hand: its code node lacks the required variables",
    ),
    (
        "yuta-95-01-housing-loan-v1-0-0.yml",
        &[180, 311, 311, 311],
        "written by hand: there is no operator \"is empty\", and its assigner is of neither version",
    ),
    (
        "yuta-95-03-minpaku-v1-0-0.yml",
        &[291, 291, 291],
        "written by hand: its assigner is of neither version",
    ),
];

#[test]
fn real_exports_validate_or_have_a_problem_of_their_own() {
    let Some(files) = corpus() else { return };
    assert_eq!(files.len(), 77);
    let mut arguments = vec!["validate", "--format", "json"];
    arguments.extend(files.iter().map(String::as_str));
    let findings = flowmill(&arguments).expect(1).json();
    let mut refused = BTreeMap::new();
    for finding in findings.as_array().unwrap() {
        let path = finding["file"].as_str().unwrap();
        let name = Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
        let problems = finding["problems"].as_array().unwrap();
        let errors = problems.iter().filter(|problem| problem["severity"] == "error");
        let lines: Vec<u64> = errors.filter_map(|problem| problem["line"].as_u64()).collect();
        assert_eq!(finding["ok"], lines.is_empty(), "{finding}");
        if !lines.is_empty() {
            refused.insert(name, lines);
        }
    }
    let expected = REFUSED.iter().map(|(name, lines, _)| ((*name).to_owned(), lines.to_vec()));
    assert_eq!(refused, expected.collect());
}

#[test]
fn every_valid_export_has_a_plan_in_every_form() {
    let Some(files) = corpus() else { return };
    for file in files {
        if REFUSED.iter().any(|(name, ..)| file.ends_with(name)) {
            continue;
        }
        for format in ["text", "mermaid", "json"] {
            flowmill(&["plan", &file, "--format", format]).expect(0);
        }
    }
}

pub(crate) fn corpus() -> Option<Vec<String>> {
    let beside = repository().join("../shared");
    let shared = std::env::var_os("FLOWMILL_SHARED").map_or(beside, PathBuf::from);
    let corpus = shared.join("corpus");
    if !corpus.is_dir() {
        eprintln!("skipped: there is no corpus at {}", corpus.display());
        return None;
    }
    let mut files = Vec::new();
    for folder in [corpus.clone(), corpus.join("legacy_no_kind")] {
        let entries = std::fs::read_dir(folder).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    Some(files.iter().map(|path| path.to_str().unwrap().to_owned()).collect())
}
