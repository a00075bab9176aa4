//! What a run of a workflow begins with, checked as Dify checks it where requests come in.

use flowmill_engine::graph::Mode;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};

use crate::inputs::{Accepted, Form, Given, Rejection, Uploads, check, gives_files};
use crate::load::Workflow;

/// Who begins a run, and what the engine calls it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The run's id.
    pub run: &'a Name,
    /// `sys.user_id`.
    pub user: &'a str,
    /// `sys.app_id`.
    pub app: &'a str,
    /// `sys.conversation_id` of a chat.
    pub conversation: &'a str,
    /// `sys.dialogue_count` of a chat: which turn of the conversation it is, counted from 1.
    pub turn: u64,
    /// `sys.timestamp`.
    pub now: Time,
}

/// What a run can begin with.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// One for each declared input, null where nothing was given.
    pub inputs: Vec<(Name, Value)>,
    /// The files that were given to the document itself.
    pub files: Vec<Value>,
    /// What was given and is dropped, as Dify does: a sentence each.
    pub dropped: Vec<String>,
}

impl Workflow {
    /// The form of the node at which its runs begin; triggers have none.
    pub fn form(&self) -> Form {
        let root = self.plan.root().map(|root| self.plan.node(root));
        let Some(root) = root.filter(|root| &*root.kind == "start") else { return Form::open() };
        let entry = self.graph.nodes.iter().find(|node| node.id.as_name() == Some(&root.id));
        entry.map_or_else(Form::open, |node| Form::of_start(&node.data))
    }

    /// Checks all that was given for a run.
    ///
    /// # Errors
    /// Every rejection; what a chat's user says is called `query`.
    pub fn begin(&self, query: Option<&str>, given: &Given) -> Result<Beginning, Vec<Rejection>> {
        let chat = self.plan.mode() == Mode::Chat;
        let mut rejections = Vec::new();
        let mut dropped = Vec::new();
        if chat && query.is_none() {
            let message = "query is required: a chat answers what the user says".to_owned();
            rejections.push(Rejection { name: "query".into(), message });
        }
        let files = self.uploads(given, &mut dropped);
        let files = files.map_err(|more| rejections.extend(more)).unwrap_or_default();
        let accepted = check(&self.form(), given);
        let Accepted { inputs, undeclared } =
            accepted.map_err(|more| rejections.extend(more)).unwrap_or_default();
        if !rejections.is_empty() {
            return Err(rejections);
        }
        let dropped_inputs = undeclared
            .iter()
            .map(|name| format!("the start node declares no input {name:?}; it is dropped"));
        dropped.extend(dropped_inputs);
        if !chat && query.is_some() {
            dropped.push("only chats (advanced-chat) take a query; it is dropped".to_owned());
        }
        Ok(Beginning { inputs, files, dropped })
    }

    /// The files given to the document itself. A chat that takes none drops them, a workflow
    /// without a word on them takes any, as Dify does.
    fn uploads(
        &self,
        given: &Given,
        dropped: &mut Vec<String>,
    ) -> Result<Vec<Value>, Vec<Rejection>> {
        if let Some(uploads) = Uploads::of(&self.graph.features) {
            return uploads.check(given);
        }
        if self.plan.mode() != Mode::Chat {
            return Uploads::default().check(given);
        }
        if gives_files(given) {
            let message = "the chat takes no files besides its inputs (features.file_upload is \
                           not enabled); what sys.files was given is dropped";
            dropped.push(message.to_owned());
        }
        Ok(Vec::new())
    }

    /// `sys.*`; a chat has what its user says.
    pub fn system(
        &self,
        query: Option<&str>,
        files: Vec<Value>,
        identity: Identity<'_>,
    ) -> Vec<(Name, Value)> {
        let member = |name: &str, value: Value| (Name::from(name), value);
        let seconds = i64::try_from(identity.now.0 / 1_000_000).unwrap_or(i64::MAX);
        let mut system = vec![
            member("files", Value::array(files)),
            member("user_id", identity.user.into()),
            member("app_id", identity.app.into()),
            member("workflow_id", Value::Str(self.digest.clone())),
            member("workflow_run_id", Value::Str(identity.run.clone())),
            member("timestamp", Value::int(seconds)),
        ];
        if self.plan.mode() == Mode::Chat {
            let query = query.unwrap_or_default().replace('\0', "");
            system.insert(0, member("query", query.into()));
            system.push(member("conversation_id", identity.conversation.into()));
            let turn = i64::try_from(identity.turn).unwrap_or(i64::MAX);
            system.push(member("dialogue_count", Value::int(turn)));
        }
        system
    }
}
