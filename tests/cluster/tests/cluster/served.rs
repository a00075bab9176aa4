//! What `flowmill serve` does over a folder is what a cluster does: the recorded cases again.

use std::sync::Arc;
use std::time::Duration;

use flowmill_cli::conform;
use flowmill_cli::serve::{SHARDS, Serving, Settings};
use flowmill_engine::fact::{Dispatch, Options};
use flowmill_engine::run::Start;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Object, Value};
use flowmill_infra::broker::CompletionPublisher as _;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::intake::{Accepted, Attached, Document, Intake as _, Submission};
use flowmill_infra::memory::MemoryLimiter;
use flowmill_infra::message::{Delivery, PlanKey, Shard};
use flowmill_infra::metrics::{Metrics, Program};
use flowmill_infra::seal::Keys;
use flowmill_infra::sqlite::SharedFolder;
use flowmill_scheduler::Purging;
use flowmill_scheduler::api::{Courier, WebhookSettings};
use flowmill_worker::Slots;
use flowmill_workflow::digest;
use futures::{StreamExt as _, stream};
use uuid::Uuid;

use super::parity::{ends, judge, member, mocks, recorded};

/// Runs that are on their way at a time.
const ABREAST: usize = 48;

/// How often it is looked whether a run has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How long a case may take: only one that hangs does.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long a run may wait for its beginning.
const QUEUED: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn recorded_cases_are_answered_alike_over_a_folder() {
    let mut cases = recorded();
    cases.retain(ends);
    let folder = tempfile::tempdir().unwrap();
    let store = SharedFolder::open(folder.path(), SHARDS, Keys::default()).await.unwrap();
    let settings = Settings {
        api_key: None,
        pepper: flowmill_scheduler::api::Pepper::default(),
        rate: None,
        allow_mocks: true,
        file_bytes: 15 << 20,
        slots: Slots { light: 4, code: 4, http: 16, llm: 16 },
        drain: Duration::from_secs(10),
        courier: Arc::new(Courier::new(WebhookSettings::default()).unwrap()),
        metrics: Metrics::of(Program::Serve),
        purging: Purging::default(),
        limiter: Arc::new(MemoryLimiter::default()),
    };
    let outside = conform::surroundings().unwrap();
    let serving = Serving::start(store, settings, outside).await.unwrap();
    let told = cases.iter().map(|case| tell(&serving, case));
    let told: Vec<String> = stream::iter(told).buffer_unordered(ABREAST).collect().await;
    let wrong: Vec<String> = told.into_iter().filter(|text| !text.is_empty()).collect();
    let (bad, all) = (wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{bad} of {all} runs differ:\n{}", wrong.concat());
    serving.stop(std::future::pending()).await.unwrap();
}

/// Runs a case and tells what differs from its answer; nothing if all is as it should be.
async fn tell(serving: &Serving, case: &Object) -> String {
    let tenant: Name = "default".into();
    let mode = Dispatch::Fragments;
    let store: &Arc<SharedFolder> = serving.store();
    let (workflow, start) = conform::prepare(&Value::object(case.clone())).unwrap();
    let document = Document {
        digest: workflow.digest.clone(),
        name: "case".into(),
        text: workflow.text.clone(),
        has_secrets: workflow.text.contains("value_type: secret"),
        pushed_at: Time(1),
    };
    store.push(&tenant, &document).await.unwrap();
    let mut options = Options { dispatch: mode, dify_sizes: true, ..start.options };
    if let Some(mocks) = mocks(case) {
        let digest = digest(&mocks);
        store.keep(&tenant, &digest, &mocks.as_str().into()).await.unwrap();
        options.mocks = Some(digest);
    }
    let plan = PlanKey::of(&workflow.digest, &options);
    let run: Name = Uuid::now_v7().to_string().as_str().into();
    let workflow_digest = workflow.digest.clone();
    let start = Start { run: run.clone(), workflow: workflow_digest, options, ..start };
    let wake_at = SystemClock::new().now().after(QUEUED);
    let shard = Shard::of(&run, SHARDS);
    let submission = Submission {
        tenant: tenant.clone(),
        shard,
        plan,
        start,
        wake_at,
        key: None,
        turn: None,
        attached: Attached::default(),
    };
    assert_eq!(store.submit(&[submission]).await.unwrap(), [Accepted::New]);
    serving.inbox().answer(shard, Delivery::Poke { run: run.clone() }).await.unwrap();
    let ended = async {
        while store.ended(std::slice::from_ref(&run)).await.unwrap().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        return format!("{} hangs\n", member(case, "id").to_python());
    }
    let (_, facts) = store.facts(&tenant, &run, 0).await.unwrap().unwrap();
    judge(case, &workflow.text, mode, &facts)
}
