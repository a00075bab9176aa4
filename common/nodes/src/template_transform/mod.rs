//! `template-transform`: renders a Jinja2 template (spec/nodes.md §3.8).
//!
//! The core renders it where the result is surely Jinja2's own ([`crate::jinja`]). What is not
//! becomes a task, and there, as no real Jinja2 is at hand yet, a failure that says why.

mod spec;

use std::sync::Arc;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::{Selector, Variables};
use futures::future::BoxFuture;

use crate::catalogue::{Body, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::jinja::{Context, Fail, Template};

/// `TEMPLATE_TRANSFORM_MAX_LENGTH` of Dify, in characters.
const DIFY_MAX_CHARS: usize = 400_000;
/// Our own limit where a document is not held to Dify's, in characters.
const MAX_CHARS: usize = 10_000_000;

/// `template-transform`
pub(crate) const TYPE: NodeType = NodeType {
    name: "template-transform",
    version: "1",
    about: "Renders a Jinja2 template.",
    category: Category::Executable,
    runs: Runs::Inline,
    retries: false,
    needs_mock: false,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("output", "string", "the rendered text")],
    example: r#"{"template": "Dear {{ name }},",
        "variables": [{"variable": "name", "value_selector": ["start", "name"]}]}"#,
    compile,
};

/// A compiled template-transform node.
#[derive(Debug)]
pub(crate) struct TemplateTransform {
    template: Template,
    variables: Vec<(Name, Selector)>,
    max_chars: usize,
}

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    let max_chars = if source.dify_sizes { DIFY_MAX_CHARS } else { MAX_CHARS };
    let node = Arc::new(TemplateTransform::compile(fields, max_chars));
    let reads = node.reads();
    Node::new(Body::InlineOr(node.clone(), node), reads)
}

impl TemplateTransform {
    /// Reads a node's data. The output may have at most `max_chars` characters.
    fn compile(fields: &mut Fields<'_>, max_chars: usize) -> Self {
        let spec::Spec { template, variables } = spec::read(fields);
        let node = Self { template: Template::compile(&template), variables, max_chars };
        if let Some(refusal) = node.refusal() {
            fields.warning("template", refusal);
        }
        node
    }

    /// The variables it reads.
    fn reads(&self) -> Vec<Selector> {
        self.variables.iter().map(|(_, selector)| selector.clone()).collect()
    }

    /// What the template uses that only the real Jinja2 renders, if that is known already.
    fn refusal(&self) -> Option<String> {
        self.template.refusal().map(unavailable)
    }

    fn render(&self, variables: &Variables) -> Result<String, Fail> {
        let value = |selector: &Selector| {
            variables.get(selector.parts()).map_or(Value::None, |found| found.value().clone())
        };
        let values = self.variables.iter().map(|(name, selector)| (name.clone(), value(selector)));
        // a mistake in the template shows before one in the values
        self.template.check()?;
        self.template.render(&Context::new(values)?)
    }

    fn finish(&self, rendered: String) -> Result<Success, NodeError> {
        // bytes bound characters
        if rendered.len() > self.max_chars && rendered.chars().count() > self.max_chars {
            let message = format!("Output length exceeds {} characters", self.max_chars);
            return Err(NodeError::new("", message));
        }
        Ok(Success::of([("output".into(), Value::from(rendered))]))
    }
}

fn raised(kind: &str, message: &str) -> NodeError {
    NodeError::new("", format!("{kind}: {message}"))
}

fn unavailable(construct: &str) -> String {
    format!("template uses {construct}, which needs the real Jinja2 and is not available yet")
}

impl Inline for TemplateTransform {
    fn run(&self, variables: &Variables) -> Evaluation {
        match self.render(variables) {
            Ok(rendered) => self.finish(rendered).into(),
            Err(Fail::Raised { kind, message }) => Evaluation::Failed(raised(&kind, &message)),
            Err(Fail::Refused(_)) => Evaluation::NotInline,
        }
    }
}

impl Execute for TemplateTransform {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        _context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        let result = match self.render(variables) {
            Ok(rendered) => self.finish(rendered),
            Err(Fail::Raised { kind, message }) => Err(raised(&kind, &message)),
            Err(Fail::Refused(construct)) => {
                Err(NodeError::new("", unavailable(&construct)).with_class(ErrorClass::Internal))
            }
        };
        Box::pin(async { result })
    }
}
