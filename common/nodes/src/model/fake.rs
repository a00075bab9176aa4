//! Models that answer what a test says, and remember what they were asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::{Fields, Mode as AppMode};
use flowmill_engine::plan::{Source, Success};
use flowmill_engine::value::{Name, Value, loads};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_services::Services;
use flowmill_services::caller::Caller;
use flowmill_services::models::{
    Ask, Embeddings, Known, ModelError, Models, OnPiece, Piece, Ranked, Reply, Usage, Wanted,
};
use futures::future::BoxFuture;

use crate::catalogue::{Body, NodeType};
use crate::code::{CodeRunner, CodeSettings};
use crate::context::{ChunkSink, Execute, NodeContext};
use crate::files::MemoryFiles;
use crate::fixtures::item;
use crate::http_request::client::Offline;

/// What a model is that can do everything.
pub(crate) const ABLE: Known = Known {
    tools: true,
    schema: true,
    images: true,
    audio: true,
    video: true,
    documents: true,
    context_tokens: None,
};

#[derive(Debug)]
pub(crate) struct Fake {
    known: Known,
    answers: Mutex<VecDeque<Result<Reply, ModelError>>>,
    asked: Mutex<Vec<Ask>>,
    reranked: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn new(
        known: Known,
        answers: impl IntoIterator<Item = Result<Reply, ModelError>>,
    ) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { known, answers, asked: Mutex::default(), reranked: Mutex::default() })
    }

    /// One that answers with this text.
    pub(crate) fn says(text: &str) -> Arc<Self> {
        Self::new(ABLE, [Ok(reply(text))])
    }

    /// What it was asked last.
    pub(crate) fn asked(&self) -> Ask {
        self.asked.lock().unwrap().last().cloned().expect("it was not asked")
    }

    /// How often it was asked.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The questions that documents were put in order for: `model: question`.
    pub(crate) fn reranked(&self) -> Vec<String> {
        self.reranked.lock().unwrap().clone()
    }

    /// The messages of its last question: `user: text`, with `[image]` and the like for files.
    pub(crate) fn told(&self) -> Vec<String> {
        use flowmill_services::models::Part;
        let part = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Media(media) => format!("[{:?}]", media.kind).to_lowercase(),
        };
        let line = |message: &flowmill_services::models::Message| {
            let parts: Vec<String> = message.parts.iter().map(part).collect();
            format!("{:?}: {}", message.role, parts.join("|"))
        };
        self.asked().messages.iter().map(line).collect()
    }
}

/// A text in pieces that cut words.
fn pieces(text: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = letters.chunks(3).map(|piece| piece.iter().collect()).collect();
    pieces.into_iter()
}

/// An answer of this text.
pub(crate) fn reply(text: &str) -> Reply {
    let usage = Usage { prompt_tokens: 10, completion_tokens: 2, ..Usage::default() };
    Reply { text: text.to_owned(), finish_reason: Some("stop".into()), usage, ..Reply::default() }
}

impl Models for Fake {
    fn known(&self, _: &Wanted, _: &Caller) -> Result<Known, ModelError> {
        Ok(self.known)
    }

    fn ask<'a>(
        &'a self,
        _: &'a Wanted,
        ask: Ask,
        _: &'a Caller,
        on_piece: OnPiece<'a>,
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.asked.lock().unwrap().push(ask);
        let answer = self.answers.lock().unwrap().pop_front().expect("one question too many");
        if let Ok(reply) = &answer {
            pieces(&reply.thoughts).for_each(|piece| on_piece(Piece::Thought(&piece)));
            pieces(&reply.text).for_each(|piece| on_piece(Piece::Text(&piece)));
        }
        Box::pin(std::future::ready(answer))
    }

    fn embed<'a>(
        &'a self,
        _: &'a Wanted,
        _: Vec<Name>,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        Box::pin(std::future::ready(Ok(Embeddings::default())))
    }

    /// The last fits best.
    fn rerank<'a>(
        &'a self,
        wanted: &'a Wanted,
        query: Name,
        documents: Vec<Name>,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Ranked>, ModelError>> {
        self.reranked.lock().unwrap().push(format!("{}: {query}", wanted.name));
        let count = documents.len();
        #[expect(clippy::cast_precision_loss, reason = "documents of a test are few")]
        let score = |index: usize| (index + 1) as f64 / count as f64;
        let ranked = (0..count).rev().map(|index| Ranked { index, score: score(index) });
        Box::pin(std::future::ready(Ok(ranked.collect())))
    }
}

/// Executes a node of a type over variables (`{node: {name: value}}`), both as JSON. Gives what was
/// shown while it ran, too.
pub(crate) async fn run(
    kind: &NodeType,
    (data, variables): (&str, Variables),
    models: Arc<Fake>,
) -> (Result<Success, NodeError>, String) {
    let execute = compiled(kind, data);
    execute_with(&*execute, &variables, Services { models, ..Services::default() }).await
}

/// A node of a type with this data.
pub(crate) fn compiled(kind: &NodeType, data: &str) -> Arc<dyn Execute> {
    let data = item(&loads(data).unwrap());
    let (id, mut problems) = (Name::from("n"), Vec::new());
    let mode = AppMode::Workflow;
    let source = Source {
        id: &id,
        kind: kind.name,
        title: "t",
        data: &data,
        mode,
        strict: false,
        dify_sizes: false,
    };
    let mut fields = Fields::new(&data, &id, "t", &mut problems);
    let node = (kind.compile)(&mut fields, &source);
    assert_eq!(problems, []);
    let Body::Task(execute) = node.body else { panic!("no task") };
    execute
}

/// Executes a node with these services.
pub(crate) async fn execute_with(
    execute: &dyn Execute,
    variables: &Variables,
    services: Services,
) -> (Result<Success, NodeError>, String) {
    let shown = Arc::new(Mutex::new(String::new()));
    let sink = shown.clone();
    let chunks = ChunkSink::new(move |chunk| sink.lock().unwrap().push_str(&chunk.text));
    let context = NodeContext { chunks: Some(chunks), ..surroundings(services) };
    let outcome = execute.execute(variables, &context).await;
    drop(context);
    let shown = shown.lock().unwrap().clone();
    (outcome, shown)
}

/// What a node may reach: these services, and files in memory.
pub(crate) fn surroundings(services: Services) -> NodeContext {
    NodeContext {
        attempt: 1,
        timeout: Duration::from_secs(10),
        code: Arc::new(CodeRunner::new(&CodeSettings::default())),
        http: Arc::new(Offline),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::default(),
        services: Arc::new(services),
        caller: Arc::new(Caller { node: "n".into(), ..Caller::default() }),
        steps: None,
        children: None,
        chunks: None,
    }
}

/// Variables from `{node: {name: value}}` as JSON.
pub(crate) fn variables(json: &str) -> Variables {
    let mut variables = Variables::default();
    let Value::Object(nodes) = loads(json).unwrap() else { panic!("no object") };
    for (node, members) in nodes.iter() {
        let Value::Object(members) = members else { panic!("no object") };
        for (name, value) in members.iter() {
            variables.set(node, name, Variable::infer(value.clone()));
        }
    }
    variables
}

/// The outputs as JSON, without what a call took.
pub(crate) fn outputs(success: &Success) -> serde_json::Value {
    let shown = success.outputs.iter().filter(|(name, _)| !name.ends_with("usage"));
    shown.map(|(name, held)| (name.to_string(), held.value().to_json())).collect()
}
