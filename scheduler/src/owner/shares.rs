//! What an owner has of what is limited, and how long its tasks wait for workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::shares::{Amount, Party, Usage};

use crate::active::Active;
use crate::allotments::{Allotments, is_of};
use crate::gate::CLASSES;
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

    /// What there is of a party, and how many more tasks it could have out, where that matters.
    pub(crate) fn usage(&self, now: Time, tenant: &Name, party: Party, wants: bool) -> Usage {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let of_it = |flow: &Flow| flow.tenant == *tenant && is_of(flow, &party);
        let runs: usize =
            self.census.iter().filter(|(flow, _)| of_it(flow)).map(|(_, runs)| runs).sum();
        let tasks = self.gate.out_of(tenant, &party);
        let hungry = self.runs.values().filter(|active| wants && of_it(&active.flow));
        let hungry = hungry.filter(|active| active.is_hungry.contains(&true));
        let ready = |active: &Active| -> usize {
            CLASSES.map(|class| active.run.ready(class, now)).iter().sum()
        };
        let more: usize = hungry.map(ready).sum();
        let used = Amount { runs: count(runs), tasks: count(tasks) };
        let wanted = Amount { runs: 0, tasks: count(more) };
        Usage { tenant: tenant.clone(), party, used, wanted }
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
            let (out, _) = self.gate.places();
            self.gate.pace().answered(now, class, times, out[class as usize]);
        }
    }
}
