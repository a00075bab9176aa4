//! Steps of a long node: whoever goes on in place of a lost worker is given those that were done.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::plan::Success;
use flowmill_engine::plan::TaskClass::Llm;
use flowmill_engine::run::Outcome;
use flowmill_engine::value::Value;
use flowmill_infra::broker::TaskPublisher as _;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, is_step};

use super::cluster::{Memory, remembering_in};
use super::support::{Nodes, ONE_EACH, done};

/// A node of three steps of a second each, which notes the steps that it does.
fn three_steps(seen: &Arc<Mutex<Vec<usize>>>) -> Nodes {
    let seen = seen.clone();
    let nodes = Nodes::default().with("n", move |context| {
        let seen = seen.clone();
        async move {
            for step in 1..=3 {
                let make = async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    seen.lock().unwrap().push(step);
                    Ok(Value::int(i64::try_from(step).unwrap()))
                };
                let given = context.step(&format!("step {step}"), make).await?;
                assert_eq!(given, Value::int(i64::try_from(step).unwrap()));
            }
            done()
        }
    });
    nodes.costly()
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_done_is_not_done_again() {
    let (memory, seen) = (Memory::default(), Arc::new(Mutex::new(Vec::new())));
    let mut lost = remembering_in(ONE_EACH, three_steps(&seen), &memory);
    let task = lost.send("r", "n", Llm).await;
    // it dies in the third step
    tokio::time::sleep(Duration::from_millis(2500)).await;
    lost.worker.abort();
    assert_eq!(*seen.lock().unwrap(), [1, 2]);
    drop(lost);

    let mut other = remembering_in(ONE_EACH, three_steps(&seen), &memory);
    let mut again = task;
    again.dispatch = 2;
    other.publisher.publish(vec![again]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(other.answer().await.unwrap().1.outcomes[0].outcome, done());
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
    let kept = memory.kept.lock().unwrap();
    assert_eq!(kept.iter().filter(|kept| is_step(&kept.key.task)).count(), 3);
    assert_eq!(kept.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn another_attempt_does_its_steps_itself() {
    let (memory, seen) = (Memory::default(), Arc::new(Mutex::new(Vec::new())));
    let mut world = remembering_in(ONE_EACH, three_steps(&seen), &memory);
    let mut task = world.send("r", "n", Llm).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.answer().await.unwrap();
    (task.attempt, task.dispatch) = (2, 2);
    world.publisher.publish(vec![task]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.answer().await.unwrap().1.attempt, 2);
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn one_that_stood_still_looks_before_it_does_the_next_step() {
    let (memory, seen) = (Memory::default(), Arc::new(Mutex::new(Vec::new())));
    let mut frozen = remembering_in(ONE_EACH, three_steps(&seen), &memory);
    let mut task = frozen.task("r", "n", Llm);
    task.timeout = Duration::from_mins(10);
    frozen.publisher.publish(vec![task.clone()]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(*seen.lock().unwrap(), [1]);
    // others have done the third step by the time it goes on
    let first = memory.kept.lock().unwrap()[0].clone();
    let key = CheckpointKey { task: task.task.clone(), ..first.key }.step("step 3");
    let outcome = Ok(Success::of([("done".into(), Value::int(3))]));
    let outcome = Outcome { task: key.task.clone(), outcome, ..first.outcome };
    memory.kept.lock().unwrap().push(Checkpoint { key, outcome });
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(frozen.answer().await.unwrap().1.outcomes[0].outcome, done());
    // the second was under way when it stood still
    assert_eq!(*seen.lock().unwrap(), [1, 2]);
}
