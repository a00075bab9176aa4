//! How documents come, are replaced and go.

use std::sync::atomic::Ordering;

use flowmill_knowledge::Settings;
use flowmill_services::knowledge::{Kept, Knowledge as _, KnowledgeErrorKind, Method};
use flowmill_services::models::ErrorKind;

use super::cases::embedding;
use super::{World, ask, document};

pub(crate) async fn what_is_kept_twice_is_kept_once(world: World) {
    world.base(embedding(Method::SemanticSearch)).await;
    let first = world.keep("one", &["apple", "pear", "apple"]).await;
    assert_eq!((&*first.display_status, &*first.document_name), ("available", "one"));
    // a text that is there twice is embedded once
    assert_eq!(world.models.count(), 2);
    assert_eq!(world.keep("one", &["apple", "pear", "apple"]).await, first);
    let by_id =
        Kept { id: Some(first.document.clone()), ..document("one", &["apple", "pear", "apple"]) };
    assert_eq!(world.store.keep("b", by_id, &world.caller).await.unwrap(), first);
    assert_eq!(world.models.count(), 2);
    let documents = world.store.documents(world.tenant(), "b").await.unwrap();
    let [only] = &documents[..] else { panic!("{documents:?}") };
    assert!(only.is_available && only.segments == 3, "{only:?}");
}

pub(crate) async fn a_document_is_replaced_as_a_whole(world: World) {
    world.base(embedding(Method::FullTextSearch)).await;
    let first = world.keep("one", &["apple", "pear"]).await;
    let second = world.keep("one", &["apple", "plum"]).await;
    assert_eq!(second.document, first.document);
    // what was known is not asked for again
    assert_eq!(world.models.count(), 3);
    assert!(world.find(ask("pear")).await.is_empty());
    assert_eq!(world.find(ask("apple")).await, ["apple"]);
    // an id decides over a name
    let renamed = Kept { id: Some(first.document.clone()), ..document("two", &["grape"]) };
    world.store.keep("b", renamed, &world.caller).await.unwrap();
    let documents = world.store.documents(world.tenant(), "b").await.unwrap();
    assert_eq!(documents.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["two"]);
    assert!(world.find(ask("plum")).await.is_empty());
    let nothing = world.store.keep("b", document("two", &["", " \n"]), &world.caller).await;
    assert_eq!(nothing.unwrap_err().kind, KnowledgeErrorKind::Refused);
    assert_eq!(world.find(ask("grape")).await, ["grape"]);
}

pub(crate) async fn a_document_that_was_cut_off_goes_on_and_pays_for_nothing_twice(world: World) {
    world.base(embedding(Method::FullTextSearch)).await;
    world.keep("one", &["an older text"]).await;
    let texts: Vec<String> = (0..300).map(|number| format!("passage {number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    world.models.patience.store(100, Ordering::Relaxed);
    let cut_off = world.store.keep("b", document("one", &texts), &world.caller).await;
    assert_eq!(cut_off.unwrap_err().kind, KnowledgeErrorKind::Model(ErrorKind::Unauthorized));
    // until all of it is there, the older one is found
    assert_eq!(world.find(ask("older passage")).await, ["an older text"]);
    let documents = world.store.documents(world.tenant(), "b").await.unwrap();
    assert_eq!(documents.iter().map(|entry| entry.is_available).collect::<Vec<_>>(), [true, false]);
    let before = world.models.count();
    assert!((64..300).contains(&before), "{before}");
    world.models.patience.store(usize::MAX, Ordering::Relaxed);
    world.keep("one", &texts).await;
    assert_eq!(world.models.count(), 301);
    assert!(world.find(ask("older")).await.is_empty());
    assert_eq!(world.find(ask("299")).await, ["passage 299"]);
}

pub(crate) async fn vectors_of_another_length_are_refused(world: World) {
    world.base(embedding(Method::SemanticSearch)).await;
    world.keep("one", &["apple"]).await;
    world.models.parts.store(30, Ordering::Relaxed);
    let kept = world.store.keep("b", document("two", &["pear"]), &world.caller).await;
    let error = kept.unwrap_err();
    assert!(error.message.contains("have 26 parts, and the model gave one of 30"), "{error}");
}

pub(crate) async fn a_document_is_removed(world: World) {
    world.base(Settings::default()).await;
    world.keep("one", &["apple"]).await;
    let second = world.keep("two", &["apple pie"]).await;
    assert!(world.store.remove(world.tenant(), "b", "one").await.unwrap());
    assert!(!world.store.remove(world.tenant(), "b", "one").await.unwrap());
    assert_eq!(world.find(ask("apple")).await, ["apple pie"]);
    assert!(world.store.remove(world.tenant(), "b", &second.document).await.unwrap());
    assert!(world.find(ask("apple")).await.is_empty());
}
