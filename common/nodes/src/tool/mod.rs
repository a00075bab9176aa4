//! `tool`: uses a tool of a plugin, an API, an MCP server or another workflow (spec/nodes.md §4.4).
//! Its data is read in full; nothing calls tools yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Node, NodeType, Runs, output};
use crate::not_configured;

/// `tool`
pub(crate) const TYPE: NodeType = NodeType {
    name: "tool",
    version: "1",
    about: "Uses a tool: of a plugin, an API, an MCP server, or another workflow.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode { class: TaskClass::Http, costly: true }),
    retries: true,
    needs_mock: true,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("text", "string", "the tool's text"),
        output("files", "array[file]", "the tool's files"),
        output("json", "array[object]", "the tool's objects"),
        output("<variable>", "any", "what the tool names itself"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    let spec = spec::read(fields, source.strict);
    not_configured::node(TYPE.name, &spec.needs, spec.reads)
}
