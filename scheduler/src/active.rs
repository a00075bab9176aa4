//! A run in its owner's memory: what it changed since the last commit, and what it waits for.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Event, Fact, Status};
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::{Input, Rejected, Run};
use flowmill_engine::time::Time;
use flowmill_infra::flow::Flow;
use flowmill_infra::store::Standing;

use crate::effects::{Effects, Home};
use crate::fence::{crash, fenced};
use crate::gate::PerClass;
use crate::handle::{Done, Taken};

/// How long a run is left alone that waits for nothing in particular.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// A live run.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) run: Run,
    pub(crate) home: Home,
    /// With whom it shares what it gets.
    pub(crate) flow: Arc<Flow>,
    pub(crate) done: Option<Done>,
    /// Whoever waits for the next commit.
    pub(crate) taken: Vec<Taken>,
    /// Facts that are not committed yet.
    pub(crate) fresh: Vec<Fact>,
    /// What they call for.
    pub(crate) effects: Effects,
    /// Its tasks in flight.
    pub(crate) out: PerClass,
    pub(crate) wake_at: Option<Time>,
    pub(crate) is_hungry: [bool; TaskClass::ALL.len()],
    /// Since when it has had something ready of each class.
    pub(crate) ready_since: [Option<Time>; TaskClass::ALL.len()],
    pub(crate) is_busy: bool,
    pub(crate) is_changed: bool,
}

/// What a run waits for.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) wake_at: Option<Time>,
    pub(crate) ready: [bool; TaskClass::ALL.len()],
    pub(crate) out: PerClass,
}

impl Active {
    /// Where these facts leave it.
    pub(crate) fn standing(&self, facts: &[Fact]) -> Standing {
        let sent = facts.iter().filter_map(|fact| match &fact.event {
            Event::TaskDispatched(sent) => Some(sent.number),
            _ => None,
        });
        Standing {
            shard: self.home.shard,
            wake_at: self.sleeps_until(facts),
            is_ready: self.is_busy || self.is_hungry.contains(&true),
            in_flight: u32::try_from(self.out.iter().sum::<usize>()).unwrap_or(u32::MAX),
            last_number: sent.max().unwrap_or_default(),
        }
    }

    /// When whoever finds it in the store must tell it the time; None once it ended.
    fn sleeps_until(&self, facts: &[Fact]) -> Option<Time> {
        if self.run.outcome().is_some() {
            return None;
        }
        let now = facts.last().map(|fact| fact.at).unwrap_or_default();
        if self.is_busy { Some(now) } else { self.wake_at.or_else(|| Some(now.after(LONGEST))) }
    }

    /// Applies an input. A run that breaks the core over it ends.
    pub(crate) fn step(
        &mut self,
        now: Time,
        input: Input,
        last: &mut u64,
    ) -> Result<(Vec<Fact>, Wants), Rejected> {
        let seq = self.run.seq();
        let (run, home, effects) = (&mut self.run, &self.home, &mut self.effects);
        let stepped = fenced(|| {
            let facts = run.apply(now, input)?;
            let mut called_for = Effects::default();
            called_for.add(run, home, &facts, last);
            Ok((facts, Wants::of(run, now), called_for))
        });
        match stepped {
            Ok(stepped) => stepped.map(|(facts, wants, called_for)| {
                effects.append(called_for);
                (facts, wants)
            }),
            Err(why) => {
                let has_tasks = self.out.iter().any(|out| *out > 0);
                let facts = crash(run, seq, has_tasks, now, &why);
                effects.add(run, home, &facts, last);
                Ok((facts, Wants::default()))
            }
        }
    }
}

impl Wants {
    fn of(run: &Run, now: Time) -> Self {
        Self {
            wake_at: run.next_deadline(now).map(|(at, _)| at),
            ready: TaskClass::ALL.map(|class| run.ready(class, now) > 0),
            out: TaskClass::ALL.map(|class| run.in_flight(class)),
        }
    }
}

/// Tells a run that is taken up what it missed: its tasks are lost, people answered, it goes on.
pub(crate) fn go_on(run: &mut Run, now: Time, inputs: Vec<Input>) -> Result<Vec<Fact>, Rejected> {
    if run.outcome().is_some() {
        return Err(Rejected::Finished);
    }
    let mut facts = run.apply(now, Input::TakeUp)?;
    for input in inputs {
        facts.append(&mut run.apply(now, input)?);
    }
    if run.status() == Status::Paused {
        facts.append(&mut run.apply(now, Input::Resume)?);
    }
    Ok(facts)
}
