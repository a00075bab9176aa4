//! What an owner has of what is limited, and how long its tasks wait for workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::shares::{Amount, Party, Usage};

use crate::allotments::{Allotments, is_of};
use crate::meters::Ready;
use crate::pace::Times;

use super::Owner;

impl Owner {
    /// From now on these shares count.
    pub(crate) fn allot(&mut self, allotments: Arc<Allotments>) {
        self.gate.allot(allotments);
    }

    /// How many runs there are of each flow.
    pub(crate) fn census(&self) -> &BTreeMap<Arc<Flow>, usize> {
        &self.census
    }

    /// How many more tasks the runs of each flow could have out. It looks at all runs.
    pub(crate) fn ready(&self, now: Time) -> BTreeMap<Arc<Flow>, usize> {
        let mut ready: BTreeMap<Arc<Flow>, usize> = BTreeMap::new();
        for active in self.runs.values().filter(|active| active.is_hungry.contains(&true)) {
            let more: usize = TaskClass::ALL.map(|class| active.run.ready(class, now)).iter().sum();
            *ready.entry(active.flow.clone()).or_default() += more;
        }
        ready
    }

    /// What could be sent if there were places for it. It looks at all runs.
    pub(crate) fn ready_tasks(&self, now: Time) -> [Ready; TaskClass::ALL.len()] {
        let mut all = [Ready::default(); TaskClass::ALL.len()];
        for active in self.runs.values().filter(|active| active.is_hungry.contains(&true)) {
            for class in TaskClass::ALL {
                let ready = &mut all[class as usize];
                ready.tasks += active.run.ready(class, now);
                let since = active.ready_since[class as usize];
                ready.since = ready.since.into_iter().chain(since).min();
            }
        }
        all
    }

    /// What there is of a party, and how many more tasks it could have out by what is ready.
    pub(crate) fn usage(
        &self,
        (tenant, party): (Name, Party),
        ready: &BTreeMap<Arc<Flow>, usize>,
    ) -> Usage {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let sum = |of: &BTreeMap<Arc<Flow>, usize>| -> usize {
            let of_it = of.iter().filter(|(flow, _)| flow.tenant == tenant && is_of(flow, &party));
            of_it.map(|(_, count)| count).sum()
        };
        let tasks = self.gate.out_of(&tenant, &party);
        let used = Amount { runs: count(sum(&self.census)), tasks: count(tasks) };
        let wanted = Amount { runs: 0, tasks: count(sum(ready)) };
        // whoever asks knows what it was told
        Usage { tenant, party, used, wanted, held: Amount::default() }
    }

    /// Notes how long a task waited for its worker.
    pub(super) fn note_wait(&mut self, now: Time, run: &Name, completion: &Completion) {
        let Some(active) = self.runs.get(run) else { return };
        let Some(out) = active.run.is_out(&completion.task) else { return };
        if out.dispatch != completion.dispatch {
            return;
        }
        let (class, took) = (out.class, now.since(out.sent_at));
        if let Some(times) = Times::of(completion, took) {
            self.meters.waited(class as usize, times.waited);
            let (out, _) = self.gate.places();
            self.gate.pace().answered(now, class, times, out[class as usize]);
        }
    }
}
