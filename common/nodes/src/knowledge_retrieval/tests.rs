//! A retrieval node over knowledge bases and models that have what a test says.

use std::sync::{Arc, Mutex};

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Kind, Name, Value, loads};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_services::Services;
use flowmill_services::knowledge::{
    Child, Document, Field, Filter, KnowledgeErrorKind, Method, Operator, Passage, Segment, Usual,
};
use flowmill_services::models::{Known, Reply, ToolCall};
use futures::future::BoxFuture;
use serde_json::{Value as Json, json};

use super::TYPE;
use super::spec::Spec;
use crate::context::Steps;
use crate::fixtures::item;
use crate::knowledge::fake::{Bases, passage};
use crate::model::fake::{ABLE, Fake, compiled, execute_with, reply, surroundings, variables};

/// A node's data over the knowledge bases `a` and `b`, with more or other members.
fn data(more: Json) -> String {
    let mut data = json!({
        "query_variable_selector": ["s", "question"],
        "dataset_ids": ["a", "b"],
        "retrieval_mode": "multiple",
        "multiple_retrieval_config": {"top_k": 3, "reranking_enable": false},
        "single_retrieval_config": {"model": model("chat")},
    });
    let Json::Object(more) = more else { panic!("no object") };
    more.into_iter().for_each(|(name, value)| data[name] = value);
    data.to_string()
}

fn model(mode: &str) -> Json {
    json!({"provider": "p", "name": "m", "mode": mode})
}

fn asking(question: &str) -> Variables {
    variables(&json!({"s": {"question": question, "year": 2020, "who": "Ann"}}).to_string())
}

fn two() -> Bases {
    Bases::new([
        ("a", vec![passage("a1", "tea at four", Some(0.9)), passage("a2", "cake", Some(0.2))]),
        ("b", vec![passage("b1", "coffee", Some(0.5)), passage("b2", "milk", None)]),
    ])
}

struct World {
    bases: Arc<Bases>,
    models: Arc<Fake>,
}

impl World {
    fn new(bases: Bases) -> Self {
        Self::with(bases, Fake::new(ABLE, []))
    }

    fn with(bases: Bases, models: Arc<Fake>) -> Self {
        Self { bases: Arc::new(bases), models }
    }

    fn services(&self) -> Services {
        let (knowledge, models) = (self.bases.clone(), self.models.clone());
        Services { knowledge, models, ..Services::default() }
    }

    async fn run(&self, more: Json, variables: &Variables) -> Result<Success, NodeError> {
        let node = compiled(&TYPE, &data(more));
        execute_with(&*node, variables, self.services()).await.0
    }

    /// The contents of what is found for a question.
    async fn found(&self, more: Json, question: &str) -> Vec<String> {
        let items = items(&self.run(more, &asking(question)).await.unwrap());
        items.iter().map(|item| item["content"].as_str().unwrap().to_owned()).collect()
    }

    async fn failed(&self, more: Json, variables: &Variables) -> NodeError {
        self.run(more, variables).await.unwrap_err()
    }

    fn filter(&self) -> Filter {
        self.bases.searches()[0].1.filter.clone().expect("no filter")
    }
}

fn items(success: &Success) -> Vec<Json> {
    let [(name, result)] = &success.outputs[..] else { panic!("{success:?}") };
    assert_eq!((&**name, result.kind), ("result", Kind::ArrayObject));
    result.value().to_json().as_array().unwrap().clone()
}

#[tokio::test]
async fn a_passage_has_all_members_in_order() {
    let whole = Passage {
        content: "Why?".into(),
        answer: Some("Because.".into()),
        score: Some(0.75),
        document: Document {
            id: "d-1".into(),
            name: "why.md".into(),
            source: "upload_file".into(),
            metadata: Some(Value::object([("year".into(), Value::int(2020))])),
        },
        segment: Some(Segment {
            id: "s-1".into(),
            position: 4,
            words: 10,
            hits: 2,
            hash: "h".into(),
        }),
        children: vec![Child { id: "c".into(), content: "y".into(), position: 1, score: 0.5 }],
        summary: Some("reasons".into()),
        ..Passage::default()
    };
    let elsewhere = Passage {
        content: "Elsewhere.".into(),
        title: Some("far.txt".into()),
        document: Document {
            id: "far.txt".into(),
            source: "external".into(),
            ..Document::default()
        },
        metadata: [("path".into(), Value::from("/far"))].into_iter().collect(),
        ..Passage::default()
    };
    let world = World::new(Bases::new([("a", vec![elsewhere, whole])]));
    let more = json!({"dataset_ids": ["a"]});
    let success = world.run(more, &asking("why")).await.unwrap();
    let shown = success.outputs[0].1.value().repr();
    assert_eq!(
        shown,
        "[{'metadata': {'_source': 'knowledge', 'dataset_id': 'id-a', 'dataset_name': 'a', \
         'document_id': 'd-1', 'document_name': 'why.md', 'data_source_type': 'upload_file', \
         'segment_id': 's-1', 'retriever_from': 'workflow', 'score': 0.75, 'child_chunks': [{'id': 'c', \
         'content': 'y', 'position': 1, 'score': 0.5}], 'segment_hit_count': 2, \
         'segment_word_count': 10, 'segment_position': 4, 'segment_index_node_hash': 'h', \
         'doc_metadata': {'year': 2020}, 'position': 1}, 'title': 'why.md', 'files': None, 'content': \
         'question:Why? \\nanswer:Because.', 'summary': 'reasons'}, \
         {'metadata': {'_source': 'knowledge', 'dataset_id': 'id-a', 'dataset_name': 'a', \
         'document_id': 'far.txt', 'document_name': 'far.txt', 'data_source_type': 'external', \
         'retriever_from': 'workflow', 'score': 0.0, 'doc_metadata': {'path': '/far', 'score': 0.0, \
         'title': 'far.txt', 'dataset_id': 'id-a', 'dataset_name': 'a'}, 'position': 2}, 'title': \
         'far.txt', 'files': None, 'content': 'Elsewhere.', 'summary': None}]"
    );
}

#[tokio::test]
async fn all_knowledge_bases_are_looked_through_and_the_best_are_taken() {
    let world = World::new(two());
    assert_eq!(world.found(json!({}), "tea").await, ["tea at four", "coffee", "cake"]);
    let searches = world.bases.searches();
    let asked: Vec<_> = searches.iter().map(|(base, search)| (&**base, search.top_k)).collect();
    assert_eq!(asked, [("a", 3), ("b", 3)]);
    assert_eq!(
        (&*searches[0].1.query, searches[0].1.method, &searches[0].1.filter),
        ("tea", None, &None)
    );
    let config = json!({"top_k": 5, "score_threshold": 0.3, "reranking_enable": false});
    let more = json!({"multiple_retrieval_config": config});
    assert_eq!(world.found(more, "tea").await, ["tea at four", "coffee"]);
    let none = json!({"multiple_retrieval_config": {"top_k": 0}});
    assert_eq!(world.found(none, "tea").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_knowledge_base_that_gives_more_is_asked_for_more() {
    let usual = |count| Usual { top_k: Some(count), ..Usual::default() };
    let bases = two().with("a", |about| about.usual = usual(7));
    let world = World::new(bases.with("b", |about| about.usual = usual(2)));
    assert_eq!(world.found(json!({}), "tea").await.len(), 3);
    let counts: Vec<u32> = world.bases.searches().iter().map(|(_, search)| search.top_k).collect();
    assert_eq!(counts, [7, 3]);
}

#[tokio::test]
async fn a_model_puts_what_several_found_in_order() {
    let config = |enable: bool| {
        let model = json!({"provider": "p", "model": "ranker"});
        let config = json!({
            "top_k": 3, "score_threshold": 0.3, "reranking_enable": enable, "reranking_model": model,
        });
        json!({"multiple_retrieval_config": config})
    };
    let world = World::new(two());
    assert_eq!(world.found(config(true), "tea").await, ["milk", "coffee", "cake"]);
    assert_eq!(world.models.reranked(), ["ranker: tea"]);
    // a single knowledge base has put its own in order
    let mut one = config(true);
    one["dataset_ids"] = json!(["a", "gone"]);
    assert_eq!(world.found(one, "tea").await, ["tea at four"]);
    assert_eq!(world.found(config(false), "tea").await, ["tea at four", "coffee"]);
    assert_eq!(world.models.reranked().len(), 1);
}

#[tokio::test]
async fn weights_count_vectors_and_words() {
    let config = |vector: f64, keyword: f64| {
        json!({"multiple_retrieval_config": {
            "top_k": 2, "reranking_mode": "weighted_score",
            "weights": {
                "vector_setting": {"vector_weight": vector, "embedding_provider_name": "p",
                    "embedding_model_name": "e"},
                "keyword_setting": {"keyword_weight": keyword},
            },
        }})
    };
    let world = World::new(two());
    assert_eq!(world.found(config(1.0, 0.0), "milk?").await, ["tea at four", "coffee"]);
    assert_eq!(world.found(config(0.0, 1.0), "milk?").await[0], "milk");
    let success = world.run(config(0.5, 0.5), &asking("tea")).await.unwrap();
    let score = items(&success)[0]["metadata"]["score"].as_f64().unwrap();
    assert!(score > 0.5 * 0.9 && score < 0.5 * 0.9 + 0.5, "{score}");
    let mut without = config(0.5, 0.5);
    without["multiple_retrieval_config"]["weights"] = Json::Null;
    let error = world.failed(without, &asking("tea")).await;
    assert_eq!((&*error.kind, &*error.message), ("ValueError", "weights is required"));
}

#[tokio::test]
async fn where_nobody_says_how_well_passages_fit_their_words_do() {
    let world = World::new(Bases::new([
        ("a", vec![passage("a1", "nothing", None), passage("a2", "tea at four", None)]),
        ("b", vec![]),
    ]));
    assert_eq!(world.found(json!({}), "tea").await, ["tea at four", "nothing"]);
}

#[tokio::test]
async fn the_same_passage_is_told_once() {
    let found = vec![passage("x", "tea", Some(0.5))];
    let world = World::new(Bases::new([("a", found.clone()), ("b", found)]));
    assert_eq!(world.found(json!({}), "tea").await, ["tea"]);
    // and a knowledge base that is named twice is asked once
    world.found(json!({"dataset_ids": ["a", "a"]}), "tea").await;
    assert_eq!(world.bases.searches().len(), 3);
}

#[tokio::test]
async fn a_model_that_calls_functions_chooses_by_one() {
    let call = ToolCall { id: "1".into(), name: "collection_2".into(), arguments: "{}".into() };
    let chosen = Reply { tool_calls: vec![call], ..reply("") };
    let usual =
        Usual { method: Some(Method::FullTextSearch), top_k: Some(9), score_threshold: Some(0.1) };
    let bases = two().with("b", |about| about.usual = usual);
    let world = World::with(bases, Fake::new(ABLE, [Ok(chosen)]));
    let more = json!({"retrieval_mode": "single"});
    assert_eq!(world.found(more, "coffee?").await, ["coffee", "milk"]);
    let searches = world.bases.searches();
    let [(base, search)] = &searches[..] else { panic!("{searches:?}") };
    assert_eq!((&**base, search.top_k), ("b", 9));
    assert_eq!((search.method, search.score_threshold), (Some(Method::FullTextSearch), Some(0.1)));
    let tools = world.models.asked().tools;
    let shown: Vec<_> = tools.iter().map(|tool| (&*tool.name, &*tool.description)).collect();
    assert_eq!(shown, [("collection_1", "a: all about a"), ("collection_2", "b: all about b")]);
    assert_eq!(world.models.told()[1], "User: coffee?");
}

#[tokio::test]
async fn a_model_that_calls_no_functions_chooses_by_what_it_writes() {
    let plain = Known { tools: false, ..ABLE };
    let says = |text: &str| Fake::new(plain, [Ok(reply(text))]);
    let more = || json!({"retrieval_mode": "single"});
    let world = World::with(two(), says("Hm.\nChoice: {\"name\": \"collection_1\"}"));
    assert_eq!(world.found(more(), "tea?").await, ["tea at four", "cake"]);
    assert_eq!(world.bases.searches()[0].1.top_k, 2);
    assert_eq!(world.models.asked().tools, []);
    let told = world.models.told();
    assert!(
        told[0].contains("\"question\": \"tea?\"") && told[0].contains("all about b"),
        "{told:?}"
    );
    let world = World::with(two(), says("Choice: {\"name\": null}"));
    assert_eq!(world.found(more(), "war?").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_single_knowledge_base_is_not_asked_about() {
    let world = World::new(two());
    let more = json!({"retrieval_mode": "single", "dataset_ids": ["gone", "a"]});
    assert_eq!(world.found(more, "tea").await, ["tea at four", "cake"]);
    assert_eq!(world.models.count(), 0);
    let more = json!({"retrieval_mode": "single", "single_retrieval_config": null});
    let error = world.failed(more, &asking("tea")).await;
    assert_eq!(&*error.kind, "ValueError");
}

fn manual(operator: &str, conditions: Json) -> Json {
    json!({
        "metadata_filtering_mode": "manual",
        "metadata_filtering_conditions": {"logical_operator": operator, "conditions": conditions},
    })
}

#[tokio::test]
async fn conditions_keep_the_type_of_what_they_name() {
    let world = World::new(two());
    let more = manual(
        "or",
        json!([
            {"name": "year", "comparison_operator": "≥", "value": "{{#s.year#}}"},
            {"name": "note", "comparison_operator": "contains", "value": "by {{#s.who#}}"},
            {"name": "author", "comparison_operator": "in", "value": ["{{#s.who#}}", "Bo"]},
            {"name": "a", "comparison_operator": "is", "value": null},
            {"name": "b", "comparison_operator": "empty", "value": "ignored"},
            {"name": "c", "comparison_operator": "=", "value": 5},
        ]),
    );
    world.found(more, "tea").await;
    let filter = world.filter();
    let shown: Vec<_> = filter
        .conditions
        .iter()
        .map(|held| (&*held.field, held.operator, held.value.as_ref().map(Value::repr)))
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert!(!filter.all);
    assert_eq!(
        shown,
        [
            ("year", Operator::AtLeast, text("2020")),
            ("note", Operator::Contains, text("'by Ann'")),
            ("author", Operator::In, text("['Ann', 'Bo']")),
            ("b", Operator::Empty, None),
            ("c", Operator::Is, text("5")),
        ]
    );
}

#[test]
fn what_conditions_name_is_read() {
    let condition = json!([{"name": "y", "comparison_operator": "is", "value": "{{#s.year#}}"}]);
    let data = item(&loads(&data(manual("and", condition))).unwrap());
    let (id, mut problems) = (Name::from("n"), Vec::new());
    let mut fields = Fields::new(&data, &id, "t", &mut problems);
    let reads = Spec::read(&mut fields).reads();
    let reads: Vec<String> = reads.iter().map(|read| read.parts().join(".")).collect();
    assert_eq!((reads, problems), (vec!["s.question".to_owned(), "s.year".to_owned()], Vec::new()));
}

fn automatic() -> Json {
    json!({"metadata_filtering_mode": "automatic", "metadata_model_config": model("chat")})
}

fn with_fields(bases: Bases) -> Bases {
    let field = |name: &str, kind: &str| Field { name: name.into(), kind: kind.into() };
    bases
        .with("a", |about| about.fields = vec![field("author", "string"), field("year", "number")])
        .with("b", |about| about.fields = vec![field("author", "string")])
}

#[tokio::test]
async fn a_model_proposes_conditions_on_what_is_known() {
    let says = json!({"metadata_map": [
        {"metadata_field_name": "author", "metadata_field_value": "Ann", "comparison_operator": "is"},
        {"metadata_field_name": "year", "metadata_field_value": 2020, "comparison_operator": ">"},
        {"metadata_field_name": "colour", "metadata_field_value": "red", "comparison_operator": "is"},
        {"metadata_field_name": "year", "metadata_field_value": 1, "comparison_operator": "near"},
        {"metadata_field_name": "year", "metadata_field_value": null, "comparison_operator": "is"},
        "nonsense",
    ]});
    let world =
        World::with(with_fields(two()), Fake::says(&format!("<think>x</think>Here: {says}")));
    world.found(automatic(), "what did Ann write?").await;
    let filter = world.filter();
    let fields: Vec<&str> = filter.conditions.iter().map(|held| &*held.field).collect();
    assert_eq!((filter.all, fields), (false, vec!["author", "year"]));
    let told = world.models.told();
    let known = r#"[{"name": "author", "type": "string"}, {"name": "year", "type": "number"}]"#;
    assert!(told[1].contains(known) && told[1].contains("what did Ann write?"), "{told:?}");
}

#[tokio::test]
async fn a_model_that_proposes_nothing_lets_everything_through() {
    for says in ["I cannot say.", "{\"metadata_map\": []}", "{\"metadata_map\": 5}"] {
        let world = World::with(with_fields(two()), Fake::says(says));
        assert_eq!(world.found(automatic(), "tea").await.len(), 3, "{says}");
        assert_eq!(world.bases.searches()[0].1.filter, None, "{says}");
    }
    // of what nothing is known no model is asked
    let world = World::new(two());
    world.found(automatic(), "tea").await;
    assert_eq!(world.models.count(), 0);
    let more = json!({"metadata_filtering_mode": "automatic"});
    let error = world.failed(more, &asking("tea")).await;
    assert_eq!(&*error.message, "metadata_model_config is required");
}

#[tokio::test]
async fn files_are_looked_up_each_for_itself() {
    let mut given = asking("tea");
    let file = |name: &str| {
        let file = File { kind: "image".into(), filename: Some(name.into()), ..File::default() };
        Value::File(Arc::new(file))
    };
    let files = Value::array(vec![file("1.png"), file("2.png")]);
    given.set(&"s".into(), &"files".into(), Variable::typed(Kind::ArrayFile, files));
    given.set(&"s".into(), &"file".into(), Variable::typed(Kind::File, file("3.png")));
    let world = World::new(two());
    let more = |name: &str| json!({"dataset_ids": ["a"], "query_attachment_selector": ["s", name]});
    let success = world.run(more("files"), &given).await.unwrap();
    assert_eq!(items(&success).len(), 2);
    let searches = world.bases.searches();
    let asked: Vec<_> =
        searches.iter().map(|(_, search)| (&*search.query, search.files.len())).collect();
    assert_eq!(asked, [("tea", 0), ("", 1), ("", 1)]);
    let mut alone = more("file");
    alone["query_variable_selector"] = Json::Null;
    world.run(alone, &given).await.unwrap();
    assert_eq!(world.bases.searches().len(), 4);
    let error = world.failed(more("year"), &given).await;
    assert_eq!(&*error.message, "Attachments variable is not array file or file type.");
}

#[tokio::test]
async fn what_is_not_looked_up_is_nothing() {
    let world = World::new(two());
    let nothing = json!({"query_variable_selector": null, "query_attachment_selector": []});
    assert_eq!(world.run(nothing, &asking("tea")).await.unwrap(), Success::default());
    assert_eq!(world.found(json!({}), "").await, Vec::<String>::new());
    assert_eq!(world.found(json!({"dataset_ids": ["gone"]}), "tea").await, Vec::<String>::new());
    assert_eq!(world.found(json!({"dataset_ids": []}), "tea").await, Vec::<String>::new());
    assert_eq!(world.bases.searches(), []);
    for selector in [json!(["s", "year"]), json!(["s", "none"]), json!("s.question")] {
        let more = json!({"query_variable_selector": selector});
        let error = world.failed(more, &asking("tea")).await;
        assert_eq!((&*error.kind, &*error.message), ("", "Query variable is not string type."));
    }
}

#[tokio::test]
async fn failures_have_names_and_say_what_to_add() {
    let world = World::new(two());
    let more = json!({"dataset_ids": ["a", "Zm9v+/=="]});
    let error = world.failed(more, &asking("tea")).await;
    assert_eq!((&*error.kind, error.class), ("NotConfiguredError", ErrorClass::Invalid));
    assert!(error.message.contains("[[knowledge]]\nasked = \"Zm9v+/==\""), "{error:?}");
    let cases = [
        (KnowledgeErrorKind::RateLimited, "RateLimitExceededError", ErrorClass::RateLimited),
        (KnowledgeErrorKind::Unavailable, "KnowledgeRetrievalNodeError", ErrorClass::Transient),
        (KnowledgeErrorKind::Timeout, "KnowledgeRetrievalNodeError", ErrorClass::Timeout),
        (KnowledgeErrorKind::Unauthorized, "KnowledgeRetrievalNodeError", ErrorClass::Denied),
        (
            KnowledgeErrorKind::Model(flowmill_services::models::ErrorKind::NoModel),
            "ModelNotExistError",
            ErrorClass::Invalid,
        ),
    ];
    for (kind, name, class) in cases {
        let error = World::new(two().failing("b", kind)).failed(json!({}), &asking("tea")).await;
        assert_eq!((&*error.kind, error.class, &*error.message), (name, class, "b fails"));
    }
    // one that went away between being looked at and being asked is left out
    let world = World::new(two().failing("b", KnowledgeErrorKind::NoBase));
    assert_eq!(world.found(json!({}), "tea").await, ["tea at four", "cake"]);
}

/// Steps that were done before.
#[derive(Debug, Default)]
struct Done(Mutex<Vec<(String, Value)>>);

impl Steps for Done {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Value>> {
        let done = self.0.lock().unwrap();
        let found = done.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        Box::pin(std::future::ready(found))
    }

    fn keep<'a>(&'a self, name: &'a str, done: Value) -> BoxFuture<'a, Value> {
        self.0.lock().unwrap().push((name.to_owned(), done.clone()));
        Box::pin(std::future::ready(done))
    }
}

#[tokio::test]
async fn models_that_were_asked_by_a_lost_worker_are_not_asked_again() {
    let call = ToolCall { id: "1".into(), name: "collection_1".into(), arguments: "".into() };
    let answers =
        [Ok(reply("{\"metadata_map\": []}")), Ok(Reply { tool_calls: vec![call], ..reply("") })];
    let world = World::with(with_fields(two()), Fake::new(ABLE, answers));
    let mut more = automatic();
    more["retrieval_mode"] = json!("single");
    let node = compiled(&TYPE, &data(more));
    let steps: Arc<dyn Steps> = Arc::new(Done::default());
    let mut context = surroundings(world.services());
    context.steps = Some(steps);
    let first = node.execute(&asking("tea"), &context).await.unwrap();
    let again = node.execute(&asking("tea"), &context).await.unwrap();
    assert_eq!((first == again, world.models.count()), (true, 2));
    assert_eq!(items(&again).len(), 2);
}
