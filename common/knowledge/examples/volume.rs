//! How long many passages take: `cargo run --release -p flowmill-knowledge --all-features --example
//! volume [URL] [PASSAGES]`. Vectors have 1024 parts, those of texts that share words are near, and they
//! come from nowhere, so that only the store is measured. In a database with pgvector searches are also
//! done by an index, and it is counted how much of what is nearest it finds.

#![expect(clippy::print_stdout, reason = "it is a program for people")]
#![expect(clippy::unwrap_used, reason = "it ends where something is wrong")]

use std::sync::Arc;
use std::time::Instant;

use flowmill_engine::value::Name;
use flowmill_knowledge::shelf::Comparing;
use flowmill_knowledge::{Model, Settings, Store, open};
use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{Cut, Kept, Knowledge as _, Method, Search};
use flowmill_services::models::{
    Ask, Embeddings, Known, ModelError, Models, NoModels, OnPiece, Ranked, Reply, Wanted,
};
use futures::future::BoxFuture;

/// Parts of a vector.
const PARTS: u32 = 1024;

/// Questions whose answers are compared.
const QUESTIONS: usize = 100;

/// Passages of a document.
const DOCUMENT: usize = 500;

/// Makes vectors of texts, at once.
#[derive(Debug)]
struct Instantly;

/// A number that looks like chance.
fn mixed(number: u32) -> u32 {
    let number = (number ^ (number >> 16)).wrapping_mul(0x7feb_352d);
    (number ^ (number >> 15)).wrapping_mul(0x846c_a68b)
}

/// The sum of vectors of the words, which have nothing to do with each other.
fn vector(text: &str) -> Vec<f32> {
    let mut sum = vec![0.0; PARTS as usize];
    for word in text.split(' ') {
        let seed = word.bytes().fold(7, |seed: u32, byte| mixed(seed ^ u32::from(byte)));
        for (at, part) in (0_u32..).zip(&mut sum) {
            *part += f32::from(u8::try_from(mixed(seed ^ at) >> 24).unwrap()) - 127.5;
        }
    }
    sum
}

impl Models for Instantly {
    fn known(&self, wanted: &Wanted, caller: &Caller) -> Result<Known, ModelError> {
        NoModels.known(wanted, caller)
    }

    fn ask<'a>(
        &'a self,
        wanted: &'a Wanted,
        ask: Ask,
        caller: &'a Caller,
        on_piece: OnPiece<'a>,
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async move { NoModels.ask(wanted, ask, caller, on_piece).await })
    }

    fn embed<'a>(
        &'a self,
        _: &'a Wanted,
        texts: Vec<Name>,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        let vectors = texts.iter().map(|text| vector(text)).collect();
        Box::pin(async move { Ok(Embeddings { vectors, ..Embeddings::default() }) })
    }

    fn rerank<'a>(
        &'a self,
        wanted: &'a Wanted,
        query: Name,
        documents: Vec<Name>,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Ranked>, ModelError>> {
        Box::pin(async move { NoModels.rerank(wanted, query, documents, caller).await })
    }
}

/// A passage of some 600 characters in which few words are rare.
fn passage(number: usize) -> String {
    let word = |at: u32| {
        let chance = mixed(u32::try_from(number).unwrap().wrapping_mul(131) ^ at);
        // small numbers are more common, as are some words
        let rank = (chance % 5000).min((chance >> 8) % 5000).min((chance >> 16) % 5000);
        format!("word{rank}")
    };
    format!("passage{number} {}", (0..80).map(word).collect::<Vec<_>>().join(" "))
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = tempfile::tempdir().unwrap();
    let url = arguments.next().filter(|url| !url.is_empty());
    let url = url.unwrap_or_else(|| format!("sqlite:{}/k.db", folder.path().display()));
    let passages: usize = arguments.next().map_or(10_000, |number| number.parse().unwrap());
    let store = open(&url, Arc::new(Instantly)).unwrap();
    let caller = Caller { tenant: "volume".into(), ..Caller::default() };
    let embedding = Model::parse("nobody/vectors");
    let settings = Settings { embedding, method: Method::HybridSearch, ..Settings::default() };
    store.create("volume", "volume", "", &settings).await.unwrap();
    let began = Instant::now();
    for first in (0..passages).step_by(DOCUMENT) {
        let last = (first + DOCUMENT).min(passages);
        let cut = |number| Cut { content: passage(number).into(), ..Cut::default() };
        let name = format!("from {first}").into();
        let kept = Kept { name, passages: (first..last).map(cut).collect(), ..Kept::default() };
        store.keep("volume", kept, &caller).await.unwrap();
    }
    println!("{passages} passages are kept in {:.1?}", began.elapsed());
    by_methods(&store, &caller).await;
    let exactly = by_meaning(&store, &caller).await;
    let began = Instant::now();
    match store.index("volume", "volume", true).await {
        Ok(()) => {
            println!("an index is made in {:.1?}", began.elapsed());
            let found = by_meaning(&store, &caller).await;
            let hits = found.iter().filter(|hit| exactly.contains(hit)).count();
            println!("it finds {hits} of {} nearest passages", exactly.len());
        }
        Err(error) => println!("{error}"),
    }
    store.drop_base("volume", "volume").await.unwrap();
}

/// What is found by vectors alone, for many questions, each with its question; prints how long one
/// takes.
async fn by_meaning(store: &Store, caller: &Caller) -> Vec<(usize, String)> {
    let how = store.comparing("volume", "volume").await.unwrap().map_or("nobody", Comparing::name);
    let (mut found, mut times) = (Vec::new(), Vec::new());
    for question in 0..QUESTIONS {
        // a part of a passage that may be there, with words that are in none
        let query: String = passage(question * 97)
            .split(' ')
            .skip(question % 7)
            .step_by(3)
            .fold(format!("question{question}"), |text, word| format!("{text} {word}"));
        let method = Some(Method::SemanticSearch);
        let search = Search { query: query.into(), method, top_k: 10, ..Search::default() };
        let began = Instant::now();
        let passages = store.search("volume", &search, caller).await.unwrap();
        times.push(began.elapsed());
        found.extend(passages.into_iter().map(|one| (question, one.content.to_string())));
    }
    times.sort();
    let (median, slow) = (times[QUESTIONS / 2], times[QUESTIONS * 95 / 100]);
    println!("vectors, compared by {how}: {median:.1?} at the median, {slow:.1?} at p95");
    found
}

async fn by_methods(store: &Store, caller: &Caller) {
    for (method, query) in [
        (Method::FullTextSearch, "passage77"),
        (Method::FullTextSearch, "what do word1 and word2 and word4000 have in common"),
        (Method::SemanticSearch, "word17 and word4000"),
        (Method::HybridSearch, "word17 and word4000"),
    ] {
        let search = Search { query: query.into(), method: Some(method), ..Search::default() };
        let mut times = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let found = store.search("volume", &search, caller).await.unwrap();
            assert!(!found.is_empty());
            times.push(began.elapsed());
        }
        times.sort();
        println!("{method:?} {query:?}: {:.1?}", times[2]);
    }
}
