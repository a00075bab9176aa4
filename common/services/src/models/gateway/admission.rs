//! Waiting until a call may be made.
//!
//! Calls of one process wait one behind the other, so that only the first of them asks, and nobody
//! who came later goes before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flowmill_engine::value::Name;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep, timeout};

use super::super::config::Limits;
use super::super::limits::{Asking, Limited, Limiter, Outcome, Verdict, Why};
use super::super::{ErrorKind, ModelError, Offer};
use super::row::Obstacle;
use super::{Call, Gateway, PATIENCE, Turn};

/// How much longer than it may a call counts as under way if nobody says that it ended.
const GRACE: Duration = Duration::from_secs(30);

/// How long a call may take if nobody says it.
const USUAL: Duration = Duration::from_mins(10);

/// The longest sleep before asking again: what is limited may change meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// A call that may be made. When it is dropped unsettled, the call was given up.
pub(super) struct Admitted<'a> {
    limiter: &'a dyn Limiter,
    asking: Option<Asking>,
    turn: Arc<Turn>,
}

impl Admitted<'_> {
    /// How many tokens it takes by estimate.
    pub(super) fn tokens(&self) -> u64 {
        self.asking.as_ref().map_or(0, |asking| asking.tokens)
    }

    /// Says what came of it.
    pub(super) async fn settle(&mut self, outcome: Outcome, tokens: u64) {
        if let Some(asking) = &self.asking {
            self.limiter.settle(asking, outcome, tokens).await;
            // only now: if this is dropped on the way, it counts as given up
            self.asking = None;
            self.turn.ended.notify_waiters();
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            self.limiter.abandon(asking);
            self.turn.ended.notify_waiters();
        }
    }
}

/// What a call counts for: its provider, and the model where that has limits of its own.
pub(super) fn keys(offer: &Offer) -> Vec<Limited> {
    let provider = &offer.provider;
    let mut keys = vec![Limited { key: provider.name.clone(), limits: provider.limits }];
    if offer.limits != Limits::default() {
        let key = format!("{}/{}", provider.name, offer.name).into();
        keys.push(Limited { key, limits: offer.limits });
    }
    keys
}

impl Gateway {
    /// Waits until a call may be made.
    pub(super) async fn admit<'a>(
        &'a self,
        offer: &Offer,
        call: &Call<'_>,
        is_last: bool,
        since: Instant,
    ) -> Result<Admitted<'a>, ModelError> {
        let keys = keys(offer);
        let turn = self.turn(&keys[keys.len() - 1].key);
        let lasts = offer.times.whole.unwrap_or(USUAL) + GRACE;
        let (read, written) = call.tokens;
        let asking = Asking { permit: permit(call), keys, tokens: read + written, lasts };
        if !is_last {
            // whoever has another to ask does not wait behind those who have none
            match self.limiter.acquire(&asking).await {
                Verdict::Granted => return Ok(self.admitted(asking, turn)),
                Verdict::Shut { after } => {
                    self.hear_of(offer).await;
                    return Err(away(offer, after, false));
                }
                Verdict::Wait { after, why: Why::Cooling } => {
                    return Err(away(offer, after, false));
                }
                Verdict::Wait { .. } => {}
            }
        }
        let patience = offer.times.patience.unwrap_or(PATIENCE);
        let left = patience.saturating_sub(since.elapsed());
        let _in_row = self.row.join(call.caller, offer, &turn);
        match timeout(left, self.wait(offer, &asking, &turn, is_last)).await {
            Ok(Ok(())) => Ok(self.admitted(asking, turn)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let (provider, name) = (&offer.provider.name, &offer.name);
                let message = format!(
                    "the provider {provider}, asked for {name}: its limits let no call through for \
                     {patience:?}; patience in the services file says how long to wait"
                );
                Err(ModelError::new(ErrorKind::RateLimited, message))
            }
        }
    }

    fn admitted(&self, asking: Asking, turn: Arc<Turn>) -> Admitted<'_> {
        Admitted { limiter: &*self.limiter, asking: Some(asking), turn }
    }

    /// Others may have found that a provider fails: whoever counts here hears of it as well. The
    /// verdict does not say whether it is the provider that is left alone, or one model of it.
    async fn hear_of(&self, offer: &Offer) {
        if self.watch.is_some() {
            self.note_standing(offer, &self.standing(offer).await);
        }
    }

    async fn wait(
        &self,
        offer: &Offer,
        asking: &Asking,
        turn: &Turn,
        is_last: bool,
    ) -> Result<(), ModelError> {
        let _first = First { turn, _place: turn.first.lock().await };
        loop {
            let ended = turn.ended.notified();
            match self.limiter.acquire(asking).await {
                Verdict::Granted => return Ok(()),
                Verdict::Shut { after } => {
                    self.hear_of(offer).await;
                    return Err(away(offer, after, true));
                }
                Verdict::Wait { after, why: Why::Cooling } if !is_last => {
                    return Err(away(offer, after, false));
                }
                Verdict::Wait { after, why } => {
                    turn.is_held_by(Some(Obstacle::new(why, after)));
                    match why {
                        Why::AtOnce => {
                            // an error only says that nobody ended meanwhile
                            let _ = timeout(after, ended).await;
                        }
                        Why::Requests | Why::Tokens | Why::Cooling => {
                            sleep(after.min(LONGEST_SLEEP)).await;
                        }
                    }
                }
            }
        }
    }
}

/// Whoever of a turn is asked for next. What stood in its way need not stand in the way of the one
/// behind it.
struct First<'a> {
    turn: &'a Turn,
    _place: MutexGuard<'a, ()>,
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.turn.is_held_by(None);
    }
}

/// A provider that is left alone.
fn away(offer: &Offer, after: Duration, has_failed: bool) -> ModelError {
    let (provider, name) = (&offer.provider.name, &offer.name);
    let (kind, why) = if has_failed {
        (ErrorKind::Unavailable, "it failed again and again")
    } else {
        (ErrorKind::RateLimited, "it asked for fewer calls")
    };
    let message = format!(
        "the provider {provider}, asked for {name}: {why} and is left alone for another {after:?}"
    );
    ModelError { retry_after: Some(after), ..ModelError::new(kind, message) }
}

/// A name for a call that no other has.
fn permit(call: &Call<'_>) -> Name {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map(|since| since.as_nanos()).unwrap_or_default();
    format!("{}-{}-{process}-{made}-{nanos}", call.caller.run, call.caller.node).into()
}
