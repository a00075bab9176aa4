//! How things are found.

use flowmill_engine::value::Value;
use flowmill_knowledge::{Model, Settings};
use flowmill_services::knowledge::{
    Condition, Cut, Filter, Kept, Knowledge as _, KnowledgeErrorKind, Method, Operator, Search,
};

use super::{World, ask, cut, document, known};

/// Settings of a base with vectors.
pub(crate) fn embedding(method: Method) -> Settings {
    Settings { embedding: Model::parse("openai/small"), method, ..Settings::default() }
}

pub(crate) async fn bases_are_made_listed_and_dropped(world: World) {
    assert!(world.store.bases(world.tenant()).await.unwrap().is_empty());
    world.base(embedding(Method::HybridSearch)).await;
    world.store.create(world.tenant(), "a", "", &Settings::default()).await.unwrap();
    let twice = world.store.create(world.tenant(), "a", "", &Settings::default()).await;
    assert!(twice.unwrap_err().message.contains("there is a knowledge base a already"));
    world.keep("one", &["first", "second"]).await;
    let bases = world.store.bases(world.tenant()).await.unwrap();
    let shown: Vec<_> =
        bases.iter().map(|base| (&*base.name, base.documents, base.segments)).collect();
    assert_eq!(shown, [("a", 0, 0), ("b", 1, 2)]);
    assert_eq!(bases[1].settings, embedding(Method::HybridSearch));
    // an id is as good as a name
    let by_id = world.store.base(world.tenant(), &bases[1].id).await.unwrap();
    assert_eq!((&*by_id.name, &*by_id.description), ("b", "All of it."));
    world.store.drop_base(world.tenant(), "b").await.unwrap();
    assert_eq!(world.store.bases(world.tenant()).await.unwrap().len(), 1);
    // nothing of it is left
    world.base(Settings::default()).await;
    assert!(world.find(ask("first")).await.is_empty());
}

pub(crate) async fn a_base_that_is_not_there_is_told_with_the_nearest_name(world: World) {
    world.store.create(world.tenant(), "handbook", "", &Settings::default()).await.unwrap();
    let error = world.store.search("handbok", &ask("x"), &world.caller).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::NoBase);
    assert!(error.message.contains("did you mean handbook?"), "{error}");
    let error = world.store.about("zoo", &world.caller).await.unwrap_err();
    assert!(error.message.contains("there are: handbook"), "{error}");
}

pub(crate) async fn words_are_found_without_any_model(world: World) {
    world.base(Settings { top_k: 2, ..Settings::default() }).await;
    world.keep("one", &["The cat sat.", "The dog ran.", "The WOMBAT, a rare animal, sat."]).await;
    // rare words count more, and the base says how many
    assert_eq!(
        world.find(ask("the wombat")).await,
        ["The WOMBAT, a rare animal, sat.", "The cat sat."]
    );
    let found = world.passages(Search { top_k: 1, ..ask("sat cat unknown") }).await;
    let [only] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*only.content, &*only.document.name), ("The cat sat.", "one"));
    assert!((only.score.unwrap() - 1.0).abs() < 1e-9, "{found:?}");
    let segment = only.segment.as_ref().unwrap();
    assert_eq!((segment.position, segment.words, segment.hash.len()), (1, 12, 64));
    for nothing in ["unknown", "", "  ", "?!", "\"", "a' OR 'b"] {
        let found = world.find(ask(nothing)).await;
        assert!(found.len() <= 1, "{nothing}: {found:?}");
    }
    let semantic = Search { method: Some(Method::SemanticSearch), ..ask("cat") };
    let error = world.store.search("b", &semantic, &world.caller).await.unwrap_err();
    assert!(error.message.contains("search it with full_text_search"), "{error}");
    assert_eq!(world.models.count(), 0);
}

pub(crate) async fn chinese_and_japanese_are_found_by_words(world: World) {
    world.base(Settings { top_k: 1, ..Settings::default() }).await;
    world.keep("one", &["今天天气很好。", "东京是日本的首都。", "東京都に住んでいます。"]).await;
    assert_eq!(world.find(ask("天气怎么样？")).await, ["今天天气很好。"]);
    assert_eq!(world.find(ask("日本首都")).await, ["东京是日本的首都。"]);
    assert_eq!(world.find(ask("京都に")).await, ["東京都に住んでいます。"]);
    assert!(world.find(ask("北京")).await.is_empty());
}

pub(crate) async fn meaning_is_found_by_vectors(world: World) {
    world.base(embedding(Method::SemanticSearch)).await;
    let passages = ["aaab", "bbba", "zzzz"];
    world.keep("one", &passages).await;
    let found = world.passages(Search { top_k: 2, ..ask("aaa") }).await;
    let shown: Vec<&str> = found.iter().map(|passage| &*passage.content).collect();
    assert_eq!(shown, ["aaab", "bbba"]);
    assert!((found[0].score.unwrap() - 3.0 / 10.0_f64.sqrt()).abs() < 1e-6, "{found:?}");
}

pub(crate) async fn both_count_in_a_hybrid_search(world: World) {
    world.base(embedding(Method::HybridSearch)).await;
    // alike in letters, other words
    world.keep("one", &["abc cba", "cab bac", "xyz"]).await;
    let found = world.passages(Search { top_k: 2, ..ask("cab") }).await;
    let shown: Vec<&str> = found.iter().map(|passage| &*passage.content).collect();
    assert_eq!(shown, ["cab bac", "abc cba"]);
    let scores: Vec<f64> = found.iter().map(|passage| passage.score.unwrap()).collect();
    assert!((scores[0] - 1.0).abs() < 1e-6 && (scores[1] - 0.7).abs() < 1e-6, "{scores:?}");
    let words = Search { method: Some(Method::FullTextSearch), ..ask("cab") };
    assert_eq!(world.find(words).await, ["cab bac"]);
}

pub(crate) async fn small_pieces_lead_to_their_passage(world: World) {
    world.base(Settings::default()).await;
    let children = ["cats sleep", "dogs bark", "cats purr"].map(Into::into).to_vec();
    let passage = Cut { children, ..cut("cats sleep, dogs bark, cats purr") };
    let kept = Kept { passages: vec![passage, cut("fish swim")], ..document("one", &[]) };
    world.store.keep("b", kept, &world.caller).await.unwrap();
    let found = world.passages(ask("cats purr")).await;
    let [only] = &found[..] else { panic!("{found:?}") };
    assert_eq!(&*only.content, "cats sleep, dogs bark, cats purr");
    let children: Vec<(&str, i64)> =
        only.children.iter().map(|child| (&*child.content, child.position)).collect();
    assert_eq!(children, [("cats purr", 3), ("cats sleep", 1)]);
    // the best of them counts
    assert_eq!(only.score, Some(only.children[0].score));
    assert_eq!(world.find(ask("fish")).await, ["fish swim"]);
}

pub(crate) async fn pairs_are_found_by_the_words_of_both(world: World) {
    world.base(Settings::default()).await;
    let pair = Cut { answer: Some("At noon.".into()), ..cut("When do we eat?") };
    let kept = Kept { passages: vec![pair], ..document("one", &[]) };
    world.store.keep("b", kept, &world.caller).await.unwrap();
    for question in ["eat", "noon"] {
        let found = world.passages(ask(question)).await;
        let [only] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*only.content, only.answer.as_deref()), ("When do we eat?", Some("At noon.")));
        assert!(only.score.unwrap() > 0.99, "{found:?}");
    }
}

pub(crate) async fn filters_and_thresholds_hold(world: World) {
    world.base(embedding(Method::HybridSearch)).await;
    for (name, year) in [("old", 1999), ("new", 2020)] {
        let kept =
            known(document(name, &[&format!("apple of {name}")]), &[("year", Value::int(year))]);
        world.store.keep("b", kept, &world.caller).await.unwrap();
    }
    let filter = |operator, year| {
        let condition = Condition { field: "year".into(), operator, value: Some(Value::int(year)) };
        Some(Filter { all: true, conditions: vec![condition] })
    };
    for method in [Method::SemanticSearch, Method::FullTextSearch, Method::HybridSearch] {
        let search = |filter| Search { method: Some(method), filter, ..ask("apple") };
        assert_eq!(world.find(search(None)).await.len(), 2, "{method:?}");
        let found = world.find(search(filter(Operator::AtLeast, 2000))).await;
        assert_eq!(found, ["apple of new"], "{method:?}");
        assert!(world.find(search(filter(Operator::Less, 1900))).await.is_empty());
        let least = Search { score_threshold: Some(1.0), ..search(None) };
        let is_strict = method != Method::FullTextSearch;
        assert_eq!(world.find(least).await.is_empty(), is_strict, "{method:?}");
    }
}

pub(crate) async fn a_model_puts_passages_in_order(world: World) {
    let rerank = Model::parse("jina/rerank");
    world.base(Settings { rerank, ..Settings::default() }).await;
    let long = "apple and much besides";
    world.keep("one", &["apple", long, "apple pie"]).await;
    let found = world.passages(Search { top_k: 2, ..ask("apple pie") }).await;
    let shown: Vec<(&str, f64)> =
        found.iter().map(|passage| (&*passage.content, passage.score.unwrap())).collect();
    assert_eq!(shown, [(long, 0.22), ("apple pie", 0.09)]);
    let least = Search { score_threshold: Some(0.1), ..ask("apple") };
    assert_eq!(world.find(least).await, [long]);
}

pub(crate) async fn tenants_see_nothing_of_each_other(world: World) {
    world.base(Settings::default()).await;
    let kept = world.keep("one", &["secret plans"]).await;
    let mut other = world.caller.clone();
    other.tenant = format!("{}-other", world.tenant()).into();
    for base in ["b", &*kept.base] {
        let error = world.store.search(base, &ask("plans"), &other).await.unwrap_err();
        assert_eq!(error.kind, KnowledgeErrorKind::NoBase);
        assert!(!error.message.contains("did you mean"), "{error}");
    }
    world.store.create(&other.tenant, "b", "", &Settings::default()).await.unwrap();
    assert!(world.store.search("b", &ask("plans"), &other).await.unwrap().is_empty());
    assert_eq!(world.find(ask("plans")).await, ["secret plans"]);
}

pub(crate) async fn hits_are_counted(world: World) {
    world.base(Settings::default()).await;
    world.keep("one", &["apple", "pear"]).await;
    for before in 0..3 {
        let found = world.passages(ask("apple")).await;
        assert_eq!(found[0].segment.as_ref().unwrap().hits, before);
    }
    assert_eq!(world.passages(ask("pear")).await[0].segment.as_ref().unwrap().hits, 0);
}

pub(crate) async fn fields_are_told_with_their_kinds(world: World) {
    world.base(Settings::default()).await;
    let first = [
        ("author", "Ada".into()),
        ("year", Value::int(2020)),
        ("seen", "2024-05-01".into()),
        ("mixed", Value::int(1)),
    ];
    let second = [("year", Value::Float(0.5)), ("mixed", "x".into())];
    for (name, metadata) in [("one", &first[..]), ("two", &second[..])] {
        let kept = known(document(name, &["x"]), metadata);
        world.store.keep("b", kept, &world.caller).await.unwrap();
    }
    let about = world.store.about("b", &world.caller).await.unwrap();
    let fields: Vec<_> = about.fields.iter().map(|field| (&*field.name, &*field.kind)).collect();
    let expected =
        [("author", "string"), ("year", "number"), ("seen", "time"), ("mixed", "string")];
    assert_eq!(fields, expected);
    assert_eq!((&*about.name, about.usual.top_k), ("b", Some(4)));
    assert_eq!(about.usual.method, Some(Method::FullTextSearch));
}
