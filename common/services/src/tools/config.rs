//! The section `[[tools]]` of a services file: who answers for which tool.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::Wanted;
use super::pattern::fits_provider;
use crate::wildcard::fits;

/// How long a tool may take that says nothing of it.
#[cfg(feature = "tools")]
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// All of the section.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Bindings {
    /// One entry after the other; the first that fits a tool answers for it.
    #[serde(default)]
    pub tools: Vec<Entry>,
}

/// Why the section cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is none.
    #[error("the services file cannot be read: {0}")]
    File(String),
    /// An entry is wrong.
    #[error("[[tools]] entry {number} (provider {provider:?}, tool {tool:?}): {why}")]
    Entry {
        /// Which, counted from 1.
        number: usize,
        /// Its provider.
        provider: String,
        /// Its tool.
        tool: String,
        /// What is wrong.
        why: String,
    },
}

/// Where a services file lies, and what it may name.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The folder that its paths are relative to.
    pub folder: &'a std::path::Path,
    /// The variables of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Who answers for some tools: exactly one of `http`, `openapi`, `mcp`, `command` and `workflow`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The provider as documents name it, by id or by name; `*` stands for anything.
    pub provider: String,
    /// The tool as documents name it; `*` stands for anything.
    #[serde(default = "anything")]
    pub tool: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// What it takes. Where nothing is said, what the document says of it counts.
    #[serde(default)]
    pub parameters: Vec<ParameterEntry>,
    /// How long it may take: `"30s"`.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// An HTTP call.
    pub http: Option<HttpEntry>,
    /// An operation of an `OpenAPI` document.
    pub openapi: Option<OpenApiEntry>,
    /// A tool of an MCP server.
    pub mcp: Option<McpEntry>,
    /// A command in a sandbox.
    pub command: Option<CommandEntry>,
    /// A workflow, by its name: each call is a run of its own. Only for tools that are workflows in
    /// documents too.
    pub workflow: Option<String>,
}

/// One thing that a tool takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterEntry {
    /// Its name.
    pub name: String,
    /// Dify's word for what it holds.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Whether it must be there.
    #[serde(default)]
    pub required: bool,
    /// Whether it is the builder's to fill in, not a model's.
    #[serde(default)]
    pub form: FormEntry,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// What it is otherwise.
    pub default: Option<toml::Value>,
    /// The only values it takes.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Who fills a parameter in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormEntry {
    /// A model, or `tool_parameters`.
    #[default]
    Llm,
    /// `tool_configurations`.
    Form,
}

/// An HTTP call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpEntry {
    /// Its method; `POST` where something is sent, else `GET`.
    pub method: Option<String>,
    /// Its address. Arguments may stand in its path and its query, never in its host.
    pub url: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What is added to the address.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// What is sent as JSON.
    pub json: Option<toml::Value>,
    /// What is sent as a form.
    pub form: Option<BTreeMap<String, String>>,
    /// What is sent as text.
    pub body: Option<String>,
    /// What the answer is.
    #[serde(default)]
    pub result: ResultEntry,
    /// Which part of a JSON answer counts: `data.0.url`.
    pub path: Option<String>,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultEntry {
    /// What its media type says.
    #[default]
    Auto,
    /// Text.
    Text,
    /// JSON.
    Json,
    /// A file, or where one lies.
    File,
}

/// An `OpenAPI` document and how its server is spoken to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenApiEntry {
    /// The document: a file, relative to the services file, or an address.
    pub schema: String,
    /// Where its server is, if that is not the document's to say.
    pub server: Option<String>,
    /// `operationId`, or `POST /path`; else the tool's name is the `operationId`.
    pub operation: Option<String>,
    /// How it is proven who calls.
    pub auth: Option<AuthEntry>,
    /// Headers besides.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// How it is proven who calls: `{bearer = "$KEY"}`, `{header = "X-Key", value = "$KEY"}`,
/// `{query = "key", value = "$KEY"}` or `{user = "me", password = "$KEY"}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthEntry {
    /// A token in the header `Authorization`.
    pub bearer: Option<String>,
    /// A header's name.
    pub header: Option<String>,
    /// The name of a part of the address.
    pub query: Option<String>,
    /// What the header or the part of the address holds.
    pub value: Option<String>,
    /// A user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
}

/// An MCP server: at `url`, or the process of `command`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpEntry {
    /// Where the server is.
    pub url: Option<String>,
    /// What each request carries.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The program that is the server, and its arguments.
    pub command: Option<Vec<String>>,
    /// Its environment, besides `PATH`, `HOME` and the language.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The tool's name there, if it is another one.
    pub tool: Option<String>,
}

/// A command.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandEntry {
    /// The program, as a path, and its arguments.
    pub argv: Vec<String>,
    /// What it reads: `"json"` for all arguments as an object, else a text with places.
    pub stdin: Option<String>,
    /// Its environment, besides `PATH` and the language.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Folders and files that it may read, besides the system's own.
    #[serde(default)]
    pub readable: Vec<PathBuf>,
    /// How much it may write.
    #[serde(default = "megabyte")]
    pub output_bytes: usize,
    /// The memory it may have.
    #[serde(default = "half_gigabyte")]
    pub memory_bytes: u64,
    /// What it writes.
    #[serde(default)]
    pub result: ResultEntry,
    /// Which part of JSON that it writes counts: `data.0.url`.
    pub path: Option<String>,
}

impl Bindings {
    /// Reads the section of a services file; other sections are not looked at.
    ///
    /// # Errors
    /// [`ConfigError::File`] with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let bindings: Self =
            toml::from_str(text).map_err(|error| ConfigError::File(error.to_string()))?;
        bindings.check()?;
        Ok(bindings)
    }

    /// Whether each entry says one thing.
    ///
    /// # Errors
    /// [`ConfigError::Entry`] for the first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (at, entry) in self.tools.iter().enumerate() {
            entry.check().map_err(|why| entry.error(at, why))?;
        }
        Ok(())
    }
}

impl Entry {
    /// Whether it answers for a tool.
    pub fn answers(&self, wanted: &Wanted) -> bool {
        fits(&self.tool, &wanted.tool) && fits_provider(&self.provider, wanted)
    }

    pub(super) fn error(&self, at: usize, why: String) -> ConfigError {
        let (provider, tool) = (self.provider.clone(), self.tool.clone());
        ConfigError::Entry { number: at + 1, provider, tool, why }
    }

    fn check(&self) -> Result<(), String> {
        if self.provider.is_empty() || self.tool.is_empty() {
            return Err("provider and tool must not be empty; \"*\" stands for anything".to_owned());
        }
        let kinds = [
            self.http.is_some(),
            self.openapi.is_some(),
            self.mcp.is_some(),
            self.command.is_some(),
            self.workflow.is_some(),
        ];
        match kinds.iter().filter(|is_there| **is_there).count() {
            1 => {}
            0 => {
                return Err(
                    "says not who answers: add http, openapi, mcp, command or workflow".to_owned()
                );
            }
            _ => {
                return Err("has several of http, openapi, mcp, command and workflow; one may \
                            answer"
                    .to_owned());
            }
        }
        if let Some(http) = &self.http {
            let sent = [http.json.is_some(), http.form.is_some(), http.body.is_some()];
            if sent.iter().filter(|is_there| **is_there).count() > 1 {
                return Err("http has several of json, form and body; one is sent".to_owned());
            }
        }
        if let Some(mcp) = &self.mcp
            && mcp.url.is_some() == mcp.command.is_some()
        {
            return Err("mcp needs either url or command".to_owned());
        }
        if let Some(command) = &self.command
            && !command.argv.first().is_some_and(|program| program.starts_with('/'))
        {
            return Err("argv must begin with the program's whole path".to_owned());
        }
        Ok(())
    }
}

fn anything() -> String {
    "*".to_owned()
}

fn megabyte() -> usize {
    1 << 20
}

fn half_gigabyte() -> u64 {
    512 << 20
}

/// `"500ms"`, `"30s"`, `"2m"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = || {
        let digits = text.find(|character: char| !character.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
            _ => None,
        }
    };
    let read = read().filter(|duration| !duration.is_zero());
    read.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("{text:?} is no time: write \"500ms\", \"30s\" or \"2m\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_read_beside_others() {
        let text = r#"
[[models]]
provider = "openai"

[[tools]]
provider = "tavily"
tool = "tavily_search"
timeout = "30s"
parameters = [{name = "query", type = "string", required = true}]
[tools.http]
url = "https://api.example.com/search"
headers = {Authorization = "Bearer $KEY"}
json = {query = "{query}", max_results = 5}
path = "results"

[[tools]]
provider = "zapier-*"
mcp = {url = "https://example.com/mcp"}
"#;
        let bindings = Bindings::parse(text).unwrap();
        assert_eq!(bindings.tools.len(), 2);
        assert_eq!(bindings.tools[0].timeout, Some(Duration::from_secs(30)));
        let wanted = Wanted {
            provider_id: "langgenius/tavily/tavily".into(),
            tool: "tavily_search".into(),
            ..Wanted::default()
        };
        assert!(bindings.tools[0].answers(&wanted) && !bindings.tools[1].answers(&wanted));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("provider = \"a\"", "says not who answers"),
            ("provider = \"a\"\nhttp = {url = \"x\"}\nmcp = {url = \"x\"}", "has several of"),
            ("provider = \"a\"\nmcp = {}", "either url or command"),
            ("provider = \"a\"\ncommand = {argv = [\"ls\"]}", "whole path"),
            ("provider = \"a\"\nhttp = {url = \"x\", body = \"\", json = \"\"}", "one is sent"),
            ("provider = \"a\"\ntimeout = \"soon\"\nhttp = {url = \"x\"}", "is no time"),
            ("provider = \"a\"\nurl = \"x\"", "unknown field `url`"),
            ("tool = \"a\"", "missing field `provider`"),
        ];
        for (entry, wanted) in cases {
            let error = Bindings::parse(&format!("[[tools]]\n{entry}\n")).unwrap_err().to_string();
            assert!(error.contains(wanted), "{entry}: {error}");
        }
    }
}
