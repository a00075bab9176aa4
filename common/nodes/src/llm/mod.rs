//! `llm`: asks a model (spec/nodes.md §5.2).
//!
//! [`spec`] is its data, [`context`] what a prompt is told of knowledge, [`structured`] answers that
//! are objects, [`answer`] what becomes of an answer.

mod answer;
mod context;
mod spec;
mod structured;
#[cfg(test)]
mod tests;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;
use flowmill_services::models::{Ask, Known, Message, Part, Role};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::model::{Prompt, Said, add_files, keep_taken, max_tokens, message, missing};
use answer::Shown;
use spec::{Spec, Told};

/// `llm`
pub(crate) const TYPE: NodeType = NodeType {
    name: "llm",
    version: "1",
    about: "Asks a language model.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Llm, true)),
    retries: true,
    needs: Needs::Service,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("text", "string", "the answer"),
        output("reasoning_content", "string", "the model's thoughts, where they are separated"),
        output("usage", "object", "tokens and prices"),
        output("finish_reason", "string", "why it stopped"),
        output("structured_output", "object", "the answer as an object, if asked for"),
        output("files", "array[file]", "what it made besides text"),
    ],
    example: spec::EXAMPLE,
    compile,
};

/// Where a prompt's conversation goes; the braces around it stay.
const HISTORIES: &str = "#histories#";
/// Where a completion's query goes.
const QUERY: &str = "#sys.query#";

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = Spec::read(fields);
    let reads = spec.reads();
    Node::task(Llm { spec }, reads)
}

#[derive(Debug)]
struct Llm {
    spec: Spec,
}

impl Llm {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { model, schema, is_separated, .. } = &self.spec;
        self.check(variables)?;
        let files = self.spec.vision.parts(variables, context).await?;
        let about = self.about(variables)?;
        let params = model.params.values(variables)?;
        let models = &context.services.models;
        let known = models.known(&model.wanted, &context.caller)?;
        let room = (&known, max_tokens(&params));
        let around = (variables, context);
        let mut messages = match &self.spec.template {
            Told::Chat(said) => self.chat(said, &about, room, around).await?,
            Told::Completion(prompt) => {
                vec![self.completion(prompt, &about, room, around).await?]
            }
        };
        add_files(&mut messages, files);
        keep_taken(&mut messages, &known)?;
        let form = match schema {
            Some(schema) => structured::form(schema, &known, &mut messages)?,
            None => None,
        };
        let ask = Ask {
            messages,
            tools: Vec::new(),
            schema: form,
            params,
            stop: model.params.stop.clone(),
            streams: true,
        };
        let shown = Shown::new(*is_separated, context);
        let reply =
            models.ask(&model.wanted, ask, &context.caller, &|piece| shown.piece(piece)).await?;
        shown.finish();
        answer::success(reply, *is_separated, schema.is_some(), context).await
    }

    /// Whether all that the prompts refer to is there.
    fn check(&self, variables: &Variables) -> Result<(), NodeError> {
        match &self.spec.template {
            Told::Chat(said) => said.iter().try_for_each(|said| said.prompt.check(variables))?,
            Told::Completion(prompt) => prompt.check(variables)?,
        }
        if let Some(memory) = &self.spec.memory {
            memory.check(variables)?;
        }
        for (name, selector) in &self.spec.jinja_variables {
            if variables.get(selector.parts()).is_none() {
                return Err(missing(name));
            }
        }
        Ok(())
    }

    /// What the prompts are told of knowledge.
    fn about(&self, variables: &Variables) -> Result<String, NodeError> {
        let found = self.spec.context.as_ref().and_then(|at| variables.get(at.parts()));
        found.map_or(Ok(String::new()), |found| context::text(&found))
    }

    async fn chat(
        &self,
        said: &[Said],
        about: &str,
        room: (&Known, usize),
        (variables, context): (&Variables, &NodeContext),
    ) -> Result<Vec<Message>, NodeError> {
        let detail = self.spec.vision.detail;
        let mut messages = Vec::new();
        for said in said {
            said.say(&mut messages, about, detail, (variables, context)).await?;
        }
        if let Some(memory) = &self.spec.memory {
            messages.extend(memory.messages(variables, room));
            if let Some(prompt) = memory.query(variables)? {
                let query = Said { role: Role::User, prompt };
                query.say(&mut messages, "", detail, (variables, context)).await?;
            }
        }
        Ok(messages)
    }

    async fn completion(
        &self,
        prompt: &Prompt,
        about: &str,
        room: (&Known, usize),
        (variables, context): (&Variables, &NodeContext),
    ) -> Result<Message, NodeError> {
        let text = prompt.text(about, (variables, context)).await?;
        let memory = self.spec.memory.as_ref();
        let said = memory.map_or(Ok(String::new()), |memory| memory.text(variables, room))?;
        let mut whole = if text.contains(HISTORIES) {
            text.replace(HISTORIES, &said)
        } else {
            format!("{said}\n{text}")
        };
        let query: Option<Name> = match memory {
            Some(memory) => memory.raw_query(variables)?,
            None => None,
        };
        if let Some(query) = query {
            whole = whole.replace(QUERY, &query);
        }
        Ok(message(Role::User, vec![Part::Text(whole.into())]))
    }
}

impl Execute for Llm {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
