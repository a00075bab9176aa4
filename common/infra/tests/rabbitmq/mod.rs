//! `RabbitMQ` as the broker: held to the port's suite, and to what it promises beyond it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod bad;
mod delivery;
mod intake;
mod later;
mod secrets;
mod server;

use flowmill_infra::rabbitmq::{Queues, worker};

use crate::suite;
use server::{Broker, SLOTS};

#[tokio::test]
async fn quorum_queues_pass_the_suite() {
    passes_the_suite(Queues::Quorum).await;
}

#[tokio::test]
async fn classic_queues_pass_the_suite() {
    passes_the_suite(Queues::Classic).await;
}

async fn passes_the_suite(queues: Queues) {
    let brokers = std::cell::RefCell::new(Vec::new());
    let make = async || {
        let broker = Broker::new(queues).await;
        let ends = broker.ends().await;
        brokers.borrow_mut().push(broker);
        ends
    };
    let another = async |_: &_| {
        let settings = brokers.borrow().last().unwrap().settings.clone();
        worker(&settings, SLOTS).await.unwrap().0
    };
    suite::broker::all(make, another).await;
}
