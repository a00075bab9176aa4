//! Messages and rows that nobody can use: they move their run, or concern it alone.

use std::time::Duration;

use flowmill_engine::fact::{Options, Reason, Status};
use flowmill_infra::broker::{Receipt as _, TaskConsumer as _, Work};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};

use super::runs::shout;
use super::support::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_can_finish_fails_its_node() {
    let cluster = Cluster::new("poison").await;
    let owner = cluster.owner("owner").await;
    let plan = cluster.push(&shout()).await;
    let run = cluster.submit(&plan, &[("who", "ada".into())]).await;
    // it is lost over and over, before a worker could say so
    let mut consumer = cluster.consumer().await;
    let losing = async {
        while let Some(work) = consumer.next().await {
            if let Work::Task(_, receipt) = work {
                receipt.release().await;
            }
        }
    };
    let ended = tokio::select! {
        ended = cluster.end(&run) => ended,
        () = losing => panic!("the broker is gone"),
    };
    assert_eq!((ended.status, &ended.errors[..]), (Status::Failed, &["Poisoned".to_owned()][..]));
    let error = ended.error.unwrap();
    assert!(error.contains("delivered 21 times without an answer"), "{error}");
    assert_eq!((ended.attempts["c"], ended.returned), (1, 0));
    drop(consumer);
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_is_parked_and_the_rest_goes_on() {
    let cluster = Cluster::new("garbage").await;
    let owner = cluster.owner("owner").await;
    let hand = cluster.hand("hand").await;
    // the owner makes its inboxes once it has its shards: a first run says that it has
    let plan = cluster.push(&shout()).await;
    let first = cluster.submit(&plan, &[("who", "eve".into())]).await;
    cluster.end(&first).await;
    let (connection, channel, queue) = cluster.outside("code").await;
    let results = queue.as_str().replace("tasks.v1.code.interactive", "results.v1.0");
    for queue in [queue, results.as_str().into()] {
        let (options, nothing) = (BasicPublishOptions::default(), BasicProperties::default());
        let put = channel.basic_publish("".into(), queue, options, b"{\"not\": \"ours\"}", nothing);
        put.await.unwrap().await.unwrap();
    }
    cluster.until("both letters", async || cluster.parked("it begins with").await == 2).await;
    let run = cluster.submit(&plan, &[("who", "ada".into())]).await;
    assert_eq!(cluster.end(&run).await.outputs["says"], "ADA");
    connection.close(200, "done".into()).await.unwrap();
    hand.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_a_queue_waits_until_there_is_one() {
    let cluster = Cluster::new("routes").await;
    let owner = cluster.owner("owner").await;
    let (connection, channel, queue) = cluster.outside("code").await;
    let delete = async || {
        let deleted = channel.queue_delete(queue.clone(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    };
    let plan = cluster.push(&shout()).await;
    // whoever connects makes queues: a first run, so that everybody has connected before
    let early = cluster.hand("early").await;
    let first = cluster.submit(&plan, &[("who", "eve".into())]).await;
    cluster.end(&first).await;
    early.stop().await;
    delete().await;
    let run = cluster.submit(&plan, &[("who", "ada".into())]).await;
    cluster.until("its return", async || cluster.returned(&run).await > 0).await;
    // one that nobody ever takes ends by its deadline
    delete().await;
    let options = Options { deadline_ms: Some(2000), ..Options::default() };
    let short = cluster.submit_with(&plan, &[("who", "bob".into())], options).await;
    let ended = cluster.end(&short).await;
    assert_eq!((ended.status, ended.reason), (Status::Stopped, Some(Reason::Deadline)));
    let hand = cluster.hand("hand").await;
    let ended = cluster.end(&run).await;
    assert_eq!((ended.status, &*ended.outputs["says"]), (Status::Succeeded, "ADA"));
    assert!(ended.returned <= 3, "it came back {} times", ended.returned);
    connection.close(200, "done".into()).await.unwrap();
    hand.stop().await;
    owner.stop().await;
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_go_on_ends_and_no_other() {
    let cluster = Cluster::new("broken").await;
    let plan = cluster.push(&shout()).await;
    let nonsense = cluster.push("kind: [").await;
    let bad = cluster.submit(&nonsense, &[]).await;
    let torn = cluster.submit(&plan, &[("who", "torn".into())]).await;
    let fine = cluster.submit(&plan, &[("who", "ada".into())]).await;
    let late = cluster.submit_until(&plan, Duration::ZERO).await;
    let owner = cluster.owner("owner").await;
    cluster.until("a task", async || cluster.status(&torn).await == Some(Status::Running)).await;
    owner.stop().await;
    // behind everybody's back, while nobody has it in hand
    cluster.meddle("UPDATE journal SET facts = left(facts, 20) WHERE run = $1", &torn).await;
    cluster.meddle("UPDATE runs SET wake_at = 0 WHERE run = $1", &torn).await;
    let (owner, hand) = (cluster.owner("heir").await, cluster.hand("hand").await);
    assert_eq!(cluster.end(&fine).await.outputs["says"], "ADA");
    let ended = cluster.end(&bad).await;
    assert_eq!((ended.status, ended.reason), (Status::Failed, Some(Reason::Internal)));
    assert!(ended.error.unwrap().starts_with("internal error: the workflow cannot run"));
    let ended = cluster.end(&late).await;
    assert_eq!((ended.status, ended.reason), (Status::Stopped, Some(Reason::Deadline)));
    cluster
        .until("the torn one's end", async || cluster.status(&torn).await == Some(Status::Failed))
        .await;
    hand.stop().await;
    owner.stop().await;
    cluster.leave().await;
}
