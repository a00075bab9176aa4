//! What scheduler and workers say to each other.

use std::fmt;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Options, Returned, TaskId};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Completion, Fragment, Outcome};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;

use crate::waits::Waiting;

/// A slice of the runs that has one owner at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of a run, of so many. It is the same in every release: rows and queues lie by it.
    pub fn of(run: &str, count: u16) -> Self {
        // FNV-1a, with its bits stirred once more, for ids that differ in their last letters only
        let hash = run.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let stirred = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let shard = stirred % u64::from(count.max(1));
        Self(u16::try_from(shard).unwrap_or_default())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which plan of a document a run follows: what is compiled depends on more than the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanKey {
    /// The document's digest.
    pub workflow: Name,
    /// Whether sizes are limited as Dify limits them.
    pub dify_sizes: bool,
    /// The digest of the mocks that stand in for nodes, if there are any.
    pub mocks: Option<Name>,
}

impl PlanKey {
    /// The plan of a run.
    pub fn of(workflow: &Name, options: &Options) -> Self {
        Self {
            workflow: workflow.clone(),
            dify_sizes: options.dify_sizes,
            mocks: options.mocks.clone(),
        }
    }
}

/// One attempt of a fragment, for a worker.
#[derive(Clone, Debug)]
pub struct Task {
    /// Whose run it is.
    pub tenant: Name,
    /// The run.
    pub run: Name,
    /// The run's shard, whose inbox takes the answer.
    pub shard: Shard,
    /// The plan to load.
    pub plan: PlanKey,
    /// What it is.
    pub task: TaskId,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Which sending of this attempt, counted from 1.
    pub dispatch: u32,
    /// Its place among all that its shard published, counted from 1.
    pub number: u64,
    /// Which workers take it.
    pub class: TaskClass,
    /// What it asks for.
    pub fragment: Fragment,
    /// Whether the scheduler leaves nodes to workers that its core could evaluate itself: then it
    /// has to be told what became of them.
    pub is_fused: bool,
    /// All that is read by what it asks for, and made outside of it.
    pub variables: Variables,
    /// How long one attempt of a node may take.
    pub timeout: Duration,
    /// When its run decided that it goes out, by its scheduler's clock; None when nobody knows.
    pub sent_at: Option<Time>,
    /// The trace it belongs to, as W3C `traceparent`.
    pub trace: Option<Name>,
}

impl Task {
    /// Whether it is for one node and nothing else.
    pub fn is_of_one_node(&self) -> bool {
        matches!(&self.fragment, Fragment::Nodes(nodes) if nodes.len() == 1)
    }

    /// The answer that it cannot be done. Where it carries several nodes they go out one by one:
    /// the guilty one will say so, and the others are done.
    pub fn failed(self, error: NodeError, now: Time) -> Delivery {
        let is_of_one_node = self.is_of_one_node();
        let Self { run, task, attempt, dispatch, .. } = self;
        if !is_of_one_node {
            let reason = Returned::Suspected;
            return Delivery::Returned { run, task, attempt, dispatch, reason };
        }
        let outcome =
            Outcome { task, attempt, outcome: Err(error), started_at: now, elapsed_us: 0 };
        Delivery::Completed { run, completion: Completion::of(dispatch, outcome) }
    }
}

/// What arrives in a shard's inbox.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A worker answered.
    Completed {
        /// The run.
        run: Name,
        /// The answer.
        completion: Completion,
    },
    /// A task came back without an answer.
    Returned {
        /// The run.
        run: Name,
        /// The task.
        task: TaskId,
        /// The attempt it was sent for.
        attempt: u32,
        /// The sending that came back.
        dispatch: u32,
        /// Why.
        reason: Returned,
    },
    /// A row of the run was written that its owner should look at.
    Poke {
        /// The run.
        run: Name,
    },
    /// A worker says what it holds.
    Beat(Beat),
    /// The broker had no queue for a shard. If anything was sent for the shard, queues were lost, and
    /// with them whatever is held by nobody.
    Lost {
        /// The shard.
        shard: Shard,
    },
}

/// What a worker says of itself every few seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The worker's name, for people.
    pub worker: Name,
    /// When it began: a worker of the same name that began later is another one.
    pub began: Time,
    /// How many nodes of each class it runs at a time, light, code, http, llm.
    pub slots: [u16; 4],
    /// The numbers of the tasks it holds, by shard.
    pub held: Vec<(Shard, Vec<u64>)>,
    /// Those of them whose calls of models wait for a provider. Of releases that do not say it: none.
    pub waits: Vec<Waiting>,
}

/// What workers are told about tasks they may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Stop a task of a run, or all of them, at once; nobody waits for the answer.
    Drop {
        /// The run.
        run: Name,
        /// The task; all of the run's when None.
        task: Option<TaskId>,
        /// It concerns what its shard published with a lower number than this, also what has not
        /// reached a worker yet; what comes later is wanted.
        before: u64,
    },
    /// Begin nothing more of what tasks of a run carry, and answer: the run pauses.
    Halt {
        /// The run.
        run: Name,
        /// It concerns what its shard published with a lower number than this.
        before: u64,
    },
    /// Say at once what is held.
    Beat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_spread_over_shards_and_stay_there() {
        let mut counts = [0; 16];
        for number in 0..16_000 {
            counts[usize::from(Shard::of(&format!("run-{number}"), 16).0)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        // rows lie by these numbers: they never change
        let known = ["", "r", "019abcde-0000-7000-8000-000000000001"];
        assert_eq!(known.map(|run| Shard::of(run, 16).0), [4, 0, 4]);
        assert_eq!(Shard::of("r", 0), Shard(0));
    }
}
