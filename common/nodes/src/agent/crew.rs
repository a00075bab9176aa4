//! What both strategies do: ask the model, use a tool, note what was done.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Kind, Name, Object, Style, Value, write_json};
use flowmill_engine::variables::Variable;
use flowmill_services::models::{Ask, Message, Piece, Reply, ToolSpec, Usage, Wanted};

use super::invoke_failed;
use super::kept;
use super::offer::Offer;
use crate::context::NodeContext;
use crate::model::usage;
use crate::tool::results::Results;
use crate::tool::toolbox;

/// The most characters of a tool's answer that a model is shown.
const MAX_ANSWER: usize = 200_000;

/// An agent at work.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    context: &'a NodeContext,
    wanted: Wanted,
    params: Vec<(Name, Value)>,
    offer: Offer,
    /// What was done.
    log: Vec<Record>,
    text: String,
    files: Vec<File>,
    usage: Usage,
}

/// Something that was done (`agent_log`).
#[derive(Debug)]
struct Record {
    id: String,
    parent: Option<String>,
    label: String,
    error: Option<Name>,
    data: Value,
    metadata: Vec<(Name, Value)>,
}

/// What a tool said, for the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    files: Vec<File>,
    error: Option<Name>,
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        context: &'a NodeContext,
        wanted: Wanted,
        params: Vec<(Name, Value)>,
        offer: Offer,
    ) -> Self {
        Self {
            context,
            wanted,
            params,
            offer,
            log: Vec::new(),
            text: String::new(),
            files: Vec::new(),
            usage: Usage::default(),
        }
    }

    /// `gpt-4o of openai`, for errors.
    pub(super) fn model(&self) -> String {
        format!("{} of {}", self.wanted.name, self.wanted.provider)
    }

    pub(super) fn has_no_tools(&self) -> bool {
        self.offer.is_empty()
    }

    /// The tools as models see them.
    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        self.offer.specs()
    }

    /// Says something to whoever reads the node's text.
    pub(super) fn say(&mut self, text: &str) {
        if !text.is_empty() {
            self.context.chunk("text", text);
            self.text.push_str(text);
        }
    }

    /// Asks the model; the answer counts as a step. `aloud`: its text is the node's, piece by piece.
    pub(super) async fn ask(
        &mut self,
        round: u32,
        messages: Vec<Message>,
        (tools, stop): (Vec<ToolSpec>, Vec<Name>),
        aloud: bool,
    ) -> Result<Reply, NodeError> {
        let ask =
            Ask { messages, tools, stop, params: self.params.clone(), streams: true, schema: None };
        let context = self.context;
        // what was said before it was kept is not said again
        let shown = Mutex::new(0);
        let show = |piece: Piece<'_>| {
            if let (Piece::Text(text), true) = (piece, aloud) {
                context.chunk("text", text);
                *shown.lock().unwrap_or_else(PoisonError::into_inner) += text.len();
            }
        };
        let make = async {
            let models = &context.services.models;
            let reply = models.ask(&self.wanted, ask, &context.caller, &show).await;
            let reply = reply.map_err(|error| {
                let failed = invoke_failed(&*error.message);
                failed.with_class(error.kind.class()).with_retry_after(error.retry_after)
            })?;
            Ok(kept::of_reply(&reply))
        };
        let kept = context.step(&format!("model {round}"), make).await?;
        let reply = kept::to_reply(&kept);
        if aloud {
            let shown = *shown.lock().unwrap_or_else(PoisonError::into_inner);
            context.chunk("text", reply.text.get(shown..).unwrap_or_default());
            self.text.push_str(&reply.text);
        }
        self.usage = self.usage.plus(&reply.usage);
        Ok(reply)
    }

    /// Uses a tool; what it says counts as a step. Whatever goes wrong is said to the model.
    pub(super) async fn call(
        &mut self,
        (round, nth): (u32, usize),
        name: &str,
        arguments: &str,
    ) -> Result<Answer, NodeError> {
        let context = self.context;
        let step = format!("tool {round}.{nth}");
        let make = async { Ok(self.answer(name, arguments, (context, &step)).await.kept()) };
        let kept = context.step(&step, make).await?;
        let answer = Answer::of(&kept);
        self.files.extend(answer.files.iter().cloned());
        let label = format!("CALL {name}");
        let data = Value::object([
            ("tool_call_name".into(), Value::from(name)),
            ("tool_call_args".into(), Value::from(arguments)),
            ("tool_responses".into(), Value::from(answer.text.as_str())),
        ]);
        let provider = self.offer.find(name).map(|tool| Value::Str(tool.label.clone()));
        let metadata = provider.map(|provider| ("provider".into(), provider)).into_iter().collect();
        self.log.push(Record {
            id: format!("{}-{round}-tool-{nth}", context.caller.node),
            parent: Some(self.round_id(round)),
            label,
            error: answer.error.clone(),
            data,
            metadata,
        });
        Ok(answer)
    }

    async fn answer(
        &self,
        name: &str,
        arguments: &str,
        (context, step): (&NodeContext, &str),
    ) -> Answer {
        let Some(offered) = self.offer.find(name) else {
            let names = self.offer.names();
            return Answer::wrong(format!("there is no tool named {name}; there are: {names}"));
        };
        let arguments = match offered.arguments(arguments) {
            Ok(arguments) => arguments,
            Err(why) => return Answer::wrong(why),
        };
        match toolbox::call(&offered.wanted, &arguments, (context, step), false).await {
            Ok(results) => Answer::said(results),
            Err(error) => Answer::wrong(format!("the tool failed: {error}")),
        }
    }

    /// Notes a round: what the model thought, and what it wants to use.
    pub(super) fn note_round(&mut self, round: u32, reply: &Reply, action: &[(Name, Value)]) {
        let id = self.round_id(round);
        let usage = usage(&reply.usage);
        let metadata = |names: [&str; 3]| {
            let Value::Object(members) = &usage else { return Vec::new() };
            let found = |name: &str| Some((Name::from(name), members.get(name)?.clone()));
            names.into_iter().filter_map(found).collect()
        };
        let names = ["total_tokens", "total_price", "currency"];
        let output = Value::from(reply.text.as_str());
        let about = [("output".into(), output)].into_iter().chain(action.iter().cloned());
        let data = Value::object(about);
        self.log.push(Record {
            id: id.clone(),
            parent: None,
            label: format!("ROUND {round}"),
            error: None,
            data: data.clone(),
            metadata: metadata(names),
        });
        self.log.push(Record {
            id: format!("{id}-model"),
            parent: Some(id),
            label: format!("{} Thought", self.wanted.name),
            error: None,
            data,
            metadata: metadata(names),
        });
    }

    fn round_id(&self, round: u32) -> String {
        format!("{}-{round}", self.context.caller.node)
    }

    /// The node's outputs.
    pub(super) fn finish(self) -> Success {
        let node = self.context.caller.node.clone();
        let mut log: Vec<Value> = self.log.into_iter().map(|record| record.value(&node)).collect();
        if log.is_empty() {
            log.push(Value::object([("data".into(), Value::array(Vec::new()))]));
        }
        let files = self.files.into_iter().map(|file| Value::File(file.into())).collect();
        let mut success = Success::of([
            ("text".into(), Value::from(self.text)),
            ("usage".into(), usage(&self.usage)),
        ]);
        let mut put = |place, name: &str, kind, values| {
            let variable = Variable::typed(kind, Value::array(values));
            success.outputs.insert(place, (name.into(), variable));
        };
        put(1, "files", Kind::ArrayFile, files);
        put(2, "json", Kind::ArrayObject, log);
        success
    }
}

impl Record {
    fn value(self, node: &Name) -> Value {
        let Self { id, parent, label, error, data, metadata } = self;
        let status = if error.is_some() { "error" } else { "success" };
        Value::object([
            ("id".into(), Value::from(id)),
            ("parent_id".into(), parent.map_or(Value::None, Value::from)),
            ("error".into(), error.map_or(Value::None, Value::Str)),
            ("status".into(), status.into()),
            ("data".into(), data),
            ("label".into(), Value::from(label)),
            ("metadata".into(), Value::object(metadata)),
            ("node_id".into(), Value::Str(node.clone())),
        ])
    }
}

impl Answer {
    fn wrong(why: String) -> Self {
        Self { error: Some(why.as_str().into()), text: why, files: Vec::new() }
    }

    /// What a tool said, as its model reads it.
    fn said(results: Results) -> Self {
        let Results { mut text, files, json, variables } = results;
        for object in &json {
            write_json(&mut text, object, Style::Line);
        }
        for (name, value) in &variables {
            // writing to a string cannot fail
            let _ = write!(text, "{name}: {}", value.to_python());
        }
        let file = |value| match value {
            Value::File(file) => Some(File::clone(&file)),
            _ => None,
        };
        let files: Vec<File> = files.into_iter().filter_map(file).collect();
        for file in &files {
            let name = file.filename.as_deref().unwrap_or("a file");
            let _ = write!(text, "{name} was made and is shown to the user already.");
        }
        Self { text: text.chars().take(MAX_ANSWER).collect(), files, error: None }
    }

    /// It as a value that is kept.
    fn kept(&self) -> Value {
        let files = self.files.iter().map(|file| Value::File(file.clone().into())).collect();
        let members: [(Name, Value); 3] = [
            ("text".into(), Value::from(self.text.as_str())),
            ("files".into(), Value::array(files)),
            ("error".into(), self.error.clone().map_or(Value::None, Value::Str)),
        ];
        Value::object(members)
    }

    fn of(kept: &Value) -> Self {
        let none = Object::new();
        let members = match kept {
            Value::Object(members) => members,
            _ => &none,
        };
        let text = |name: &str| match members.get(name) {
            Some(Value::Str(text)) => Some(text.clone()),
            _ => None,
        };
        let file = |item: &Value| match item {
            Value::File(file) => Some(File::clone(file)),
            _ => None,
        };
        let files = match members.get("files") {
            Some(Value::Array(items)) => items.iter().filter_map(file).collect(),
            _ => Vec::new(),
        };
        let said = text("text").unwrap_or_default();
        Self { text: said.to_string(), files, error: text("error") }
    }
}
