//! Runs a plan while holding everything up against everything else: what was decided is replayed
//! from JSON and must give the same run, which must decide alike; invariants hold after each input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Fact, TaskId};
use flowmill_engine::invariants;
use flowmill_engine::plan::{Plan, Success};
use flowmill_engine::run::{Completion, Input, Outcome, Rejected, Run, Start, Wake};
use flowmill_engine::time::Time;
use flowmill_engine::value::decode;

pub(crate) struct Driver {
    pub(crate) run: Run,
    pub(crate) facts: Vec<Fact>,
    pub(crate) now: Time,
    /// The run as its facts alone give it.
    replayed: Run,
    /// Whether nodes wait in the same order after a replay: not if one turned out to be heavy.
    is_exact: bool,
}

impl Driver {
    pub(crate) fn start(plan: &Arc<Plan>, start: Start) -> Self {
        let now = Time(0);
        let (run, facts) = Run::start(plan.clone(), start, now);
        let replayed = Run::replay(plan.clone(), &through_json(&facts));
        let is_exact = plan.nodes().iter().all(|node| &*node.kind != "heavy");
        let driver = Self { run, facts, now, replayed, is_exact };
        driver.compare();
        driver
    }

    pub(crate) fn apply(&mut self, input: Input) -> Result<Vec<Fact>, Rejected> {
        let before = self.run.fingerprint();
        let expected = self.is_exact.then(|| self.replayed.clone().apply(self.now, input.clone()));
        let result = self.run.apply(self.now, input.clone());
        if let Some(expected) = expected {
            assert_eq!(expected, result, "a replayed run decides otherwise about {input:?}");
        }
        match &result {
            Ok(facts) => {
                for fact in through_json(facts) {
                    self.replayed.evolve(&fact);
                }
                self.facts.extend(facts.iter().cloned());
            }
            Err(_) => assert_eq!(before, self.run.fingerprint(), "a refusal changed the run"),
        }
        self.compare();
        result
    }

    fn compare(&self) {
        if let Err(broken) = invariants::check(&self.run) {
            panic!("{broken}\n{}", self.run.fingerprint());
        }
        assert_eq!(self.run.fingerprint(), self.replayed.fingerprint(), "replay differs");
    }

    /// Everything that must hold of a run's facts, and of a replay from the beginning.
    pub(crate) fn check_facts(&self) {
        invariants::check_facts(self.run.plan(), &self.facts).unwrap();
        let replayed = Run::replay(self.run.plan().clone(), &self.facts);
        assert_eq!(self.run.fingerprint(), replayed.fingerprint());
    }

    pub(crate) fn tick(&mut self, wait: Duration) -> Vec<Fact> {
        self.now = self.now.after(wait);
        self.apply(Input::Tick).unwrap_or_default()
    }

    /// Whether work was left over from the last input.
    pub(crate) fn has_work(&self) -> bool {
        matches!(self.run.next_deadline(self.now), Some((_, Wake::Work)))
    }

    pub(crate) fn complete(
        &mut self,
        task: &TaskId,
        (attempt, dispatch): (u32, u32),
        outcome: Result<Success, NodeError>,
    ) -> Result<Vec<Fact>, Rejected> {
        let (task, started_at, elapsed_us) = (task.clone(), self.now, 1000);
        let outcome = Outcome { task, attempt, outcome, started_at, elapsed_us };
        self.apply(Input::Completed(Completion::of(dispatch, outcome)))
    }
}

pub(crate) fn through_json(facts: &[Fact]) -> Vec<Fact> {
    let back = |fact: &Fact| {
        let json = serde_json::to_vec(fact).unwrap();
        let back: Fact = decode(&json).unwrap();
        assert_eq!(*fact, back);
        back
    };
    facts.iter().map(back).collect()
}
