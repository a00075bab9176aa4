//! What a program says on standard error.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::config::Problems;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// The section `log`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Log {
    /// How it is written.
    pub format: Format,
    /// What is said: `info`, or `info,flowmill_scheduler=debug`.
    pub filter: String,
}

impl Log {
    /// Begins to log, once in a process.
    ///
    /// # Errors
    /// When it has begun before.
    pub(super) fn start(&self) -> Result<(), String> {
        let filter = self.filter().map_err(|error| error.to_string())?;
        let lines = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_env_filter(filter);
        match self.format {
            Format::Text => lines.try_init(),
            Format::Json => lines.json().flatten_event(true).try_init(),
        }
        .map_err(|error| error.to_string())
    }

    /// Notes what is wrong with it.
    pub fn check(&self, problems: &mut Problems<'_>) {
        if let Err(error) = self.filter() {
            problems.add("log.filter", format!("{error}; it looks like info,flowmill_infra=debug"));
        }
    }

    fn filter(&self) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
        EnvFilter::builder().parse(&self.filter)
    }
}
