//! From what several knowledge bases found to one list, the best first (spec/nodes.md §6.1,
//! "multiple").

use flowmill_engine::error::NodeError;
use flowmill_services::knowledge::Passage;
use flowmill_services::models::Wanted;

use super::keywords;
use super::spec::{Multiple, Order};
use crate::context::NodeContext;

/// A passage and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// The place of its knowledge base among those that were asked.
    pub(super) base: usize,
    pub(super) passage: Passage,
}

impl Found {
    fn score(&self) -> f64 {
        self.passage.score.unwrap_or(0.0)
    }

    fn with_score(mut self, score: f64) -> Self {
        self.passage.score = Some(score);
        self
    }
}

/// The best of what was found for a question. What was found by a file has an empty question, and is
/// as good as its knowledge base says.
pub(super) async fn best(
    found: Vec<Found>,
    question: &str,
    (multiple, has_several): (&Multiple, bool),
    context: &NodeContext,
) -> Result<Vec<Found>, NodeError> {
    let found = once(found);
    // one knowledge base has ordered its passages already
    let ordered = has_several && !question.is_empty() && !found.is_empty();
    let threshold = multiple.threshold;
    let mut best = match &multiple.order {
        Order::Model(wanted) if ordered => {
            let ranked = by_model(found, question, wanted, context).await?;
            above(ranked, threshold)
        }
        Order::Weights { vector, keyword } if ordered => {
            above(by_weights(found, question, (*vector, *keyword)), threshold)
        }
        _ if question.is_empty() || found.iter().any(|found| found.passage.score.is_some()) => {
            above(found, threshold)
        }
        // where nobody says how well passages fit, their words do; Dify holds no threshold against that
        _ => by_weights(found, question, (0.0, 1.0)),
    };
    sort(&mut best);
    best.truncate(multiple.top_k);
    Ok(best)
}

/// The best first; equals stay in their order.
pub(super) fn sort(found: &mut [Found]) {
    found.sort_by(|one, other| other.score().total_cmp(&one.score()));
}

/// Each passage once: by its id, or whole where it has none.
pub(super) fn once(found: Vec<Found>) -> Vec<Found> {
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for found in found {
        let is_known =
            kept.iter().any(|known| match (&known.passage.segment, &found.passage.segment) {
                (Some(one), Some(other)) if !one.id.is_empty() => one.id == other.id,
                (None, None) => *known == found,
                _ => false,
            });
        if !is_known {
            kept.push(found);
        }
    }
    kept
}

fn above(found: Vec<Found>, threshold: f64) -> Vec<Found> {
    found.into_iter().filter(|found| found.score() >= threshold).collect()
}

async fn by_model(
    found: Vec<Found>,
    question: &str,
    wanted: &Wanted,
    context: &NodeContext,
) -> Result<Vec<Found>, NodeError> {
    let texts = found.iter().map(|found| found.passage.content.clone()).collect();
    let models = &context.services.models;
    let ranked = models.rerank(wanted, question.into(), texts, &context.caller).await?;
    let mut found: Vec<Option<Found>> = found.into_iter().map(Some).collect();
    let take = |ranked: flowmill_services::models::Ranked| {
        let taken = found.get_mut(ranked.index)?.take()?;
        Some(taken.with_score(ranked.score))
    };
    Ok(ranked.into_iter().filter_map(take).collect())
}

fn by_weights(found: Vec<Found>, question: &str, (vector, keyword): (f64, f64)) -> Vec<Found> {
    let texts: Vec<&str> = found.iter().map(|found| &*found.passage.content).collect();
    let words = keywords::scores(question, &texts);
    let weighed = found.into_iter().zip(words).map(|(found, words)| {
        let score = vector * found.score() + keyword * words;
        found.with_score(score)
    });
    weighed.collect()
}
