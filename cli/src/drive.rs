//! Takes one run from its start to its end: shows what happens, asks people, stops when told to.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_engine::fact::{Reason, Status};
use flowmill_engine::run::{Input, Run, Start};
use flowmill_engine::value::Name;
use flowmill_infra::clock::Clock as _;
use flowmill_infra::memory::Watcher;
use flowmill_scheduler::SubmitError;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::code;
use crate::console::talk;
use crate::embedded::{Embedded, Ended};
use crate::keep::resume_command;
use crate::people::{Answers, Lines, Prompted, prompt};
use crate::show::Show;
use crate::workflow::Workflow;

/// How often a live view moves on by itself.
const FRAME: std::time::Duration = std::time::Duration::from_millis(100);

/// What a run is taken to its end with.
#[derive(Debug)]
pub(crate) struct Drive<'a> {
    embedded: &'a Arc<Embedded>,
    id: Name,
    watcher: Option<Watcher>,
    interrupts: Signal,
    terminations: Signal,
    answers: Answers,
    /// Where people are asked; None when nobody is there.
    lines: Option<Lines>,
    /// The folder that the run is kept in.
    folder: Option<&'a Path>,
}

impl<'a> Drive<'a> {
    /// Before the run begins.
    ///
    /// # Errors
    /// When signals cannot be watched.
    pub(crate) fn new(
        embedded: &'a Arc<Embedded>,
        id: &Name,
        watches: bool,
        answers: Answers,
        lines: Option<Lines>,
    ) -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("failed to watch for signals");
        Ok(Self {
            embedded,
            id: id.clone(),
            watcher: watches.then(|| embedded.live().watch(id.clone())),
            interrupts: watch(SignalKind::interrupt())?,
            terminations: watch(SignalKind::terminate())?,
            answers,
            lines,
            folder: None,
        })
    }

    /// The run is kept in a folder: an interrupt pauses it, so that it can go on.
    pub(crate) fn kept_in(self, folder: Option<&'a Path>) -> Self {
        Self { folder, ..self }
    }

    /// Takes up a run that is kept and takes it to its end.
    ///
    /// # Errors
    /// When standard output is closed, or the run's end is unknown.
    #[cfg(feature = "store")]
    pub(crate) async fn resume(&mut self, run: Run, show: &mut Show<'_>) -> anyhow::Result<Ended> {
        let now = self.embedded.clock().now();
        let inputs = match run.status() {
            Status::Paused => self.answers.next(&run, now),
            _ => Vec::new(),
        };
        let embedded = self.embedded;
        let ended = self.watch(embedded.resume(run, inputs), show).await?;
        self.go_on(ended.context("failed to go on with the run")?, show).await
    }

    /// Runs it until it ends, or waits for a person whom nobody answers for.
    ///
    /// # Errors
    /// When standard output is closed, or the run's end is unknown.
    pub(crate) async fn run(
        &mut self,
        workflow: &Workflow,
        start: Start,
        show: &mut Show<'_>,
    ) -> anyhow::Result<Ended> {
        let embedded = self.embedded;
        let ended = self.watch(embedded.run(workflow, start), show).await?;
        let ended = ended.context("failed to run the workflow")?;
        self.go_on(ended, show).await
    }

    /// Answers, as often as the run waits, for as long as there are answers.
    ///
    /// # Errors
    /// When standard output is closed, or the run's end is unknown.
    pub(crate) async fn go_on(
        &mut self,
        mut ended: Ended,
        show: &mut Show<'_>,
    ) -> anyhow::Result<Ended> {
        let embedded = self.embedded;
        while ended.run.status() == Status::Paused {
            let Some(inputs) = self.ask(&ended.run, show).await else { break };
            let run = ended.run.clone();
            ended = match self.watch(embedded.resume(run, inputs), show).await? {
                Err(SubmitError::Rejected(reason)) => {
                    talk(format_args!("the answer was refused: {reason}"));
                    ended
                }
                other => other.context("failed to go on with the workflow")?,
            };
        }
        embedded.leave(&self.id).await;
        if ended.run.status() == Status::Paused {
            self.say_how_to_resume();
        }
        Ok(ended)
    }

    fn say_how_to_resume(&self) {
        if let Some(folder) = self.folder {
            talk(format_args!("to go on: {}", resume_command(&self.id, folder)));
        }
    }

    /// What the run is to be told; None when it is left waiting.
    async fn ask(&mut self, run: &Run, show: &mut Show<'_>) -> Option<Vec<Input>> {
        let now = self.embedded.clock().now();
        let given = self.answers.next(run, now);
        let is_due = run.next_deadline(now).is_some_and(|(at, _)| at <= now);
        if !given.is_empty() || is_due {
            return Some(given);
        }
        let lines = self.lines.as_mut()?;
        let (waiting, asked) =
            run.waiting().iter().find_map(|waiting| Some((waiting, run.form(waiting)?)))?;
        show.rest();
        let prompted = tokio::select! {
            biased;
            _ = self.interrupts.recv() => Prompted::Gone,
            _ = self.terminations.recv() => Prompted::Gone,
            prompted = prompt(run, waiting, asked, lines, self.embedded.clock()) => prompted,
        };
        match prompted {
            Prompted::Answered(input) => Some(vec![*input]),
            Prompted::Late => Some(Vec::new()),
            Prompted::Gone => {
                talk("");
                self.lines = None;
                None
            }
        }
    }

    /// Shows what happens until a stretch of the run is over, and stops it when asked to.
    async fn watch<T>(
        &mut self,
        running: impl Future<Output = T>,
        show: &mut Show<'_>,
    ) -> anyhow::Result<T> {
        tokio::pin!(running);
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut stopping = false;
        let ended = loop {
            let watcher = &mut self.watcher;
            let next = async {
                match watcher {
                    Some(watcher) => watcher.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.interrupts.recv() => {}
                _ = self.terminations.recv() => {}
                Some(event) = next => {
                    show.event(&event)?;
                    continue;
                }
                ended = &mut running => break ended,
                _ = frames.tick(), if show.is_live() => {
                    show.frame();
                    continue;
                }
            }
            show.rest();
            if stopping {
                talk("interrupted twice");
                self.say_how_to_resume();
                std::process::exit(code::INTERRUPTED);
            }
            stopping = true;
            self.interrupt();
        };
        while let Some(event) = self.watcher.as_mut().and_then(Watcher::try_next) {
            show.event(&event)?;
        }
        Ok(ended)
    }

    fn interrupt(&self) {
        let input = if self.folder.is_some() {
            talk("pausing the run once what it is doing is done; interrupt again to leave at once");
            Input::Pause { reason: "interrupted".into() }
        } else {
            talk("stopping the run; interrupt again to leave at once");
            Input::Stop { reason: Reason::User, message: "User requested abort".into() }
        };
        let (embedded, id) = (self.embedded.clone(), self.id.clone());
        // not awaited here: the run may be waiting for us to take what it shows
        tokio::spawn(async move {
            // a run that ended meanwhile needs no stopping
            let _ = embedded.signal(id, input).await;
        });
    }
}
