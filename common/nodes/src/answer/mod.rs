//! `answer`: text for the user of a chat (spec/nodes.md §2.3).

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Kind, Value};
use flowmill_engine::variables::{Variable, Variables};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};

/// `answer`
pub(crate) const TYPE: NodeType = NodeType {
    name: "answer",
    version: "1",
    about: "Answers the user of a chat with a text.",
    category: Category::Response,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("answer", "string", "the text, its variables as Markdown"),
        output("files", "array[file]", "the files among its references"),
    ],
    example: r#"{"answer": "Hello {{#start.name#}}"}"#,
    compile,
};

#[derive(Debug)]
struct Answer {
    template: Template,
}

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let template = spec::read(fields);
    let reads = template.references().collect();
    let response = template.pieces().to_vec();
    Node { response, ..Node::inline(Answer { template }, reads) }
}

impl Inline for Answer {
    fn run(&self, variables: &Variables) -> Evaluation {
        let answer = match self.template.render_markdown(variables) {
            Ok(answer) => answer,
            Err(error) => return Evaluation::Failed(error.into()),
        };
        let mut files = Vec::new();
        for variable in self.template.resolve(variables) {
            match (variable.kind, variable.value()) {
                (Kind::File, file @ Value::File(_)) => files.push(file.clone()),
                (Kind::ArrayFile, Value::Array(items)) => files.extend(items.iter().cloned()),
                _ => {}
            }
        }
        let outputs = vec![
            ("answer".into(), Variable::infer(Value::Str(answer))),
            ("files".into(), Variable::typed(Kind::ArrayFile, Value::array(files))),
        ];
        Evaluation::Succeeded(Success { outputs, ..Success::default() })
    }
}
