//! Secrets in messages: in none as they are, and had again with their keys.

use flowmill_engine::plan::Success;
use flowmill_engine::run::{Completion, Outcome};
use flowmill_engine::time::Time;
use flowmill_engine::value::Kind;
use flowmill_engine::variables::Variable;
use flowmill_infra::broker::{CompletionPublisher, Inbox, TaskConsumer, TaskPublisher};
use flowmill_infra::message::{Delivery, Task};
use flowmill_infra::rabbitmq::{Queues, Settings, scheduler, worker};
use flowmill_infra::seal::Keys;
use flowmill_infra::wire::Transit;
use lapin::options::{BasicGetOptions, BasicNackOptions};

use super::server::{Broker, SLOTS, bare};
use crate::suite::broker::{SHARD, next_task, soon, task};

const PLAIN: &str = "tops3cret";

fn secret() -> Variable {
    Variable::typed(Kind::Secret, PLAIN.into())
}

fn secret_task() -> Task {
    let mut task = task(4);
    task.variables.set(&"env".into(), &"key".into(), secret());
    task.variables.set(&"start".into(), &"query".into(), Variable::infer("shown".into()));
    task
}

fn answer() -> Delivery {
    let Task { run, task, attempt, dispatch, .. } = secret_task();
    let mut success = Success::of([("text".into(), "shown".into())]);
    success.outputs.push(("key".into(), secret()));
    let (outcome, started_at) = (Ok(success), Time(5));
    let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us: 6 };
    let completion = Completion::of(dispatch, outcome);
    Delivery::Completed { run, completion }
}

fn with(settings: &Settings, digit: &str) -> Settings {
    let keys = Keys::parse(&digit.repeat(64)).unwrap();
    Settings { transit: Transit::new(keys), ..settings.clone() }
}

/// The bytes of the next message of a queue, which stays where it is.
async fn bytes(settings: &Settings, queue: &str) -> Vec<u8> {
    let connection = bare(&settings.url).await;
    let channel = connection.create_channel().await.unwrap();
    let queue = format!("{}.{queue}", settings.prefix);
    let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap().unwrap();
    let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    got.delivery.acker.nack(back).await.unwrap();
    got.delivery.data.clone()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_secret_is_in_no_message() {
    let broker = Broker::new(Queues::Quorum).await;
    let settings = with(&broker.settings, "a");
    let (publisher, mut inbox) = scheduler(&settings).await.unwrap();
    publisher.publish(vec![secret_task()]).await.unwrap();
    let sent = bytes(&settings, "tasks.v1.light.interactive").await;
    assert!(holds(&sent, "shown") && !holds(&sent, PLAIN));
    let (mut consumer, answers) = worker(&settings, SLOTS).await.unwrap();
    let taken = next_task(&mut consumer).await;
    assert_eq!(taken.variables.sorted(), secret_task().variables.sorted());

    inbox.open(SHARD).await.unwrap();
    soon(inbox.receive(5)).await;
    inbox.settle().await;
    inbox.close(SHARD).await;
    answers.answer(SHARD, answer()).await.unwrap();
    let sent = bytes(&settings, "results.v1.3").await;
    assert!(holds(&sent, "shown") && !holds(&sent, PLAIN));
    inbox.open(SHARD).await.unwrap();
    let received = soon(inbox.receive(1)).await;
    let ([Delivery::Completed { completion, .. }], Delivery::Completed { completion: sent, .. }) =
        (&received[..], answer())
    else {
        panic!("{received:?}")
    };
    assert_eq!(completion.outcomes, sent.outcomes);
}

/// What was said of the failure that comes next.
async fn failure(inbox: &mut impl Inbox) -> String {
    let received = soon(inbox.receive(1)).await;
    let [Delivery::Completed { run, completion }] = &received[..] else { panic!("{received:?}") };
    assert_eq!((&**run, &completion.task), ("r", &secret_task().task));
    let error = completion.outcomes[0].outcome.as_ref().unwrap_err();
    assert_eq!(&*error.kind, "ValueUnavailable", "{error:?}");
    error.message.to_string()
}

#[tokio::test]
async fn secrets_that_nobody_can_open_are_answered_and_those_of_others_are_left_to_them() {
    // a queue that does not count: the second delivery is the last
    let broker = Broker::new(Queues::Classic).await;
    let (_publisher, mut inbox, keyless, answers) = broker.ends().await;
    // nobody can seal it here
    answers.answer(SHARD, answer()).await.unwrap();
    let received = soon(inbox.receive(1)).await;
    let [Delivery::Completed { completion, .. }] = &received[..] else { panic!("{received:?}") };
    let told = &completion.outcomes[0].outcome.as_ref().unwrap_err().message;
    assert!(told.contains("there is no key") && told.contains("set secrets.key"), "{told}");
    drop(keyless);

    let (publisher, _) = scheduler(&with(&broker.settings, "a")).await.unwrap();
    let (mut other, _) = worker(&with(&broker.settings, "b"), SLOTS).await.unwrap();
    publisher.publish(vec![secret_task()]).await.unwrap();
    tokio::select! {
        told = failure(&mut inbox) => {
            assert!(told.contains("sealed with key") && told.contains("secrets.old_keys"), "{told}");
        }
        work = other.next() => panic!("{work:?} was begun with a secret that is sealed"),
    }
    // an answer stands for a failure when the owner cannot open it
    let (_, answers) = worker(&with(&broker.settings, "a"), [0; 4]).await.unwrap();
    answers.answer(SHARD, answer()).await.unwrap();
    let told = failure(&mut inbox).await;
    assert!(told.contains("there is no key"), "{told}");
}
