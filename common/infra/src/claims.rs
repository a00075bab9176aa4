//! Claims as a port: who is at a task, so that no second worker pays for it at the same time.
//!
//! A task may be delivered twice, and a checkpoint says only what has ended. A claim says what is
//! going on. It is no lock: it may vanish at any time, and all that follows is that a call is made
//! twice whose second outcome does not count.

use std::future::Future;
use std::time::Duration;

use flowmill_engine::value::Name;

use crate::checkpoints::CheckpointKey;

/// Somebody's claim to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The attempt.
    pub key: CheckpointKey,
    /// Who: another for each delivery, also of the same worker.
    pub holder: Name,
}

/// What became of asking for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is held now, or nobody can know.
    Ours,
    /// Another is at the attempt, or has ended it.
    Theirs,
}

/// Keeps claims while it can.
pub trait Claims: Clone + Send + Sync + 'static {
    /// Claims an attempt for some time. Whoever holds it may claim it again.
    fn claim(&self, claim: &Claim, lasts: Duration) -> impl Future<Output = Claimed> + Send;

    /// Makes claims last longer; those that vanished are back, unless another has made his own.
    fn renew(&self, claims: &[Claim], lasts: Duration) -> impl Future<Output = ()> + Send;

    /// The attempts have checkpoints. Their claims stay with nobody for a time, so that a delivery
    /// that is late looks for the checkpoint.
    fn finish(&self, claims: &[Claim], lasts: Duration) -> impl Future<Output = ()> + Send;

    /// Gives claims up: others may begin at once.
    fn release(&self, claims: &[Claim]) -> impl Future<Output = ()> + Send;
}
