//! What a program says on standard error.

use serde::{Deserialize, Serialize};
use tracing::Metadata;
use tracing::subscriber::Interest;
use tracing_subscriber::layer::{Context, Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, filter, fmt};

use crate::config::Problems;
use crate::traces::{TRACED, Tracing};

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
    /// Begins to log, once in a process; spans of this project also go where `tracing` sends them.
    ///
    /// # Errors
    /// When it has begun before.
    pub(super) fn start(&self, tracing: Option<&Tracing>) -> Result<(), String> {
        let filter = self.filter().map_err(|error| error.to_string())?;
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
        let lines = match self.format {
            Format::Text => lines.with_filter(filter).boxed(),
            Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        };
        let spans = tracing.map(|tracing| {
            let ours =
                |data: &Metadata<'_>| data.is_span() && data.target().starts_with("flowmill");
            let is_traced = move |data: &Metadata<'_>, around: &Context<'_, _>| {
                ours(data) && (data.target() == TRACED || around.lookup_current().is_some())
            };
            // of all others nobody asks at each line whether they are wanted
            let interest = move |data: &Metadata<'_>| {
                if ours(data) { Interest::sometimes() } else { Interest::never() }
            };
            let filter = filter::dynamic_filter_fn(is_traced)
                .with_callsite_filter(interest)
                .with_max_level_hint(filter::LevelFilter::INFO);
            tracing_opentelemetry::layer()
                .with_tracer(tracing.tracer())
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_context_activation(false)
                .with_filter(filter)
        });
        let all = tracing_subscriber::registry().with(lines).with(spans);
        all.try_init().map_err(|error| error.to_string())
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
