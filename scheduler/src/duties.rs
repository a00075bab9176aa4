//! What an owner has to do besides moving its runs: nothing when it is alone, a lot when it shares
//! the runs with others.

use std::future::Future;

use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{Closed, Inbox};
use flowmill_infra::message::{Control, Delivery, Shard, Task};
use flowmill_infra::store::{Settled, StoreError, Tenure};

use crate::owner::Owner;

/// Looks after the owner's share of all runs.
pub trait Duties: Send + 'static {
    /// Returns when there is something to attend to. Nothing is lost when a call is dropped.
    #[doc(hidden)]
    fn due(&mut self) -> impl Future<Output = ()> + Send;

    /// Takes up what concerns the owner, before it is told what was delivered: shards and runs
    /// come and go. Gives what workers are to be told.
    #[doc(hidden)]
    fn attend<I: Inbox>(
        &mut self,
        owner: &mut Owner,
        inbox: &mut I,
        delivered: &[Delivery],
        now: Time,
    ) -> impl Future<Output = Result<Vec<Control>, Closed>> + Send;

    /// The shards that a commit may concern.
    #[doc(hidden)]
    fn tenures(&self) -> Vec<Tenure>;

    /// The signals that were dealt with since the last commit.
    #[doc(hidden)]
    fn take_settled(&mut self) -> Vec<Settled>;

    /// The broker has these tasks.
    #[doc(hidden)]
    fn published(&mut self, now: Time, tasks: Vec<Sent>);

    /// A commit failed for good. None when whoever waits for the runs concerned is to be told;
    /// else the shards whose runs leave memory, to be taken up anew from the store.
    #[doc(hidden)]
    fn failed(&mut self, owner: &Owner, error: &StoreError) -> Option<Vec<Shard>>;

    /// A run cannot even begin, because what it begins with can never be stored.
    #[doc(hidden)]
    fn condemn(&mut self, run: &Name, why: &str);

    /// Forgets these shards, and leaves what was received of them to their next owner.
    #[doc(hidden)]
    fn forget<I: Inbox>(
        &mut self,
        owner: &mut Owner,
        inbox: &mut I,
        shards: &[Shard],
    ) -> impl Future<Output = ()> + Send;

    /// Whether the service may end while runs are live: others take them up.
    #[doc(hidden)]
    fn may_leave(&self) -> bool;

    /// The service ends: whatever it holds is for others now.
    #[doc(hidden)]
    fn leave<I: Inbox>(
        &mut self,
        owner: &mut Owner,
        inbox: &mut I,
    ) -> impl Future<Output = ()> + Send;
}

/// A task as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub(crate) shard: Shard,
    pub(crate) number: u64,
    pub(crate) run: Name,
    pub(crate) task: TaskId,
    pub(crate) class: TaskClass,
}

impl From<&Task> for Sent {
    fn from(task: &Task) -> Self {
        Self {
            shard: task.shard,
            number: task.number,
            run: task.run.clone(),
            task: task.task.clone(),
            class: task.class,
        }
    }
}

/// The owner of all runs there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Duties for Alone {
    async fn due(&mut self) {
        std::future::pending::<()>().await;
    }

    async fn attend<I: Inbox>(
        &mut self,
        _: &mut Owner,
        _: &mut I,
        _: &[Delivery],
        _: Time,
    ) -> Result<Vec<Control>, Closed> {
        Ok(Vec::new())
    }

    fn tenures(&self) -> Vec<Tenure> {
        Vec::new()
    }

    fn take_settled(&mut self) -> Vec<Settled> {
        Vec::new()
    }

    fn published(&mut self, _: Time, _: Vec<Sent>) {}

    fn failed(&mut self, _: &Owner, _: &StoreError) -> Option<Vec<Shard>> {
        None
    }

    fn condemn(&mut self, _: &Name, _: &str) {}

    async fn forget<I: Inbox>(&mut self, _: &mut Owner, _: &mut I, _: &[Shard]) {}

    fn may_leave(&self) -> bool {
        false
    }

    async fn leave<I: Inbox>(&mut self, _: &mut Owner, _: &mut I) {}
}
