//! The share that one of several schedulers has in the runs: whole shards, each with one owner at a
//! time.
//!
//! `keeper` keeps the leases, `allotting` asks who may have how much and `admission` begins runs by
//! it, `ledger` knows what is out and who holds it, `sweep` asks the store for what nobody told,
//! `condemned` ends runs that cannot be moved, `note` tells others what no fact says, `near` is how
//! this process is told without a broker; here shards are taken up and given up, and runs are loaded
//! when something concerns them.

mod admission;
mod allotting;
mod condemned;
mod keeper;
mod ledger;
mod near;
mod note;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::run::Run;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{Closed, Inbox};
use flowmill_infra::message::{Control, Delivery, Shard};
use flowmill_infra::shards::{Announcement, Damaged, Held, Journal, Shards};
use flowmill_infra::shares::Shares;
use flowmill_infra::store::{Settled, StoreError, Tenure};
use tokio::time::Instant;

use crate::duties::{Duties, Sent};
use crate::fence::fenced;
use crate::meters::Meters;
use crate::owner::Owner;
use crate::plans::{PlanError, Plans};

use admission::Admission;
use allotting::Allotting;
use condemned::Condemned;
use keeper::{Keeper, share};
use ledger::{Ledger, UNHELD};
use sweep::send_again;

pub use near::{Near, NearOr};

/// How often the store is asked for what nobody told.
const SWEEP: Duration = Duration::from_secs(5);

/// How long workers have to say what they hold before something is sent again.
const ANSWERS: Duration = Duration::from_secs(2);

/// How many workers there are taken to be at least: one that holds nothing is not heard of.
const WORKERS: usize = 4;

/// The most rows that one question brings.
const ROWS: usize = 512;

/// What is sent again unless somebody holds it.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When that is looked at.
    at: Time,
    shard: Shard,
    /// It was sent above the first and up to the second number; what came later is beyond doubt.
    numbers: (u64, u64),
    /// What workers said before is out of date.
    since: Time,
}

/// One scheduler's shards.
#[derive(Debug)]
pub struct Sharded<S, P> {
    store: Arc<S>,
    plans: P,
    me: Announcement,
    keeper: Keeper,
    allotting: Allotting,
    admission: Admission,
    /// When it says next what it has of what is shared.
    say_at: Instant,
    /// How many schedulers live.
    schedulers: usize,
    tenures: BTreeMap<Shard, Tenure>,
    ledger: Ledger,
    doubts: Vec<Doubt>,
    settled: Vec<Settled>,
    /// Runs that cannot be moved, with their ends.
    condemned: Condemned,
    /// When all runs of a shard are loaded that have tasks out.
    visits: BTreeMap<Shard, Time>,
    /// What workers are to be told.
    controls: Vec<Control>,
    /// When the store is asked next.
    sweep_at: Instant,
    /// The word of the store after which shards were left to others.
    left_at: Option<Instant>,
    /// When the store is asked next for what must not be there.
    watch_at: Instant,
    /// Where notes for others go.
    told: Option<note::Told>,
    /// Told by this process that there is something to look at.
    near: Arc<Near>,
    meters: Arc<Meters>,
}

impl<S: Shards + Shares, P: Plans> Sharded<S, P> {
    /// A scheduler of this name among those that share a store. Must be called on a runtime.
    pub fn new(store: Arc<S>, plans: P, me: Announcement) -> Self {
        Self {
            keeper: Keeper::start(store.clone(), me.clone()),
            allotting: Allotting::start(store.clone(), me.scheduler.clone()),
            admission: Admission::default(),
            say_at: Instant::now(),
            schedulers: 1,
            store,
            plans,
            me,
            tenures: BTreeMap::new(),
            ledger: Ledger::default(),
            doubts: Vec::new(),
            settled: Vec::new(),
            condemned: Condemned::default(),
            visits: BTreeMap::new(),
            controls: Vec::new(),
            sweep_at: Instant::now(),
            left_at: None,
            watch_at: Instant::now(),
            told: None,
            near: Arc::default(),
            meters: Arc::default(),
        }
    }

    /// The same; what happens is counted with these.
    #[must_use]
    pub fn with_meters(self, meters: Arc<Meters>) -> Self {
        Self { meters, ..self }
    }

    /// The same; `near` tells it without a broker.
    #[must_use]
    pub fn with_near(self, near: Arc<Near>) -> Self {
        Self { near, ..self }
    }

    fn shards(&self) -> Vec<Shard> {
        self.tenures.keys().copied().collect()
    }

    /// Takes up shards that are new, gives up those that are lost or too many.
    async fn change_hands<I: Inbox>(
        &mut self,
        owner: &mut Owner,
        inbox: &mut I,
        now: Time,
    ) -> Result<bool, Closed> {
        let Some(word) = self.keeper.last() else { return Ok(false) };
        let Held { tenures, .. } = &word.held;
        owner.share(word.held.shards);
        self.schedulers = usize::from(word.held.schedulers.max(1));
        let keeps = |ours: &Tenure| {
            let same = |held: &&Tenure| held.shard == ours.shard && held.epoch == ours.epoch;
            word.is_good() && tenures.iter().any(|held| same(&held))
        };
        let lost: Vec<Shard> =
            self.tenures.values().filter(|ours| !keeps(ours)).map(|ours| ours.shard).collect();
        self.give_up(owner, inbox, &lost).await;
        if !word.is_good() {
            return Ok(false);
        }
        self.meters.lost_epochs(lost.len());
        let fair = usize::from(share(&word.held));
        let (kept, spare) = tenures.split_at(fair.min(tenures.len()));
        // what was said once is done once: the next word comes in seconds
        if !spare.is_empty() && self.left_at.replace(word.asked_at) != Some(word.asked_at) {
            let spare: Vec<Shard> = spare.iter().map(|tenure| tenure.shard).collect();
            tracing::info!(shards = spare.len(), "shards are left to other schedulers");
            self.give_up(owner, inbox, &spare).await;
            if let Err(error) = self.store.release(&self.me, &spare).await {
                tracing::warn!(%error, "shards could not be released; their leases run out");
            }
        }
        let mut has_new = false;
        for tenure in kept {
            if !self.tenures.contains_key(&tenure.shard) {
                has_new |= self.take_up(owner, inbox, *tenure, now).await?;
            }
        }
        Ok(has_new)
    }

    async fn take_up<I: Inbox>(
        &mut self,
        owner: &mut Owner,
        inbox: &mut I,
        tenure: Tenure,
        now: Time,
    ) -> Result<bool, Closed> {
        let unfinished = match self.store.unfinished(tenure).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::warn!(shard = %tenure.shard, %error, "a shard is not taken up yet");
                return Ok(false);
            }
        };
        inbox.open(tenure.shard).await?;
        tracing::info!(
            shard = %tenure.shard, epoch = tenure.epoch, runs = unfinished.len(), "shard taken up"
        );
        owner.count_from(tenure.shard, tenure.last);
        self.tenures.insert(tenure.shard, tenure);
        self.meters.owns(self.tenures.len());
        self.near.own(tenure.shard);
        let Tenure { shard, mark, last, .. } = tenure;
        self.doubts.push(Doubt {
            at: now.after(ANSWERS),
            shard,
            numbers: (mark, last),
            since: now,
        });
        self.visits.insert(tenure.shard, now.after(UNHELD));
        self.sweep_at = Instant::now();
        if let Err(error) = self.load(owner, unfinished.into_iter().collect(), now).await {
            tracing::warn!(shard = %tenure.shard, %error, "a shard is given up again");
            self.give_up(owner, inbox, &[tenure.shard]).await;
            return Ok(false);
        }
        self.meters.took_over();
        Ok(true)
    }

    /// Whatever is in memory of these shards is forgotten; the store has it.
    async fn give_up<I: Inbox>(&mut self, owner: &mut Owner, inbox: &mut I, shards: &[Shard]) {
        for shard in shards {
            self.near.disown(*shard);
            if self.tenures.remove(shard).is_some() {
                tracing::info!(%shard, "shard given up");
                inbox.close(*shard).await;
            }
            owner.disown(*shard);
            self.ledger.forget(*shard);
            self.visits.remove(shard);
            self.doubts.retain(|doubt| doubt.shard != *shard);
        }
        self.meters.owns(self.tenures.len());
    }

    /// Brings runs into memory, if they are of ours and go on. A run that cannot be read or planned
    /// is condemned, and no other suffers. Gives those of which there is no journal.
    async fn load(
        &mut self,
        owner: &mut Owner,
        runs: BTreeSet<Name>,
        now: Time,
    ) -> Result<BTreeSet<Name>, StoreError> {
        let mut absent: BTreeSet<Name> = runs.into_iter().filter(|run| !owner.holds(run)).collect();
        let runs: Vec<Name> = absent.iter().cloned().collect();
        for some in runs.chunks(ROWS) {
            for journal in self.store.journals(some).await? {
                let journal = match journal {
                    Ok(journal) => journal,
                    Err(Damaged { run, why }) => {
                        absent.remove(&run);
                        self.condemned.cannot_be_read(&run, &why);
                        continue;
                    }
                };
                absent.remove(&journal.run);
                self.load_one(owner, journal, now).await?;
            }
        }
        Ok(absent)
    }

    async fn load_one(
        &mut self,
        owner: &mut Owner,
        journal: Journal,
        now: Time,
    ) -> Result<(), StoreError> {
        let Journal { run, tenant, name, plan, facts } = journal;
        let shard = owner.shard_of(&run);
        if !self.tenures.contains_key(&shard) {
            return Ok(());
        }
        let plan = match self.plans.plan(&tenant, &plan).await {
            Ok(plan) => plan,
            Err(PlanError::Unavailable(why)) => return Err(StoreError::Unavailable(why)),
            Err(error @ PlanError::Bad(_)) => {
                self.condemned.broken(&run, &error.to_string());
                return Ok(());
            }
        };
        let run = match fenced(|| Run::replay(plan, &facts)) {
            Ok(run) => run,
            Err(why) => {
                self.condemned.broken(&run, &why);
                return Ok(());
            }
        };
        if run.outcome().is_some() {
            return Ok(());
        }
        for sent in run.outstanding() {
            let (task, number, class) = (sent.task.clone(), sent.number, sent.class);
            self.ledger
                .sent(sent.sent_at, Sent { shard, number, run: run.id().clone(), task, class });
        }
        owner.take_up(now, run, (tenant, name));
        Ok(())
    }

    /// Makes it known to whoever owns a shard next that its queues were lost: only then may word of
    /// it be settled.
    async fn note_losses(&self, delivered: &[Delivery]) -> Result<(), StoreError> {
        for delivery in delivered {
            let Delivery::Lost { shard } = delivery else { continue };
            if let Some(tenure) = self.tenures.get(shard).filter(|tenure| tenure.mark == 0) {
                self.store.doubt(*tenure).await?;
            }
        }
        Ok(())
    }

    /// Notes what a message says of shards and workers; the rest is for the runs.
    fn hear(&mut self, owner: &mut Owner, delivery: &Delivery, now: Time) -> Option<Control> {
        match delivery {
            Delivery::Beat(beat) => {
                let lost = self.ledger.hear(now, beat);
                send_again(owner, lost, now);
                None
            }
            Delivery::Lost { shard } => {
                // pokes found no queue before
                self.sweep_at = Instant::now();
                let last = owner.last_number(*shard);
                // a shard that never sent anything had nothing to lose
                let tenure = self.tenures.get_mut(shard).filter(|_| last > 0)?;
                tracing::warn!(
                    %shard, "queues are lost; what is out and held by no worker is sent again"
                );
                tenure.mark = 0;
                self.visits.insert(*shard, now);
                let (at, shard) = (now.after(ANSWERS), *shard);
                self.doubts.push(Doubt { at, shard, numbers: (0, last), since: now });
                Some(Control::Beat)
            }
            Delivery::Poke { .. } => {
                self.sweep_at = Instant::now();
                None
            }
            Delivery::Completed { .. } | Delivery::Returned { .. } => None,
        }
    }
}

impl<S: Shards + Shares, P: Plans> Duties for Sharded<S, P> {
    async fn due(&mut self) {
        let until = self.doubts.iter().map(|doubt| doubt.at).min();
        let doubts = async {
            match until {
                // their time is looked at when they come up
                Some(_) => tokio::time::sleep(ANSWERS).await,
                None => std::future::pending().await,
            }
        };
        let (has_said, say_at) = (self.allotting.has_said(), self.say_at);
        let saying = async {
            if has_said {
                tokio::time::sleep_until(say_at).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = self.keeper.changed() => {}
            () = self.near.told() => {}
            () = self.allotting.changed() => {
                // runs may begin that could not
                self.sweep_at = Instant::now();
            }
            () = tokio::time::sleep_until(self.sweep_at) => {}
            () = doubts => {}
            () = saying => {}
        }
    }

    async fn attend<I: Inbox>(
        &mut self,
        owner: &mut Owner,
        inbox: &mut I,
        delivered: &[Delivery],
        now: Time,
    ) -> Result<Vec<Control>, Closed> {
        let mut controls = std::mem::take(&mut self.controls);
        if self.change_hands(owner, inbox, now).await? {
            controls.push(Control::Beat);
        }
        if let Some(allotments) = self.allotting.news() {
            owner.allot(allotments);
        }
        let mut wanted = BTreeSet::new();
        for delivery in delivered {
            controls.extend(self.hear(owner, delivery, now));
            if let Delivery::Completed { run, .. } | Delivery::Returned { run, .. } = delivery {
                wanted.insert(run.clone());
            }
        }
        let noted = self.note_losses(delivered).await;
        let taken = match noted {
            Ok(()) => self.load(owner, wanted, now).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            // what was delivered must not be settled: it comes again
            tracing::error!(%error, "the store is needed; all shards are given up for now");
            let all = self.shards();
            self.give_up(owner, inbox, &all).await;
            return Ok(Vec::new());
        }
        let since = Time(
            now.0.saturating_sub(u64::try_from(inbox.live_for().as_micros()).unwrap_or(u64::MAX)),
        );
        self.visit(owner, now).await;
        for Doubt { shard, numbers, since, .. } in self.doubts.extract_if(.., |it| it.at <= now) {
            let lost = self.ledger.unheld(shard, numbers, since);
            send_again(owner, lost, now);
        }
        self.end_condemned(owner).await;
        if self.near.take() || Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + SWEEP;
            if let Err(error) = self.sweep(owner, now).await {
                tracing::warn!(%error, "the store was not asked for what has come");
            }
            self.look_for_lost(owner, now, since);
            let slots = self.ledger.slots().map(|slots| slots.div_ceil(self.schedulers));
            owner.count_workers(self.ledger.workers().max(WORKERS), slots);
            self.leave_notes(owner, now);
        } else if self.admission.has_room(owner)
            && let Err(error) = self.begin_queued(owner, now).await
        {
            tracing::warn!(%error, "runs that wait were not asked for");
        }
        self.say_usages(owner, now);
        controls.append(&mut self.controls);
        Ok(controls)
    }

    fn tenures(&self) -> Vec<Tenure> {
        self.tenures.values().copied().collect()
    }

    fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    fn published(&mut self, now: Time, tasks: Vec<Sent>) {
        for sent in tasks {
            // what was sent before a loss is not beyond doubt yet
            let is_doubted = self.doubts.iter().any(|doubt| doubt.shard == sent.shard)
                || self.ledger.doubts(sent.shard);
            if let Some(tenure) = self.tenures.get_mut(&sent.shard).filter(|_| !is_doubted) {
                tenure.mark = tenure.mark.max(sent.number);
            }
            self.ledger.sent(now, sent);
        }
    }

    fn failed(&mut self, owner: &Owner, error: &StoreError) -> Option<Vec<Shard>> {
        self.settled.clear();
        Some(match error {
            StoreError::Fenced { shard } => {
                self.meters.lost_epochs(1);
                vec![*shard]
            }
            // what is in memory of it is not what the store has
            StoreError::Conflict { run, .. } => vec![owner.shard_of(run)],
            _ => self.shards(),
        })
    }

    fn condemn(&mut self, run: &Name, why: &str) {
        self.condemned.broken(run, why);
    }

    async fn forget<I: Inbox>(&mut self, owner: &mut Owner, inbox: &mut I, shards: &[Shard]) {
        self.give_up(owner, inbox, shards).await;
    }

    fn may_leave(&self) -> bool {
        true
    }

    async fn leave<I: Inbox>(&mut self, owner: &mut Owner, inbox: &mut I) {
        let all = self.shards();
        self.give_up(owner, inbox, &all).await;
        if let Err(error) = self.store.release(&self.me, &[]).await {
            tracing::warn!(%error, "the shards could not be released; their leases run out");
        }
    }
}
