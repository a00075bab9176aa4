//! Knowledge bases of a Dify server.

use std::time::Duration;

use flowmill_engine::value::{File, Value};
use flowmill_services::knowledge::{
    Condition, Cut, Filter, Kept, KnowledgeErrorKind, Method, Operator, Search,
};
use serde_json::json;

use super::world::{DATASET, ECONOMY, PASSED_ON, World, question};

const ANY: &str =
    "[[knowledge]]\nasked = \"*\"\n[knowledge.dify]\nurl = \"URL/v1/\"\nkey = \"$KEY\"\n";

#[tokio::test]
async fn what_a_knowledge_base_is_is_read() {
    let world = World::new().await;
    let about = world.bound(ANY).about(DATASET).await.unwrap();
    assert_eq!((&*about.id, &*about.name), (DATASET, "Handbook"));
    assert_eq!(&*about.description, "how we work");
    assert_eq!(about.usual.method, Some(Method::HybridSearch));
    assert_eq!((about.usual.top_k, about.usual.score_threshold), (Some(5), Some(0.4)));
    let fields: Vec<_> = about.fields.iter().map(|field| (&*field.name, &*field.kind)).collect();
    assert_eq!(fields[..2], [("author", "string"), ("document_name", "string")]);
    // one that says of itself what is known of its documents
    let about = world.bound(ANY).about(PASSED_ON).await.unwrap();
    assert_eq!((about.fields.len(), &*about.fields[0].name), (1, "shelf"));
    assert!(!world.lines().contains(&format!("GET /v1/datasets/{PASSED_ON}/metadata")));
    // one without metadata, without settings, without vectors
    let about = world.bound(ANY).about(ECONOMY).await.unwrap();
    assert_eq!((about.fields.len(), about.usual.method), (0, Some(Method::KeywordSearch)));
}

#[tokio::test]
async fn what_a_knowledge_base_said_a_moment_ago_is_not_asked_again() {
    let world = World::new().await;
    let bases = world.bound(ANY);
    for _ in 0..3 {
        bases.about(DATASET).await.unwrap();
        bases.search(DATASET, &question("hello")).await.unwrap();
    }
    let count = |end: &str| world.lines().iter().filter(|line| line.ends_with(end)).count();
    assert_eq!((count(DATASET), count("/metadata"), count("/retrieve")), (1, 1, 3));
}

#[tokio::test]
async fn an_entry_may_name_and_describe_it_and_say_which_it_is() {
    let world = World::new().await;
    let entry = format!(
        "[[knowledge]]\nasked = \"Zm9v+/==\"\nname = \"Mine\"\ndescription = \"all\"\n[knowledge.dify]\n\
         url = \"URL/v1\"\nkey = \"$KEY\"\ndataset = \"{DATASET}\"\n"
    );
    let bases = world.bound(&entry);
    let about = bases.about("Zm9v+/==").await.unwrap();
    assert_eq!((&*about.id, &*about.name, &*about.description), (DATASET, "Mine", "all"));
    let error = world.bound(ANY).about("Zm9v+/==").await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Misconfigured);
    assert!(error.message.contains("dataset under [knowledge.dify]"), "{error}");
}

#[tokio::test]
async fn passages_are_looked_up_as_the_knowledge_base_is_set() {
    let world = World::new().await;
    let bases = world.bound(ANY);
    let found = bases.search(DATASET, &question("hello")).await.unwrap();
    let [passage] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(&*passage.content, "How do we greet?");
    assert_eq!(passage.answer.as_deref(), Some("With a smile."));
    assert_eq!((passage.score, passage.summary.as_deref()), (Some(0.8), Some("Greetings.")));
    let known = passage.document.metadata.as_ref().unwrap().repr();
    assert_eq!(known, "{'year': 2024, 'author': 'Ann'}");
    assert_eq!((&*passage.document.id, &*passage.document.source), ("d-1", "upload_file"));
    let segment = passage.segment.as_ref().unwrap();
    assert_eq!((&*segment.id, segment.position, segment.words, segment.hits), ("s-1", 2, 4, 7));
    assert_eq!((&*segment.hash, passage.children[0].score), ("abc", 0.7));
    let file = &passage.files[0];
    assert_eq!((&*file.kind, file.extension.as_deref()), ("image", Some(".png")));
    let sent = world.sent("/retrieve");
    assert_eq!(sent["query"], "hello");
    let model = &sent["retrieval_model"];
    assert_eq!(model["search_method"], "hybrid_search");
    assert_eq!(model["reranking_model"]["reranking_model_name"], "rerank-1");
    assert_eq!((&model["top_k"], &model["score_threshold"]), (&json!(3), &json!(0.4)));
    assert_eq!((model.get("metadata_filtering_conditions"), model.get("weights")), (None, None));
    // as many as are set there, where more are asked for
    bases.search(DATASET, &Search { top_k: 9, ..question("hello") }).await.unwrap();
    assert_eq!(world.sent("/retrieve")["retrieval_model"]["top_k"], 5);
}

#[tokio::test]
async fn what_is_asked_for_goes_before_how_it_is_set() {
    let world = World::new().await;
    let condition =
        |field: &str, operator, value| Condition { field: field.into(), operator, value };
    let search = Search {
        query: "q".repeat(300).into(),
        score_threshold: Some(0.0),
        method: Some(Method::FullTextSearch),
        filter: Some(Filter {
            all: false,
            conditions: vec![
                condition("author", Operator::Is, Some("Ann".into())),
                condition("year", Operator::Is, Some(Value::int(2024))),
                condition("note", Operator::Empty, None),
            ],
        }),
        ..question("")
    };
    world.bound(ANY).search(DATASET, &search).await.unwrap();
    let sent = world.sent("/retrieve");
    assert_eq!(sent["query"].as_str().unwrap().len(), 250);
    let model = &sent["retrieval_model"];
    assert_eq!(
        (&model["search_method"], &model["score_threshold"]),
        (&json!("full_text_search"), &json!(0.0))
    );
    assert_eq!(
        model["metadata_filtering_conditions"],
        json!({"logical_operator": "or", "conditions": [
            {"name": "author", "comparison_operator": "is", "value": "Ann"},
            {"name": "year", "comparison_operator": "=", "value": 2024},
            {"name": "note", "comparison_operator": "empty", "value": null},
        ]})
    );
}

#[tokio::test]
async fn a_knowledge_base_that_passes_questions_on_answers_with_what_it_is_told() {
    let world = World::new().await;
    let found = world.bound(ANY).search(PASSED_ON, &question("tea")).await.unwrap();
    assert_eq!((found.len(), &*found[0].content), (2, "Tea at four."));
    assert_eq!((&found[0].segment, &*found[0].document.source), (&None, "external"));
    assert_eq!(world.sent("/retrieve")["external_retrieval_model"]["top_k"], 3);
}

#[tokio::test]
async fn files_alone_find_nothing_and_are_not_asked_for() {
    let world = World::new().await;
    let search = Search { files: vec![File::default()], ..question("") };
    assert_eq!(world.bound(ANY).search(DATASET, &search).await.unwrap(), []);
    assert_eq!(world.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn failures_are_told_apart_and_without_keys() {
    let world = World::new().await;
    let bases = world.bound(ANY);
    let failed = async |query: &str| bases.search(DATASET, &question(query)).await.unwrap_err();
    let error = failed("busy").await;
    assert_eq!(error.kind, KnowledgeErrorKind::RateLimited);
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    let host = world.url.trim_start_matches("http://");
    let told = format!("Dify at {host}: it asks for fewer calls (status 429): slower");
    assert_eq!(&*error.message, told);
    assert_eq!(failed("down").await.kind, KnowledgeErrorKind::Unavailable);
    let error = failed("away").await;
    assert_eq!(error.kind, KnowledgeErrorKind::Refused);
    assert!(error.message.contains("from another address"), "{error}");
    assert_eq!(failed("html").await.kind, KnowledgeErrorKind::BadAnswer);
    assert_eq!(failed("empty").await.kind, KnowledgeErrorKind::BadAnswer);
    // a key that is refused is not repeated, nor a part of it
    let wrong = world.bound(&ANY.replace("$KEY", "$WRONG"));
    let error = wrong.about(DATASET).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Unauthorized);
    assert!(error.message.contains("see key in the services file"), "{error}");
    assert!(!error.message.contains("9876543210") && !error.message.contains("wrong"), "{error}");
    let unset = world.bound(&ANY.replace("$KEY", "$UNSET"));
    let error = unset.about(DATASET).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Misconfigured);
    let told = "key is read from the environment variable UNSET, which is not set";
    assert_eq!(&*error.message, told);
}

#[tokio::test]
async fn no_such_knowledge_base_is_not_a_wrong_address() {
    let world = World::new().await;
    let other = DATASET.replace('5', "6");
    let error = world.bound(ANY).about(&other).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::NoBase);
    let error = world.bound(&ANY.replace("/v1/", "")).about(DATASET).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Refused);
    assert!(error.message.contains("see url in the services file"), "{error}");
    let nobody = ANY.replace("URL", "http://127.0.0.1:1");
    let error = world.bound(&nobody).about(DATASET).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Connection);
    assert!(error.message.starts_with("Dify at 127.0.0.1:1: it cannot be asked: "), "{error}");
}

#[tokio::test]
async fn an_answer_comes_in_time() {
    let world = World::new().await;
    let entry = ANY.replace("[knowledge.dify]", "timeout = \"100ms\"\n[knowledge.dify]");
    let error = world.bound(&entry).search(DATASET, &question("slow")).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Timeout);
    assert!(error.message.ends_with("did not answer within 100ms"), "{error}");
}

#[tokio::test]
async fn documents_are_kept_and_replaced() {
    let world = World::new().await;
    let bases = world.bound(ANY);
    let document = |id: Option<&str>| Kept {
        id: id.map(Into::into),
        name: "new.md".into(),
        passages: ["one", "two"]
            .map(|content| Cut { content: content.into(), ..Cut::default() })
            .into(),
        ..Kept::default()
    };
    let kept = bases.keep(DATASET, document(None)).await.unwrap();
    assert_eq!((&*kept.base, &*kept.base_name), (DATASET, "Handbook"));
    assert_eq!((&*kept.document, &*kept.document_name), ("d-new", "new.md"));
    assert_eq!((&*kept.batch, &*kept.display_status), ("b-1", "queuing"));
    assert_eq!(kept.created_at, 1_700_000_000);
    let sent = world.sent("/document/create-by-text");
    assert_eq!(
        (&sent["doc_form"], &sent["process_rule"]["mode"]),
        (&json!("text_model"), &json!("custom"))
    );
    assert_eq!(sent["text"], "one\n~~~ next passage ~~~\ntwo");
    let kept = bases.keep(DATASET, document(Some("d-old"))).await.unwrap();
    assert_eq!(&*kept.document, "d-old");
    // one that is not there yet is made
    let kept = bases.keep(DATASET, document(Some("d-other"))).await.unwrap();
    assert_eq!(&*kept.document, "d-new");
    let error = bases.keep(ECONOMY, document(None)).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Refused);
    assert!(error.message.contains("keeps documents as hierarchical_model"), "{error}");
}
