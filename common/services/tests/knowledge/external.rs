//! Knowledge bases behind the External Knowledge API.

use flowmill_services::knowledge::{Condition, Filter, Kept, KnowledgeErrorKind, Operator, Search};
use serde_json::json;

use super::world::{World, question};

const ENTRY: &str = "[[knowledge]]\nasked = \"x\"\nname = \"Elsewhere\"\n[knowledge.external]\n\
                     url = \"URL/kb/retrieval\"\nkey = \"$KEY\"\nknowledge_id = \"k-1\"\n";

#[tokio::test]
async fn records_are_passages() {
    let world = World::new().await;
    let bases = world.bound(ENTRY);
    let about = bases.about("x").await.unwrap();
    assert_eq!((&*about.id, &*about.name), ("k-1", "Elsewhere"));
    let found = bases.search("x", &question("tea")).await.unwrap();
    let [tea, cake] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(
        (&*tea.content, tea.score, tea.title.as_deref()),
        ("Tea at four.", Some(0.9), Some("tea.txt"))
    );
    assert_eq!((&*tea.document.id, &tea.metadata["path"]), ("tea.txt", &"/tea".into()));
    assert_eq!((cake.score, cake.metadata.len()), (Some(0.5), 0));
    assert_eq!(
        world.sent("/kb/retrieval"),
        json!({
            "knowledge_id": "k-1",
            "query": "tea",
            "retrieval_setting": {"top_k": 3, "score_threshold": 0.0},
        })
    );
}

#[tokio::test]
async fn conditions_and_thresholds_go_along() {
    let world = World::new().await;
    let condition = Condition {
        field: "path".into(),
        operator: Operator::StartsWith,
        value: Some("/t".into()),
    };
    let filter = Filter { all: true, conditions: vec![condition] };
    let search = Search { filter: Some(filter), score_threshold: Some(0.5), ..question("tea") };
    world.bound(ENTRY).search("x", &search).await.unwrap();
    let sent = world.sent("/kb/retrieval");
    assert_eq!(sent["retrieval_setting"]["score_threshold"], 0.5);
    assert_eq!(
        sent["metadata_condition"],
        json!({"logical_operator": "and", "conditions": [
            {"name": "path", "comparison_operator": "start with", "value": "/t"},
        ]})
    );
}

#[tokio::test]
async fn failures_are_told_in_the_words_of_the_protocol() {
    let world = World::new().await;
    let failed = async |entry: String, query: &str| {
        world.bound(&entry).search("x", &question(query)).await.unwrap_err()
    };
    let error = failed(ENTRY.replace("$KEY", "$WRONG"), "tea").await;
    assert_eq!(error.kind, KnowledgeErrorKind::Unauthorized);
    assert!(!error.message.contains("wrong"), "{error}");
    let error = failed(ENTRY.replace("k-1", "k-2"), "tea").await;
    assert_eq!(error.kind, KnowledgeErrorKind::NoBase);
    assert!(error.message.ends_with("The knowledge does not exist"), "{error}");
    assert_eq!(failed(ENTRY.to_owned(), "busy").await.kind, KnowledgeErrorKind::RateLimited);
    assert_eq!(failed(ENTRY.to_owned(), "down").await.kind, KnowledgeErrorKind::Unavailable);
    let error = failed(ENTRY.to_owned(), "empty").await;
    assert_eq!(error.kind, KnowledgeErrorKind::BadAnswer);
    assert!(error.message.ends_with("its answer has no records"), "{error}");
}

#[tokio::test]
async fn nothing_can_be_kept_there() {
    let world = World::new().await;
    let error = world.bound(ENTRY).keep("x", Kept::default()).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Refused);
    assert!(error.message.contains("no way to give it documents"), "{error}");
    assert_eq!(world.lines(), Vec::<String>::new());
}
