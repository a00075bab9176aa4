//! `agent`: lets a model choose and use tools (spec/nodes.md §5.5).
//!
//! [`offer`] is which tools it has, [`schemas`] what a document knows of them, [`functions`] and
//! [`react`] are the two strategies, [`crew`] what both do: ask, use a tool, note it. Each call of a
//! model or a tool is a step that is kept, so a worker that goes on in place of a lost one repeats
//! only what was under way.

mod crew;
mod functions;
mod kept;
mod offer;
mod react;
mod schemas;
mod spec;
#[cfg(test)]
mod tests;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::{Fields, Item};
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_services::models::{Mode, Wanted};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::tool::WORKFLOW;
use crew::Crew;
use offer::Offer;
use spec::{Spec, Strategy};

/// `agent`
pub(crate) const TYPE: NodeType = NodeType {
    name: "agent",
    version: "1",
    about: "Lets a language model use tools until it has an answer.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Llm, true)),
    retries: false,
    needs: Needs::Service,
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

/// How often a model is asked when the document does not say, and at most.
const ITERATIONS: i64 = 3;
const MAX_ITERATIONS: i64 = 99;

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = Spec::read(fields);
    let (reads, waits) = (spec.reads(), calls_workflows(fields));
    Node::task(Agent { spec }, reads).waiting(waits)
}

/// Whether a workflow is among the tools that the document names.
fn calls_workflows(fields: &Fields<'_>) -> bool {
    let tools = fields.get("agent_parameters").and_then(|all| all.get("tools")?.get("value"));
    let tools = tools.and_then(Item::as_seq).unwrap_or_default();
    let is = |tool: &Item, key| tool.get(key).and_then(Item::as_str) == Some(WORKFLOW);
    tools.iter().any(|tool| is(tool, "type") || is(tool, "provider_type"))
}

#[derive(Debug)]
struct Agent {
    spec: Spec,
}

/// What an agent is to do.
#[derive(Debug)]
struct Job {
    instruction: String,
    query: String,
    /// How often the model is asked at most.
    iterations: u32,
}

impl Agent {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let by_functions = match &self.spec.strategy {
            Strategy::FunctionCalling => true,
            Strategy::ReAct => false,
            Strategy::Other { name, plugin } => {
                return Err(no_strategy(&format!(
                    "the strategy {name} of {plugin} is not known here; function_calling and ReAct are"
                )));
            }
            Strategy::Elsewhere => {
                return Err(no_strategy(
                    "its configuration lies in a Dify server and not in the document; use an agent \
                     node of version 1",
                ));
            }
        };
        let (wanted, params) = self.model(variables)?;
        let models = &context.services.models;
        let known = models.known(&wanted, &context.caller)?;
        let tools = self.spec.parameter("tools", variables)?.unwrap_or_default();
        let offer = Offer::read(&tools, variables, context).await?;
        let job = Job {
            instruction: self.instruction(variables)?,
            query: self.spec.text("query", variables)?,
            iterations: self.iterations(variables)?,
        };
        let memory = self.spec.memory.as_ref();
        let history = memory.map(|memory| memory.messages(variables, (&known, 0)));
        let history = history.unwrap_or_default();
        let crew = Crew::new(context, wanted, params, offer);
        if !by_functions {
            return react::run(crew, &job, history).await;
        }
        if !known.tools && !crew.has_no_tools() {
            return Err(invoke_failed(format!(
                "the model {} calls no functions; give the node the strategy ReAct, or say `tools = \
                 true` of the model in the services file",
                crew.model()
            )));
        }
        functions::run(crew, &job, history).await
    }

    fn model(&self, variables: &Variables) -> Result<(Wanted, Vec<(Name, Value)>), NodeError> {
        let model = self.spec.parameter("model", variables)?;
        let Some(Value::Object(model)) = model else {
            return Err(invoke_failed("the document names no model for it"));
        };
        let text = |name: &str| match model.get(name) {
            Some(Value::Str(text)) => text.clone(),
            _ => "".into(),
        };
        let mode = if &*text("mode") == "completion" { Mode::Completion } else { Mode::Chat };
        let params = match model.get("completion_params") {
            Some(Value::Object(params)) => {
                params.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            }
            _ => Vec::new(),
        };
        let policy = self.spec.policy.clone();
        Ok((Wanted { provider: text("provider"), name: text("model"), mode, policy }, params))
    }

    fn instruction(&self, variables: &Variables) -> Result<String, NodeError> {
        let mut instruction = self.spec.text("instruction", variables)?;
        let about = self.spec.text("context", variables)?;
        if !about.is_empty() {
            instruction.push_str("\n\nWhat is known:\n");
            instruction.push_str(&about);
        }
        Ok(instruction)
    }

    fn iterations(&self, variables: &Variables) -> Result<u32, NodeError> {
        let given = match self.spec.parameter("maximum_iterations", variables)? {
            Some(Value::Int(number)) => number.to_i64(),
            Some(Value::Float(number)) => Some(whole(number)),
            Some(Value::Str(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let iterations = given.unwrap_or(ITERATIONS).clamp(1, MAX_ITERATIONS);
        Ok(u32::try_from(iterations).unwrap_or(1))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is beyond is clamped anyway")]
fn whole(number: f64) -> i64 {
    number as i64
}

fn no_strategy(why: &str) -> NodeError {
    NodeError::new("", format!("Failed to get agent strategy: {why}"))
}

/// The agent could not go on (spec/nodes.md §5.5, "Errors").
fn invoke_failed(why: impl AsRef<str>) -> NodeError {
    NodeError::new("", format!("Failed to invoke agent: {}", why.as_ref()))
        .with_class(ErrorClass::Invalid)
}

impl Execute for Agent {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
