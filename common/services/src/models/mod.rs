//! Language models behind one contract, whoever offers them.

mod ask;
#[cfg(feature = "clients")]
mod clients;
pub mod config;
mod error;
#[cfg(feature = "clients")]
mod gateway;
pub mod limits;
mod reply;
mod routes;
mod watch;

pub use ask::{Ask, Detail, Media, MediaKind, Message, Part, Role, Schema, Source, ToolSpec};
#[cfg(feature = "clients")]
pub use clients::ClientError;
pub use error::{ErrorKind, ModelError};
#[cfg(feature = "clients")]
pub use gateway::Gateway;
pub use reply::{Embeddings, Piece, Price, Ranked, Reply, ToolCall, Usage};
pub use routes::{Offer, Policy, Route, Routes};
pub use watch::{Called, ModelWatch};

use std::fmt::Debug;
use std::time::Duration;

use flowmill_engine::value::{Name, Value};
use futures::future::BoxFuture;

use crate::caller::Caller;
use limits::Why;

/// A model as a document asks for it (spec/nodes.md §5.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// `model.provider`: `langgenius/openai/openai`, or `openai` in old documents.
    pub provider: Name,
    /// `model.name`: `gpt-4o`.
    pub name: Name,
    /// `model.mode`.
    pub mode: Mode,
    /// What the node's own `flowmill:` key says of how it is called; None when it says nothing.
    pub policy: Option<Value>,
}

/// How a model is prompted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By messages.
    #[default]
    Chat,
    /// By one text.
    Completion,
}

/// What is known of a model before it is called.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whether it calls tools.
    pub tools: bool,
    /// Whether it answers by a JSON schema of its own accord.
    pub schema: bool,
    /// Whether it sees images.
    pub images: bool,
    /// Whether it hears audio.
    pub audio: bool,
    /// Whether it watches video.
    pub video: bool,
    /// Whether it reads documents.
    pub documents: bool,
    /// How many tokens prompt and answer may have together; None when nobody said.
    pub context_tokens: Option<u32>,
}

/// Takes pieces of an answer as they come. It must not block.
pub type OnPiece<'a> = &'a (dyn Fn(Piece<'_>) + Send + Sync);

/// The models that the nodes of a process may call.
///
/// A call that is dropped is cut: its connection closes. Implementations wait for limits and cool
/// keys themselves; a caller sees [`ErrorKind::RateLimited`] only when waiting would outlast it.
pub trait Models: Debug + Send + Sync {
    /// What is known of a model.
    ///
    /// # Errors
    /// [`ErrorKind::NotMapped`] when nothing says who offers it.
    fn known(&self, wanted: &Wanted, caller: &Caller) -> Result<Known, ModelError>;

    /// Asks a model. Where the answer streams, its pieces are handed on as they come.
    ///
    /// # Errors
    /// [`ModelError`] when there is no whole answer.
    fn ask<'a>(
        &'a self,
        wanted: &'a Wanted,
        ask: Ask,
        caller: &'a Caller,
        on_piece: OnPiece<'a>,
    ) -> BoxFuture<'a, Result<Reply, ModelError>>;

    /// Turns texts into vectors, one each, in order.
    ///
    /// # Errors
    /// [`ModelError`] when there is not one for each.
    fn embed<'a>(
        &'a self,
        wanted: &'a Wanted,
        texts: Vec<Name>,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>>;

    /// Says how well documents fit a query, the best first.
    ///
    /// # Errors
    /// [`ModelError`] when it cannot be said.
    fn rerank<'a>(
        &'a self,
        wanted: &'a Wanted,
        query: Name,
        documents: Vec<Name>,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Ranked>, ModelError>>;

    /// The calls that wait for limits now.
    fn waiting(&self) -> Vec<WaitingCall> {
        Vec::new()
    }
}

/// A call that waits for limits of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingCall {
    /// The run whose node calls.
    pub run: Name,
    /// The number of its task, as the caller has it.
    pub task: u64,
    /// The provider, by the name of its section in the services file.
    pub provider: Name,
    /// What stands in the way.
    pub why: Why,
    /// For how long at least, where that is known.
    pub left: Option<Duration>,
}

/// No models at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoModels;

impl NoModels {
    fn refusal(wanted: &Wanted) -> ModelError {
        let Wanted { provider, name, .. } = wanted;
        let message = format!(
            "the workflow asks for the model {name} of {provider}, and no services file says who \
             offers it"
        );
        ModelError::new(ErrorKind::NotMapped, message)
    }
}

impl Models for NoModels {
    fn known(&self, wanted: &Wanted, _: &Caller) -> Result<Known, ModelError> {
        Err(Self::refusal(wanted))
    }

    fn ask<'a>(
        &'a self,
        wanted: &'a Wanted,
        _: Ask,
        _: &'a Caller,
        _: OnPiece<'a>,
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async { Err(Self::refusal(wanted)) })
    }

    fn embed<'a>(
        &'a self,
        wanted: &'a Wanted,
        _: Vec<Name>,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        Box::pin(async { Err(Self::refusal(wanted)) })
    }

    fn rerank<'a>(
        &'a self,
        wanted: &'a Wanted,
        _: Name,
        _: Vec<Name>,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Ranked>, ModelError>> {
        Box::pin(async { Err(Self::refusal(wanted)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_models_every_question_is_told_what_was_asked_for() {
        let wanted = Wanted {
            provider: "langgenius/openai/openai".into(),
            name: "gpt-4o".into(),
            ..Wanted::default()
        };
        let caller = Caller::default();
        let asked = NoModels.ask(&wanted, Ask::default(), &caller, &|_| {}).await;
        let error = asked.map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotMapped);
        assert!(error.message.contains("gpt-4o of langgenius/openai/openai"), "{error}");
        assert_eq!(NoModels.known(&wanted, &caller).unwrap_err(), error);
    }
}
