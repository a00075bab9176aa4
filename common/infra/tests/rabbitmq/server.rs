//! The `RabbitMQ` server that the tests use, and names of their own for each.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flowmill_infra::rabbitmq::{
    Queues, RabbitCompletions, RabbitInbox, RabbitTasks, RabbitWorker, Settings, remove, scheduler,
    worker,
};
use lapin::{Connection, ConnectionProperties};

use flowmill_infra::broker::Inbox as _;
use flowmill_infra::message::Delivery;

use crate::suite::broker::{SHARD, soon};

/// More slots than any test here fills.
pub(crate) const SLOTS: [u16; 4] = [128, 128, 128, 128];

fn server() -> String {
    let own = std::env::var("FLOWMILL_TEST_RABBITMQ");
    own.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

/// A connection that knows nothing of flowmill.
pub(crate) async fn bare(url: &str) -> Connection {
    match Connection::connect(url, ConnectionProperties::default()).await {
        Ok(connection) => connection,
        Err(error) => panic!(
            "these tests need a RabbitMQ server, and {} gives: {error}. `./dev setup` starts one; \
             FLOWMILL_TEST_RABBITMQ names another, whose user may make queues.",
            url.rsplit('@').next().unwrap()
        ),
    }
}

/// Names at the test server that end with this value.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) settings: Settings,
}

/// The two ends of each side.
pub(crate) type Ends = (RabbitTasks, RabbitInbox, RabbitWorker, RabbitCompletions);

impl Broker {
    pub(crate) async fn new(queues: Queues) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let prefix = format!("test-{}-{made}-{}", std::process::id(), since.subsec_nanos());
        drop(bare(&server()).await);
        Self { settings: Settings { prefix, queues, ..Settings::new(server()) } }
    }

    /// The ends, with the shard open and the word that its queue had been missing taken.
    pub(crate) async fn ends(&self) -> Ends {
        let (tasks, mut inbox) = scheduler(&self.settings).await.unwrap();
        inbox.open(SHARD).await.unwrap();
        let lost = soon(inbox.receive(5)).await;
        assert!(matches!(&lost[..], [Delivery::Lost { shard: SHARD }]), "{lost:?}");
        assert!(inbox.live_for() < Duration::from_hours(1), "it knows since when it is in touch");
        let (worker, answers) = worker(&self.settings, SLOTS).await.unwrap();
        (tasks, inbox, worker, answers)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let settings = self.settings.clone();
        let removing = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(remove(&settings, 5)).unwrap();
        });
        assert!(removing.join().is_ok() || std::thread::panicking(), "queues are left behind");
    }
}
