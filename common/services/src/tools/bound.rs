//! The tools of a services file.

use flowmill_engine::value::{Name, Object, Value};
use futures::future::BoxFuture;

use super::command::CommandCall;
use super::config::{Bindings, ConfigError, Entry, FormEntry, Origin, PATIENCE, ParameterEntry};
use super::http::HttpCall;
#[cfg(feature = "mcp")]
use super::mcp::{Mcp, Servers};
use super::openapi::OpenApi;
use super::parameter::{Form, Parameter, ParameterKind};
use super::web::Web;
use super::workflow::WorkflowCall;
use super::{Call, Description, ToolError, ToolErrorKind, Tools, Wanted};
use crate::caller::Caller;
use crate::secret::masked;

/// Tools by the entries of a services file; the first entry that fits a tool answers for it.
#[derive(Debug)]
pub struct BoundTools {
    bound: Vec<Bound>,
    web: Web,
}

#[derive(Debug)]
struct Bound {
    entry: Entry,
    parameters: Vec<Parameter>,
    answers: Answers,
}

/// Who answers.
#[derive(Debug)]
enum Answers {
    Http(HttpCall),
    OpenApi(OpenApi),
    #[cfg(feature = "mcp")]
    Mcp(Mcp),
    Command(CommandCall),
    Workflow(WorkflowCall),
}

/// An entry as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which providers it answers for.
    pub provider: String,
    /// Which of their tools.
    pub tool: String,
    /// Who answers.
    pub answers: String,
    /// What keeps it from answering, as far as that is known without asking.
    pub problem: Option<String>,
}

/// Who answers for a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which entry, counted from 1.
    pub entry: usize,
    /// Who answers.
    pub answers: String,
}

/// What came of asking who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The entry.
    pub listed: Listed,
    /// The tools that it has, where it says so itself, or why that is not known.
    pub offers: Result<Vec<String>, String>,
}

impl BoundTools {
    /// The tools of these entries. Nothing is asked or started yet.
    ///
    /// # Errors
    /// [`ConfigError`] for the first entry that is wrong.
    pub fn new(bindings: Bindings, origin: Origin<'_>) -> Result<Self, ConfigError> {
        bindings.check()?;
        let web = Web::new().map_err(ConfigError::File)?;
        #[cfg(feature = "mcp")]
        let mut servers = Servers::default();
        let mut bound = Vec::with_capacity(bindings.tools.len());
        for (at, entry) in bindings.tools.into_iter().enumerate() {
            let answers = match (&entry.http, &entry.openapi, &entry.command, &entry.mcp) {
                _ if entry.workflow.is_some() => {
                    let workflow = entry.workflow.as_deref().unwrap_or_default();
                    Ok(Answers::Workflow(WorkflowCall::new(workflow)))
                }
                (Some(http), ..) => HttpCall::new(http, origin).map(Answers::Http),
                (_, Some(openapi), ..) => OpenApi::new(openapi, origin).map(Answers::OpenApi),
                (_, _, Some(command), _) => CommandCall::new(command, origin).map(Answers::Command),
                #[cfg(feature = "mcp")]
                (_, _, _, Some(mcp)) => servers.of(mcp, origin).map(Answers::Mcp),
                #[cfg(not(feature = "mcp"))]
                (_, _, _, Some(_)) => Err("this program was built without MCP: build it with \
                                           --features mcp"
                    .to_owned()),
                (None, None, None, None) => Err("says not who answers".to_owned()),
            };
            let answers = answers.map_err(|why| entry.error(at, why))?;
            let parameters = entry.parameters.iter().map(declared).collect();
            bound.push(Bound { entry, parameters, answers });
        }
        Ok(Self { bound, web })
    }

    /// The entries.
    pub fn list(&self) -> Vec<Listed> {
        self.bound.iter().map(Bound::listed).collect()
    }

    /// Who answers for a tool.
    pub fn offer(&self, wanted: &Wanted) -> Option<Offer> {
        let entry = self.bound.iter().position(|bound| bound.entry.answers(wanted))?;
        Some(Offer { entry: entry + 1, answers: self.bound[entry].answers.shown() })
    }

    /// Asks all who can be asked without a tool being called.
    pub async fn check(&self) -> Vec<Checked> {
        let mut checked = Vec::with_capacity(self.bound.len());
        for bound in &self.bound {
            let listed = bound.listed();
            let offers = match (&listed.problem, &bound.answers) {
                (Some(problem), _) => Err(problem.clone()),
                (None, Answers::OpenApi(api)) => {
                    api.names(&self.web).await.map_err(|error| bound.masked(error).to_string())
                }
                #[cfg(feature = "mcp")]
                (None, Answers::Mcp(mcp)) => {
                    mcp.names(&self.web).await.map_err(|error| bound.masked(error).to_string())
                }
                (None, Answers::Http(_) | Answers::Command(_) | Answers::Workflow(_)) => {
                    Ok(Vec::new())
                }
            };
            checked.push(Checked { listed, offers });
        }
        checked
    }

    fn find(&self, wanted: &Wanted) -> Result<&Bound, ToolError> {
        let found = self.bound.iter().find(|bound| bound.entry.answers(wanted));
        found.ok_or_else(|| ToolError::not_bound(wanted))
    }

    async fn description(&self, bound: &Bound, wanted: &Wanted) -> Result<Description, ToolError> {
        let own = || Description {
            about: "".into(),
            parameters: Vec::new(),
            takes_others: bound.parameters.is_empty(),
        };
        let mut described = match &bound.answers {
            Answers::Http(_) | Answers::Command(_) | Answers::Workflow(_) => own(),
            Answers::OpenApi(api) => api.describe(&self.web, wanted).await?,
            #[cfg(feature = "mcp")]
            Answers::Mcp(mcp) => mcp.describe(&self.web, wanted).await?,
        };
        if !bound.parameters.is_empty() {
            described.parameters.clone_from(&bound.parameters);
        }
        if !bound.entry.description.is_empty() {
            described.about = bound.entry.description.as_str().into();
        }
        Ok(described)
    }

    async fn ask(&self, bound: &Bound, call: Call<'_>) -> Result<(), ToolError> {
        let described = self.description(bound, call.wanted).await?;
        let arguments = completed(&described, call.arguments)?;
        let timeout = bound.entry.timeout.unwrap_or(PATIENCE).min(call.timeout);
        let call = Call { arguments: &arguments, timeout, ..call };
        let asked = async {
            match &bound.answers {
                Answers::Http(http) => http.call(&self.web, &call).await,
                Answers::OpenApi(api) => api.call(&self.web, &call).await,
                #[cfg(feature = "mcp")]
                Answers::Mcp(mcp) => mcp.call(&self.web, &call, timeout).await,
                Answers::Command(command) => command.call(&call, timeout).await,
                Answers::Workflow(workflow) => workflow.call(&call).await,
            }
        };
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
            let message = format!("{} did not answer within {timeout:?}", bound.answers.shown());
            Err(ToolError::new(ToolErrorKind::Timeout, message))
        })
    }
}

impl Tools for BoundTools {
    fn describe<'a>(
        &'a self,
        wanted: &'a Wanted,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Description, ToolError>> {
        Box::pin(async move {
            let bound = self.find(wanted)?;
            self.description(bound, wanted).await.map_err(|error| bound.masked(error))
        })
    }

    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<(), ToolError>> {
        Box::pin(async move {
            let bound = self.find(call.wanted)?;
            self.ask(bound, call).await.map_err(|error| bound.masked(error))
        })
    }
}

impl Bound {
    fn listed(&self) -> Listed {
        Listed {
            provider: self.entry.provider.clone(),
            tool: self.entry.tool.clone(),
            answers: self.answers.shown(),
            problem: self.answers.lacks(),
        }
    }

    /// An error without what the entry holds secret; servers repeat what they were sent.
    fn masked(&self, error: ToolError) -> ToolError {
        let secrets = self.answers.secrets();
        let message: Name = masked(&error.message, secrets.iter().map(String::as_str)).into();
        ToolError { message, ..error }
    }
}

impl Answers {
    fn shown(&self) -> String {
        match self {
            Self::Http(http) => http.shown(),
            Self::OpenApi(api) => api.shown(),
            #[cfg(feature = "mcp")]
            Self::Mcp(mcp) => mcp.shown(),
            Self::Command(command) => command.shown(),
            Self::Workflow(workflow) => workflow.shown(),
        }
    }

    fn lacks(&self) -> Option<String> {
        match self {
            Self::Http(http) => http.lacks(),
            Self::OpenApi(api) => api.lacks(),
            #[cfg(feature = "mcp")]
            Self::Mcp(mcp) => mcp.lacks(),
            Self::Command(command) => command.lacks(),
            Self::Workflow(_) => None,
        }
    }

    fn secrets(&self) -> Vec<String> {
        match self {
            Self::Http(http) => http.secrets(),
            Self::OpenApi(api) => api.secrets(),
            #[cfg(feature = "mcp")]
            Self::Mcp(mcp) => mcp.secrets(),
            Self::Command(command) => command.secrets(),
            Self::Workflow(_) => Vec::new(),
        }
    }
}

fn declared(entry: &ParameterEntry) -> Parameter {
    let default = entry
        .default
        .as_ref()
        .map(|default| serde_json::to_value(default).map_or(Value::None, Value::from_json));
    Parameter {
        name: entry.name.as_str().into(),
        kind: ParameterKind::of_word(&entry.kind),
        form: match entry.form {
            FormEntry::Llm => Form::Llm,
            FormEntry::Form => Form::Form,
        },
        required: entry.required,
        about: entry.description.as_str().into(),
        default,
        options: entry.options.iter().map(|option| option.as_str().into()).collect(),
        schema: None,
    }
}

/// Arguments with the defaults of those that are not there.
fn completed(described: &Description, given: &Object) -> Result<Object, ToolError> {
    let mut arguments = given.clone();
    for parameter in &described.parameters {
        let is_there = arguments.get(&parameter.name).is_some_and(|value| *value != Value::None);
        match &parameter.default {
            _ if is_there => {}
            Some(default) => {
                arguments.insert(parameter.name.clone(), default.clone());
            }
            None if parameter.required => {
                let message = format!("Missing required parameter {}", parameter.name);
                return Err(ToolError::new(ToolErrorKind::Argument, message));
            }
            None => {}
        }
    }
    Ok(arguments)
}
