//! Claims as keys that expire.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, pipe};

use crate::checkpoints::CheckpointKey;
use crate::claims::{Claim, Claimed, Claims};

use super::link::{Away, Link};
use super::{Redis, millis};

/// Writes a claim where nobody else has one: the key, its holder, what to write and for how long.
const HOLD: &str = "
    local by = redis.call('GET', KEYS[1])
    if by and by ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return 1";

/// Removes a claim if it is its holder's.
const RELEASE: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0";

/// What stands in place of a holder when the attempt has ended.
const NOBODY: &str = "";

/// Keeps claims among all workers. While Redis is away everybody's claim is granted.
#[derive(Clone, Debug)]
pub struct RedisClaims(Arc<Link>);

impl Redis {
    /// Claims.
    pub fn claims(&self) -> RedisClaims {
        RedisClaims(self.0.clone())
    }
}

impl RedisClaims {
    fn hold(&self, to: &mut Pipeline, Claim { key, holder }: &Claim, write: &str, lasts: Duration) {
        to.cmd("EVAL").arg(HOLD).arg(1).arg(self.0.key("claim", &name(key)));
        to.arg(&**holder).arg(write).arg(millis(lasts));
    }

    /// One round trip for all; what does not arrive lapses.
    async fn tell(&self, mut words: Pipeline) {
        if !words.is_empty()
            && let Err(Away) = self.0.ask::<Value>(&mut words).await
        {
            tracing::debug!("claims could not be changed");
        }
    }
}

/// What an attempt is known by, here and among the checkpoints.
pub(super) fn name(key: &CheckpointKey) -> String {
    let CheckpointKey { tenant, run, task, attempt } = key;
    let parts = (&**tenant, &**run, task.frame.as_str(), &*task.node, task.generation, attempt);
    // text and numbers can always be written
    serde_json::to_string(&parts).unwrap_or_default()
}

impl Claims for RedisClaims {
    async fn claim(&self, claim: &Claim, lasts: Duration) -> Claimed {
        let mut question = pipe();
        self.hold(&mut question, claim, &claim.holder, lasts);
        match self.0.ask::<u8>(&mut question).await.as_deref() {
            Ok([Some(0)]) => Claimed::Theirs,
            Ok(_) | Err(Away) => Claimed::Ours,
        }
    }

    async fn renew(&self, claims: &[Claim], lasts: Duration) {
        let mut words = pipe();
        for claim in claims {
            self.hold(&mut words, claim, &claim.holder, lasts);
        }
        self.tell(words).await;
    }

    async fn finish(&self, claims: &[Claim], lasts: Duration) {
        let mut words = pipe();
        for claim in claims {
            self.hold(&mut words, claim, NOBODY, lasts);
        }
        self.tell(words).await;
    }

    async fn release(&self, claims: &[Claim]) {
        let mut words = pipe();
        for Claim { key, holder } in claims {
            words.cmd("EVAL").arg(RELEASE).arg(1).arg(self.0.key("claim", &name(key)));
            words.arg(&**holder);
        }
        self.tell(words).await;
    }
}
