//! Asks the store every few seconds for what nobody told: runs to begin, wishes, runs that are due,
//! tasks that are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flowmill_engine::fact::{ChildEnd, ChildEnded, Reason, Returned, RunFinished, Status};
use flowmill_engine::run::{Input, Rejected};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::message::{Control, Delivery, Shard};
use flowmill_infra::shards::{Damaged, Shards, Signal, Wish};
use flowmill_infra::shares::Shares;
use flowmill_infra::store::{Settled, StoreError, Tenure};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use crate::duties::Sent;
use crate::owner::Owner;
use crate::plans::Plans;

use super::{ROWS, SWEEP, Sharded};

/// How often the store is asked for what must not be there.
const WATCH: Duration = Duration::from_mins(1);

/// How many ends of children are looked up at a time.
const LOOKS: usize = 16;

/// How many runs a log line names.
const NAMED: usize = 20;

/// What is said to whoever stops a run.
const ABORTED: &str = "User requested abort";

impl<S: Shards + Shares, P: Plans> Sharded<S, P> {
    /// Asks the store for what has come.
    pub(super) async fn sweep(&mut self, owner: &mut Owner, now: Time) -> Result<(), StoreError> {
        let shards = self.shards();
        if shards.is_empty() {
            return Ok(());
        }
        let (signals, due) = tokio::try_join!(
            self.store.signals(&shards, ROWS),
            self.store.due(&shards, now.after(SWEEP), ROWS),
        )?;
        let mut wanted: BTreeSet<Name> = signals.iter().map(|signal| signal.run.clone()).collect();
        wanted.extend(due.iter().map(|(_, run)| run.clone()));
        let waiting = self.load(owner, wanted, now).await?;
        let overdue = due.iter().filter(|(at, run)| *at <= now && waiting.contains(run));
        for (_, run) in overdue {
            self.condemned.waited_too_long(run);
        }
        // there are more of them than one question brings
        if signals.len() == ROWS {
            self.sweep_at = Instant::now();
        }
        self.begin_wanted(owner, &signals, &waiting, now).await?;
        let mut ends = self.ends_of_children(owner, &signals).await?;
        for signal in signals {
            let waits = waiting.contains(&signal.run) && !owner.holds(&signal.run);
            if let Some(end) = ends.remove(&signal.id) {
                // whoever reads it deals with the signal
                let Some(end) = end else { continue };
                let told = owner.tell(now, &signal.run, Input::ChildEnded(Box::new(end)));
                let refused = told.err().map(|why| why.to_string().into());
                self.settled.push(Settled { signal: signal.id, refused });
            } else {
                self.grant_wish(owner, signal, waits, now);
            }
        }
        self.end_condemned(owner).await;
        self.begin_queued(owner, now).await?;
        owner.put_aside();
        self.watch().await
    }

    /// Begins runs that wait and are to pause or to stop: they do so before any node of them is sent.
    async fn begin_wanted(
        &mut self,
        owner: &mut Owner,
        signals: &[Signal],
        waiting: &BTreeSet<Name>,
        now: Time,
    ) -> Result<(), StoreError> {
        let is_wanted = |signal: &&Signal| {
            matches!(signal.wish, Ok(Wish::Pause | Wish::Stop)) && waiting.contains(&signal.run)
        };
        let wanted: BTreeSet<&Name> =
            signals.iter().filter(is_wanted).map(|signal| &signal.run).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Name> = wanted.into_iter().cloned().collect();
        for queued in self.store.queued_runs(&wanted).await? {
            match queued {
                Ok(queued) => self.begin(owner, queued, now).await,
                Err(Damaged { run, why }) => self.condemned.cannot_be_read(&run, &why),
            }
        }
        Ok(())
    }

    /// How children ended, by the signals that say so; None of an end that a later release wrote.
    async fn ends_of_children(
        &self,
        owner: &Owner,
        signals: &[Signal],
    ) -> Result<BTreeMap<i64, Option<ChildEnded>>, StoreError> {
        let mut asked = Vec::new();
        for signal in signals {
            let Ok(Wish::ChildEnded { task, attempt, call, run }) = &signal.wish else { continue };
            let Some(tenant) = owner.tenant_of(&signal.run) else { continue };
            let child = (task.clone(), *attempt, call.clone(), run.clone());
            asked.push((signal.id, tenant.clone(), child));
        }
        let looks = asked.into_iter().map(|(id, tenant, (task, attempt, name, run))| async move {
            let end = match self.store.end_of(&tenant, &run).await {
                Ok(Some(end)) => ended(name, run, end),
                Ok(None) => unread(name, run, "it is gone"),
                Err(error @ StoreError::Later(_)) => {
                    tracing::warn!(signal = id, %error, "the end of a child waits for another release");
                    return Ok((id, None));
                }
                Err(error @ (StoreError::Corrupt(_) | StoreError::Sealed(_))) => {
                    unread(name, run, &error.to_string())
                }
                Err(error) => return Err(error),
            };
            Ok((id, Some(ChildEnded { task, attempt, end })))
        });
        futures::stream::iter(looks).buffered(LOOKS).try_collect().await
    }

    /// Tells a run what is wanted of it. One that still waits could not begin for it.
    fn grant_wish(&mut self, owner: &mut Owner, signal: Signal, waits: bool, now: Time) {
        let Signal { id, run, wish, actor } = signal;
        let taken = match wish {
            Ok(Wish::Stop) if waits => return self.condemned.stopped(&run, ABORTED),
            // it begins with that when its document can be had
            Ok(Wish::Pause) if waits => return,
            Ok(_) if waits => Err(Rejected::NotWaiting.to_string()),
            Ok(wish) => grant(owner, &run, (wish, actor), now).map_err(|why| why.to_string()),
            Err(error @ StoreError::Corrupt(_)) => Err(error.to_string()),
            Err(error) => {
                tracing::error!(run.id = %run, signal = id, %error, "a signal waits for another release");
                return;
            }
        };
        let refused = taken.err().map(Name::from);
        self.settled.push(Settled { signal: id, refused });
    }

    /// Loads runs for what their tasks met while they were not in memory: the broker lost queues, a
    /// worker is gone, or nobody has heard of them since the shard was taken up.
    pub(super) async fn visit(&mut self, owner: &mut Owner, now: Time) {
        let due: Vec<Shard> =
            self.visits.iter().filter(|(_, at)| **at <= now).map(|(shard, _)| *shard).collect();
        let mut above: BTreeMap<Shard, u64> = self.ledger.unknown();
        for number in above.values_mut() {
            *number -= 1;
        }
        above.extend(due.into_iter().map(|shard| (shard, 0)));
        for (shard, mark) in above {
            let Some(tenure) = self.tenures.get(&shard) else {
                self.ledger.forget(shard);
                continue;
            };
            let loaded = match self.store.unfinished(Tenure { mark, ..*tenure }).await {
                Ok(runs) => self.load(owner, runs.into_iter().collect(), now).await,
                Err(error) => Err(error),
            };
            if let Err(error) = loaded {
                tracing::warn!(%shard, %error, "runs with tasks out are not loaded yet");
                self.visits.insert(shard, now.after(SWEEP));
                continue;
            }
            if mark == 0 {
                self.visits.remove(&shard);
            }
            let lost = self.ledger.made_known(shard);
            send_again(owner, lost, now);
        }
    }

    /// Sends again what is lost by all that workers say.
    pub(super) fn look_for_lost(&mut self, owner: &mut Owner, now: Time, since: Time) {
        self.ledger.keep(|run, task, number| {
            owner.is_out(run, task).is_some_and(|out| out.number == number)
        });
        let lost = self.ledger.lost(now, since);
        send_again(owner, lost, now);
        let soon = now.after(SWEEP);
        let late = self.ledger.late(now, since, |run, task| {
            owner.is_out(run, task).is_some_and(|out| out.due <= soon)
        });
        for Sent { run, task, number, .. } in &late {
            // it may lie in a queue still
            let (run, task) = (run.clone(), Some(task.clone()));
            self.controls.push(Control::Drop { run, task, before: number + 1 });
        }
        send_again(owner, late, now);
    }

    /// Says which runs nobody would ever wake.
    async fn watch(&mut self) -> Result<(), StoreError> {
        if Instant::now() < self.watch_at {
            return Ok(());
        }
        self.watch_at = Instant::now() + WATCH;
        let runs = self.store.without_deadline(&self.shards(), NAMED).await?;
        self.meters.without_deadline(runs.len());
        if !runs.is_empty() {
            let runs: Vec<&str> = runs.iter().map(|run| &**run).collect();
            tracing::error!(
                runs = runs.join(" "),
                "runs without a deadline; this is a fault of ours"
            );
        }
        Ok(())
    }
}

/// Sends again what is lost.
pub(super) fn send_again(owner: &mut Owner, lost: Vec<Sent>, now: Time) {
    for Sent { run, task, number, .. } in lost {
        let Some(out) = owner.is_out(&run, &task).filter(|out| out.number == number) else {
            continue;
        };
        let (attempt, dispatch) = (out.attempt, out.dispatch);
        tracing::warn!(run.id = %run, node.id = %task.node, attempt, dispatch, "a task is lost");
        let reason = Returned::WorkerLost;
        owner.deliver(now, Delivery::Returned { run, task, attempt, dispatch, reason });
    }
}

fn ended(name: Name, run: Name, finished: RunFinished) -> ChildEnd {
    let RunFinished { status, outputs, error, .. } = finished;
    ChildEnd { name, run: Some(run), status, outputs, error }
}

/// The end of a run that cannot be read counts as a failure.
fn unread(name: Name, run: Name, why: &str) -> ChildEnd {
    let error = Some(format!("the end of run {run} cannot be read: {why}").into());
    ChildEnd { name, run: Some(run), status: Status::Failed, outputs: Vec::new(), error }
}

/// Tells a run what is wanted of it.
fn grant(
    owner: &mut Owner,
    run: &Name,
    (wish, actor): (Wish, Name),
    now: Time,
) -> Result<(), Rejected> {
    match wish {
        Wish::Stop => {
            owner.tell(now, run, Input::Stop { reason: Reason::User, message: ABORTED.into() })
        }
        Wish::Pause => {
            let reason = format!("paused by {actor}").as_str().into();
            owner.tell(now, run, Input::Pause { reason })
        }
        Wish::Resume => owner.tell(now, run, Input::Resume),
        Wish::ChildRefused(ended) => owner.tell(now, run, Input::ChildEnded(ended)),
        // it is loaded first; one that is not in memory has ended
        Wish::ChildEnded { .. } => Err(Rejected::Finished),
        Wish::Answer { frame, node, action, values } => {
            let (frame, by) = ((&*frame).into(), Some(actor));
            owner.tell(now, run, Input::Answered { frame, node, action, values, by })?;
            if !owner.is_held(run) {
                // the answer counts; that the run goes on with it may be so already
                let _ = owner.tell(now, run, Input::Resume);
            }
            Ok(())
        }
    }
}
