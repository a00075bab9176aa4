//! What a worker does with tasks, words, nodes that misbehave, and text on the way.

mod claims;
mod cluster;
mod fragments;
mod steps;
mod support;

use std::time::Duration;

use flowmill_engine::error::ErrorClass;
use flowmill_engine::plan::TaskClass::{self, Code, Http, Light, Llm};
use flowmill_infra::broker::TaskPublisher;
use flowmill_infra::live::Event;
use flowmill_infra::memory::Watcher;
use flowmill_infra::message::Delivery;
use flowmill_worker::Slots;

use support::{Count, Nodes, ONE_EACH, World, done, quiet};

/// A node that is alive for so long.
fn slow(nodes: Nodes, name: &str, alive: &Count, wait: Duration) -> Nodes {
    let alive = alive.clone();
    nodes.with(name, move |_| {
        let alive = alive.clone();
        async move {
            let _alive = alive.enter();
            tokio::time::sleep(wait).await;
            done()
        }
    })
}

const LONG: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_task_is_executed_and_answered() {
    let nodes = Nodes::default().with("n", |context| async move {
        assert_eq!((context.attempt, context.timeout), (3, Duration::from_secs(10)));
        tokio::time::sleep(Duration::from_secs(2)).await;
        done()
    });
    let mut world = World::new(ONE_EACH, nodes);
    let mut task = world.task("r", "n", Light);
    (task.attempt, task.dispatch) = (3, 2);
    world.publisher.publish(vec![task.clone()]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (run, completion) = world.answer().await.unwrap();
    assert_eq!((&run, &completion.task), (&task.run, &task.task));
    assert_eq!((completion.attempt, completion.dispatch), (3, 2));
    assert_eq!(completion.outcomes[0].outcome, done());
    assert!((2_000_000..2_010_000).contains(&completion.outcomes[0].elapsed_us));
}

#[tokio::test(start_paused = true)]
async fn no_more_nodes_run_than_there_are_slots_of_their_class() {
    let slots = Slots { light: 1, code: 2, http: 3, llm: 4 };
    let classes = [Light, Code, Http, Llm];
    let counts = classes.map(|_| Count::default());
    let mut nodes = Nodes::default();
    for (class, count) in classes.iter().zip(&counts) {
        nodes = slow(nodes, &format!("{class:?}"), count, LONG);
    }
    let mut world = World::new(slots, nodes);
    for _ in 0..10 {
        for class in classes {
            world.send("r", &format!("{class:?}"), class).await;
        }
    }
    // those that wait in one class are not in the way of another
    assert_eq!(counts.each_ref().map(Count::get), [1, 2, 3, 4]);
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (class, count) in classes.iter().zip(&counts) {
            assert!(count.get() <= slots.of(*class));
        }
    }
    let mut answers = 0;
    while world.answer().await.is_some() {
        answers += 1;
    }
    assert_eq!(answers, 40);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_panics_fails_and_nothing_else_does() {
    let nodes = Nodes::default()
        .with("panics", |_| async { panic!("a fault of the node") })
        .with("panics-later", |_| async {
            tokio::task::yield_now().await;
            std::panic::panic_any(7)
        })
        .with("n", |_| async { done() })
        .with_crash("panics-at-once");
    let mut world = World::new(ONE_EACH, nodes);
    for (node, says) in [
        ("panics", "the node crashed: a fault of the node"),
        ("panics-later", "the node crashed: no message"),
        ("panics-at-once", "the node crashed: at once"),
    ] {
        world.send("r", node, Light).await;
        let error = world.answer().await.expect(node).1.outcomes[0].outcome.clone().unwrap_err();
        assert_eq!((&*error.message, error.class), (says, ErrorClass::Internal));
    }
    let mut task = world.task("r", "n", Light);
    task.plan.workflow = "poisoned".into();
    world.publisher.publish(vec![task]).await.unwrap();
    assert_eq!(
        world.answer().await.unwrap().1.outcomes[0].outcome.clone().unwrap_err().class,
        ErrorClass::Internal
    );
    world.send("r", "n", Light).await;
    assert_eq!(world.answer().await.unwrap().1.outcomes[0].outcome, done());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_ends_runs_out_of_time() {
    let nodes =
        Nodes::default().with("never", |_| std::future::pending()).with("n", |_| async { done() });
    let mut world = World::new(ONE_EACH, nodes);
    world.send("r", "never", Light).await;
    world.send("r", "n", Light).await;
    assert!(world.answer().await.is_none(), "there is one slot");
    tokio::time::sleep(Duration::from_millis(10_002)).await;
    let answers = [world.answer().await.unwrap().1, world.answer().await.unwrap().1];
    let (never, n) = if &*answers[0].task.node == "n" { (1, 0) } else { (0, 1) };
    let error = answers[never].outcomes[0].outcome.clone().unwrap_err();
    assert_eq!((&*error.kind, error.class), ("Timeout", ErrorClass::Timeout));
    assert_eq!(&*error.message, "no result within 10s");
    assert_eq!(answers[n].outcomes[0].outcome, done(), "its slot is free");
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_cannot_be_loaded_is_an_error() {
    let mut world = World::new(ONE_EACH, Nodes::default());
    world.send("r", "nothing", Light).await;
    let error = world.answer().await.unwrap().1.outcomes[0].outcome.clone().unwrap_err();
    assert_eq!(error.class, ErrorClass::Internal);
    assert_eq!(&*error.message, "this worker cannot load the workflow");
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_ends_at_once_and_is_not_answered() {
    let alive = Count::default();
    let nodes = slow(Nodes::default(), "n", &alive, LONG);
    let nodes = slow(nodes, "m", &alive, LONG);
    let mut world = World::new(Slots { light: 4, ..ONE_EACH }, nodes);
    let n = world.send("one", "n", Light).await;
    world.send("one", "m", Light).await;
    world.send("two", "n", Light).await;
    world.send("two", "m", Light).await;
    world.send("three", "n", Light).await;
    assert_eq!(alive.get(), 4);
    // one that waits for a slot
    world.drop_tasks("three", None).await;
    world.drop_tasks("one", Some(&n)).await;
    assert_eq!(alive.get(), 3);
    world.drop_tasks("two", None).await;
    assert_eq!(alive.get(), 1);
    world.drop_tasks("nobody", None).await;
    tokio::time::sleep(LONG * 2).await;
    let (run, completion) = world.answer().await.unwrap();
    assert_eq!((&*run, &*completion.task.node), ("one", "m"));
    assert!(world.answer().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_drop_reaches_what_is_still_on_its_way_and_nothing_later() {
    let alive = Count::default();
    let mut world = World::new(ONE_EACH, slow(Nodes::default(), "n", &alive, LONG));
    let late = [world.task("r", "n", Light), world.task("other", "n", Llm)];
    let control = flowmill_infra::message::Control::Drop {
        run: "r".into(),
        task: Some(late[0].task.clone()),
        before: late[1].number + 1,
    };
    world.publisher.control(control).await.unwrap();
    world.publisher.publish(late.to_vec()).await.unwrap();
    quiet().await;
    assert_eq!(alive.get(), 1, "only the other run's");
    // the same task once more, as its next attempt
    world.send("r", "n", Light).await;
    assert_eq!(alive.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_follows_at_once_can_still_be_dropped() {
    let alive = Count::default();
    let nodes = slow(Nodes::default(), "n", &alive, LONG);
    let nodes = nodes.with("fails", |_| async { done() });
    let mut world = World::new(Slots { light: 9, ..ONE_EACH }, nodes);
    // two attempts of one task are held, however that came about
    let first = world.send("r", "n", Light).await;
    world.drop_tasks("r", Some(&first)).await;
    for _ in 0..3 {
        world.send("r", "n", Light).await;
    }
    assert_eq!(alive.get(), 3);
    world.drop_tasks("r", None).await;
    assert_eq!(alive.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_tasks_at_once_are_all_answered_once() {
    const TASKS: u32 = 3000;
    let nodes = Nodes::default().with("n", |_| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        done()
    });
    let mut world = World::new(Slots { light: 50, code: 50, http: 50, llm: 50 }, nodes);
    let classes = [Light, Code, Http, Llm];
    let mut tasks = Vec::new();
    for generation in 0..TASKS {
        let class: TaskClass = classes[generation as usize % 4];
        let mut task = world.task("r", "n", class);
        task.task.generation = generation;
        tasks.push(task);
    }
    world.publisher.publish(tasks).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < TASKS as usize {
        match flowmill_infra::broker::Inbox::receive(&mut world.inbox, 1).await.pop() {
            Some(Delivery::Completed { completion, .. }) => {
                assert!(seen.insert(completion.task.generation), "answered twice");
            }
            other => panic!("{other:?} instead of an answer"),
        }
    }
    assert!(world.answer().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_are_given_in_the_order_in_which_tasks_came() {
    const TASKS: u32 = 500;
    let mut world = World::new(ONE_EACH, Nodes::default().with("n", |_| async { done() }));
    let mut tasks = Vec::new();
    for generation in 0..TASKS {
        let mut task = world.task("r", "n", Light);
        task.task.generation = generation;
        tasks.push(task);
    }
    world.publisher.publish(tasks).await.unwrap();
    let mut began = std::collections::BTreeMap::new();
    while began.len() < TASKS as usize {
        match flowmill_infra::broker::Inbox::receive(&mut world.inbox, 1).await.pop() {
            Some(Delivery::Completed { completion, .. }) => {
                began.insert(completion.task.generation, completion.outcomes[0].started_at);
            }
            other => panic!("{other:?} instead of an answer"),
        }
    }
    assert!(began.values().is_sorted(), "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn when_the_broker_closes_it_finishes_what_it_holds() {
    let alive = Count::default();
    let mut world = World::new(ONE_EACH, slow(Nodes::default(), "n", &alive, LONG));
    for _ in 0..2 {
        world.send("r", "n", Light).await;
    }
    let last = world.task("r", "n", Llm);
    world.publisher.publish(vec![last]).await.unwrap();
    let World { publisher, mut inbox, worker, .. } = world;
    drop(publisher);
    let mut answers = 0;
    while !flowmill_infra::broker::Inbox::receive(&mut inbox, 1).await.is_empty() {
        answers += 1;
    }
    assert_eq!(answers, 3, "also what had not reached it yet");
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_scheduler_it_ends() {
    let alive = Count::default();
    let mut world = World::new(ONE_EACH, slow(Nodes::default(), "n", &alive, LONG));
    world.send("r", "n", Light).await;
    let World { publisher, inbox, worker, .. } = world;
    drop((publisher, inbox));
    worker.await.unwrap();
    assert_eq!(alive.get(), 0);
}

fn shown(event: &Event) -> String {
    match event {
        Event::Chunk { frame, node, generation, attempt, output, offset, text, is_final } => {
            assert_eq!((*generation, *attempt), (1, 1));
            let end = if *is_final { "." } else { "" };
            format!("{frame}{node}.{output}@{offset}:{text}{end}")
        }
        Event::Facts(_) => panic!("a worker makes no facts"),
    }
}

fn all(watcher: &mut Watcher) -> Vec<String> {
    std::iter::from_fn(|| watcher.try_next()).map(|event| shown(&event)).collect()
}

#[tokio::test(start_paused = true)]
async fn text_is_shown_in_order_and_before_the_answer() {
    let nodes = Nodes::default().with("llm", |context| async move {
        context.chunk("text", "a");
        context.chunk("text", "b");
        tokio::time::sleep(Duration::from_secs(1)).await;
        context.chunk("thoughts", "c");
        context.chunk("text", "d");
        done()
    });
    let mut world = World::new(ONE_EACH, nodes);
    let mut watcher = world.live.watch("r".into());
    let mut other = world.live.watch("other".into());
    world.send("r", "llm", Llm).await;
    assert_eq!(all(&mut watcher), ["llm.text@0:a", "llm.text@1:b"], "as it is produced");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.answer().await.is_some());
    let rest = ["llm.thoughts@0:c", "llm.text@2:d", "llm.text@3:.", "llm.thoughts@1:."];
    assert_eq!(all(&mut watcher), rest);
    assert!(all(&mut other).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_take_it_holds_the_answer_but_not_the_node() {
    const PIECES: usize = 100_000;
    let alive = Count::default();
    let nodes = Nodes::default().with("llm", {
        let alive = alive.clone();
        move |context| {
            let alive = alive.enter();
            async move {
                (0..PIECES).for_each(|piece| context.chunk("text", &piece.to_string()));
                drop(alive);
                done()
            }
        }
    });
    let mut world = World::new(ONE_EACH, nodes.with("n", |_| async { done() }));
    let mut watcher = world.live.watch("r".into());
    world.send("r", "llm", Llm).await;
    assert_eq!(alive.get(), 0);
    world.send("other", "n", Llm).await;
    assert_eq!(&*world.answer().await.expect("the slot is free").0, "other");
    // what is shown is the beginning of the text, without a hole
    let (mut next, mut bytes) = (0, 0);
    loop {
        match watcher.next().await.unwrap() {
            Event::Chunk { is_final: true, .. } => break,
            event => assert_eq!(shown(&event), format!("llm.text@{bytes}:{next}")),
        }
        bytes += next.to_string().len();
        next += 1;
    }
    assert!(next > 100 && next < PIECES, "{next} pieces were kept for nobody");
    assert_eq!(&*world.answer().await.unwrap().0, "r");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_goes_away_holds_nothing() {
    let nodes = Nodes::default().with("llm", |context| async move {
        for piece in 0..5000 {
            context.chunk("text", &piece.to_string());
            tokio::task::yield_now().await;
        }
        done()
    });
    let mut world = World::new(ONE_EACH, nodes);
    let watcher = world.live.watch("r".into());
    world.send("r", "llm", Llm).await;
    drop(watcher);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.answer().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_dropped_shows_nothing_more() {
    let nodes = Nodes::default().with("llm", |context| async move {
        loop {
            context.chunk("text", "x");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut world = World::new(ONE_EACH, nodes);
    let mut watcher = world.live.watch("r".into());
    world.send("r", "llm", Llm).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    world.drop_tasks("r", None).await;
    assert_eq!(all(&mut watcher).len(), 3);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(all(&mut watcher).is_empty());
}
