//! An index node over a knowledge base that remembers what it keeps.

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_services::knowledge::{Cut, KnowledgeErrorKind};
use serde_json::{Value as Json, json};

use super::TYPE;
use crate::knowledge::fake::{Bases, services};
use crate::model::fake::{compiled, execute_with, outputs, variables};

/// The variables of a run that keeps these chunks.
fn given(chunks: &Json) -> Json {
    let system = json!({
        "dataset_id": "a", "document_id": "doc", "batch": "b-1", "original_document_id": "",
        "invoke_from": "published",
    });
    json!({"sys": system, "c": {"result": chunks}})
}

async fn run_in(bases: &Arc<Bases>, structure: &str, given: &Json) -> Result<Success, NodeError> {
    let data = json!({
        "chunk_structure": structure, "index_chunk_variable_selector": ["c", "result"],
    });
    let node = compiled(&TYPE, &data.to_string());
    execute_with(&*node, &variables(&given.to_string()), services(bases)).await.0
}

fn bases() -> Arc<Bases> {
    Arc::new(Bases::new([("a", Vec::new())]))
}

/// What is kept of chunks.
async fn kept(structure: &str, chunks: Json) -> Vec<Cut> {
    let bases = bases();
    run_in(&bases, structure, &given(&chunks)).await.unwrap();
    let kept = bases.kept();
    let [(base, document)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((&**base, document.id.as_deref()), ("a", Some("doc")));
    document.passages.clone()
}

fn cut(content: &str, answer: Option<&str>, children: &[&str]) -> Cut {
    Cut {
        content: content.into(),
        answer: answer.map(Into::into),
        children: children.iter().map(|child| (*child).into()).collect(),
    }
}

fn family() -> Json {
    json!({
        "parent_mode": "paragraph",
        "parent_child_chunks": [{"parent_content": "one two", "child_contents": ["one", "two"]}],
    })
}

fn pairs() -> Json {
    json!({"qa_chunks": [{"question": "Why?", "answer": "Because."}]})
}

#[tokio::test]
async fn the_three_structures_are_kept() {
    let texts = [cut("one", None, &[]), cut("two", None, &[])];
    assert_eq!(kept("text_model", json!(["one", "two"])).await, texts);
    let objects = json!({"general_chunks": [{"content": "one", "files": []}, "two"]});
    assert_eq!(kept("text_model", objects).await, texts);
    assert_eq!(kept("hierarchical_model", family()).await, [cut("one two", None, &["one", "two"])]);
    assert_eq!(kept("qa_model", pairs()).await, [cut("Why?", Some("Because."), &[])]);
}

#[tokio::test]
async fn what_was_kept_is_told() {
    let bases = bases();
    let mut given = given(&json!(["one"]));
    given["sys"]["original_document_id"] = json!("older");
    let success = run_in(&bases, "text_model", &given).await.unwrap();
    assert_eq!(
        outputs(&success),
        json!({
            "dataset_id": "id-a", "dataset_name": "a", "batch": "b-1", "document_id": "older",
            "document_name": "doc", "created_at": 1_700_000_000.0, "display_status": "available",
        })
    );
}

#[tokio::test]
async fn a_debugger_only_sees_what_would_be_kept() {
    let shown = async |structure: &str, chunks: Json| {
        let bases = bases();
        let mut given = given(&chunks);
        given["sys"]["invoke_from"] = json!("debugger");
        let success = run_in(&bases, structure, &given).await.unwrap();
        assert_eq!(bases.kept(), []);
        outputs(&success)
    };
    assert_eq!(
        shown("text_model", json!(["one"])).await,
        json!({
            "chunk_structure": "text_model", "preview": [{"content": "one"}], "total_segments": 1,
        })
    );
    assert_eq!(
        shown("hierarchical_model", family()).await,
        json!({
            "chunk_structure": "hierarchical_model", "parent_mode": "paragraph",
            "preview": [{"content": "one two", "child_chunks": ["one", "two"]}],
            "total_segments": 1,
        })
    );
    assert_eq!(
        shown("qa_model", pairs()).await,
        json!({
            "chunk_structure": "qa_model",
            "qa_preview": [{"question": "Why?", "answer": "Because."}], "total_segments": 1,
        })
    );
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told() {
    let cases = [
        ("/sys/dataset_id", "text_model", "WorkflowNodeError", "Dataset ID is required."),
        ("/sys/document_id", "text_model", "KnowledgeIndexNodeError", "Document ID is required."),
        ("/sys/batch", "text_model", "KnowledgeIndexNodeError", "Batch is required."),
        ("/c/result", "text_model", "", "Chunks is required."),
    ];
    for (missing, structure, kind, message) in cases {
        let mut given = given(&json!(["one"]));
        *given.pointer_mut(missing).unwrap() = json!("");
        let error = run_in(&bases(), structure, &given).await.unwrap_err();
        assert_eq!((&*error.kind, &*error.message), (kind, message));
    }
    let cases = [
        ("text_model", json!({"a": 1}), "Chunks is not a list"),
        ("text_model", json!([1]), "each chunk must be a text"),
        ("hierarchical_model", json!(["one"]), "chunks must be an object"),
        ("hierarchical_model", json!({"a": 1}), "parent_child_chunks must be a list"),
        ("qa_model", json!({"qa_chunks": [{"question": "?"}]}), "answer must be a text"),
        ("tree_model", json!(["one"]), "Index type tree_model is not supported"),
    ];
    for (structure, chunks, message) in cases {
        let error = run_in(&bases(), structure, &given(&chunks)).await.unwrap_err();
        assert!(error.message.starts_with(message), "{error:?}");
    }
    let mut without = given(&json!(["one"]));
    without["c"] = json!({});
    let error = run_in(&bases(), "text_model", &without).await.unwrap_err();
    assert_eq!(&*error.message, "Index chunk variable is required.");
}

#[tokio::test]
async fn what_the_knowledge_base_says_is_told() {
    let failed = async |kind| {
        let bases = Arc::new(Bases::new([("a", Vec::new())]).failing("a", kind));
        run_in(&bases, "text_model", &given(&json!(["one"]))).await.unwrap_err()
    };
    let error = failed(KnowledgeErrorKind::NoBase).await;
    assert_eq!((&*error.kind, &*error.message), ("WorkflowNodeError", "Dataset a not found."));
    let error = failed(KnowledgeErrorKind::Refused).await;
    assert_eq!((&*error.kind, &*error.message), ("KnowledgeIndexNodeError", "a fails"));
    assert_eq!(&*failed(KnowledgeErrorKind::RateLimited).await.kind, "RateLimitExceededError");
    let mut elsewhere = given(&json!(["one"]));
    elsewhere["sys"]["dataset_id"] = json!("other");
    let error = run_in(&bases(), "text_model", &elsewhere).await.unwrap_err();
    assert_eq!(&*error.kind, "NotConfiguredError");
}
