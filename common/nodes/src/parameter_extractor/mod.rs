//! `parameter-extractor`: lets a model read values out of a text (spec/nodes.md §5.4). Its data is
//! read in full; nothing calls a model yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Node, NodeType, Runs, output};
use crate::not_configured;

/// `parameter-extractor`
pub(crate) const TYPE: NodeType = NodeType {
    name: "parameter-extractor",
    version: "1",
    about: "Lets a language model read values out of a text.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode { class: TaskClass::Llm, costly: true }),
    retries: false,
    needs_mock: true,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("<parameter>", "as declared", "the value found, or its type's default"),
        output("__is_success", "number", "1, or 0 whenever there is a reason"),
        output("__reason", "string", "what went wrong, or null"),
        output("__usage", "object", "tokens and prices"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let (model, reads) = spec::read(fields);
    not_configured::node(TYPE.name, &model.needs(), reads)
}
