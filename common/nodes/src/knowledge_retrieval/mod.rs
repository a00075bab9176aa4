//! `knowledge-retrieval`: looks passages up in knowledge bases (spec/nodes.md §6.1).
//!
//! [`spec`] is its data. [`filtering`] says which documents count, [`choosing`] lets a model take one
//! knowledge base of several, [`ranking`] makes one list of what all of them found ([`keywords`] by
//! the words in it), [`results`] is how passages look.

mod choosing;
mod filtering;
mod keywords;
mod ranking;
mod results;
mod spec;
#[cfg(test)]
mod tests;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::{File, Kind, Name, Value};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_services::knowledge::{About, Filter, KnowledgeError, KnowledgeErrorKind, Search};
use futures::future::{BoxFuture, try_join_all};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::knowledge;
use crate::model::{self, Model};
use ranking::Found;
use spec::{Multiple, Order, Query, Retrieval, Spec};

/// `knowledge-retrieval`
pub(crate) const TYPE: NodeType = NodeType {
    name: "knowledge-retrieval",
    version: "1",
    about: "Looks up passages in knowledge bases.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Http, true)),
    retries: false,
    needs: Needs::Service,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("result", "array[object]", "the passages, best first")],
    example: spec::EXAMPLE,
    compile,
};

/// The `error_type` of failures that have no name of their own.
const FAILED: &str = "KnowledgeRetrievalNodeError";

/// How many passages the one knowledge base that was chosen gives, where it is not set there.
const USUAL_COUNT: u32 = 2;

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = Spec::read(fields);
    let reads = spec.reads();
    Node::task(KnowledgeRetrieval { spec }, reads)
}

#[derive(Debug)]
struct KnowledgeRetrieval {
    spec: Spec,
}

/// A knowledge base that is there.
#[derive(Debug)]
struct Base<'a> {
    /// What the document calls it.
    asked: &'a Name,
    about: About,
}

impl KnowledgeRetrieval {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { query, attachments, retrieval, .. } = &self.spec;
        if [query, attachments] == [&Query::None, &Query::None] {
            return Ok(Success::default());
        }
        let question = question(query, variables)?;
        let files = files(attachments, variables)?;
        if question.is_empty() && (files.is_empty() || matches!(retrieval, Retrieval::Single(_))) {
            return Ok(success(Value::array(Vec::new())));
        }
        let bases = self.bases(context).await?;
        let about: Vec<&About> = bases.iter().map(|base| &base.about).collect();
        let around = (variables, context);
        let mut found = match retrieval {
            _ if bases.is_empty() => Vec::new(),
            Retrieval::Single(model) => {
                let model = model.as_ref().ok_or_else(|| {
                    lacks("single_retrieval_config is required for single retrieval mode")
                })?;
                self.single(model, &question, &bases, around).await?
            }
            Retrieval::Multiple(multiple) => {
                let multiple = multiple
                    .as_ref()
                    .ok_or_else(|| lacks("multiple_retrieval_config is required"))?;
                if multiple.order == Order::NoWeights {
                    return Err(lacks("weights is required"));
                }
                self.multiple(multiple, (&question, files), &bases, around).await?
            }
        };
        // those from elsewhere come first among equals
        found.sort_by_key(|found| found.passage.segment.is_some());
        ranking::sort(&mut found);
        Ok(success(results::result(found, &about)))
    }

    /// The knowledge bases that are there. As in Dify one that whoever keeps it no longer has is left
    /// out; one of which nobody knows where it lies is a failure.
    async fn bases(&self, context: &NodeContext) -> Result<Vec<Base<'_>>, NodeError> {
        let about = self.spec.bases.iter().map(async |asked| {
            match context.services.knowledge.about(asked, &context.caller).await {
                Ok(about) => Ok(Some(Base { asked, about })),
                Err(error) if is_gone(&error) => Ok(None),
                Err(error) => Err(knowledge::failed(error, FAILED)),
            }
        });
        Ok(try_join_all(about).await?.into_iter().flatten().collect())
    }

    async fn filter(
        &self,
        question: &str,
        bases: &[&About],
        around: (&Variables, &NodeContext),
    ) -> Result<Option<Filter>, NodeError> {
        self.spec.filtering.filter(question, bases, around).await
    }

    /// One knowledge base, as it is set itself.
    async fn single(
        &self,
        model: &Model,
        question: &Name,
        bases: &[Base<'_>],
        around: (&Variables, &NodeContext),
    ) -> Result<Vec<Found>, NodeError> {
        let about: Vec<&About> = bases.iter().map(|base| &base.about).collect();
        let filter = self.filter(question, &about, around).await?;
        let Some(base) = choosing::choose(model, question, &about, around).await? else {
            return Ok(Vec::new());
        };
        let usual = &bases[base].about.usual;
        let search = Search {
            query: question.clone(),
            top_k: usual.top_k.unwrap_or(USUAL_COUNT),
            score_threshold: usual.score_threshold,
            method: usual.method,
            filter,
            ..Search::default()
        };
        look_up((base, &bases[base]), search, around.1).await
    }

    /// All knowledge bases at once: for the question, and for each of the files.
    async fn multiple(
        &self,
        multiple: &Multiple,
        (question, files): (&Name, Vec<File>),
        bases: &[Base<'_>],
        around: (&Variables, &NodeContext),
    ) -> Result<Vec<Found>, NodeError> {
        let about: Vec<&About> = bases.iter().map(|base| &base.about).collect();
        let filter = self.filter(question, &about, around).await?;
        if multiple.top_k == 0 {
            return Ok(Vec::new());
        }
        let by_file = files.into_iter().map(|file| ("".into(), vec![file]));
        let by_text = (!question.is_empty()).then(|| (question.clone(), Vec::new()));
        let asked = by_text.into_iter().chain(by_file).map(async |(query, files)| {
            let found = bases.iter().enumerate().map(|(at, base)| {
                let search = Search {
                    query: Name::clone(&query),
                    files: Vec::clone(&files),
                    top_k: base.count(multiple),
                    filter: filter.clone(),
                    ..Search::default()
                };
                look_up((at, base), search, around.1)
            });
            let found = try_join_all(found).await?.into_iter().flatten().collect();
            ranking::best(found, &query, (multiple, bases.len() > 1), around.1).await
        });
        let found = try_join_all(asked).await?.into_iter().flatten().collect();
        Ok(ranking::once(found))
    }
}

impl Base<'_> {
    /// How many passages it is asked for: the more there are the better they can be put in order.
    fn count(&self, multiple: &Multiple) -> u32 {
        let count = u32::try_from(multiple.top_k).unwrap_or(u32::MAX);
        self.about.usual.top_k.unwrap_or(count).max(count)
    }
}

async fn look_up(
    (at, base): (usize, &Base<'_>),
    search: Search,
    context: &NodeContext,
) -> Result<Vec<Found>, NodeError> {
    let knowledge = &context.services.knowledge;
    match knowledge.search(base.asked, &search, &context.caller).await {
        Ok(passages) => {
            Ok(passages.into_iter().map(|passage| Found { base: at, passage }).collect())
        }
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(knowledge::failed(error, FAILED)),
    }
}

fn is_gone(error: &KnowledgeError) -> bool {
    error.kind == KnowledgeErrorKind::NoBase
}

/// The text that is looked up; empty where there is none.
fn question(query: &Query, variables: &Variables) -> Result<Name, NodeError> {
    let found = match query {
        Query::None => return Ok("".into()),
        Query::Of(selector) => variables.get(selector.parts()),
        Query::Text => None,
    };
    let text = found.as_ref().filter(|found| matches!(found.kind, Kind::String | Kind::Secret));
    match text.map(Variable::value) {
        Some(Value::Str(text)) => Ok(text.clone()),
        _ => Err(NodeError::new("", "Query variable is not string type.")),
    }
}

/// The files that are looked up.
fn files(attachments: &Query, variables: &Variables) -> Result<Vec<File>, NodeError> {
    let found = match attachments {
        Query::None => return Ok(Vec::new()),
        Query::Of(selector) => variables.get(selector.parts()),
        Query::Text => None,
    };
    let file = |value: &Value| match value {
        Value::File(file) => Some(file.as_ref().clone()),
        _ => None,
    };
    match found.as_ref().map(|found| (found.kind, found.value())) {
        Some((Kind::File, value)) => Ok(file(value).into_iter().collect()),
        Some((Kind::ArrayFile, Value::Array(items))) => Ok(items.iter().filter_map(file).collect()),
        _ => Err(NodeError::new("", "Attachments variable is not array file or file type.")),
    }
}

fn success(result: Value) -> Success {
    let result = Variable::typed(Kind::ArrayObject, result);
    Success { outputs: vec![("result".into(), result)], ..Success::default() }
}

fn lacks(what: &str) -> NodeError {
    model::failed("ValueError", what)
}

impl Execute for KnowledgeRetrieval {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
