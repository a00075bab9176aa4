//! What a person is asked, and how an answer is read (spec/nodes.md §7).
//!
//! A form is made once per node execution, from the variables as they are then, and never changes:
//! it lies in the fact by which the run asks. What may be answered is the node type's to say
//! ([`Asks`]); when it is too late is the run's.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::NodeError;
use crate::plan::Success;
use crate::time::Time;
use crate::value::{Name, Value};
use crate::variables::{Selector, Variables};

/// A node that asks a person. Pure, cheap, total and deterministic.
pub trait Asks: Debug + Send + Sync {
    /// The form for these variables.
    ///
    /// # Errors
    /// When its text cannot be rendered.
    fn ask(&self, variables: &Variables) -> Result<Form, NodeError>;

    /// What the node gives when this action was chosen and these values were entered.
    ///
    /// # Errors
    /// Says what is wrong with the answer, in Dify's words.
    fn answer(
        &self,
        form: &Form,
        action: &str,
        values: &[(Name, Value)],
    ) -> Result<Success, String>;

    /// What the node gives when nobody answered in time.
    fn nobody(&self, form: &Form) -> Success;

    /// What can be said of an answer before there is a form.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn check(&self, action: &str, entries: &[Name]) -> Result<(), String>;
}

/// A form as it was when the person was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Its text in Markdown; `{{#$output.<name>#}}` stands where an entry goes.
    pub content: Name,
    /// What is to be entered, in order.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// What can be chosen, in order.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// How long it may be answered, in milliseconds.
    pub wait_ms: u64,
    /// Whether it may be answered where the workflow runs (a `webapp` among its deliveries).
    #[serde(default)]
    pub webapp: bool,
}

/// Something to enter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The output it becomes.
    pub name: Name,
    /// What is taken.
    pub kind: EntryKind,
    /// The variable that its default or options came from; none were written in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Selector>,
}

/// What an entry takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EntryKind {
    /// Text.
    Paragraph {
        /// What stands there at first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<Name>,
    },
    /// One of these.
    Select {
        /// In order.
        options: Vec<Name>,
    },
    /// A file.
    File(Files),
    /// Files.
    FileList(Files),
}

/// Which files an entry takes; an empty list takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Files {
    /// `image`, `document`, `audio`, `video`, `custom`.
    pub kinds: Vec<Name>,
    /// Extensions for `custom`.
    pub extensions: Vec<Name>,
    /// `local_file`, `remote_url`.
    pub methods: Vec<Name>,
    /// The most of a list; 0 is no limit.
    pub most: u64,
}

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The handle it leads to.
    pub id: Name,
    /// Its text.
    pub title: Name,
    /// Its look.
    pub style: Name,
}

/// A form that was put to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The form.
    pub form: Arc<Form>,
    /// From then on it is too late.
    pub expires_at: Time,
    /// Whether the run is stopped then, as it waited for too long; else it goes on without an
    /// answer.
    pub ends_run: bool,
}

impl Asked {
    /// A form that was put to a person at a time; the run waits `most_ms` at most.
    pub(crate) fn new(form: Arc<Form>, at: Time, most_ms: Option<u64>) -> Self {
        let ends_run = most_ms.is_some_and(|most| most < form.wait_ms);
        let wait_ms = most_ms.map_or(form.wait_ms, |most| most.min(form.wait_ms));
        let expires_at = at.after(std::time::Duration::from_millis(wait_ms));
        Self { form, expires_at, ends_run }
    }
}

impl Form {
    /// Its entries as Dify's interfaces show them, defaults and options resolved.
    pub fn inputs(&self) -> Value {
        Value::array(self.entries.iter().map(Entry::to_value).collect())
    }

    /// Its actions as Dify's interfaces show them.
    pub fn user_actions(&self) -> Value {
        let action = |action: &Action| {
            Value::object([
                ("id".into(), Value::Str(action.id.clone())),
                ("title".into(), Value::Str(action.title.clone())),
                ("button_style".into(), Value::Str(action.style.clone())),
            ])
        };
        Value::array(self.actions.iter().map(action).collect())
    }

    /// The defaults that came from variables, by entry.
    pub fn resolved_defaults(&self) -> Value {
        Value::object(self.entries.iter().filter_map(|entry| match (&entry.kind, &entry.source) {
            (EntryKind::Paragraph { default: Some(text) }, Some(_)) => {
                Some((entry.name.clone(), Value::Str(text.clone())))
            }
            _ => None,
        }))
    }
}

impl Entry {
    /// Dify's word for what it takes.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            EntryKind::Paragraph { .. } => "paragraph",
            EntryKind::Select { .. } => "select",
            EntryKind::File(_) => "file",
            EntryKind::FileList(_) => "file-list",
        }
    }

    fn to_value(&self) -> Value {
        let mut members = vec![
            ("type".into(), Value::from(self.type_name())),
            ("output_variable_name".into(), Value::Str(self.name.clone())),
        ];
        match &self.kind {
            EntryKind::Paragraph { default: None } => {
                members.push(("default".into(), Value::None));
            }
            EntryKind::Paragraph { default: Some(text) } => {
                members.push(("default".into(), self.sourced(Value::Str(text.clone()))));
            }
            EntryKind::Select { options } => {
                members.push(("option_source".into(), self.sourced(names(options))));
            }
            EntryKind::File(files) => files.add_to(&mut members),
            EntryKind::FileList(files) => {
                files.add_to(&mut members);
                let most = i64::try_from(files.most).unwrap_or(i64::MAX);
                members.push(("number_limits".into(), Value::int(most)));
            }
        }
        Value::object(members)
    }

    /// A value with where it came from.
    fn sourced(&self, value: Value) -> Value {
        let word = if self.source.is_some() { "variable" } else { "constant" };
        let selector = self.source.as_ref().map_or(&[][..], Selector::parts);
        Value::object([
            ("type".into(), Value::from(word)),
            ("selector".into(), names(selector)),
            ("value".into(), value),
        ])
    }
}

impl Files {
    fn add_to(&self, members: &mut Vec<(Name, Value)>) {
        members.push(("allowed_file_types".into(), names(&self.kinds)));
        members.push(("allowed_file_extensions".into(), names(&self.extensions)));
        members.push(("allowed_file_upload_methods".into(), names(&self.methods)));
    }
}

fn names(names: &[Name]) -> Value {
    Value::array(names.iter().cloned().map(Value::Str).collect())
}
