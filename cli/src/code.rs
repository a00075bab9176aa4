//! How code nodes run: the flags, and what is said about their sandbox.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use flowmill_nodes::code::{CodeRunner, CodeSettings, JinjaSettings, RemoteSettings};
use flowmill_nodes::document_extractor::converter::Documents;

use crate::console::talk;

/// Holds the key of the sandbox service: a command line is seen by everybody on the machine.
const KEY: &str = "FLOWMILL_SANDBOX_API_KEY";

/// The key that Dify's sandbox has unless it is given another.
const USUAL_KEY: &str = "dify-sandbox";

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CodeFlags {
    /// Let Python code share interpreters instead of a clean one each: many times faster, but what
    /// one program leaves behind in modules the next one finds. Still in the sandbox.
    #[arg(long)]
    pub(crate) trusted_code: bool,
    /// Let Python code and the converter of documents run without the sandbox, with your rights,
    /// files and network: where the sandbox cannot be set up, or holds code that you trust too
    /// tightly.
    #[arg(long)]
    pub(crate) unsafe_code: bool,
    /// Run code in a service that speaks Dify's sandbox API, such as `http://127.0.0.1:8194`; its
    /// key is read from the environment, `FLOWMILL_SANDBOX_API_KEY` [default: dify-sandbox].
    #[arg(long, value_name = "URL", conflicts_with_all = ["trusted_code", "unsafe_code"])]
    pub(crate) sandbox_url: Option<String>,
    /// A Python that has Jinja2 3.1 or later, for templates that are not rendered natively
    /// [default: the system's].
    #[arg(long, value_name = "PATH", conflicts_with = "sandbox_url")]
    pub(crate) jinja_python: Option<PathBuf>,
}

impl CodeFlags {
    /// Those that were given.
    #[cfg(feature = "store")]
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let Self { trusted_code, unsafe_code, sandbox_url, jinja_python } = self;
        let given = [
            (*trusted_code, "--trusted-code"),
            (*unsafe_code, "--unsafe-code"),
            (sandbox_url.is_some(), "--sandbox-url"),
            (jinja_python.is_some(), "--jinja-python"),
        ];
        given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag)
    }

    pub(crate) fn settings(&self) -> anyhow::Result<CodeSettings> {
        let Self { trusted_code, unsafe_code, .. } = *self;
        let remote = match &self.sandbox_url {
            Some(url) => Some(RemoteSettings::new(url, &key()?).context("--sandbox-url")?),
            None => None,
        };
        let jinja = JinjaSettings { interpreter: self.jinja_python.clone() };
        Ok(CodeSettings { trusted_code, unsafe_code, jinja, remote, ..CodeSettings::default() })
    }
}

fn key() -> anyhow::Result<String> {
    match std::env::var(KEY) {
        Ok(key) => Ok(key),
        Err(std::env::VarError::NotPresent) => Ok(USUAL_KEY.to_owned()),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{KEY} is not text"),
    }
}

/// Says what the sandbox lacked, if code ran or documents were converted in one that lacked
/// anything.
pub(crate) fn warn(code: &CodeRunner, documents: &Documents) {
    for (isolation, of) in
        [(code.isolation(), "code nodes"), (documents.isolation(), "the converter of documents")]
    {
        for layer in isolation.unwrap_or_default().lacking() {
            talk(format_args!("warning: the sandbox of {of} is incomplete: {layer}"));
        }
    }
}
