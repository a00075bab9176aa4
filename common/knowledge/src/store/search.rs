//! How passages are found: candidates by vectors, by words, or by both; then each is scored
//! exactly, the best piece counts for its passage, and a model may put the best in another order.

use std::collections::HashMap;

use flowmill_engine::value::Value;
use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{Child, Document, Method, Passage, Search, Segment};

use super::settings::{needs_vectors, word};
use super::{Answer, Base, MOST_TOP_K, Model, Store, damaged, known, refused, trouble};
use crate::filter::lets_through;
use crate::score::{Weighted, coverage, fused, nearness, unit, weighted};
use crate::shelf::Found;
use crate::words;

/// The most bytes of a question.
const MOST_QUESTION: usize = 32 << 10;

/// The most words of a question that are looked for.
const MOST_WORDS: usize = 64;

/// How many more pieces than passages are looked at, since several may be of one passage.
const PIECES: usize = 4;

/// The fewest pieces that are looked at.
const LEAST_PIECES: usize = 64;

/// How many more passages than wanted a model puts in order.
const RANKED: usize = 4;

/// What is looked for.
struct Question {
    /// A vector of length 1; None where only words count.
    vector: Option<Vec<f32>>,
    /// Words; none where only the vector counts.
    words: Vec<Weighted>,
}

impl Question {
    fn score(&self, found: &Found) -> f64 {
        let near = || {
            let vector = self.vector.as_ref()?;
            Some(nearness(vector, found.vector.as_ref()?))
        };
        let covered = || {
            let mut text = found.piece_content.to_string();
            if let (0, Some(answer)) = (found.piece_position, &found.answer) {
                text.push('\n');
                text.push_str(answer);
            }
            coverage(&self.words, &words::of_text(&text))
        };
        match (self.vector.is_some(), self.words.is_empty()) {
            (true, true) => near().unwrap_or(0.0),
            (true, false) => fused(near().unwrap_or(0.0), covered()),
            (false, _) => covered(),
        }
    }
}

/// Searches a base.
pub(super) async fn search(
    store: &Store,
    base: &str,
    search: &Search,
    caller: &Caller,
) -> Answer<Vec<Passage>> {
    let base = store.base(&caller.tenant, base).await?;
    if search.query.trim().is_empty() {
        return Ok(Vec::new());
    }
    if search.query.len() > MOST_QUESTION {
        return Err(refused(format!("a question has at most {} KiB", MOST_QUESTION >> 10)));
    }
    let among = among(store, &base, search).await?;
    if among.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let top_k = if search.top_k == 0 { base.settings.top_k } else { search.top_k };
    let top_k = usize::try_from(top_k.min(MOST_TOP_K)).unwrap_or(1);
    let ranked = if base.settings.rerank.is_some() { top_k * RANKED } else { top_k };
    let question = question(store, &base, search, caller).await?;
    let candidates = candidates(store, &base, &question, among.as_deref(), ranked).await?;
    let mut passages = passages(&question, candidates)?;
    passages
        .sort_by(|one, other| score(&other.1).total_cmp(&score(&one.1)).then(one.0.cmp(&other.0)));
    if let Some(model) = &base.settings.rerank {
        passages.truncate(ranked);
        passages = put_in_order(store, model, search, passages, caller).await?;
    }
    let least = search.score_threshold.or(base.settings.score_threshold).unwrap_or(0.0);
    passages.retain(|(_, passage)| score(passage) >= least);
    passages.truncate(top_k);
    let keys: Vec<i64> = passages.iter().map(|(key, _)| *key).collect();
    if let Err(error) = store.shelf.count_hits(&keys).await {
        // what was found is worth more than how often
        tracing::warn!(%error, "failed to count how often passages were found");
    }
    Ok(passages.into_iter().map(|(_, passage)| passage).collect())
}

fn score(passage: &Passage) -> f64 {
    passage.score.unwrap_or(0.0)
}

/// The documents that count; None for all.
async fn among(store: &Store, base: &Base, search: &Search) -> Answer<Option<Vec<i64>>> {
    let Some(filter) = search.filter.as_ref().filter(|filter| !filter.conditions.is_empty()) else {
        return Ok(None);
    };
    let mut keys = Vec::new();
    for row in store.shelf.documents(base.key).await.map_err(trouble)? {
        if row.is_available && lets_through(filter, &known(&row)?) {
            keys.push(row.key);
        }
    }
    Ok(Some(keys))
}

async fn question(
    store: &Store,
    base: &Base,
    search: &Search,
    caller: &Caller,
) -> Answer<Question> {
    let method = search.method.unwrap_or(base.settings.method);
    let vector = match (&base.settings.embedding, needs_vectors(method)) {
        (_, false) => None,
        (Some(model), true) => {
            let answer =
                store.models.embed(&model.wanted(), vec![search.query.clone()], caller).await?;
            let vector = answer.vectors.first().and_then(|vector| unit(vector));
            let none = || damaged(format!("{model} gave no vector for the question"));
            Some(vector.ok_or_else(none)?)
        }
        (None, true) => {
            return Err(refused(format!(
                "the knowledge base {} has no model for vectors, which {} needs: search it with \
                 full_text_search",
                base.name,
                word(method)
            )));
        }
    };
    let words = if method == Method::SemanticSearch {
        Vec::new()
    } else {
        let mut words = words::of_question(&search.query);
        words.truncate(MOST_WORDS);
        let (pieces, counts) = store.shelf.frequencies(base.key, &words).await.map_err(trouble)?;
        let mut words = weighted(words, &counts, pieces);
        words.retain(|word| word.weight > 0.0);
        words
    };
    Ok(Question { vector, words })
}

/// Pieces that may be among the best.
async fn candidates(
    store: &Store,
    base: &Base,
    question: &Question,
    among: Option<&[i64]>,
    passages: usize,
) -> Answer<Vec<Found>> {
    let most = passages.saturating_mul(PIECES).max(LEAST_PIECES);
    let mut keys: Vec<i64> = Vec::new();
    if let Some(vector) = &question.vector {
        let hits = store.shelf.by_vector(base.key, vector, among, most).await.map_err(trouble)?;
        keys.extend(hits.into_iter().map(|(key, _)| key));
    }
    if !question.words.is_empty() {
        let hits = store.shelf.by_words(base.key, &question.words, among, most).await;
        keys.extend(hits.map_err(trouble)?.into_iter().map(|(key, _)| key));
    }
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    store.shelf.found(&keys).await.map_err(trouble)
}

/// Passages of what was found, each once with its key.
fn passages(question: &Question, found: Vec<Found>) -> Answer<Vec<(i64, Passage)>> {
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut passages: Vec<(i64, Passage)> = Vec::new();
    for found in found {
        let score = question.score(&found);
        let place = if let Some(place) = places.get(&found.segment) {
            *place
        } else {
            places.insert(found.segment, passages.len());
            passages.push((found.segment, passage(&found)?));
            passages.len() - 1
        };
        let Some((_, passage)) = passages.get_mut(place) else { continue };
        passage.score = Some(passage.score.unwrap_or(0.0).max(score));
        if found.piece_position > 0 {
            passage.children.push(Child {
                id: found.piece_id,
                content: found.piece_content,
                position: found.piece_position,
                score,
            });
        }
    }
    for (_, passage) in &mut passages {
        passage.children.sort_by(|one, other| other.score.total_cmp(&one.score));
    }
    Ok(passages)
}

fn passage(found: &Found) -> Answer<Passage> {
    let words = found.content.chars().count();
    Ok(Passage {
        content: found.content.clone(),
        answer: found.answer.clone(),
        document: Document {
            id: found.document.id.clone(),
            name: found.document.name.clone(),
            source: "upload_file".into(),
            metadata: Some(Value::object(known(&found.document)?)),
        },
        segment: Some(Segment {
            id: found.segment_id.clone(),
            position: found.segment_position,
            words: i64::try_from(words).unwrap_or(i64::MAX),
            hits: found.hits,
            hash: found.hash.clone(),
        }),
        ..Passage::default()
    })
}

/// The order and the scores that a model gives.
async fn put_in_order(
    store: &Store,
    model: &Model,
    search: &Search,
    passages: Vec<(i64, Passage)>,
    caller: &Caller,
) -> Answer<Vec<(i64, Passage)>> {
    if passages.is_empty() {
        return Ok(passages);
    }
    let text = |(_, passage): &(i64, Passage)| match &passage.answer {
        Some(answer) => format!("{}\n{answer}", passage.content).into(),
        None => passage.content.clone(),
    };
    let texts = passages.iter().map(text).collect();
    let ranks = store.models.rerank(&model.wanted(), search.query.clone(), texts, caller).await?;
    let mut passages: Vec<Option<(i64, Passage)>> = passages.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(passages.len());
    for rank in ranks {
        // what is named twice, or is none of ours, is left out
        if let Some((key, passage)) = passages.get_mut(rank.index).and_then(Option::take) {
            ordered.push((key, Passage { score: Some(rank.score), ..passage }));
        }
    }
    ordered.sort_by(|one, other| score(&other.1).total_cmp(&score(&one.1)));
    Ok(ordered)
}
