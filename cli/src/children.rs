//! Workflows that nodes call as tools, in a process without a server: their documents lie in folders,
//! and their runs go on beside the one that waits for them, in the same store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use flowmill_engine::fact::{ChildEnd, ChildEnded, Options, Reason, RunFinished, Status};
use flowmill_engine::graph::Mode;
use flowmill_engine::run::{ChildOrder, Input, Run, Start};
use flowmill_engine::value::Name;
use flowmill_nodes::mock::Mocks;
use flowmill_scheduler::{Called, ChildNews, Finished, Handle, News, Submission, load as stored};
use flowmill_workflow::digest;
use flowmill_workflow::inputs::{Given, GivenFiles};
use tokio::sync::watch;

use crate::commands::start::system;
use crate::embedded::Workflows;
use crate::keep::Keep;
use crate::workflow::{Reading, Workflow, load, read_file};

/// How a document's file may end.
const ENDINGS: [&str; 3] = ["", ".yml", ".yaml"];

/// What is said to runs whose parent ended.
const ABORTED: &str = "the run that waited for it has ended";

/// A child that goes on, and what tells that it moves no more.
type Going = (Name, watch::Receiver<()>);

/// The runs that others wait for.
#[derive(Debug)]
pub(crate) struct ChildRuns {
    handle: Handle,
    store: Arc<Keep>,
    workflows: Arc<Workflows>,
    /// Where documents lie, the first that has one counts.
    folders: RwLock<Vec<PathBuf>>,
    /// Those that pause with their parents; a store in memory keeps no journals.
    paused: Mutex<HashMap<Name, Run>>,
    /// The children of each parent.
    going: Mutex<HashMap<Name, Vec<Going>>>,
}

impl ChildRuns {
    pub(crate) fn new(handle: Handle, store: Arc<Keep>, workflows: Arc<Workflows>) -> Self {
        let (folders, paused, going) = (RwLock::default(), Mutex::default(), Mutex::default());
        Self { handle, store, workflows, folders, paused, going }
    }

    /// Documents are looked for there.
    pub(crate) fn look_in(&self, folders: Vec<PathBuf>) {
        *self.folders.write().unwrap_or_else(PoisonError::into_inner) = folders;
    }

    /// Begins what is called until nobody is left who calls.
    pub(crate) async fn begin(self: Arc<Self>, mut news: ChildNews) {
        while let Some(heard) = news.recv().await {
            // whoever waits is told below, as the run ends
            let News::Called(called) = heard else { continue };
            let Called { order, options, .. } = *called;
            let run = id(&order);
            let parent = order.parent.run.clone();
            let (moving, moves_no_more) = watch::channel(());
            {
                let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
                let children = going.entry(parent.clone()).or_default();
                if children.iter().any(|(child, _)| *child == run) {
                    continue;
                }
                children.push((run.clone(), moves_no_more));
            }
            let this = self.clone();
            tokio::spawn(async move {
                let told = this.bring(order, options, &run).await;
                this.forget(&parent, &run);
                if let Some(told) = told {
                    // a parent that is not live any more needs nothing
                    let told = Input::ChildEnded(Box::new(told));
                    let _ = this.handle.signal(parent, told).await;
                }
                drop(moving);
            });
        }
    }

    /// Takes a child as far as it goes. None when it waits to go on with its parent.
    async fn bring(&self, order: ChildOrder, options: Options, run: &Name) -> Option<ChildEnded> {
        let finished = match self.end(&order, options, run).await {
            Ok(Some(finished)) => finished,
            Ok(None) => return None,
            Err(why) => return Some(order.refused(why.into())),
        };
        let RunFinished { status, outputs, error, .. } = finished;
        let parent = order.parent;
        let end = ChildEnd { name: parent.call, run: Some(run.clone()), status, outputs, error };
        Some(ChildEnded { task: parent.task, attempt: parent.attempt, end })
    }

    async fn end(
        &self,
        order: &ChildOrder,
        options: Options,
        run: &Name,
    ) -> Result<Option<RunFinished>, String> {
        let workflow = self.find(&order.call.workflow)?;
        self.workflows.add(&workflow);
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
        let known = match paused {
            Some(paused) => Some(paused),
            None => stored(&*self.store, workflow.plan.clone(), run)
                .await
                .map_err(|error| format!("failed to read run {run}: {error}"))?,
        };
        let finished = match known {
            Some(known) if known.outcome().is_some() => Ok(Finished { run: known }),
            Some(known) => {
                let paused = known.status() == Status::Paused;
                let inputs = paused.then_some(Input::Resume).into_iter().collect();
                self.handle.resume(known, inputs).await
            }
            None => {
                self.register(run, &workflow).await?;
                let start = start(order, options, run, &workflow)?;
                self.handle.run(Submission { plan: workflow.plan.clone(), start }).await
            }
        };
        let Finished { run: ended } = finished.map_err(|error| error.to_string())?;
        Box::pin(self.leave(&ended)).await;
        match ended.outcome() {
            Some(finished) => {
                self.store.leave(run).await;
                Ok(Some(finished.clone()))
            }
            None if ended.waiting().is_empty() => {
                let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
                paused.insert(run.clone(), ended);
                Ok(None)
            }
            None => {
                let workflow = &order.call.workflow;
                Err(format!(
                    "the workflow {workflow} waits for a person, which a tool can do on a server \
                     only: flowmill serve"
                ))
            }
        }
    }

    /// The document of a name.
    fn find(&self, name: &str) -> Result<Workflow, String> {
        let folders = self.folders.read().unwrap_or_else(PoisonError::into_inner).clone();
        let files = folders.iter().flat_map(|folder| {
            ENDINGS.iter().map(move |ending| folder.join(format!("{name}{ending}")))
        });
        let Some(file) = files.clone().find(|file| file.is_file()) else {
            let looked: Vec<String> =
                folders.iter().map(|path| path.display().to_string()).collect();
            return Err(format!(
                "there is no document {name}, {name}.yml or {name}.yaml in {}",
                looked.join(" or ")
            ));
        };
        let text = read_file(&file).map_err(|error| format!("{error:#}"))?;
        let workflow = load(&text, Reading::default(), Mocks::default()).map_err(|error| {
            let problems = error.problems.iter().map(|problem| problem.message.as_str());
            format!("{} is refused: {}", file.display(), problems.collect::<Vec<_>>().join("; "))
        })?;
        if workflow.plan.mode() == Mode::Chat {
            return Err(format!("{} is a chat; only workflows can be tools", file.display()));
        }
        Ok(workflow)
    }

    /// Writes down beside a run that is kept in a folder what a later process needs.
    #[cfg(feature = "store")]
    async fn register(&self, run: &Name, workflow: &Workflow) -> Result<(), String> {
        let Keep::Folder { store, .. } = &*self.store else { return Ok(()) };
        let settings = crate::settings::Settings::default();
        let registered = store.register(run, &settings.origin(workflow)).await;
        registered.map_err(|error| format!("failed to keep run {run}: {error}"))
    }

    #[cfg(not(feature = "store"))]
    #[expect(clippy::unused_async, reason = "a store is written to while others work")]
    async fn register(&self, _: &Name, _: &Workflow) -> Result<(), String> {
        Ok(())
    }

    /// A run moves no more: its children pause with it, or end with it.
    pub(crate) async fn leave(&self, run: &Run) {
        for (child, mut moving) in self.of(run.id()) {
            let input = if run.outcome().is_some() {
                Input::Stop { reason: Reason::User, message: ABORTED.into() }
            } else {
                Input::Pause { reason: "the run that waits for it pauses".into() }
            };
            // one that ended meanwhile needs no telling
            let _ = self.handle.signal(child, input).await;
            // an error says that it moves no more
            let _ = moving.changed().await;
        }
    }

    fn of(&self, parent: &Name) -> Vec<Going> {
        let going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        going.get(parent).cloned().unwrap_or_default()
    }

    fn forget(&self, parent: &Name, run: &Name) {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(children) = going.get_mut(parent) {
            children.retain(|(child, _)| child != run);
            if children.is_empty() {
                going.remove(parent);
            }
        }
    }
}

/// What a child begins with.
fn start(
    order: &ChildOrder,
    options: Options,
    run: &Name,
    workflow: &Workflow,
) -> Result<Start, String> {
    let values = order.call.inputs.clone();
    let given = Given { values, texts: Vec::new(), files: GivenFiles::default() };
    let beginning = workflow.begin(None, &given).map_err(|rejections| {
        let each = rejections.iter().map(|one| one.message.as_str());
        each.collect::<Vec<_>>().join("; ")
    })?;
    let Options { lane, dispatch, dify_sizes, .. } = options;
    Ok(Start {
        system: system(None, workflow, run, beginning.files),
        run: run.clone(),
        workflow: workflow.digest.clone(),
        inputs: beginning.inputs,
        options: Options { lane, dispatch, dify_sizes, ..Options::default() },
        parent: Some(order.parent.clone()),
        ..Start::default()
    })
}

/// The folders where documents are looked for: beside the services file, beside the document, and
/// where the program was started.
pub(crate) fn folders(services: &Path, document: Option<&Path>) -> Vec<PathBuf> {
    let beside = document.and_then(Path::parent).map(Path::to_owned);
    let beside = beside.filter(|folder| !folder.as_os_str().is_empty());
    let mut folders = vec![services.to_owned()];
    folders.extend(beside);
    folders.push(PathBuf::from("."));
    folders.dedup();
    folders
}

/// A call's run: the same call is the same run, in whatever process.
fn id(order: &ChildOrder) -> Name {
    let parent = &order.parent;
    let task = &parent.task;
    let numbers = format!("{} {}", task.generation, parent.attempt);
    let place = [&*parent.run, task.frame.as_str(), &*task.node, &numbers, &*parent.call];
    let digest = digest(&place.join("\u{1f}"));
    // a UUID of version 8: whose bits are its maker's to choose
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    let (first, second) = (part(0, 8), part(8, 12));
    let (third, fourth, last) = (part(13, 16), part(17, 20), part(20, 32));
    format!("{first}-{second}-8{third}-8{fourth}-{last}").into()
}
