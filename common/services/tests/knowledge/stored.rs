//! The built-in store beside the entries of a services file, and what is told of all of them.

use std::sync::Arc;

use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{
    About, Indexed, Kept, Knowledge, KnowledgeError, KnowledgeErrorKind, Offer, Passage, Search,
};
use futures::future::BoxFuture;

use super::world::{Bases, DATASET, World, question};

/// A store with one knowledge base, which says what it is asked.
#[derive(Debug)]
struct Store;

fn only<T>(base: &str, answer: T) -> BoxFuture<'static, Result<T, KnowledgeError>>
where
    T: Send + 'static,
{
    let missing = KnowledgeError::new(KnowledgeErrorKind::NoBase, format!("there is no {base}"));
    let answer = if base == "handbook" { Ok(answer) } else { Err(missing) };
    Box::pin(std::future::ready(answer))
}

impl Knowledge for Store {
    fn about<'a>(
        &'a self,
        base: &'a str,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<About, KnowledgeError>> {
        only(base, About { id: base.into(), name: base.into(), ..About::default() })
    }

    fn search<'a>(
        &'a self,
        base: &'a str,
        search: &'a Search,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Passage>, KnowledgeError>> {
        only(base, vec![Passage { content: search.query.clone(), ..Passage::default() }])
    }

    fn keep<'a>(
        &'a self,
        base: &'a str,
        document: Kept,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Indexed, KnowledgeError>> {
        only(base, Indexed { base: base.into(), document: document.name, ..Indexed::default() })
    }
}

fn beside_a_store(world: &World, text: &str) -> Bases {
    world.bound_with(text, Some(Arc::new(Store)))
}

const ENTRY: &str = "[[knowledge]]\nasked = \"Zm9v*\"\nname = \"Mine\"\nstore = \"handbook\"\n";

#[tokio::test]
async fn an_entry_names_a_knowledge_base_of_the_store() {
    let world = World::new().await;
    let bases = beside_a_store(&world, ENTRY);
    let about = bases.about("Zm9v+/==").await.unwrap();
    assert_eq!((&*about.id, &*about.name), ("handbook", "Mine"));
    assert_eq!(&*bases.search("Zm9v", &question("tea")).await.unwrap()[0].content, "tea");
    let kept = Kept { name: "a.md".into(), ..Kept::default() };
    assert_eq!(&*bases.keep("Zm9v", kept).await.unwrap().document, "a.md");
    let wrong = beside_a_store(&world, &ENTRY.replace("\"handbook\"", "\"hand\""));
    let error = wrong.search("Zm9v", &question("tea")).await.unwrap_err();
    assert_eq!(error.kind, KnowledgeErrorKind::Misconfigured);
    assert!(error.message.ends_with("flowmill knowledge create hand"), "{error}");
}

#[tokio::test]
async fn a_name_of_the_store_needs_no_entry() {
    let world = World::new().await;
    let bases = beside_a_store(&world, "");
    assert_eq!(&*bases.about("handbook").await.unwrap().id, "handbook");
    assert_eq!(bases.search("handbook", &question("tea")).await.unwrap().len(), 1);
    for bases in [bases, world.bound("")] {
        let error = bases.search("other", &question("tea")).await.unwrap_err();
        assert_eq!(error.kind, KnowledgeErrorKind::NotBound);
        for way in ["store = ", "[knowledge.dify]", "[knowledge.external]"] {
            assert!(error.message.contains(way), "{error}");
        }
        assert_eq!(bases.about("other").await.unwrap_err().kind, KnowledgeErrorKind::NotBound);
        let kept = bases.keep("other", Kept::default()).await.unwrap_err();
        assert_eq!(kept.kind, KnowledgeErrorKind::NotBound);
    }
}

#[tokio::test]
async fn who_keeps_what_is_told() {
    let world = World::new().await;
    let bases = beside_a_store(&world, ENTRY).0;
    let caller = Caller::default();
    let offer = async |base: &str| bases.offer(base, &caller).await.unwrap();
    let keeper = || "the built-in store, handbook".to_owned();
    assert_eq!(offer("Zm9v").await, Some(Offer { entry: Some(1), keeper: keeper() }));
    assert_eq!(offer("handbook").await, Some(Offer { entry: None, keeper: keeper() }));
    assert_eq!(offer("other").await, None);
}

#[tokio::test]
async fn everybody_who_keeps_knowledge_is_asked_whether_they_answer() {
    let world = World::new().await;
    let text = format!(
        "{ENTRY}\n[[knowledge]]\nasked = \"*\"\n[knowledge.dify]\nurl = \"URL/v1\"\nkey = \"$KEY\"\n\
         [[knowledge]]\nasked = \"{DATASET}\"\n[knowledge.dify]\nurl = \"URL/v1\"\nkey = \"$KEY\"\n\
         [[knowledge]]\nasked = \"e\"\n[knowledge.external]\nurl = \"URL\"\nkey = \"$WRONG\"\n\
         knowledge_id = \"k-1\"\n[[knowledge]]\nasked = \"f\"\n[knowledge.external]\nurl = \"URL\"\n\
         key = \"$UNSET\"\nknowledge_id = \"k-1\"\n"
    );
    let bases = beside_a_store(&world, &text).0;
    let checked = bases.check(&Caller::default()).await;
    let told = |at: usize| match &checked[at].about {
        Ok(Some(about)) => about.name.to_string(),
        Ok(None) => "answers".to_owned(),
        Err(why) => format!("no: {why}"),
    };
    assert_eq!(checked.len(), 5);
    assert_eq!((told(0), told(1)), ("Mine".to_owned(), "answers".to_owned()));
    // the entry before it fits as well, and counts
    assert_eq!(told(2), "Handbook");
    assert!(told(3).contains("it refuses the key") && !told(3).contains("wrong"), "{}", told(3));
    let unset = "no: key is read from the environment variable UNSET, which is not set";
    assert_eq!(told(4), unset);
    assert_eq!(checked[4].listed.problem.as_deref(), unset.strip_prefix("no: "));
    let without = world.bound(ENTRY).0;
    assert!(without.list()[0].problem.as_ref().unwrap().contains("no built-in store"));
}
