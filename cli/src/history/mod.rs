//! Runs that are kept, for those who look back: what happened, and what a run was at any point.
//!
//! Nothing here changes a run. Values of secret variables are replaced before anything is made of
//! a journal, so that no view can show them.

pub(crate) mod describe;
mod graph;
pub(crate) mod html;
mod inputs;
pub(crate) mod replay;
mod rows;
pub(crate) mod standing;
pub(crate) mod text;
pub(crate) mod utc;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::report::{History as Memory, Report};
use flowmill_engine::run::Run;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::sqlite::{RunRow, SqliteStore};
use flowmill_infra::store::Store as _;
use flowmill_workflow::redact;

use crate::embedded::Ended;
use crate::keep::keys;
use crate::settings::Settings;
use crate::workflow::Workflow;

/// A run as it is kept.
#[derive(Debug)]
pub(crate) struct History {
    folder: PathBuf,
    pub(crate) row: RunRow,
    pub(crate) workflow: Workflow,
    pub(crate) journal: Arc<[Fact]>,
}

impl History {
    /// Reads a run from its folder; another process may be running it.
    pub(crate) async fn load(folder: &Path, run: &str) -> anyhow::Result<Self> {
        let id: Name = run.into();
        let store = SqliteStore::look(folder, keys()?).await?;
        let path = folder.to_owned();
        let folder = folder.display();
        let (Some(row), Some(origin)) = (store.find(&id).await?, store.origin(&id).await?) else {
            bail!(
                "there is no run {id} in {folder}; `flowmill runs list --store {folder}` shows them"
            );
        };
        let (_, workflow) =
            Settings::workflow(&origin).with_context(|| format!("failed to read run {id}"))?;
        let mut journal = store.journal(&id).await?;
        redact::facts(&mut journal);
        store.close().await;
        Ok(Self { folder: path, row, workflow, journal: journal.into() })
    }

    /// The run as it stands, and what became of its nodes.
    pub(crate) fn ended(&self) -> Ended {
        let mut report = Report::new(Memory::Full);
        for fact in self.journal.iter() {
            report.add(&self.workflow.plan, fact);
        }
        Ended { run: self.run_at(self.journal.len()), report, at: self.until() }
    }

    /// The run after its first `count` facts.
    pub(crate) fn run_at(&self, count: usize) -> Run {
        Run::replay(self.workflow.plan.clone(), self.journal.iter().take(count))
    }

    /// When it began.
    pub(crate) fn began(&self) -> Time {
        self.journal.first().map_or(self.row.started_at, |fact| fact.at)
    }

    /// When it ended, or the last that is known of it.
    pub(crate) fn until(&self) -> Time {
        self.journal.last().map_or(self.row.started_at, |fact| fact.at)
    }

    /// How long it has taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.until().since(self.began())
    }

    /// What is to be said of it when it has not ended.
    pub(crate) fn standing(&self) -> String {
        standing::sentence(&self.row, &self.folder)
    }

    /// The command that goes on with it.
    pub(crate) fn how_to_resume(&self) -> Option<String> {
        standing::how_to_resume(&self.row, &self.folder)
    }

    /// What it began with.
    pub(crate) fn inputs(&self) -> Vec<(Name, Value)> {
        match self.journal.first().map(|fact| &fact.event) {
            Some(Event::RunStarted(started)) => started.inputs.clone(),
            _ => Vec::new(),
        }
    }
}
