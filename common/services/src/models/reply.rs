//! What a model answers.

use std::time::Duration;

use flowmill_engine::value::Name;

use super::ask::Media;

/// A piece of an answer that is still being given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Of the answer.
    Text(&'a str),
    /// Of the thoughts before it.
    Thought(&'a str),
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// The thoughts before it, where the provider tells them apart; empty otherwise.
    pub thoughts: String,
    /// The tools it calls.
    pub tool_calls: Vec<ToolCall>,
    /// What it made besides text.
    pub media: Vec<Media>,
    /// Why it ended, in the provider's word.
    pub finish_reason: Option<Name>,
    /// What it took.
    pub usage: Usage,
}

/// A tool that a model calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id within the conversation.
    pub id: Name,
    /// The tool's name.
    pub name: Name,
    /// Its arguments as the model wrote them: JSON, if all is well.
    pub arguments: Name,
}

/// What a call took (spec/nodes.md §5.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// The price, where the services file says what tokens cost.
    pub price: Option<Price>,
    /// From the call to the whole answer.
    pub latency: Duration,
    /// From the call to the first piece, if it streamed.
    pub first_piece: Option<Duration>,
}

impl Usage {
    /// The sum of two calls; it took the time of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            price: match (&self.price, &other.price) {
                (Some(one), Some(two)) => Some(one.plus(two)),
                (one, two) => one.clone().or_else(|| two.clone()),
            },
            latency: self.latency + other.latency,
            first_piece: self.first_piece.or(other.first_piece),
        }
    }
}

/// What a call costs. Unit prices are as the services file writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Of a unit of tokens read, as a decimal.
    pub prompt_unit: Name,
    /// Of a unit of tokens written, as a decimal.
    pub completion_unit: Name,
    /// The unit of both: `0.000001` for a million tokens.
    pub unit: Name,
    /// Of all tokens read, in ten-millionths.
    pub prompt: u64,
    /// Of all tokens written, in ten-millionths.
    pub completion: u64,
    /// The currency: `USD`.
    pub currency: Name,
}

impl Price {
    fn plus(&self, other: &Self) -> Self {
        let prompt = self.prompt + other.prompt;
        Self { prompt, completion: self.completion + other.completion, ..self.clone() }
    }
}

/// Vectors for texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// One for each text.
    pub vectors: Vec<Vec<f32>>,
    /// What it took.
    pub usage: Usage,
}

/// How well a document fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its place among those given.
    pub index: usize,
    /// How well: more is better.
    pub score: f64,
}
