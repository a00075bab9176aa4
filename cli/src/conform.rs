//! Cases in the reference engine's batch format, answered in its result format.
//!
//! A case is run by Dify's rules alone: its limits, its defaults, raw inputs without form checks,
//! none of our widenings. Code nodes run without a sandbox.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flowmill_engine::fact::{Dispatch, Options, Status};
use flowmill_engine::report::{History, Report};
use flowmill_engine::run::{Run, Start};
use flowmill_engine::value::{Name, Value};
use flowmill_nodes::code::CodeSettings;
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::http_request::client::{Limits, Policy};
use flowmill_nodes::mock::Mocks;
use flowmill_nodes::outbound::{self, OutboundPolicy};
use flowmill_worker::Slots;
use tokio::sync::Semaphore;

use crate::embedded::{Embedded, cores, outside};
use crate::result::{details, member, object, result};
use crate::workflow::{Reading, Workflow, load, read_file};

/// What runs at a time within a case: programs one after the other, because that is the order in
/// which they most likely end in the reference, whose two programs at a time start in order;
/// everything else as wide as its workers.
const SLOTS: Slots = Slots { light: 5, code: 1, http: 5, llm: 5 };

/// What nodes of the reference find outside of themselves.
///
/// # Errors
/// When there can be no HTTP client.
pub fn surroundings() -> anyhow::Result<NodeContext> {
    // the reference has a plain HTTP client with Dify's limits, which checks no addresses
    let policy = Policy { limits: Limits::DIFY, strict_statuses: false };
    // as the reference, which runs code where it runs itself
    let code = CodeSettings { unsafe_code: true, ..CodeSettings::default() };
    let reach =
        outbound::Options { policy: OutboundPolicy::unchecked(), ..outbound::Options::default() };
    let outside = outside(&code, policy, reach, Arc::default())?;
    // tests call this from programs of their own, which convert no documents when started anew
    Ok(NodeContext { documents: Arc::default(), ..outside })
}

/// Answers cases, each over a scheduler and a worker that have no other case at the time.
#[derive(Clone, Debug)]
pub struct Conform {
    idle: Arc<Mutex<Vec<Embedded>>>,
    lanes: Arc<Semaphore>,
}

impl Conform {
    /// Starts the services on the current runtime, once per processor.
    ///
    /// # Errors
    /// When the services cannot start.
    pub fn start() -> anyhow::Result<Self> {
        let outside = surroundings()?;
        let width = cores();
        let lane = || Embedded::with_slots(History::Full, outside.clone(), SLOTS);
        let idle = std::iter::repeat_with(lane).take(width).collect();
        Ok(Self { idle: Arc::new(Mutex::new(idle)), lanes: Arc::new(Semaphore::new(width)) })
    }

    /// Answers one case; waits while as many others run as may.
    pub async fn case(&self, case: &Value, dispatch: Dispatch) -> Value {
        // the semaphore is never closed
        let _lane = self.lanes.acquire().await;
        let Some(embedded) = self.idle().pop() else { return Value::None };
        let answer = case_result(&embedded, case, dispatch).await;
        self.idle().push(embedded);
        answer
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Embedded>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers cases, each task carrying as much as `dispatch` says; the answers stand in the order of
/// the cases.
///
/// # Errors
/// When the services cannot start.
pub async fn cases(cases: &[Value], dispatch: Dispatch) -> anyhow::Result<Vec<Value>> {
    let conform = Conform::start()?;
    let running: Vec<_> = cases
        .iter()
        .cloned()
        .map(|case| {
            let conform = conform.clone();
            tokio::spawn(async move { conform.case(&case, dispatch).await })
        })
        .collect();
    let mut answers = Vec::with_capacity(running.len());
    for answer in running {
        answers.push(answer.await.unwrap_or_default());
    }
    Ok(answers)
}

async fn case_result(embedded: &Embedded, case: &Value, dispatch: Dispatch) -> Value {
    let began = Instant::now();
    let id = get(case, "id").unwrap_or_default();
    match prepare(case) {
        Err(error) => object([
            member("id", id),
            member("status", "invalid".into()),
            member("outputs", object([])),
            member("error", error.into()),
            member("exceptions_count", Value::int(0)),
            member("nodes", object([])),
            member("node_order", Value::array(Vec::new())),
        ]),
        Ok((workflow, mut start)) => {
            start.options.dispatch = dispatch;
            embedded.add(&workflow);
            let ended = embedded.run(&workflow, start).await;
            embedded.remove(&workflow);
            match ended {
                Ok(ended) => answer(id, &ended.run, &ended.report, began.elapsed()),
                Err(error) => object([
                    member("id", id),
                    member("status", "failed".into()),
                    member("error", error.to_string().into()),
                ]),
            }
        }
    }
}

/// What became of a case, in the reference's format.
pub fn answer(id: Value, run: &Run, report: &Report, elapsed: Duration) -> Value {
    let mut members = vec![member("id", id)];
    members.extend(result(run, report, elapsed));
    members.extend(details(run, report));
    if run.status() == Status::Paused {
        // the reference's event of a pause has no count
        members.retain(|(name, _)| &**name != "exceptions_count");
        members.push(member("exceptions_count", Value::int(0)));
    }
    object(members)
}

/// A case's workflow, and what its run begins with.
///
/// # Errors
/// Why it cannot begin.
pub fn prepare(case: &Value) -> Result<(Workflow, Start), String> {
    let text = if let Some(Value::Str(text)) = get(case, "dsl") {
        text.to_string()
    } else {
        let path = get(case, "dsl_path").unwrap_or_default();
        let path = path.as_str().ok_or("the case has neither dsl nor dsl_path")?;
        read_file(Path::new(path)).map_err(|error| format!("{error:#}"))?
    };
    let options = get(case, "options").unwrap_or_default();
    let root = get(&options, "root").unwrap_or_default();
    let reading = Reading { strict: true, dify_sizes: true, root: root.as_str() };
    let mocks = match get(case, "mocks") {
        None | Some(Value::None) => Mocks::default(),
        Some(mocks) => Mocks::from_value(&mocks).map_err(|error| error.to_string())?,
    };
    let mut workflow = load(&text, reading, mocks).map_err(|error| error.to_string())?;
    let run = run_id(case);
    // other mocks make another workflow of the same document
    workflow.digest = format!("{}+{run}", workflow.digest).into();
    let start = Start {
        run,
        workflow: workflow.digest.clone(),
        inputs: members(get(case, "inputs")),
        system: system(get(case, "sys")),
        conversation: Vec::new(),
        options: limits(&options),
        adoption: None,
        line: None,
        parent: None,
    };
    Ok((workflow, start))
}

fn run_id(case: &Value) -> Name {
    get(case, "id").unwrap_or_default().to_python().into()
}

fn limits(options: &Value) -> Options {
    let number = |key| match get(options, key) {
        Some(Value::Int(value)) => value.to_i64().and_then(|value| u64::try_from(value).ok()),
        _ => None,
    };
    let dify = Options::dify();
    Options {
        max_steps: number("max_steps").or(dify.max_steps),
        max_time_s: number("max_time").or(dify.max_time_s),
        ..dify
    }
}

/// The system values that the reference sets, with the case's own over them.
fn system(given: Option<Value>) -> Vec<(Name, Value)> {
    let mut system = vec![
        member("files", Value::array(Vec::new())),
        member("workflow_run_id", "oracle-run".into()),
        member("workflow_id", "oracle-workflow".into()),
        member("app_id", "oracle-app".into()),
        member("user_id", "oracle-user".into()),
    ];
    for (name, value) in members(given) {
        match system.iter_mut().find(|(key, _)| *key == name) {
            Some((_, held)) => *held = value,
            None => system.push((name, value)),
        }
    }
    system
}

fn members(value: Option<Value>) -> Vec<(Name, Value)> {
    match value {
        Some(Value::Object(members)) => {
            members.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn get(value: &Value, key: &str) -> Option<Value> {
    match value {
        Value::Object(members) => members.get(key).cloned(),
        _ => None,
    }
}
