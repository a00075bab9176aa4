//! `document-extractor`: turns files into text (spec/nodes.md §4.3). Its data is read; nothing converts
//! files yet.

pub mod convert;
pub mod kind;
mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, TaskClass, TaskNode};

use crate::catalogue::{Node, NodeType, Runs, output};
use crate::not_configured;

/// `document-extractor`
pub(crate) const TYPE: NodeType = NodeType {
    name: "document-extractor",
    version: "1",
    about: "Turns a file, or several, into text.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode { class: TaskClass::Light, costly: false }),
    retries: false,
    needs_mock: true,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("text", "string or array[string]", "the text of the file, or of each")],
    example: r#"{"variable_selector": ["start", "file"], "is_array_file": false}"#,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let file = spec::read(fields);
    not_configured::node(TYPE.name, "a converter of files", vec![file])
}
