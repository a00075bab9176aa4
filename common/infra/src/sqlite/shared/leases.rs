//! Who owns a shard until when, among the services of this process.

use std::collections::BTreeMap;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::message::Shard;

/// The leases that are held, and the schedulers that live.
#[derive(Debug, Default)]
pub(super) struct Leases {
    owners: BTreeMap<Shard, (Name, Time)>,
    /// When each scheduler said last that it lives.
    seen: BTreeMap<Name, Time>,
}

impl Leases {
    /// A scheduler lives: what it holds lasts until then.
    pub(super) fn renew(&mut self, me: &Name, now: Time, until: Time) {
        self.seen.insert(me.clone(), now);
        for (owner, expires_at) in self.owners.values_mut() {
            if owner == me && *expires_at > now {
                *expires_at = until;
            }
        }
    }

    /// Who has a shard now.
    pub(super) fn has(&self, me: &Name, shard: Shard, now: Time) -> bool {
        self.owner(shard, now) == Some(me)
    }

    /// The shards among these that are free, as many as a scheduler lacks of `most`.
    pub(super) fn free(&self, me: &Name, shards: &[Shard], most: u16, now: Time) -> Vec<Shard> {
        let own = shards.iter().filter(|shard| self.has(me, **shard, now)).count();
        let free = shards.iter().filter(|shard| self.owner(**shard, now).is_none());
        free.take(usize::from(most).saturating_sub(own)).copied().collect()
    }

    /// A scheduler takes shards.
    pub(super) fn take(&mut self, me: &Name, shards: &[Shard], until: Time) {
        self.owners.extend(shards.iter().map(|shard| (*shard, (me.clone(), until))));
    }

    /// A scheduler gives away what of these it holds; without any, all, and it no longer counts.
    pub(super) fn release(&mut self, me: &Name, shards: &[Shard]) {
        if shards.is_empty() {
            self.seen.remove(me);
        }
        let is_given = |shard: &Shard| shards.is_empty() || shards.contains(shard);
        self.owners.retain(|shard, (owner, _)| !(owner == me && is_given(shard)));
    }

    /// Whether a scheduler said within this time that it lives.
    pub(super) fn is_alive(&self, scheduler: &Name, now: Time, lease: Duration) -> bool {
        self.seen.get(scheduler).is_some_and(|seen| now.since(*seen) < lease)
    }

    /// How many schedulers live that said so within this time.
    pub(super) fn schedulers(&self, now: Time, lease: Duration) -> u16 {
        let living = self.seen.values().filter(|seen| now.since(**seen) < lease).count();
        u16::try_from(living.max(1)).unwrap_or(u16::MAX)
    }

    fn owner(&self, shard: Shard, now: Time) -> Option<&Name> {
        let (owner, expires_at) = self.owners.get(&shard)?;
        (*expires_at > now).then_some(owner)
    }
}
