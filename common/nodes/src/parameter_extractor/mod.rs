//! `parameter-extractor`: lets a model read values out of a text (spec/nodes.md §5.4).
//!
//! [`prompt`] is what the model is told, and [`result`] what is made of the values in its answer.

mod prompt;
mod result;
mod spec;
#[cfg(test)]
mod tests;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Outputs, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::{Variable, Variables};
use flowmill_services::models::{Ask, Mode, ModelError, Reply};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::model::{add_files, keep_taken, max_tokens, object, usage};
use crate::shared::rendered;
use prompt::Question;
use spec::Spec;

/// `parameter-extractor`
pub(crate) const TYPE: NodeType = NodeType {
    name: "parameter-extractor",
    version: "1",
    about: "Lets a language model read values out of a text.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Llm, true)),
    retries: false,
    needs: Needs::Service,
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

/// What is said when a model gave nothing that could be read.
const NOTHING_FOUND: &str =
    "Failed to extract result from function call or text response, using empty result.";

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = Spec::read(fields);
    let reads = spec.reads();
    Node::task(ParameterExtractor { spec }, reads)
}

#[derive(Debug)]
struct ParameterExtractor {
    spec: Spec,
}

impl ParameterExtractor {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { model, parameters, .. } = &self.spec;
        let ask = self.ask(variables, context).await?;
        let models = &context.services.models;
        let reply = models.ask(&model.wanted, ask, &context.caller, &|_| {}).await;
        let Reply { text, tool_calls, usage: took, .. } = reply.map_err(not_asked)?;
        let mut reason = None;
        let found = if let Some(call) = tool_calls.first() {
            object(&call.arguments).unwrap_or_default()
        } else {
            let found = object(&text).filter(|found| !found.is_empty());
            found.unwrap_or_else(|| {
                reason = Some(NOTHING_FOUND.to_owned());
                result::defaults(parameters)
            })
        };
        if let Err(wrong) = result::check(parameters, &found) {
            reason = Some(wrong);
        }
        let mut outputs: Outputs = Success::of([
            ("__is_success".into(), Value::int(i64::from(reason.is_none()))),
            ("__reason".into(), reason.map_or(Value::None, Value::from)),
            ("__usage".into(), usage(&took)),
        ])
        .outputs;
        for parameter in parameters {
            let variable = result::variable(parameter, found.get(&parameter.name));
            outputs.push((parameter.name.clone(), variable));
        }
        Ok(Success { outputs, ..Success::default() })
    }

    async fn ask(&self, variables: &Variables, context: &NodeContext) -> Result<Ask, NodeError> {
        let Spec { query, model, parameters, instruction, by_function, memory, vision } =
            &self.spec;
        let text = match variables.get(query.parts()) {
            Some(found) => found.to_text()?.into_owned(),
            None => String::new(),
        };
        let params = model.params.values(variables)?;
        let files = vision.parts(variables, context).await?;
        let known = context.services.models.known(&model.wanted, &context.caller)?;
        let room = (&known, max_tokens(&params));
        let by_function = *by_function && known.tools;
        if by_function && model.wanted.mode == Mode::Completion {
            return Err(NodeError::escaped("Model mode completion not support."));
        }
        let question = Question {
            text: &text,
            schema: &prompt::schema(parameters),
            instruction: &rendered(instruction, variables)?,
            history: memory.as_ref().map(|memory| memory.told(variables, room)).unwrap_or_default(),
        };
        let (mut messages, tools) = if by_function {
            question.by_function()
        } else {
            (question.by_text(model.wanted.mode), Vec::new())
        };
        add_files(&mut messages, files);
        keep_taken(&mut messages, &known)?;
        let stop = model.params.stop.clone();
        Ok(Ask { messages, tools, params, stop, ..Ask::default() })
    }
}

/// The model was not reached, or refused: the only way in which the node fails.
fn not_asked(error: ModelError) -> NodeError {
    let message = error.message.clone();
    let outputs: [(Name, Value); 3] = [
        ("__is_success".into(), Value::int(0)),
        ("__reason".into(), "Failed to invoke model".into()),
        ("__error".into(), Value::Str(message)),
    ];
    let shown = outputs.map(|(name, value)| (name, Variable::infer(value)));
    NodeError { kind: "".into(), outputs: shown.into(), ..NodeError::from(error) }
}

impl Execute for ParameterExtractor {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
