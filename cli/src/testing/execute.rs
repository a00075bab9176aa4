//! Runs tests, over the same services as every run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_engine::fact::Options;
use flowmill_engine::graph::Mode;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::History;
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Value};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::inputs::{Given, check};

use super::file::{Spot, Test, TestFile};
use super::judge::{judge, judge_rejected};
use super::matcher::Difference;
use super::{Problem, Verdict};
use crate::commands::start::system;
use crate::embedded::Embedded;
use crate::workflow::{Reading, Workflow, load, node_id, read_file};

/// How tests are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long a test may take that says nothing of it.
    pub(crate) timeout: Duration,
}

/// Runs tests; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    embedded: Arc<Embedded>,
    settings: Settings,
}

/// A test that can run.
#[derive(Debug)]
pub(crate) struct Ready {
    test: Test,
    workflow: Workflow,
}

impl Ready {
    /// The test.
    pub(crate) fn test(&self) -> &Test {
        &self.test
    }
}

impl TestFile {
    /// Loads the workflow for each test, with the test's mocks.
    ///
    /// # Errors
    /// All that is wrong, with lines of the test file; of the workflow the first problem.
    pub(crate) fn prepare(self) -> Result<Vec<Ready>, Vec<Problem>> {
        let text = read_file(&self.workflow)
            .map_err(|error| vec![Problem::new(self.workflow_line, format!("{error:#}"))])?;
        let mut problems = Vec::new();
        let mut ready = Vec::new();
        for (number, test) in self.tests.into_iter().enumerate() {
            match prepare(&test, &text, (&self.name, number)) {
                Ok(workflow) => {
                    problems.extend(unknown_nodes(&test, &workflow.plan));
                    ready.push(Ready { test, workflow });
                }
                Err(message) => {
                    let message = format!("{}: {message}", self.workflow.display());
                    let problem = Problem::new(self.workflow_line, message);
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
        if problems.is_empty() { Ok(ready) } else { Err(problems) }
    }
}

fn prepare(test: &Test, text: &str, name: (&str, usize)) -> Result<Workflow, String> {
    let reading = Reading { dify_sizes: test.dify_limits, ..Reading::default() };
    let names = load(text, reading, Mocks::default()).ok();
    let member = |(spot, value): &(Spot, Value)| {
        // mocks are known by id; without them the document may not even compile
        let id = names.as_ref().and_then(|workflow| node_id(&workflow.plan, &spot.name));
        (id.unwrap_or_else(|| spot.name.clone()), value.clone())
    };
    let mocks = Value::object(test.mocks.iter().map(member));
    let mocks = Mocks::from_value(&mocks).map_err(|error| error.to_string())?;
    let mut workflow = load(text, reading, mocks).map_err(|error| error.to_string())?;
    // other mocks make another workflow of the same document
    workflow.digest = format!("{}+{}:{}", workflow.digest, name.0, name.1).into();
    Ok(workflow)
}

fn unknown_nodes(test: &Test, plan: &Plan) -> Vec<Problem> {
    let expect = &test.expect;
    let nodes = expect.nodes.iter().map(|(spot, _)| spot);
    let spots = expect.visited.iter().chain(&expect.not_visited).chain(nodes);
    let unknown = spots.filter(|spot| {
        let name = spot.name.split_once('@').map_or(&*spot.name, |(node, _)| node);
        node_id(plan, &spot.name).is_none() && node_id(plan, name).is_none()
    });
    let mut problems: Vec<Problem> = unknown
        .map(|spot| {
            let titles = plan.nodes().iter().filter(|node| node.title == spot.name).count();
            let what = if titles > 1 { "more than one" } else { "no" };
            let message = format!("the workflow has {what} node {:?}", spot.name);
            Problem::new(spot.line, format!("{message}; `flowmill plan` shows its nodes"))
        })
        .collect();
    for (spot, _) in &test.mocks {
        let fits = match spot.name.strip_prefix("type:") {
            Some(kind) => plan.nodes().iter().any(|node| &*node.kind == kind),
            None => node_id(plan, &spot.name).is_some(),
        };
        if !fits {
            let message = format!("no node is answered by the mock {:?}", spot.name);
            problems.push(Problem::new(spot.line, message));
        }
    }
    problems
}

impl Executor {
    /// Starts the services on the current runtime.
    pub(crate) fn start(outside: NodeContext, settings: Settings) -> Self {
        Self { embedded: Arc::new(Embedded::start(History::Full, outside)), settings }
    }

    /// Runs a test and compares.
    pub(crate) async fn run(&self, ready: &Ready) -> Verdict {
        let began = Instant::now();
        let differences = self.differences(ready).await;
        Verdict { took: began.elapsed(), differences }
    }

    async fn differences(&self, ready: &Ready) -> Vec<Difference> {
        let Ready { test, workflow } = ready;
        let given = Given { values: test.inputs.clone(), ..Given::default() };
        let lacks_query = workflow.plan.mode() == Mode::Chat && test.query.is_none();
        let inputs = match check(&workflow.form(), &given) {
            Ok(accepted) if !lacks_query => accepted.inputs,
            rejected => {
                let rejections = rejected.err().unwrap_or_default();
                let mut messages: Vec<String> =
                    rejections.into_iter().map(|rejection| rejection.message).collect();
                if lacks_query {
                    messages.insert(0, "query is required".to_owned());
                }
                return judge_rejected(&test.expect, &messages.join("\n"));
            }
        };
        let run: Name = format!("test:{}", workflow.digest).into();
        let base = if test.dify_limits { Options::dify() } else { Options::default() };
        let timeout = test.timeout.unwrap_or(self.settings.timeout);
        let deadline_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let start = Start {
            system: system(test.query.as_deref(), workflow, &run, Vec::new()),
            run,
            workflow: workflow.digest.clone(),
            inputs,
            options: Options { deadline_ms, ..base },
            ..Start::default()
        };
        self.embedded.add(workflow);
        let ended = self.embedded.run(workflow, start).await;
        self.embedded.remove(workflow);
        match ended {
            Ok(ended) => judge(&test.expect, &ended),
            Err(error) => vec![Difference {
                at: "the run".to_owned(),
                expected: "an end".to_owned(),
                found: error.to_string(),
            }],
        }
    }
}
