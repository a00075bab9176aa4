//! Scheduler and worker joined in one process over channels and a store. No second engine: the same
//! services, the same core, other adapters.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use flowmill_engine::fact::Status;
use flowmill_engine::plan::{Plan, TaskClass};
use flowmill_engine::report::{History, Report};
use flowmill_engine::run::{Input, Rejected, Run, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::memory::{MemoryBroker, MemoryLive};
use flowmill_infra::message::PlanKey;
use flowmill_infra::metrics::Metrics;
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::document_extractor::converter::{DocumentSettings, Documents};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Policy;
use flowmill_nodes::http_request::{HttpOptions, NetworkClient};
use flowmill_nodes::outbound;
use flowmill_nodes::registry::Executors;
use flowmill_scheduler::{
    Children, Finished, Handle, Service as Scheduler, Submission, SubmitError, Window,
};
use flowmill_services::Services;
use flowmill_worker::{
    Library, Loaded, Missing, OutsideMeters, Service as Worker, Settings, Slots,
};
use tokio::task::JoinHandle;

use crate::children::ChildRuns;
use crate::keep::Keep;
use crate::workflow::Workflow;

/// A workflow's plan, and what executes its nodes.
type Known = (Arc<Plan>, Arc<Executors>);

/// The workflows that the worker of this process can execute, by digest.
#[derive(Debug, Default)]
pub(crate) struct Workflows {
    by_digest: RwLock<HashMap<Name, Known>>,
}

impl Workflows {
    pub(crate) fn add(&self, workflow: &Workflow) {
        let mut known = self.by_digest.write().unwrap_or_else(PoisonError::into_inner);
        let parts = (workflow.plan.clone(), workflow.executors.clone());
        known.insert(workflow.digest.clone(), parts);
    }
}

impl Library for Workflows {
    async fn node(&self, _: &Name, plan: &PlanKey, node: &Name) -> Result<Loaded, Missing> {
        let workflows = self.by_digest.read().unwrap_or_else(PoisonError::into_inner);
        let loaded = workflows.get(&plan.workflow).and_then(|(plan, nodes)| {
            let waits = plan.find(node).is_some_and(|at| plan.node(at).behaviour.waits());
            // whatever is lost here is lost with the run: nothing has to be kept
            Some(Loaded { node: nodes.get(node)?.clone(), is_costly: false, waits })
        });
        loaded.ok_or_else(|| Missing::Bad("it was not added".to_owned()))
    }

    async fn plan(&self, _: &Name, plan: &PlanKey) -> Result<Arc<Plan>, Missing> {
        let workflows = self.by_digest.read().unwrap_or_else(PoisonError::into_inner);
        let found = workflows.get(&plan.workflow).map(|(plan, _)| plan.clone());
        found.ok_or_else(|| Missing::Bad("it was not added".to_owned()))
    }
}

/// A running scheduler and worker.
#[derive(Debug)]
pub(crate) struct Embedded {
    handle: Handle,
    store: Arc<Keep>,
    live: MemoryLive,
    clock: SystemClock,
    workflows: Arc<Workflows>,
    children: Arc<ChildRuns>,
    /// What begins children.
    beginning: JoinHandle<()>,
    scheduler: JoinHandle<()>,
    worker: JoinHandle<()>,
}

/// A run that ended or waits, and what became of its nodes.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) report: Report,
    /// When that was.
    pub(crate) at: Time,
}

impl Embedded {
    /// Starts both services on the current runtime.
    pub(crate) fn start(history: History, outside: NodeContext) -> Self {
        Self::over(Keep::in_memory(history), outside)
    }

    /// The same over a store.
    pub(crate) fn over(store: Keep, outside: NodeContext) -> Self {
        let cores = cores();
        Self::join(store, outside, Slots { light: cores, code: cores, http: 64, llm: 64 })
    }

    /// The same with given slots.
    pub(crate) fn with_slots(history: History, outside: NodeContext, slots: Slots) -> Self {
        Self::join(Keep::in_memory(history), outside, slots)
    }

    fn join(store: Keep, outside: NodeContext, slots: Slots) -> Self {
        let (tasks, inbox, consumer, answers) = MemoryBroker::new();
        let store = Arc::new(store);
        let live = MemoryLive::default();
        let clock = SystemClock::new();
        let workflows = Arc::new(Workflows::default());
        let (scheduler, handle) = Scheduler::new(
            store.clone(),
            (tasks, inbox),
            live.clone(),
            clock.clone(),
            Window::for_slots(|class: TaskClass| slots.of(class)),
        );
        let (called, news) = Children::new();
        let scheduler = scheduler.with_children(called);
        let children = ChildRuns::new(handle.clone(), store.clone(), workflows.clone());
        let children = Arc::new(children);
        let worker = Worker::new(
            (consumer, answers),
            live.clone(),
            workflows.clone(),
            clock.clone(),
            Settings::embedded(slots),
            outside,
        );
        Self {
            handle,
            store,
            live,
            clock,
            workflows,
            beginning: tokio::spawn(children.clone().begin(news)),
            children,
            scheduler: tokio::spawn(scheduler.run()),
            worker: tokio::spawn(worker.run()),
        }
    }

    /// Makes a workflow known to the worker.
    pub(crate) fn add(&self, workflow: &Workflow) {
        self.workflows.add(workflow);
    }

    /// Documents that nodes call as tools are looked for in these folders.
    pub(crate) fn look_in(&self, folders: Vec<PathBuf>) {
        self.children.look_in(folders);
    }

    /// Forgets a workflow.
    pub(crate) fn remove(&self, workflow: &Workflow) {
        let mut known = self.workflows.by_digest.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&workflow.digest);
    }

    /// Where runs can be watched.
    pub(crate) fn live(&self) -> &MemoryLive {
        &self.live
    }

    /// Tells a run something.
    pub(crate) async fn signal(&self, run: Name, input: Input) -> Result<(), Rejected> {
        self.handle.signal(run, input).await
    }

    /// Runs a workflow until it ends or waits for a person.
    pub(crate) async fn run(
        &self,
        workflow: &Workflow,
        start: Start,
    ) -> Result<Ended, SubmitError> {
        let id = start.run.clone();
        let submission = Submission { plan: workflow.plan.clone(), start };
        let finished = self.handle.run(submission).await;
        self.ended(&workflow.plan, &id, finished).await
    }

    /// Takes up a run that waits, or that was cut off: it is told `inputs` and goes on.
    pub(crate) async fn resume(&self, run: Run, inputs: Vec<Input>) -> Result<Ended, SubmitError> {
        let (plan, id) = (run.plan().clone(), run.id().clone());
        let finished = self.handle.resume(run, inputs).await;
        self.ended(&plan, &id, finished).await
    }

    async fn ended(
        &self,
        plan: &Plan,
        id: &Name,
        finished: Result<Finished, SubmitError>,
    ) -> Result<Ended, SubmitError> {
        if let Err(error @ (SubmitError::Exists | SubmitError::Rejected(_))) = finished {
            // what is stored is another's, or stays as it was
            return Err(error);
        }
        if let Ok(Finished { run }) = &finished {
            self.children.leave(run).await;
        }
        let report = self.store.look_back(plan, id).await;
        let waits = matches!(&finished, Ok(Finished { run }) if run.status() == Status::Paused);
        if !waits {
            self.store.leave(id).await;
        }
        let report = report.map_err(SubmitError::NotStored);
        Ok(Ended { run: finished?.run, report: report?, at: self.clock.now() })
    }

    /// Forgets a run that waits, unless it is kept in a folder.
    pub(crate) async fn leave(&self, run: &Name) {
        self.store.leave(run).await;
    }

    /// The time as its runs see it.
    pub(crate) fn clock(&self) -> &SystemClock {
        &self.clock
    }

    /// Stops both services; no run may be live.
    pub(crate) async fn stop(self) {
        self.beginning.abort();
        // it holds a way in as well
        let _ = self.beginning.await;
        drop((self.children, self.handle));
        // a service that panicked has said so itself
        let _ = self.scheduler.await;
        let _ = self.worker.await;
        self.store.close().await;
    }
}

/// How many threads the machine runs at a time.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Documents are converted by this program, started anew for each, in a sandbox unless that is
/// waived.
///
/// # Errors
/// When the program's own file is not known.
pub(crate) fn documents(unsafe_conversion: bool) -> anyhow::Result<Documents> {
    let helper = std::env::current_exe().context("failed to find the program's own file")?;
    let helper = Some(helper);
    let settings = DocumentSettings { helper, unsafe_conversion, ..DocumentSettings::default() };
    Ok(Documents::new(settings))
}

/// What nodes may reach in this process.
///
/// # Errors
/// When there can be no HTTP client.
pub(crate) fn outside(
    code: &CodeSettings,
    policy: Policy,
    reach: outbound::Options,
    services: Arc<Services>,
) -> anyhow::Result<NodeContext> {
    let counted = OutsideMeters::of(&Metrics::off());
    watched_outside(code, policy, reach, services, &counted)
}

/// The same; what nodes do there is counted.
///
/// # Errors
/// When there can be no HTTP client.
pub(crate) fn watched_outside(
    code: &CodeSettings,
    policy: Policy,
    reach: outbound::Options,
    services: Arc<Services>,
    meters: &Arc<OutsideMeters>,
) -> anyhow::Result<NodeContext> {
    let options = HttpOptions { policy, ..HttpOptions::default() };
    let outbound = outbound::Client::new(reach)?.watched_by(meters.clone());
    let http = NetworkClient::new(options, Arc::new(outbound));
    let runner = CodeRunner::new(code);
    runner.watched_by(meters.clone());
    let documents = documents(code.unsafe_code)?;
    documents.watched_by(meters.clone());
    Ok(NodeContext {
        attempt: 1,
        timeout: std::time::Duration::from_hours(1),
        code: Arc::new(runner),
        http: Arc::new(http),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::new(documents),
        services,
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    })
}

#[cfg(test)]
mod tests {
    use flowmill_engine::fact;
    use flowmill_engine::value::Value;
    use flowmill_infra::live::Event;
    use flowmill_nodes::mock::Mocks;

    use super::*;
    use crate::workflow::{Reading, load};

    /// start -> llm (retried) -> template (Jinja2) -> loud (JavaScript) -> end
    const DOCUMENT: &str = r"
kind: app
version: 0.6.0
app: {name: shout, mode: workflow}
workflow:
  graph:
    nodes:
    - id: start
      data:
        {type: start, title: Start, variables: [{variable: who, label: Who, type: text-input}]}
    - id: llm
      data:
        type: llm
        title: Ask
        retry_config: {retry_enabled: true, max_retries: 1, retry_interval: 1}
    - id: template
      data:
        type: template-transform
        title: Dress
        template: 'Dear {{ who | upper }}, {{ text }}'
        variables:
        - {variable: who, value_selector: [start, who]}
        - {variable: text, value_selector: [llm, text]}
    - id: loud
      data:
        type: code
        title: Shout
        code_language: javascript
        code: 'function main({text}) { return {loud: text + `!`} }'
        variables: [{variable: text, value_selector: [template, output]}]
        outputs: {loud: {type: string}}
    - id: end
      data: {type: end, title: End, outputs: [{variable: says, value_selector: [loud, loud]}]}
    edges:
    - {id: a, source: start, target: llm, sourceHandle: source}
    - {id: b, source: llm, target: template, sourceHandle: source}
    - {id: c, source: template, target: loud, sourceHandle: source}
    - {id: d, source: loud, target: end, sourceHandle: source}
";

    const MOCKS: &str = r#"{"llm": {"sequence": [
        {"error": "busy"},
        {"outputs": {"text": "hello"}, "chunks": ["hel", "lo"]}
    ]}}"#;

    #[tokio::test]
    async fn a_document_runs_to_its_end_over_both_services() {
        let workflow = load(DOCUMENT, Reading::default(), Mocks::parse(MOCKS).unwrap()).unwrap();
        let embedded = Embedded::start(
            History::Full,
            outside(
                &CodeSettings::default(),
                Policy::default(),
                outbound::Options::default(),
                Arc::default(),
            )
            .unwrap(),
        );
        embedded.add(&workflow);
        let mut watcher = embedded.live().watch("r".into());
        let start = Start {
            run: "r".into(),
            workflow: workflow.digest.clone(),
            inputs: vec![("who".into(), Value::from("ada"))],
            ..Start::default()
        };
        let ended = embedded.run(&workflow, start).await.unwrap();

        assert_eq!(ended.run.status(), Status::PartialSucceeded, "{:?}", ended.run.outcome());
        let says: Vec<_> = ended.run.outputs().map(|(_, value)| value.to_python()).collect();
        assert_eq!(says, ["Dear ADA, hello!"]);
        let nodes =
            ended.report.nodes().map(|node| format!("{} {}", node.node, node.status.name()));
        let wanted =
            ["start", "llm", "template", "loud", "end"].map(|node| format!("{node} succeeded"));
        assert_eq!(nodes.collect::<Vec<_>>(), wanted);
        let llm = ended.report.nodes().find(|node| &*node.node == "llm").unwrap();
        assert_eq!(llm.retries, 1);

        // what was shown: all facts in order, the text before the fact that ends its node
        let mut seen = String::new();
        let mut seq = 0;
        let shown = std::iter::from_fn(|| watcher.try_next());
        for event in shown {
            let facts = match event {
                Event::Chunk { text, .. } => {
                    seen.push_str(&text);
                    continue;
                }
                Event::Facts(facts) => facts,
            };
            assert!(facts.iter().map(|fact| fact.seq).eq(seq + 1..=seq + facts.len() as u64));
            seq += facts.len() as u64;
            let llm_ended = facts.iter().any(|fact| match &fact.event {
                fact::Event::NodeSucceeded(succeeded) => &*succeeded.node == "llm",
                _ => false,
            });
            assert!(!llm_ended || seen == "hello", "{seen:?} was shown when it ended");
        }
        assert_eq!((seen.as_str(), seq), ("hello", ended.run.seq()));
        embedded.stop().await;
    }
}
