//! A worker as the core sees it: it drives the core of its fragment and answers by pieces.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Dispatch, Returned, TaskDispatched, TaskId};
use flowmill_engine::plan::{Behaviour, Evaluation, Plan, Success, TaskClass};
use flowmill_engine::run::{Completion, End, Input, LANE_WAIT_MS, Outcome, Run, Seed};
use flowmill_engine::time::Time;
use flowmill_engine::value::Value;

/// How a worker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// It does all it can.
    Steady,
    /// It answers by any pieces and gives back at any boundary.
    Wild,
}

pub(crate) struct Hand {
    core: Run,
    sent: TaskDispatched,
    /// Whether inline nodes are reported too.
    is_fused: bool,
    /// What was not said yet.
    outcomes: VecDeque<Outcome>,
    gives_back: bool,
}

impl Hand {
    pub(crate) fn take(
        plan: &Arc<Plan>,
        sent: &TaskDispatched,
        seed: Seed,
        dispatch: Dispatch,
        now: Time,
    ) -> Self {
        Self {
            core: Run::fragment(plan.clone(), seed, now).unwrap(),
            sent: sent.clone(),
            is_fused: dispatch.is_left_to_workers(),
            outcomes: VecDeque::new(),
            gives_back: false,
        }
    }

    pub(crate) fn sending(&self) -> (TaskId, u32, u32) {
        (self.sent.task.clone(), self.sent.attempt, self.sent.dispatch)
    }

    /// Does some more, and says some of it.
    pub(crate) fn go_on(&mut self, now: &mut Time, choice: usize, temper: Temper) -> Completion {
        let steps = if temper == Temper::Wild { choice % 7 } else { usize::MAX };
        let mut is_done = false;
        for step in 0..steps {
            if !self.step(now, choice + step) {
                is_done = true;
                break;
            }
        }
        self.gives_back |= temper == Temper::Wild && choice.is_multiple_of(23);
        let count = match temper {
            Temper::Wild => self.outcomes.len().min(choice / 2 % 5),
            Temper::Steady => self.outcomes.len(),
        };
        let outcomes: Vec<Outcome> = self.outcomes.drain(..count).collect();
        let end = match (is_done && self.outcomes.is_empty(), self.gives_back) {
            (_, true) => End::Returned(Returned::HandedBack),
            (true, false) => End::Done,
            (false, false) => End::More,
        };
        let (task, attempt, dispatch) = self.sending();
        Completion { task, attempt, dispatch, outcomes, end }
    }

    /// Does one thing. False when there is nothing left to do here.
    fn step(&mut self, now: &mut Time, choice: usize) -> bool {
        let facts = self.core.apply(*now, Input::Tick).unwrap();
        self.note(&facts);
        let out: Vec<(TaskId, u32, u32)> = self
            .core
            .outstanding()
            .map(|sent| (sent.task.clone(), sent.attempt, sent.dispatch))
            .collect();
        let ready = TaskClass::ALL.into_iter().find(|class| self.core.ready(*class, *now) > 0);
        if let Some(class) = ready.filter(|_| out.is_empty() || choice.is_multiple_of(2)) {
            let grant = Input::Grant { class, count: choice % 3 + 1, number: 0, workers: 1 };
            let facts = self.core.apply(*now, grant).unwrap();
            self.note(&facts);
            return true;
        }
        if !out.is_empty() {
            let (task, attempt, dispatch) = out[choice % out.len()].clone();
            let outcome = self.answer(&task, attempt);
            let outcome = Outcome { task, attempt, outcome, started_at: *now, elapsed_us: 7 };
            if !self.is_fused {
                self.outcomes.push_back(outcome.clone());
            }
            let completion = Completion::of(dispatch, outcome);
            let facts = self.core.apply(*now, Input::Completed(completion)).unwrap();
            self.note(&facts);
            return true;
        }
        match self.core.next_deadline(*now) {
            Some((at, _)) if !self.core.is_over() && at.since(*now) <= lane_wait() => {
                *now = at;
                true
            }
            _ => false,
        }
    }

    fn note(&mut self, facts: &[flowmill_engine::fact::Fact]) {
        if self.is_fused {
            self.outcomes.extend(self.core.outcomes(facts));
        }
    }

    fn answer(&self, task: &TaskId, attempt: u32) -> Result<Success, NodeError> {
        let plan = self.core.plan();
        let node = plan.node(plan.find(&task.node).unwrap());
        if let Behaviour::Inline(inline) = &node.behaviour {
            let variables = self.core.seed_of(task).unwrap().variables;
            match inline.run(&variables) {
                Evaluation::Succeeded(success) => return Ok(success),
                Evaluation::Failed(error) => return Err(error),
                Evaluation::NotInline => {}
            }
        }
        answer(&node.kind, task, attempt)
    }
}

fn lane_wait() -> Duration {
    Duration::from_millis(LANE_WAIT_MS)
}

/// What a node answers is a matter of the node and the attempt alone.
fn answer(kind: &str, task: &TaskId, attempt: u32) -> Result<Success, NodeError> {
    let name = task.node.bytes().chain(task.frame.as_str().bytes());
    let sum: usize = name.map(usize::from).sum::<usize>() + attempt as usize;
    // a branch that fails chooses nothing, and then the order matters
    if sum.is_multiple_of(5) && kind != "choose" {
        return Err(NodeError::new("Bad", "bad"));
    }
    let value = Value::int(i64::try_from(sum % 3).unwrap_or_default());
    let success = Success::of([("y".into(), value)]);
    let handle = if sum.is_multiple_of(2) { "1" } else { "2" };
    Ok(if kind == "choose" { success.with_handle(handle) } else { success })
}
