//! A run while it goes on: shown as it happens, and stopped when somebody asks for it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_engine::fact::{Reason, Status};
use flowmill_engine::run::Input;
use flowmill_engine::value::Name;
use flowmill_infra::memory::Watcher;
use flowmill_scheduler::SubmitError;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::code;
use crate::console::talk;
use crate::embedded::{Embedded, Ended};
use crate::show::Show;

/// A run to watch.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) embedded: &'a Arc<Embedded>,
    /// Its id.
    pub(crate) run: Name,
    /// The folder it is kept in.
    pub(crate) folder: Option<&'a Path>,
}

impl Watch<'_> {
    /// Shows what happens until the run ends or waits. An interrupt stops it; a run that is kept
    /// is paused, so that it can go on.
    pub(crate) async fn until_the_end(
        &self,
        running: impl Future<Output = Result<Ended, SubmitError>>,
        show: &mut Show<'_>,
    ) -> anyhow::Result<Ended> {
        let mut watcher = show.watches().then(|| self.embedded.live().watch(self.run.clone()));
        tokio::pin!(running);
        let failed = "failed to watch for signals";
        let mut interrupts = signal(SignalKind::interrupt()).context(failed)?;
        let mut terminations = signal(SignalKind::terminate()).context(failed)?;
        let mut stopping = false;
        let ended = loop {
            let next = async {
                match &mut watcher {
                    Some(watcher) => watcher.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                Some(event) = next => {
                    show.event(&event)?;
                    continue;
                }
                ended = &mut running => break ended,
            }
            if stopping {
                self.leave_at_once();
            }
            stopping = true;
            self.interrupt();
        };
        while let Some(event) = watcher.as_mut().and_then(Watcher::try_next) {
            show.event(&event)?;
        }
        ended.context("failed to run the workflow")
    }

    fn interrupt(&self) {
        let input = if self.folder.is_some() {
            talk("pausing the run once what it is doing is done; interrupt again to leave at once");
            Input::Pause { reason: "interrupted".into() }
        } else {
            talk("stopping the run; interrupt again to leave at once");
            Input::Stop { reason: Reason::User, message: "User requested abort".into() }
        };
        let (embedded, id) = (self.embedded.clone(), self.run.clone());
        // not awaited here: the run may be waiting for us to take what it shows
        tokio::spawn(async move {
            // a run that ended meanwhile needs no stopping
            let _ = embedded.signal(id, input).await;
        });
    }

    fn leave_at_once(&self) -> ! {
        talk("interrupted twice");
        if let Some(folder) = self.folder {
            talk(how_to_resume(&self.run, folder));
        }
        std::process::exit(code::INTERRUPTED);
    }

    /// Says how a run that waits goes on.
    pub(crate) fn say_how_to_resume(&self, ended: &Ended) {
        if let Some(folder) = self.folder
            && ended.run.status() == Status::Paused
        {
            talk(how_to_resume(&self.run, folder));
        }
    }
}

fn how_to_resume(run: &Name, folder: &Path) -> String {
    format!("to go on: flowmill resume {run} --store {}", folder.display())
}
