//! `llm`: asks a model (spec/nodes.md §5.2). Its data is read in full; nothing calls a model yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Node, NodeType, Runs, output};
use crate::not_configured;

/// `llm`
pub(crate) const TYPE: NodeType = NodeType {
    name: "llm",
    version: "1",
    about: "Asks a language model.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode { class: TaskClass::Llm, costly: true }),
    retries: true,
    needs_mock: true,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("text", "string", "the answer"),
        output("reasoning_content", "string", "the model's thoughts, where they are separated"),
        output("usage", "object", "tokens and prices"),
        output("finish_reason", "string", "why it stopped"),
        output("structured_output", "object", "the answer as an object, if asked for"),
        output("files", "array[file]", "what it made besides text"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let (model, reads) = spec::read(fields);
    not_configured::node(TYPE.name, &model.needs(), reads)
}
