//! `template-transform`: renders a Jinja2 template (spec/nodes.md §3.8).
//!
//! The core renders it where the result is surely Jinja2's own ([`crate::jinja`]). What is not
//! becomes a task, and the real Jinja2 renders it where code runs.

mod spec;

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source, Success};
use flowmill_engine::value::{Name, Object, StrictError, Value, dumps_strict};
use flowmill_engine::variables::{Selector, Variables};
use futures::future::BoxFuture;

use crate::catalogue::{Body, Needs, Node, NodeType, Runs, output};
use crate::code::{Rendering, too_long};
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
    needs: Needs::Nothing,
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
    /// What the real Jinja2 would be given.
    text: Name,
    variables: Vec<(Name, Selector)>,
    /// What stands for a variable that is missing.
    missing: Value,
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
        let compiled = Template::compile(&template);
        if let Some(construct) = compiled.refusal() {
            let message = format!(
                "uses {construct}, which only the real Jinja2 renders: \
                 Python must have it (apt-get install python3-jinja2)"
            );
            fields.warning("template", message);
        }
        let missing = Value::None;
        Self { template: compiled, text: template, variables, missing, max_chars }
    }

    /// A template within another node's data.
    pub(crate) fn within(text: Name, variables: Vec<(Name, Selector)>, missing: Value) -> Self {
        let template = Template::compile(&text);
        Self { template, text, variables, missing, max_chars: MAX_CHARS }
    }

    /// The rendered text, by whoever renders it exactly.
    pub(crate) async fn text(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<String, NodeError> {
        let rendered = match self.render(variables) {
            Ok(rendered) => rendered,
            Err(Fail::Raised { kind, message }) => return Err(raised(&kind, &message)),
            Err(Fail::Refused(construct)) => {
                self.render_with_jinja(&construct, variables, context).await?
            }
        };
        self.within_bounds(&rendered)?;
        Ok(rendered)
    }

    /// The variables it reads.
    fn reads(&self) -> Vec<Selector> {
        self.variables.iter().map(|(_, selector)| selector.clone()).collect()
    }

    /// The variables by their names in the template; missing ones are none.
    fn values(&self, variables: &Variables) -> impl Iterator<Item = (Name, Value)> {
        let value = |selector: &Selector| {
            let found = variables.get(selector.parts());
            found.map_or_else(|| self.missing.clone(), |found| found.value().clone())
        };
        self.variables.iter().map(move |(name, selector)| (name.clone(), value(selector)))
    }

    fn render(&self, variables: &Variables) -> Result<String, Fail> {
        // a mistake in the template shows before one in the values
        self.template.check()?;
        self.template.render(&Context::new(self.values(variables))?)
    }

    /// The variables as JSON, which Dify sends them through.
    fn json(&self, variables: &Variables) -> Result<String, StrictError> {
        let members: Object = self.values(variables).collect();
        dumps_strict(&Value::Object(Arc::new(members)))
    }

    /// Renders with the real Jinja2 what is refused here because of `construct`.
    async fn render_with_jinja(
        &self,
        construct: &str,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<String, NodeError> {
        let rendering = Rendering {
            template: &self.text,
            context: &self.json(variables),
            max_chars: self.max_chars,
            construct,
        };
        context.code.render(&rendering, context.timeout).await
    }

    fn within_bounds(&self, rendered: &str) -> Result<(), NodeError> {
        // bytes bound characters
        let is_long = rendered.len() > self.max_chars;
        if is_long && rendered.chars().count() > self.max_chars {
            return Err(too_long(self.max_chars));
        }
        Ok(())
    }

    fn finish(&self, rendered: String) -> Result<Success, NodeError> {
        self.within_bounds(&rendered)?;
        Ok(success(rendered))
    }
}

fn success(rendered: String) -> Success {
    Success::of([("output".into(), Value::from(rendered))])
}

fn raised(kind: &str, message: &str) -> NodeError {
    NodeError::new("", format!("{kind}: {message}"))
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
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(async move { Ok(success(self.text(variables, context).await?)) })
    }
}
