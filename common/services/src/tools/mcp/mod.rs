//! Tools of MCP servers: processes that speak over their streams, or servers at an address.

mod connection;
mod said;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::value::{Name, Object, Value};
use rmcp::model::{CallToolRequestParams, Tool as ServerTool};
use serde_json::Value as Json;

use super::config::{McpEntry, Origin};
use super::parameter::{Form, Parameter, ParameterKind};
use super::web::Web;
use super::{Call, Description, ToolError, ToolErrorKind, Wanted};
use connection::Server;

/// The servers of a services file; entries that say the same share one connection.
#[derive(Debug, Default)]
pub(super) struct Servers {
    known: Vec<(McpEntry, Arc<Server>)>,
}

impl Servers {
    /// The server of an entry.
    pub(super) fn of(&mut self, entry: &McpEntry, origin: Origin<'_>) -> Result<Mcp, String> {
        let tool = entry.tool.as_deref().map(Name::from);
        let entry = McpEntry { tool: None, ..entry.clone() };
        let known = self.known.iter().find(|(held, _)| *held == entry);
        if let Some((_, server)) = known {
            return Ok(Mcp { server: Arc::clone(server), tool });
        }
        let server = Arc::new(Server::new(&entry, origin)?);
        self.known.push((entry, Arc::clone(&server)));
        Ok(Mcp { server, tool })
    }
}

/// A tool of a server, or all of them.
#[derive(Debug)]
pub(super) struct Mcp {
    server: Arc<Server>,
    /// The tool's name there, where it is not the document's.
    tool: Option<Name>,
}

impl Mcp {
    pub(super) fn secrets(&self) -> Vec<String> {
        self.server.secrets()
    }

    pub(super) fn lacks(&self) -> Option<String> {
        self.server.lacks()
    }

    pub(super) fn shown(&self) -> String {
        self.server.shown()
    }

    /// The names of the server's tools.
    pub(super) async fn names(&self, web: &Web) -> Result<Vec<String>, ToolError> {
        let running = self.server.reach(web).await?;
        Ok(running.tools.iter().map(|tool| tool.name.to_string()).collect())
    }

    pub(super) async fn describe(
        &self,
        web: &Web,
        wanted: &Wanted,
    ) -> Result<Description, ToolError> {
        let running = self.server.reach(web).await?;
        Ok(description(self.find(&running.tools, wanted)?))
    }

    pub(super) async fn call(
        &self,
        web: &Web,
        call: &Call<'_>,
        timeout: Duration,
    ) -> Result<(), ToolError> {
        let running = self.server.reach(web).await?;
        let name = self.find(&running.tools, call.wanted)?.name.clone();
        let mut asked = CallToolRequestParams::new(name);
        asked.arguments = Some(arguments(call.arguments));
        let answered = self.server.ask(&running, asked, timeout).await?;
        said::hand_on(answered, call.on_message)
    }

    fn find<'a>(
        &self,
        tools: &'a [ServerTool],
        wanted: &Wanted,
    ) -> Result<&'a ServerTool, ToolError> {
        let name = self.tool.as_ref().unwrap_or(&wanted.tool);
        tools.iter().find(|tool| *tool.name == **name).ok_or_else(|| {
            let names: Vec<&str> = tools.iter().take(20).map(|tool| &*tool.name).collect();
            let message = format!(
                "{} has no tool {name:?}; it has {}",
                self.server.shown(),
                names.join(", ")
            );
            ToolError::new(ToolErrorKind::NoTool, message)
        })
    }
}

/// What a server says of a tool.
fn description(tool: &ServerTool) -> Description {
    let schema = Json::Object((*tool.input_schema).clone());
    let required = |name: &str| {
        let names = schema.get("required").and_then(Json::as_array);
        names.is_some_and(|names| names.iter().any(|held| held.as_str() == Some(name)))
    };
    let properties = schema.get("properties").and_then(Json::as_object);
    let parameter = |(name, schema): (&String, &Json)| {
        let text = |key: &str| schema.get(key).and_then(Json::as_str).unwrap_or_default();
        let options = schema.get("enum").and_then(Json::as_array);
        let options = options.into_iter().flatten().filter_map(Json::as_str).map(Into::into);
        Parameter {
            name: name.as_str().into(),
            kind: ParameterKind::of_schema(schema),
            form: Form::Llm,
            required: required(name),
            about: text("description").into(),
            default: schema.get("default").cloned().map(Value::from_json),
            options: options.collect(),
            schema: Some(Value::from_json(schema.clone())),
        }
    };
    let parameters: Vec<Parameter> = properties.into_iter().flatten().map(parameter).collect();
    let about = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let takes_others = schema.get("additionalProperties").and_then(Json::as_bool) == Some(true);
    Description { about: about.into(), takes_others, parameters }
}

/// Arguments as a server takes them; as in Dify what is empty is not there.
fn arguments(given: &Object) -> serde_json::Map<String, Json> {
    let is_there = |value: &Value| match value {
        Value::None => false,
        Value::Str(text) => !text.trim().is_empty(),
        _ => true,
    };
    let given = given.iter().filter(|(_, value)| is_there(value));
    given.map(|(name, value)| (name.to_string(), value.to_json())).collect()
}
