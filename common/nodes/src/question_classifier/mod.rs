//! `question-classifier`: lets a model choose a branch (spec/nodes.md §5.3). Its data is read in
//! full; nothing calls a model yet.

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Node, NodeType, Runs, output};
use crate::not_configured;

/// `question-classifier`
pub(crate) const TYPE: NodeType = NodeType {
    name: "question-classifier",
    version: "1",
    about: "Lets a language model choose which branch a text belongs to.",
    category: Category::Branch,
    runs: Runs::Task(TaskNode { class: TaskClass::Llm, costly: true }),
    retries: false,
    needs_mock: true,
    fields: spec::FIELDS,
    handles: "the id of each class",
    outputs: &[
        output("class_name", "string", "the chosen class's description"),
        output("class_id", "string", "its id"),
        output("class_label", "string", "its label"),
        output("usage", "object", "tokens and prices"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let (model, reads) = spec::read(fields);
    not_configured::node(TYPE.name, &model.needs(), reads)
}
