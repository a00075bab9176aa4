//! The store: facts in order, a batch as a whole, nothing twice.

use std::sync::Arc;

use flowmill_engine::fact::Fact;
use flowmill_engine::graph::{Content, Graph, Item, Node, Problems};
use flowmill_engine::plan::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Options, Plan, Source, Success,
    compile,
};
use flowmill_engine::report::NodeRecord;
use flowmill_engine::variables::Variables;
use flowmill_infra::store::{Batch, Commit, Standing, Store, StoreError};

use super::facts;

/// `journals` says whether the adapter keeps them.
pub(crate) async fn all<S: Store>(make: impl AsyncFn() -> S, journals: bool) {
    facts_are_kept_in_order(make().await, journals).await;
    a_repeated_or_skipped_fact_is_a_conflict(make().await, journals).await;
    a_batch_is_stored_as_a_whole_or_not_at_all(make().await, journals).await;
    a_batch_may_hold_a_run_twice(make().await, journals).await;
    a_report_tells_what_became_of_nodes(make().await).await;
    an_unknown_run_has_nothing(make().await).await;
    a_forgotten_run_may_begin_anew(make().await).await;
    of_two_writers_one_wins(make().await, journals).await;
}

fn commit(run: &str, facts: Vec<Fact>) -> Commit {
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing: Standing::default() }
}

/// Commits as one batch.
pub(crate) fn together(commits: impl Into<Vec<Commit>>) -> Batch {
    commits.into().into()
}

fn conflict(run: &str, seq: u64) -> Result<(), StoreError> {
    Err(StoreError::Conflict { run: run.into(), seq })
}

/// The numbers of a run's facts; None where the adapter keeps no journals.
async fn holds<S: Store>(
    store: &S,
    run: &str,
    journals: bool,
    seqs: std::ops::RangeInclusive<u64>,
) {
    if journals {
        let held: Vec<u64> =
            store.journal(&run.into()).await.unwrap().iter().map(|fact| fact.seq).collect();
        assert_eq!(held, seqs.clone().collect::<Vec<_>>(), "{run}");
    }
    // whatever is kept, the next fact tells where the run stands
    let next = seqs.end() + 1;
    let skipped = store.commit(&together([commit(run, facts(next + 1, next + 1))])).await;
    assert_eq!(skipped, conflict(run, next + 1));
}

async fn facts_are_kept_in_order<S: Store>(store: S, journals: bool) {
    store.commit(&together([commit("r", facts(1, 3))])).await.unwrap();
    store.commit(&together([commit("r", facts(4, 4))])).await.unwrap();
    if journals {
        let whole = facts(1, 4);
        assert_eq!(store.journal(&"r".into()).await.unwrap(), whole);
    }
    holds(&store, "r", journals, 1..=4).await;
}

async fn a_repeated_or_skipped_fact_is_a_conflict<S: Store>(store: S, journals: bool) {
    assert_eq!(store.commit(&together([commit("r", facts(2, 3))])).await, conflict("r", 2));
    store.commit(&together([commit("r", facts(1, 3))])).await.unwrap();
    assert_eq!(store.commit(&together([commit("r", facts(3, 5))])).await, conflict("r", 3));
    assert_eq!(store.commit(&together([commit("r", facts(5, 6))])).await, conflict("r", 5));
    let mut holed = facts(4, 6);
    holed.remove(1);
    assert_eq!(store.commit(&together([commit("r", holed)])).await, conflict("r", 6));
    holds(&store, "r", journals, 1..=3).await;
    store.commit(&together([commit("r", facts(4, 6))])).await.unwrap();
}

async fn a_batch_is_stored_as_a_whole_or_not_at_all<S: Store>(store: S, journals: bool) {
    store.commit(&together([commit("b", facts(1, 1))])).await.unwrap();
    let batch = [commit("a", facts(1, 2)), commit("b", facts(1, 1)), commit("c", facts(1, 2))];
    assert_eq!(store.commit(&together(batch)).await, conflict("b", 1));
    assert!(store.journal(&"a".into()).await.unwrap().is_empty());
    assert!(store.report(&plan(), &"a".into()).await.unwrap().is_none());
    holds(&store, "b", journals, 1..=1).await;
    assert!(store.report(&plan(), &"c".into()).await.unwrap().is_none());
    let batch = [commit("a", facts(1, 2)), commit("b", facts(2, 2)), commit("c", facts(1, 2))];
    store.commit(&together(batch)).await.unwrap();
    for run in ["a", "b", "c"] {
        holds(&store, run, journals, 1..=2).await;
    }
}

async fn a_batch_may_hold_a_run_twice<S: Store>(store: S, journals: bool) {
    let batch = [commit("r", facts(1, 2)), commit("r", facts(3, 4))];
    store.commit(&together(batch)).await.unwrap();
    holds(&store, "r", journals, 1..=4).await;
    let batch = [commit("r", facts(5, 6)), commit("r", facts(6, 7))];
    assert_eq!(store.commit(&together(batch)).await, conflict("r", 6));
    holds(&store, "r", journals, 1..=4).await;
}

async fn a_report_tells_what_became_of_nodes<S: Store>(store: S) {
    store.commit(&together([commit("r", facts(1, 1))])).await.unwrap();
    store.commit(&together([commit("other", facts(1, 1))])).await.unwrap();
    store.commit(&together([commit("r", facts(2, 2))])).await.unwrap();
    let report = store.report(&plan(), &"r".into()).await.unwrap().unwrap();
    let nodes: Vec<_> = report.nodes().map(NodeRecord::key).collect();
    assert_eq!(nodes, ["start"]);
    assert_eq!(report.nodes().next().unwrap().outputs[0].1.value().to_python(), "2");
    assert_eq!(report.finished(), 2);
}

async fn an_unknown_run_has_nothing<S: Store>(store: S) {
    assert!(store.journal(&"r".into()).await.unwrap().is_empty());
    assert!(store.report(&plan(), &"r".into()).await.unwrap().is_none());
    store.forget(&"r".into()).await.unwrap();
}

async fn a_forgotten_run_may_begin_anew<S: Store>(store: S) {
    store.commit(&together([commit("r", facts(1, 2)), commit("s", facts(1, 1))])).await.unwrap();
    store.forget(&"r".into()).await.unwrap();
    assert!(store.journal(&"r".into()).await.unwrap().is_empty());
    assert!(store.report(&plan(), &"r".into()).await.unwrap().is_none());
    assert!(store.report(&plan(), &"s".into()).await.unwrap().is_some());
    store.commit(&together([commit("r", facts(1, 1))])).await.unwrap();
}

async fn of_two_writers_one_wins<S: Store>(store: S, journals: bool) {
    store.commit(&together([commit("r", facts(1, 1))])).await.unwrap();
    let store = Arc::new(store);
    let write = || {
        let store = store.clone();
        tokio::spawn(async move { store.commit(&together([commit("r", facts(2, 3))])).await })
    };
    let (one, two) = (write(), write());
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    holds(&*store, "r", journals, 1..=3).await;
}

/// A plan of nothing but `start`.
pub(crate) fn plan() -> Arc<Plan> {
    let text = |text: &str| Item { line: 1, content: Content::Str(text.into()) };
    let data = Item { line: 1, content: Content::Map(vec![(text("type"), text("start"))]) };
    let node = Node { id: text("start"), data, ..Node::default() };
    let graph = Graph { nodes: vec![node], ..Graph::default() };
    Arc::new(compile(&graph, &OnlyStart, Options::default()).unwrap())
}

#[derive(Debug)]
struct OnlyStart;

impl Catalogue for OnlyStart {
    fn compile(&self, _: &Source<'_>, _: &mut Problems) -> Option<Compiled> {
        Some(Compiled {
            category: Category::Root,
            behaviour: Behaviour::Inline(Arc::new(Self)),
            retries: false,
            reads: Vec::new(),
            writes: Vec::new(),
            response: Vec::new(),
        })
    }
}

impl Inline for OnlyStart {
    fn run(&self, _: &Variables) -> Evaluation {
        Evaluation::Succeeded(Success::default())
    }
}
