//! A run for those who watch it: what they see while it goes on, and what became of it.

mod answer;
mod json;
mod lines;
mod outputs;
mod pretty;
mod region;
mod tree;
mod view;

use std::io::{self, Write as _};
#[cfg(feature = "store")]
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
#[cfg(feature = "store")]
use flowmill_engine::fact::Fact;
use flowmill_engine::value::{Style, Value, dumps};
use flowmill_infra::live;
use flowmill_workflow::watch::Events;

use crate::embedded::Ended;
use crate::workflow::Workflow;

use pretty::Pretty;

#[cfg(feature = "store")]
pub(crate) use json::kept_object;
pub(crate) use lines::Lines;
pub(crate) use outputs::{for_terminal, outputs_text};
#[cfg(feature = "store")]
pub(crate) use pretty::describe;

/// `--output`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Each node on standard error as it happens, then the outputs on standard output.
    Pretty,
    /// One object at the end.
    Json,
    /// One JSON object per event and line, as it happens.
    Events,
}

/// Shows one run.
#[derive(Debug)]
pub(crate) enum Show<'a> {
    Pretty(Box<Pretty<'a>>),
    Json,
    Events(Box<Events<&'a Workflow>>),
}

impl<'a> Show<'a> {
    /// Nothing is shown yet.
    pub(crate) fn new(output: Output, workflow: &'a Workflow) -> Self {
        match output {
            Output::Pretty => Self::Pretty(Box::new(Pretty::new(workflow))),
            Output::Json => Self::Json,
            Output::Events => Self::Events(Box::new(Events::new(workflow))),
        }
    }

    /// Whether it wants to know what happens.
    pub(crate) fn watches(&self) -> bool {
        !matches!(self, Self::Json)
    }

    /// Something happened.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn event(&mut self, event: &live::Event) -> anyhow::Result<()> {
        match self {
            Self::Pretty(pretty) => pretty.event(event),
            Self::Json => Ok(()),
            Self::Events(events) => write_lines(&happened(events, event)),
        }
    }

    /// What happened before anybody watched; nothing is shown of it but what a chat said.
    ///
    /// # Errors
    /// When standard output is closed.
    #[cfg(feature = "store")]
    pub(crate) fn catch_up(&mut self, facts: Arc<[Fact]>) -> anyhow::Result<()> {
        match self {
            Self::Pretty(pretty) => pretty.catch_up(&facts)?,
            Self::Json => {}
            Self::Events(events) => facts.iter().for_each(|fact| drop(events.fact(fact))),
        }
        Ok(())
    }

    /// Whether it moves on by itself.
    pub(crate) fn is_live(&self) -> bool {
        match self {
            Self::Pretty(pretty) => pretty.is_live(),
            Self::Json | Self::Events(_) => false,
        }
    }

    /// Moves on by itself.
    pub(crate) fn frame(&mut self) {
        if let Self::Pretty(pretty) = self {
            pretty.frame();
        }
    }

    /// Leaves the terminal to others until something happens.
    pub(crate) fn rest(&mut self) {
        if let Self::Pretty(pretty) = self {
            pretty.rest();
        }
    }

    /// The run ended or waits.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn ended(&mut self, ended: &Ended, elapsed: Duration) -> anyhow::Result<()> {
        match self {
            Self::Pretty(pretty) => pretty.ended(ended, elapsed),
            Self::Json => write_lines(&[json::object_of(ended, elapsed)]),
            // it had its last line
            Self::Events(_) => Ok(()),
        }
    }
}

/// The lines of something that happened.
fn happened(events: &mut Events<&Workflow>, event: &live::Event) -> Vec<Value> {
    let lines = match event {
        live::Event::Facts(facts) => facts.iter().flat_map(|fact| events.fact(fact)).collect(),
        live::Event::Chunk { .. } => events.chunk(event),
    };
    lines.into_iter().map(|line| line.of(events.run())).collect()
}

/// Each value on its own line, at once.
fn write_lines(values: &[Value]) -> anyhow::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for value in values {
        text.push_str(&dumps(value, Style::Finite));
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("failed to write to standard output")
}
