//! Embeddings and rankings.

use serde_json::{Value as Json, json};

use super::{Request, escaped, path, text};
use crate::models::config::Kind;
use crate::models::{Offer, Ranked};
use flowmill_engine::value::Name;

/// Vectors, and how many tokens were read for them.
type Vectors = (Vec<Vec<f32>>, u64);

/// Reads vectors for so many texts.
type ReadVectors = fn(&Json, usize) -> Result<Vectors, String>;

/// A request for vectors, and what reads them.
///
/// # Errors
/// When the protocol has none.
pub(in crate::models::clients) fn embedding(
    offer: &Offer,
    texts: &[Name],
) -> Result<(Request, ReadVectors), String> {
    let plain: Vec<&str> = texts.iter().map(|text| &**text).collect();
    match offer.provider.kind {
        Kind::OpenAi | Kind::Azure => {
            let model = &*offer.name;
            let body = json!({"model": model, "input": plain, "encoding_format": "float"});
            Ok((Request::new(path(offer, "embeddings"), body), openai))
        }
        Kind::Gemini => {
            let model = format!("models/{}", offer.name);
            let one = |text: &&str| json!({"model": model, "content": {"parts": [{"text": text}]}});
            let body = json!({"requests": plain.iter().map(one).collect::<Vec<_>>()});
            let path = format!("/models/{}:batchEmbedContents", escaped(&offer.name));
            Ok((Request::new(path, body), gemini))
        }
        Kind::Anthropic => Err("Anthropic has no embeddings; name another provider".to_owned()),
    }
}

fn openai(json: &Json, count: usize) -> Result<Vectors, String> {
    let data = json.get("data").and_then(Json::as_array).ok_or("it has no data")?;
    let mut vectors = vec![Vec::new(); count];
    for (place, item) in data.iter().enumerate() {
        let index = item.get("index").and_then(Json::as_u64);
        let index = index.and_then(|index| usize::try_from(index).ok()).unwrap_or(place);
        let vector = item.get("embedding").and_then(numbers).ok_or("a vector has no numbers")?;
        *vectors.get_mut(index).ok_or("it has more vectors than there were texts")? = vector;
    }
    let read = json.pointer("/usage/prompt_tokens").and_then(Json::as_u64).unwrap_or_default();
    all(vectors).map(|vectors| (vectors, read))
}

fn gemini(json: &Json, count: usize) -> Result<Vectors, String> {
    let all_of = json.get("embeddings").and_then(Json::as_array).ok_or("it has no embeddings")?;
    let vectors: Option<Vec<Vec<f32>>> =
        all_of.iter().map(|item| item.get("values").and_then(numbers)).collect();
    let vectors = vectors.ok_or("a vector has no numbers")?;
    if vectors.len() == count {
        all(vectors).map(|vectors| (vectors, 0))
    } else {
        Err(format!("it has {} vectors for {count} texts", vectors.len()))
    }
}

fn all(vectors: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, String> {
    match vectors.iter().position(Vec::is_empty) {
        Some(place) => Err(format!("there is no vector for the text {}", place + 1)),
        None => Ok(vectors),
    }
}

fn numbers(json: &Json) -> Option<Vec<f32>> {
    #[expect(clippy::cast_possible_truncation, reason = "vectors have no more digits than that")]
    let number = |number: &Json| number.as_f64().map(|number| number as f32);
    json.as_array()?.iter().map(number).collect()
}

/// A request for a ranking.
///
/// # Errors
/// When the protocol has none.
pub(in crate::models::clients) fn ranking(
    offer: &Offer,
    query: &str,
    documents: &[Name],
) -> Result<Request, String> {
    match offer.provider.kind {
        Kind::OpenAi => {
            let plain: Vec<&str> = documents.iter().map(|text| &**text).collect();
            let body = json!({
                "model": &*offer.name,
                "query": query,
                "documents": plain,
                "top_n": plain.len(),
                "return_documents": false,
            });
            Ok(Request::new("/rerank", body))
        }
        Kind::Azure | Kind::Anthropic | Kind::Gemini => Err(format!(
            "a provider of the kind {} ranks nothing; one of the kind openai is needed, with the \
             address of Jina, Cohere or whoever else takes POST /rerank",
            offer.provider.kind.name()
        )),
    }
}

/// Reads a ranking of so many documents.
pub(in crate::models::clients) fn ranked(json: &Json, count: usize) -> Result<Vec<Ranked>, String> {
    let results = json.get("results").or_else(|| json.get("data")).and_then(Json::as_array);
    let results = results.ok_or_else(|| {
        format!("it has no results: {}", text(json, "message").unwrap_or("it says no more"))
    })?;
    let one = |item: &Json| {
        let index = usize::try_from(item.get("index")?.as_u64()?).ok()?;
        let score = item.get("relevance_score").or_else(|| item.get("score"))?.as_f64()?;
        (index < count).then_some(Ranked { index, score })
    };
    let ranked: Option<Vec<Ranked>> = results.iter().map(one).collect();
    let mut ranked = ranked.ok_or("a result has no place among the documents, or no score")?;
    ranked.sort_by(|one, other| other.score.total_cmp(&one.score));
    Ok(ranked)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::offer;
    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_their_texts() {
        let texts = ["a".into(), "b".into()];
        let (request, read) = embedding(&offer(Kind::OpenAi), &texts).unwrap();
        assert_eq!(request.body["input"], json!(["a", "b"]));
        let answer = json!({"data": [{"index": 1, "embedding": [2.0]},
            {"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 5}});
        assert_eq!(read(&answer, 2).unwrap(), (vec![vec![1.0], vec![2.0]], 5));
        assert!(read(&json!({"data": [{"index": 1, "embedding": [2.0]}]}), 2).is_err());
        assert!(read(&json!({"data": [{"index": 2, "embedding": [2.0]}]}), 2).is_err());
        let (request, read) = embedding(&offer(Kind::Gemini), &texts).unwrap();
        assert_eq!(request.path, "/models/m:batchEmbedContents");
        assert_eq!(
            read(&json!({"embeddings": [{"values": [1]}, {"values": [2]}]}), 2).unwrap().0.len(),
            2
        );
        assert!(read(&json!({"embeddings": [{"values": [1]}]}), 2).is_err());
        assert!(embedding(&offer(Kind::Anthropic), &texts).is_err());
    }

    #[test]
    fn rankings_begin_with_the_best() {
        let answer = json!({"results": [{"index": 0, "relevance_score": 0.1},
            {"index": 1, "score": 0.9}]});
        let places: Vec<usize> = ranked(&answer, 2).unwrap().iter().map(|one| one.index).collect();
        assert_eq!(places, [1, 0]);
        assert!(ranked(&answer, 1).is_err());
        assert!(ranking(&offer(Kind::Gemini), "q", &[]).is_err());
    }
}
