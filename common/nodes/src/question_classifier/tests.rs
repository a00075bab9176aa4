//! Which branch an answer chooses.

use serde_json::json;

use super::TYPE;
use crate::model::fake::{Fake, outputs, run, variables};

const DATA: &str = r#"{"model": {"provider": "p", "name": "m", "mode": "chat"},
    "query_variable_selector": ["a", "text"], "instruction": "mind {{#a.mind#}}",
    "classes": [{"id": "1", "name": "about {{#a.mind#}}"}, {"id": "2", "name": "other", "label": "Rest"}]}"#;
const GIVEN: &str = r#"{"a": {"text": "hello", "mind": "prices"}}"#;

#[tokio::test]
async fn the_class_that_the_model_names_is_taken() {
    let models = Fake::says(r#"{"category_id": "2", "category_name": "other"}"#);
    let success = run(&TYPE, (DATA, variables(GIVEN)), models.clone()).await.0.unwrap();
    assert_eq!(success.handle.as_deref(), Some("2"));
    let expected = json!({"class_name": "other", "class_label": "Rest", "class_id": "2"});
    assert_eq!(outputs(&success), expected);
    let told = models.told();
    let last = told.last().unwrap();
    assert!(last.contains("about prices") && last.contains("mind prices"), "{last}");
    assert!(last.contains("\"input_text\": \"hello\""), "{last}");
}

#[tokio::test]
async fn whatever_is_no_class_is_the_first() {
    for answer in [r#"{"category_id": "9", "category_name": "x"}"#, r#"{"answer": "2"}"#] {
        let success = run(&TYPE, (DATA, variables(GIVEN)), Fake::says(answer)).await.0.unwrap();
        let expected =
            json!({"class_name": "about prices", "class_label": "CLASS 1", "class_id": "1"});
        assert_eq!(outputs(&success), expected, "{answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_fails_the_node() {
    let (outcome, _) = run(&TYPE, (DATA, variables("{}")), Fake::says("the second")).await;
    let error = outcome.unwrap_err();
    assert_eq!(&*error.kind, "ValueError");
    assert_eq!(&*error.message, "could not find json block in the output.");
}
