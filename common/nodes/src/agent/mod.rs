//! `agent`: lets a model choose and use tools (spec/nodes.md §5.5). Its data is read; nothing runs
//! agents yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Node, NodeType, Runs, output};
use crate::not_configured;

/// `agent`
pub(crate) const TYPE: NodeType = NodeType {
    name: "agent",
    version: "1",
    about: "Lets a language model use tools until it has an answer.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode { class: TaskClass::Llm, costly: true }),
    retries: false,
    needs_mock: true,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("text", "string", "the answer"),
        output("files", "array[file]", "files made on the way"),
        output("json", "array[object]", "what was done, step by step"),
        output("usage", "object", "tokens and prices"),
        output("<variable>", "any", "what the strategy names itself"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = spec::read(fields);
    not_configured::node(TYPE.name, &spec.needs, spec.reads)
}
