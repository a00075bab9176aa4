//! `question-classifier`: lets a model choose a branch (spec/nodes.md §5.3).
//!
//! [`prompt`] is what the model is told, [`reading`] how its choice is found in what it answers.

mod prompt;
mod reading;
mod spec;
#[cfg(test)]
mod tests;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_services::models::Ask;
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use crate::model::{add_files, failed, keep_taken, max_tokens, usage};
use crate::shared::rendered;
use prompt::Question;
use spec::Spec;

/// `question-classifier`
pub(crate) const TYPE: NodeType = NodeType {
    name: "question-classifier",
    version: "1",
    about: "Lets a language model choose which branch a text belongs to.",
    category: Category::Branch,
    runs: Runs::Task(TaskNode::new(TaskClass::Llm, true)),
    retries: false,
    needs: Needs::Service,
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
    let spec = Spec::read(fields);
    let reads = spec.reads();
    Node::task(QuestionClassifier { spec }, reads)
}

#[derive(Debug)]
struct QuestionClassifier {
    spec: Spec,
}

impl QuestionClassifier {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { query, model, classes, instruction, memory, vision } = &self.spec;
        let query = variables.get(query.parts()).map_or(Value::None, |found| found.value().clone());
        let instruction = rendered(instruction, variables)?;
        let params = model.params.values(variables)?;
        let files = vision.parts(variables, context).await?;
        let models = &context.services.models;
        let known = models.known(&model.wanted, &context.caller)?;
        let room = (&known, max_tokens(&params));
        let named = |class: &spec::Class| Ok((class.id.clone(), rendered(&class.name, variables)?));
        let names: Vec<(Name, Name)> =
            classes.iter().map(named).collect::<Result<_, NodeError>>()?;
        let question = Question {
            text: if query.is_falsy() { String::new() } else { query.to_python() },
            classes: &names,
            instruction: &instruction,
            history: memory.as_ref().map(|memory| memory.told(variables, room)).unwrap_or_default(),
        };
        let mut messages = question.messages(model.wanted.mode);
        add_files(&mut messages, files);
        keep_taken(&mut messages, &known)?;
        let stop = model.params.stop.clone();
        let ask = Ask { messages, params, stop, streams: true, ..Ask::default() };
        let reply = models.ask(&model.wanted, ask, &context.caller, &|_| {}).await?;
        let chosen = reading::chosen(&reply.text)?;
        let place = chosen.and_then(|id| names.iter().position(|(known, _)| *known == id));
        let place = place.unwrap_or(0);
        let Some((id, name)) = names.get(place) else {
            return Err(failed("IndexError", "list index out of range"));
        };
        let label = match &*classes[place].label {
            "" => format!("CLASS {}", place + 1).into(),
            _ => classes[place].label.clone(),
        };
        let outputs = [
            ("class_name".into(), Value::Str(name.clone())),
            ("class_label".into(), Value::Str(label)),
            ("class_id".into(), Value::Str(id.clone())),
            ("usage".into(), usage(&reply.usage)),
        ];
        Ok(Success { handle: Some(id.clone()), ..Success::of(outputs) })
    }
}

impl Execute for QuestionClassifier {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
