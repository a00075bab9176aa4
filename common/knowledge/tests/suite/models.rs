//! Models that count what they are asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flowmill_engine::value::Name;
use flowmill_services::caller::Caller;
use flowmill_services::models::{
    Ask, Embeddings, ErrorKind, Known, ModelError, Models, NoModels, OnPiece, Ranked, Reply, Wanted,
};
use futures::future::BoxFuture;

/// What vectors count: texts with the same letters are alike.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// Embeds by letters and ranks by shared words.
#[derive(Debug)]
pub(crate) struct Scripted {
    /// Every text that was embedded.
    pub(crate) embedded: Mutex<Vec<Name>>,
    /// Texts after which it refuses.
    pub(crate) patience: AtomicUsize,
    /// How many parts vectors have.
    pub(crate) parts: AtomicUsize,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            embedded: Mutex::default(),
            patience: AtomicUsize::new(usize::MAX),
            parts: AtomicUsize::new(LETTERS.len()),
        }
    }
}

impl Scripted {
    pub(crate) fn count(&self) -> usize {
        self.embedded.lock().unwrap().len()
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let count = |letter| f32::from(u8::try_from(text.matches(letter).count()).unwrap());
        let counts = LETTERS.chars().map(count).chain(std::iter::repeat(0.5));
        counts.take(self.parts.load(Ordering::Relaxed)).collect()
    }
}

impl Models for Scripted {
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
        Box::pin(async move {
            let mut embedded = self.embedded.lock().unwrap();
            if embedded.len() >= self.patience.load(Ordering::Relaxed) {
                return Err(ModelError::new(ErrorKind::Unauthorized, "no more today"));
            }
            embedded.extend(texts.iter().cloned());
            let vectors = texts.iter().map(|text| self.vector(text)).collect();
            Ok(Embeddings { vectors, ..Embeddings::default() })
        })
    }

    fn rerank<'a>(
        &'a self,
        _: &'a Wanted,
        query: Name,
        documents: Vec<Name>,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Ranked>, ModelError>> {
        Box::pin(async move {
            // the longer the better, whatever was asked
            assert!(!query.is_empty());
            let score = |text: &Name| f64::from(u32::try_from(text.len()).unwrap()) / 100.0;
            let ranked = documents.iter().enumerate();
            Ok(ranked.map(|(index, text)| Ranked { index, score: score(text) }).collect())
        })
    }
}
