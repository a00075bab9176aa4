//! Those who run what is submitted: a scheduler and a worker of this process.

use std::sync::Arc;
use std::time::Duration;

use flowmill_infra::clock::SystemClock;
use flowmill_infra::memory::{MemoryBroker, MemoryLive};
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::Announcement;
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use flowmill_scheduler::api::Settings;
use flowmill_scheduler::{Handle, Service as Scheduler, Sharded, Window};
use flowmill_worker::{Service as Worker, Settings as Hands, Slots, UploadedFiles};
use tokio::task::JoinHandle;

use crate::server::Server;

const SLOTS: Slots = Slots { light: 4, code: 2, http: 8, llm: 8 };

/// A server with those who run what is submitted.
pub(crate) struct Cluster {
    pub(crate) server: Server,
    _handle: Handle,
    services: [JoinHandle<()>; 2],
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(Keys::default(), true, change).await
    }

    /// The same with keys for secrets.
    pub(crate) async fn sealing(keys: Keys, change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(keys, true, change).await
    }

    /// One of which the server is shown nothing.
    pub(crate) async fn unseen(change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(Keys::default(), false, change).await
    }

    async fn made(keys: Keys, is_seen: bool, change: impl FnOnce(&mut Settings)) -> Self {
        let (tasks, inbox, consumer, answers) = MemoryBroker::new();
        let server = Server::sealing(keys, answers.clone(), change).await;
        let live = if is_seen { server.live.clone() } else { MemoryLive::default() };
        let clock = SystemClock::new();
        let me = Announcement { scheduler: "one".into(), reads: 1 };
        let duties = Sharded::new(server.store.clone(), server.workflows.clone(), me)
            .with_notes(server.notes.clone());
        let window = Window::for_slots(|class| SLOTS.of(class) * 2);
        let (store, ends) = (server.store.clone(), (tasks, inbox));
        let (scheduler, handle) =
            Scheduler::sharing(store, ends, live.clone(), clock.clone(), window, duties);
        let outside = NodeContext {
            attempt: 1,
            timeout: Duration::from_mins(1),
            code: Arc::new(CodeRunner::new(&CodeSettings::default())),
            http: Arc::new(Offline),
            files: Arc::new(UploadedFiles::new(
                server.store.clone(),
                Arc::new(MemoryFiles::default()),
            )),
            documents: Arc::default(),
            services: Arc::default(),
            caller: Arc::default(),
            steps: None,
            children: None,
            chunks: None,
        };
        let ends = (consumer, answers);
        let workflows = server.workflows.clone();
        let hands = Hands::embedded(SLOTS);
        let worker = Worker::new(ends, live, workflows, clock, hands, outside);
        let services = [tokio::spawn(scheduler.run()), tokio::spawn(worker.run())];
        Self { server, _handle: handle, services }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.services.iter().for_each(JoinHandle::abort);
    }
}
