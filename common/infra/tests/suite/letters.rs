//! Dead letters as people see them: each is kept, and decided on once.

use flowmill_engine::value::Name;
use flowmill_infra::dead_letters::{Claim, DeadLetter, DeadLetters, Fate, LetterBox, LetterFilter};
use flowmill_infra::intake::{Intake, Submission};

use super::shards::submission;

pub(crate) async fn all<S: DeadLetters + LetterBox + Intake>(make: impl AsyncFn() -> S) {
    letters_are_kept_as_they_were(make().await).await;
    letters_belong_to_the_tenant_of_their_run(make().await).await;
    lists_are_turned_by_pages(make().await).await;
    a_letter_is_decided_on_once(make().await).await;
}

fn tenant() -> Name {
    "default".into()
}

fn letter(queue: &str, body: &[u8]) -> DeadLetter {
    DeadLetter {
        queue: queue.into(),
        origin: Some(format!("{queue}.before").into()),
        reason: "nobody can read it".into(),
        run: None,
        headers: vec![("a".into(), "1".into()), ("b".into(), "\"\u{1F600}".into())],
        properties: vec![("message_id".into(), "m".into())],
        body: body.to_vec(),
        unanswered: None,
        is_odd: true,
    }
}

fn most(most: usize) -> LetterFilter {
    LetterFilter { most, ..LetterFilter::default() }
}

/// The queues of what a list shows.
async fn queues<S: LetterBox>(store: &S, filter: LetterFilter) -> Vec<String> {
    let letters = store.letters(&tenant(), &filter).await.unwrap();
    letters.iter().map(|parked| parked.letter.queue.to_string()).collect()
}

async fn letters_are_kept_as_they_were<S: DeadLetters + LetterBox>(store: S) {
    let kept = letter("q", &[0, 255, 3]);
    store.park(&kept).await.unwrap();
    store.park(&DeadLetter { origin: None, ..letter("p", b"") }).await.unwrap();
    let listed = store.letters(&tenant(), &most(5)).await.unwrap();
    let [without, parked] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&without.letter.origin, without.body_bytes), (&None, 0));
    // lists are cheap, however large messages are
    assert_eq!(parked.letter, DeadLetter { body: Vec::new(), ..kept.clone() });
    assert_eq!((parked.body_bytes, parked.fate, parked.settled_at), (3, Fate::Waiting, None));
    assert!(parked.put_at.0 > 0 && parked.id < without.id);
    let whole = store.letter(&tenant(), parked.id).await.unwrap().unwrap();
    assert_eq!((whole.letter, whole.id, whole.put_at), (kept, parked.id, parked.put_at));
    assert_eq!(store.letter(&tenant(), -1).await.unwrap(), None);
}

async fn letters_belong_to_the_tenant_of_their_run<S: DeadLetters + LetterBox + Intake>(store: S) {
    let theirs = Submission { tenant: "others".into(), ..submission("r", 1) };
    store.submit(&[theirs]).await.unwrap();
    store.park(&DeadLetter { run: Some("r".into()), ..letter("theirs", b"x") }).await.unwrap();
    store.park(&DeadLetter { run: Some("gone".into()), ..letter("ours", b"x") }).await.unwrap();
    assert_eq!(queues(&store, most(5)).await, ["ours"]);
    let others = store.letters(&"others".into(), &most(5)).await.unwrap();
    let [of_others] = &others[..] else { panic!("{others:?}") };
    assert_eq!(of_others.letter.run.as_deref(), Some("r"));
    assert_eq!(store.letter(&tenant(), of_others.id).await.unwrap(), None);
    assert_eq!(store.claim(&tenant(), of_others.id).await.unwrap(), Claim::Unknown);
    store.decide(&tenant(), of_others.id, Fate::Dropped).await.unwrap();
    let same = store.letter(&"others".into(), of_others.id).await.unwrap().unwrap();
    assert_eq!(same.fate, Fate::Waiting);
}

async fn lists_are_turned_by_pages<S: DeadLetters + LetterBox>(store: S) {
    for queue in ["a", "b", "a", "c"] {
        store.park(&letter(queue, b"x")).await.unwrap();
    }
    assert_eq!(queues(&store, most(2)).await, ["c", "a"]);
    let first = store.letters(&tenant(), &most(2)).await.unwrap();
    let before = Some(first[1].id);
    assert_eq!(queues(&store, LetterFilter { before, ..most(5) }).await, ["b", "a"]);
    let queue = Some("a".into());
    assert_eq!(queues(&store, LetterFilter { queue, ..most(5) }).await, ["a", "a"]);
    let queue = Some("b.before".into());
    assert_eq!(queues(&store, LetterFilter { queue, ..most(5) }).await, ["b"]);
    store.decide(&tenant(), first[0].id, Fate::Dropped).await.unwrap();
    let of_fate = async |fate| queues(&store, LetterFilter { fate: Some(fate), ..most(5) }).await;
    assert_eq!(of_fate(Fate::Waiting).await, ["a", "b", "a"]);
    assert_eq!(of_fate(Fate::Dropped).await, ["c"]);
    assert_eq!(of_fate(Fate::Replayed).await, Vec::<String>::new());
}

async fn a_letter_is_decided_on_once<S: DeadLetters + LetterBox>(store: S) {
    store.park(&letter("q", b"x")).await.unwrap();
    let id = store.letters(&tenant(), &most(1)).await.unwrap()[0].id;
    let claim = async || store.claim(&tenant(), id).await.unwrap();
    let Claim::Granted(parked) = claim().await else { panic!("nobody else wants it") };
    assert_eq!(parked.letter, letter("q", b"x"));
    assert_eq!(claim().await, Claim::Busy);
    // it could not be done: the next one may try
    store.decide(&tenant(), id, Fate::Waiting).await.unwrap();
    assert!(matches!(claim().await, Claim::Granted(_)));
    store.decide(&tenant(), id, Fate::Replayed).await.unwrap();
    assert_eq!(claim().await, Claim::Settled(Fate::Replayed));
    store.decide(&tenant(), id, Fate::Dropped).await.unwrap();
    let parked = store.letter(&tenant(), id).await.unwrap().unwrap();
    assert_eq!(parked.fate, Fate::Replayed);
    assert!(parked.settled_at >= Some(parked.put_at));
}
