//! What must hold of every run at every moment, each as a function that says what is wrong.
//!
//! Tests and the simulator call [`check`] after every input and [`check_facts`] over the facts of
//! a run. They look at everything and so cost as much as the run is large.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::MAX_RECORDS;
use crate::fact::{Event, Fact, FramePath, Kept, Status, TaskId, Then};
use crate::plan::{Plan, TaskClass};
use crate::time::Time;
use crate::value::Name;

use super::carry::Load;
use super::frame::{Container, Frame, FrameIx, NodeState, Place, State};
use super::{InFlight, Run};

/// Nothing, or what is wrong.
pub type Verdict = Result<(), String>;

/// All that must hold of a run between two inputs.
///
/// # Errors
/// Says which invariant is broken, and where.
pub fn check(run: &Run) -> Verdict {
    finished_asks_for_nothing(run)?;
    frames_lie_in_containers(run)?;
    fan_ins_agree(run)?;
    tasks_are_live(run)?;
    what_is_carried_has_a_task(run)?;
    counts_agree(run)?;
    unfinished_agrees(run)?;
    containers_keep_their_width(run)?;
    attempts_are_bounded(run)?;
    errors_are_in_order(run)
}

/// All that must hold of a run's facts.
///
/// # Errors
/// Says which invariant is broken, and by which fact.
pub fn check_facts(plan: &Plan, facts: &[Fact]) -> Verdict {
    facts_are_in_order(facts)?;
    adoptions_come_first(facts)?;
    sendings_happen_once(plan, facts)?;
    completions_happen_once(facts)
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// A run that has ended holds nothing open.
///
/// # Errors
/// Says what is still open.
pub fn finished_asks_for_nothing(run: &Run) -> Verdict {
    if run.outcome.is_none() {
        let ended = !matches!(run.status, Status::Running | Status::Paused);
        return ensure(!ended, || format!("{:?} without an outcome", run.status));
    }
    ensure(run.tasks.is_empty(), || format!("ended with tasks out: {:?}", run.tasks.keys()))?;
    ensure(run.waiting.is_empty(), || "ended but waits for a person".to_owned())?;
    let far = Time(u64::MAX);
    let ready = TaskClass::ALL.iter().any(|class| run.ready(*class, far) > 0);
    ensure(!ready, || "ended with nodes ready".to_owned())?;
    ensure(run.next_deadline(far).is_none(), || "ended with a deadline".to_owned())?;
    ensure(run.by_path.len() <= 1, || "ended with live passes".to_owned())
}

/// Every frame but the root is a pass of a container that is at work in a live frame.
///
/// # Errors
/// Names the frame.
pub fn frames_lie_in_containers(run: &Run) -> Verdict {
    for (index, frame) in frames(run) {
        let path = &frame.path;
        ensure(run.by_path.get(path) == Some(&index), || format!("{path:?} is not to be found"))?;
        let Some(parent) = frame.parent else {
            ensure(path.is_root(), || format!("{path:?} has no container"))?;
            continue;
        };
        let node = run.plan.node(parent.node);
        let outer =
            run.frame(parent.frame).ok_or_else(|| format!("{path:?} outlives its parent"))?;
        ensure(*path == outer.path.pass(&node.id, frame.index), || format!("{path:?} misnamed"))?;
        ensure(node.body == Some(frame.scope), || format!("{path:?} is of another scope"))?;
        let at_work = outer.container(parent.node).is_some();
        ensure(at_work, || format!("{path:?}: its container does not run"))?;
    }
    ensure(run.by_path.len() == frames(run).count(), || "paths without frames".to_owned())
}

/// What a node waits for agrees with its in-edges; it is taken only when all are decided and one
/// was taken, and skipped only when all were skipped.
///
/// # Errors
/// Names the node.
pub fn fan_ins_agree(run: &Run) -> Verdict {
    for (index, frame) in frames(run) {
        let scope = run.plan.scope(frame.scope);
        let mut edges: FxHashMap<_, Vec<State>> = FxHashMap::default();
        for (edge, state) in scope.edges.iter().zip(&frame.edges) {
            edges.entry(run.plan.edge(*edge).target).or_default().push(*state);
        }
        for (node, held) in scope.nodes.iter().zip(&frame.nodes) {
            let place = Place { frame: index, node: *node };
            let states = edges.remove(node).unwrap_or_default();
            let begins = scope.root == Ok(*node);
            let inactive = scope.inactive_roots.contains(node);
            let found = fan_in(held, &states, begins, inactive);
            found.map_err(|what| format!("{}: {what}", run.name(place)))?;
        }
    }
    Ok(())
}

fn fan_in(
    node: &NodeState,
    edges: &[State],
    begins: bool,
    inactive: bool,
) -> Result<(), &'static str> {
    let count = |state| edges.iter().filter(|held| **held == state).count();
    let (unknown, taken) = (count(State::Unknown), count(State::Taken));
    let holds = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    holds(node.undecided as usize == unknown, "counts its undecided edges wrongly")?;
    holds(node.entered == (taken > 0), "is wrong about having been entered")?;
    let resolved = unknown == 0 && taken > 0;
    let begun = node.state == State::Taken || node.started;
    holds(!begun || resolved || begins, "runs before its fan-in resolved")?;
    let skipped = node.state == State::Skipped;
    holds(!skipped || inactive || unknown + taken == 0, "is skipped but has a way in")?;
    let waits = node.state == State::Unknown && !node.started;
    holds(!waits || unknown > 0 || edges.is_empty() && !begins, "was forgotten")
}

/// Tasks that are out belong to nodes that wait for nothing else.
///
/// # Errors
/// Names the task.
pub fn tasks_are_live(run: &Run) -> Verdict {
    for (task, sent) in &run.tasks {
        let broken = |what: &str| format!("task {task:?}: {what}");
        let frame = run.frame(sent.place.frame).ok_or_else(|| broken("its frame is gone"))?;
        let node = frame.node(&run.plan, sent.place.node);
        ensure(node.generation == task.generation, || broken("is of another activation"))?;
        ensure(node.state == State::Taken, || broken("its node is not taken"))?;
        let Load::Nodes(nodes) = &sent.load else {
            let found = run.container_of(&task.frame);
            let Some((place, first)) = found else { return Err(broken("its passes are gone")) };
            ensure(place == sent.place, || broken("is of another container"))?;
            let chunk = frame.container(place.node).and_then(|held| held.chunks().holding(first));
            let Some(chunk) = chunk else { return Err(broken("its chunk is gone")) };
            let same = chunk.first == first && chunk.dispatch == sent.dispatch;
            ensure(same, || broken("is of another chunk"))?;
            continue;
        };
        let found = run.find(&task.frame, &task.node);
        ensure(found == Some(sent.place), || broken("its node is gone"))?;
        ensure(!nodes.is_empty(), || broken("carries nothing"))?;
        for index in nodes {
            let node = frame.node(&run.plan, *index);
            ensure(node.carrier == Some(sent.place.node), || broken("lost one of its nodes"))?;
        }
        if nodes.contains(&sent.place.node) {
            ensure(node.failures + 1 == sent.attempt, || broken("is of another attempt"))?;
            ensure(node.dispatches == sent.dispatch, || broken("is of another sending"))?;
        }
    }
    Ok(())
}

/// Whatever waits for the task that carries it has one that is out.
///
/// # Errors
/// Names the node, frame or container.
pub fn what_is_carried_has_a_task(run: &Run) -> Verdict {
    if run.outcome.is_some() || run.failure.is_some() || run.tripped.is_some() {
        return Ok(());
    }
    for place in run.queues.carried() {
        ensure(run.is_carried(place), || format!("{} is carried by nothing", run.name(place)))?;
    }
    for (index, frame) in frames(run) {
        for (node, held) in run.plan.scope(frame.scope).nodes.iter().zip(&frame.nodes) {
            let Some(head) = held.carrier else { continue };
            let place = Place { frame: index, node: *node };
            let of_it = |sent: &InFlight| match &sent.load {
                Load::Nodes(nodes) => nodes.contains(node),
                Load::Passes(..) => false,
            };
            let head = Place { frame: index, node: head };
            let is_out = run.tasks.values().any(|sent| sent.place == head && of_it(sent));
            ensure(is_out, || format!("{} lost its task", run.name(place)))?;
        }
        let inside = frame.parent.is_some_and(|parent| {
            let outer = run.frame(parent.frame);
            outer.is_some_and(|outer| {
                let chunks = outer.container(parent.node).map(Container::chunks);
                outer.is_carried || chunks.is_some_and(|held| held.holding(frame.index).is_some())
            })
        });
        let path = &frame.path;
        ensure(frame.is_carried == inside, || format!("{path:?} is wrong about being carried"))?;
        for (node, _) in &frame.containers {
            let place = Place { frame: index, node: *node };
            for task in run.chunk_tasks(place) {
                let is_out = run.tasks.contains_key(&task);
                ensure(is_out, || format!("passes of {} lost their task", run.name(place)))?;
            }
        }
    }
    Ok(())
}

/// Counters agree with what they count.
///
/// # Errors
/// Names the counter.
pub fn counts_agree(run: &Run) -> Verdict {
    for class in TaskClass::ALL {
        let out = run.tasks.values().filter(|sent| sent.class == class).count();
        ensure(run.in_flight(class) == out, || format!("{class:?} tasks are counted wrongly"))?;
    }
    let ended = run.outcome.is_some();
    let paused = run.status == Status::Paused;
    ensure(!paused || run.tasks.is_empty() || ended, || "paused with tasks out".to_owned())?;
    ensure(paused == run.paused_at.is_some() || ended, || "its clock is wrong".to_owned())
}

/// A frame's count of unfinished nodes is the number of nodes that wait, are out or are containers
/// at work; each is in one place only; frames without any are about to close.
///
/// # Errors
/// Names the frame or node.
pub fn unfinished_agrees(run: &Run) -> Verdict {
    if run.outcome.is_some() {
        return Ok(());
    }
    let mut open: FxHashMap<FrameIx, u32> = FxHashMap::default();
    let mut seen = FxHashSet::default();
    let containers = frames(run).flat_map(|(index, frame)| {
        let nodes = frame.containers.iter();
        nodes.map(move |(node, _)| Place { frame: index, node: *node })
    });
    let waiting = run.queues.waiting();
    let delayed = run.queues.delayed().map(|(_, _, place)| place);
    let deferred = run.queues.deferred().map(|(place, _)| place);
    let out = run.queues.carried();
    for place in waiting.chain(delayed).chain(deferred).chain(out).chain(containers) {
        ensure(seen.insert(place), || format!("{} waits in two places", run.name(place)))?;
        ensure(run.frame(place.frame).is_some(), || format!("{} is dead", run.name(place)))?;
        *open.entry(place.frame).or_default() += 1;
    }
    for (index, frame) in frames(run) {
        let count = open.get(&index).copied().unwrap_or(0);
        // a node that failed the run stays unfinished, and so do those of a run that fails
        let failing = run.failure.is_some();
        let agrees = frame.unfinished == count || failing;
        let path = &frame.path;
        ensure(agrees, || format!("{path:?}: {} unfinished, {count} open", frame.unfinished))?;
        let closing = run.queues.closings.contains(&index);
        let started = frame.unfinished == 0;
        ensure(closing == started || failing, || format!("{path:?} does not close"))?;
    }
    Ok(())
}

/// No container has more passes open than its width, and it knows how many.
///
/// # Errors
/// Names the container.
pub fn containers_keep_their_width(run: &Run) -> Verdict {
    if run.outcome.is_some() {
        return Ok(());
    }
    let mut open: FxHashMap<Place, u32> = FxHashMap::default();
    for parent in frames(run).filter_map(|(_, frame)| frame.parent) {
        *open.entry(parent).or_default() += 1;
    }
    for (index, frame) in frames(run) {
        for (node, container) in &frame.containers {
            let place = Place { frame: index, node: *node };
            let passes = open.get(&place).copied().unwrap_or(0);
            let counted = match container {
                Container::Iteration(state) => state.open,
                Container::Loop(state) => u32::from(state.open),
            };
            let name = || run.name(place);
            ensure(counted == passes, || format!("{}: {counted} counted, {passes} open", name()))?;
            ensure(passes <= run.width(place), || format!("{}: too many passes", name()))?;
            let wide = container.chunks().lanes_taken(passes);
            ensure(wide <= run.width(place), || format!("{}: too many lanes", name()))?;
            let queued = run.queues.containers.contains(&place);
            ensure(queued || !run.can_act(place), || format!("{} was forgotten", name()))?;
        }
    }
    Ok(())
}

/// No node fails more often than its retries allow.
///
/// # Errors
/// Names the node.
pub fn attempts_are_bounded(run: &Run) -> Verdict {
    for (index, frame) in frames(run) {
        for (node, held) in run.plan.scope(frame.scope).nodes.iter().zip(&frame.nodes) {
            let most = run.plan.node(*node).retry.max_retries.saturating_add(1);
            let place = Place { frame: index, node: *node };
            ensure(held.failures <= most, || format!("{} failed too often", run.name(place)))?;
        }
    }
    Ok(())
}

/// An error's cause was remembered before it, and no more are remembered than may be.
///
/// # Errors
/// Names the error.
pub fn errors_are_in_order(run: &Run) -> Verdict {
    ensure(run.errors.len() <= MAX_RECORDS, || "too many errors remembered".to_owned())?;
    for (position, error) in run.errors.iter().enumerate() {
        let earlier = error.caused_by.is_none_or(|cause| (cause as usize) < position);
        ensure(earlier, || format!("error {position} was caused by a later one"))?;
    }
    let counted = run.errors.len() as u64 + run.errors_omitted;
    ensure(counted == run.exceptions, || "errors and exceptions differ".to_owned())
}

/// Facts are numbered without gaps; the first begins the run and nothing follows its end.
///
/// # Errors
/// Names the fact.
pub fn facts_are_in_order(facts: &[Fact]) -> Verdict {
    for (position, fact) in facts.iter().enumerate() {
        let number = position as u64 + 1;
        ensure(fact.seq == number, || format!("fact {} stands at {number}", fact.seq))?;
        let begins = matches!(fact.event, Event::RunStarted(_));
        ensure(begins == (position == 0), || format!("fact {number} begins a run"))?;
        let ends = matches!(fact.event, Event::RunFinished(_));
        let last = position + 1 == facts.len();
        ensure(!ends || last, || format!("something follows the end, fact {number}"))?;
    }
    Ok(())
}

/// What is taken over from an earlier run is taken over before anything happens, from the run
/// that the beginning names, and is never sent to a worker.
///
/// # Errors
/// Names the fact or the node.
pub fn adoptions_come_first(facts: &[Fact]) -> Verdict {
    let mut from = None;
    let mut is_over = false;
    let mut adopted = FxHashSet::default();
    for fact in facts {
        match &fact.event {
            Event::RunStarted(started) => from = started.rerun_of.as_ref(),
            Event::Adopted(taken) => {
                let number = fact.seq;
                ensure(!is_over, || format!("fact {number} takes something over too late"))?;
                let named = from == Some(&taken.from);
                ensure(named, || format!("fact {number} takes over from another run"))?;
                if let Kept::Outcome(_) = taken.kept {
                    adopted.insert((&taken.frame, &taken.node));
                }
            }
            Event::TaskDispatched(sent) => {
                is_over = true;
                let fresh = !adopted.contains(&(&sent.task.frame, &sent.task.node));
                ensure(fresh, || format!("task {:?} was taken over and is sent", sent.task))?;
            }
            _ => is_over = true,
        }
    }
    Ok(())
}

/// No sending is repeated, none is beyond what retries allow, and a retry waits for its time.
///
/// # Errors
/// Names the task.
pub fn sendings_happen_once(plan: &Plan, facts: &[Fact]) -> Verdict {
    let mut sent = FxHashSet::default();
    let mut not_before: FxHashMap<&TaskId, Time> = FxHashMap::default();
    let mut retry_at: FxHashMap<(&FramePath, &Name), Time> = FxHashMap::default();
    for fact in facts {
        match &fact.event {
            Event::TaskDispatched(task) => {
                let broken = |what: &str| format!("task {:?}: {what}", task.task);
                let fresh = sent.insert((&task.task, task.attempt, task.dispatch));
                ensure(fresh, || broken("was sent twice"))?;
                let retries = plan
                    .find(&task.task.node)
                    .map_or(0, |index| plan.node(index).retry.max_retries);
                ensure(task.attempt <= retries.saturating_add(1), || {
                    broken("has no attempts left")
                })?;
                let waits = not_before.remove(&task.task);
                let waits = waits.max(retry_at.remove(&(&task.task.frame, &task.task.node)));
                ensure(waits <= Some(fact.at), || broken("was sent before its time"))?;
            }
            Event::TaskReturned { task, not_before: Some(at), .. } => {
                not_before.insert(task, *at);
            }
            Event::NodeFailed(failed) => {
                if let Then::RetryAt(at) = failed.then {
                    retry_at.insert((&failed.frame, &failed.node), at);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A node succeeds or fails for good once per frame, and fails once per attempt.
///
/// # Errors
/// Names the node.
pub fn completions_happen_once(facts: &[Fact]) -> Verdict {
    let mut done = FxHashSet::default();
    let mut failed = FxHashSet::default();
    let mut frames = FxHashSet::default();
    for fact in facts {
        let (frame, node) = match &fact.event {
            Event::NodeSucceeded(node) => (&node.frame, &node.node),
            Event::Adopted(node) => match node.kept {
                Kept::Outcome(_) => (&node.frame, &node.node),
                Kept::Elements(_) | Kept::Rounds { .. } => continue,
            },
            Event::NodeFailed(node) => {
                let fresh = failed.insert((&node.frame, &node.node, node.attempt));
                ensure(fresh, || {
                    format!("attempt {} of {} failed twice", node.attempt, node.node)
                })?;
                if matches!(node.then, Then::RetryAt(_)) {
                    continue;
                }
                (&node.frame, &node.node)
            }
            Event::FrameOpened { frame, .. } => {
                ensure(frames.insert(frame), || format!("{frame} opened twice"))?;
                continue;
            }
            _ => continue,
        };
        ensure(done.insert((frame, node)), || format!("{node} at {frame:?} ended twice"))?;
    }
    Ok(())
}

fn frames(run: &Run) -> impl Iterator<Item = (FrameIx, &Frame)> {
    let indexed = run.frames.iter().zip(0_u32..);
    indexed.filter_map(|(frame, index)| Some((FrameIx(index), frame.as_ref()?)))
}
