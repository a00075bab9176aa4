//! Limits of calls and of spending that all workers share: a script for each, so that nobody comes
//! between what is looked at and what follows. Time is the server's, for all have others.
//!
//! While Redis is away each process limits itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Pipeline, Value, cmd};
use flowmill_engine::value::Name;
use flowmill_services::models::config::Limits;
use flowmill_services::models::limits::{
    Asking, Cost, Limiter, Outcome, Party, Spending, Spent, Standing, Verdict, Why,
};
use futures::future::BoxFuture;

use super::link::{Away, Link};
use super::{Redis, millis};
use crate::memory::MemoryLimiter;

const LIMITS: &str = include_str!("limits.lua");
const SPENDING: &str = include_str!("spending.lua");

/// Numbers that say how one key stands.
const STANDING: usize = 8;

/// Numbers that say what one party has spent.
const SPENDING_NUMBERS: usize = 6;

/// The keys that somebody asked about, by when.
const KNOWN: &str = "limit-known";

/// How long a key is known after somebody last asked, in milliseconds: as long as it is kept.
const KNOWN_MS: i64 = 3_600_000;

/// Limits the calls of all who share a server.
#[derive(Clone)]
pub struct RedisLimiter {
    link: Arc<Link>,
    /// Limits this process while the server is away.
    own: MemoryLimiter,
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Redis {
    /// Limits of calls.
    pub fn limiter(&self) -> RedisLimiter {
        RedisLimiter { link: self.0.clone(), own: MemoryLimiter::default() }
    }
}

impl RedisLimiter {
    fn script<'a>(&self, keys: impl ExactSizeIterator<Item = &'a Name>) -> Cmd {
        let mut script = cmd("EVAL");
        script.arg(LIMITS).arg(keys.len() * 2 + 1);
        for key in keys {
            script.arg(self.link.key("limit", key)).arg(self.link.key("limit-calls", key));
        }
        script.arg(self.link.key(KNOWN, "keys"));
        script
    }

    /// How keys stand, as the server knows them.
    async fn stand(&self, keys: &[Name]) -> Result<Vec<Standing>, Away> {
        let mut script = self.script(keys.iter());
        script.arg("standing");
        let answers = self.link.ask::<Vec<i64>>(&mut piped(script)).await?;
        let numbers = answers.into_iter().next().flatten().ok_or(Away)?;
        Ok(numbers.chunks(STANDING).map(standing).collect())
    }

    /// The keys that somebody asked about within the last hour.
    async fn known(&self) -> Result<Vec<Name>, Away> {
        let mut script = self.script([].iter());
        script.arg("known").arg(KNOWN_MS);
        let answers = self.link.ask::<Vec<String>>(&mut piped(script)).await?;
        let found = answers.into_iter().next().flatten().ok_or(Away)?;
        let prefix = self.link.key("limit", "");
        let mut keys: Vec<Name> =
            found.iter().filter_map(|key| key.strip_prefix(&prefix)).map(Name::from).collect();
        keys.sort();
        Ok(keys)
    }

    async fn spent(&self, parties: &[Name]) -> Result<Vec<Option<Spending>>, Away> {
        if parties.is_empty() {
            return Ok(Vec::new());
        }
        let mut script = cmd("EVAL");
        script.arg(SPENDING).arg(parties.len());
        for party in parties {
            script.arg(self.link.key("spent", party));
        }
        script.arg("look");
        let answers = self.link.ask::<Vec<i64>>(&mut piped(script)).await?;
        let numbers = answers.into_iter().next().flatten().ok_or(Away)?;
        Ok(numbers.chunks(SPENDING_NUMBERS).map(spending).collect())
    }

    fn settling(&self, asking: &Asking, outcome: Outcome, tokens: u64) -> Pipeline {
        let mut script = self.script(asking.keys.iter().map(|limited| &limited.key));
        let (word, said) = match outcome {
            Outcome::Answered => ("answered", None),
            Outcome::Cooled(said) => ("cooled", said),
            Outcome::Failed => ("failed", None),
            Outcome::Neither => ("neither", None),
        };
        let said = said.map_or(-1, |said| i64::try_from(said.as_millis()).unwrap_or(i64::MAX));
        script.arg("settle").arg(&*asking.permit).arg(word);
        script.arg(asking.tokens).arg(tokens).arg(said);
        piped(script)
    }

    async fn spend(
        &self,
        parties: &[Party],
        verb: &str,
        (tokens, money): (i64, i64),
    ) -> Result<(usize, Cost), Away> {
        let mut script = cmd("EVAL");
        script.arg(SPENDING).arg(parties.len());
        for party in parties {
            script.arg(self.link.key("spent", &party.key));
        }
        script.arg(verb).arg(tokens).arg(money);
        for party in parties {
            script.arg(most(party.tokens)).arg(most(party.money));
            script.arg(party.per.map_or(0, millis));
        }
        let answers = self.link.ask::<(usize, u64, u64)>(&mut piped(script)).await?;
        let (party, tokens, money) = answers.into_iter().next().flatten().ok_or(Away)?;
        Ok((party, Cost { tokens, money }))
    }
}

fn piped(script: Cmd) -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline.add_command(script);
    pipeline
}

fn most(most: Option<u64>) -> i64 {
    most.map_or(-1, signed)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn verdict(word: &str, after: u64) -> Option<Verdict> {
    let after = Duration::from_millis(after);
    let wait = |why| Some(Verdict::Wait { after, why });
    match word {
        "granted" => Some(Verdict::Granted),
        "shut" => Some(Verdict::Shut { after }),
        "cooling" => wait(Why::Cooling),
        "at_once" => wait(Why::AtOnce),
        "requests" => wait(Why::Requests),
        "tokens" => wait(Why::Tokens),
        _ => None,
    }
}

fn standing(numbers: &[i64]) -> Standing {
    let [under_way, allowed, cooling, shut, failures, limits @ ..] = numbers else {
        return Standing::default();
    };
    let limit = |place: usize| {
        limits.get(place).filter(|limit| **limit > 0).and_then(|limit| u64::try_from(*limit).ok())
    };
    Standing {
        limits: Limits {
            requests_per_minute: limit(0),
            tokens_per_minute: limit(1),
            at_once: limit(2),
        },
        under_way: positive(*under_way),
        allowed: u64::try_from(*allowed).ok(),
        cooling: time(*cooling),
        shut: time(*shut),
        failures: positive(*failures),
    }
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn time(number: i64) -> Option<Duration> {
    (number > 0).then(|| Duration::from_millis(positive(number)))
}

/// What a party has spent; None when nothing is known of it.
fn spending(numbers: &[i64]) -> Option<Spending> {
    let [is_known, tokens, money, most, most_money, left] = numbers else { return None };
    let limit = |most: &i64| u64::try_from(*most).ok();
    (*is_known > 0).then(|| Spending {
        spent: Cost { tokens: positive(*tokens), money: positive(*money) },
        tokens: limit(most),
        money: limit(most_money),
        ends: time(*left),
    })
}

impl Limiter for RedisLimiter {
    fn acquire<'a>(&'a self, asking: &'a Asking) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let mut script = self.script(asking.keys.iter().map(|limited| &limited.key));
            script.arg("acquire").arg(asking.tokens).arg(&*asking.permit).arg(millis(asking.lasts));
            for limited in &asking.keys {
                let limits = &limited.limits;
                let all = [limits.requests_per_minute, limits.tokens_per_minute, limits.at_once];
                for limit in all {
                    script.arg(limit.unwrap_or(0));
                }
            }
            let answers = self.link.ask::<(String, u64)>(&mut piped(script)).await;
            let answer = answers.ok().and_then(|answers| answers.into_iter().next().flatten());
            match answer.and_then(|(word, after)| verdict(&word, after)) {
                Some(verdict) => verdict,
                None => self.own.acquire(asking).await,
            }
        })
    }

    fn settle<'a>(
        &'a self,
        asking: &'a Asking,
        outcome: Outcome,
        tokens: u64,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // what happened counts here as well: the server may be away for the next one
            self.own.settle(asking, outcome, tokens).await;
            let mut settling = self.settling(asking, outcome, tokens);
            if let Err(Away) = self.link.ask::<Value>(&mut settling).await {
                tracing::debug!("what came of a call is known to this process only");
            }
        })
    }

    fn abandon(&self, asking: &Asking) {
        self.own.abandon(asking);
        let (this, asking) = (self.clone(), asking.clone());
        // without a runtime, or if it ends before, the call lapses by its time
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut settling = this.settling(&asking, Outcome::Neither, asking.tokens);
                // an error has been said, and the call lapses
                let _ = this.link.ask::<Value>(&mut settling).await;
            });
        }
    }

    fn standing<'a>(&'a self, keys: &'a [Name]) -> BoxFuture<'a, Vec<Standing>> {
        Box::pin(async move {
            match self.stand(keys).await {
                Ok(standing) => standing,
                Err(Away) => self.own.standing(keys).await,
            }
        })
    }

    fn overview(&self) -> BoxFuture<'_, Option<Vec<(Name, Standing)>>> {
        Box::pin(async move {
            let keys = self.known().await.ok()?;
            let standing = self.stand(&keys).await.ok()?;
            Some(keys.into_iter().zip(standing).collect())
        })
    }

    fn spending<'a>(&'a self, parties: &'a [Name]) -> BoxFuture<'a, Option<Vec<Option<Spending>>>> {
        Box::pin(async move { self.spent(parties).await.ok() })
    }

    fn reserve<'a>(&'a self, parties: &'a [Party], cost: Cost) -> BoxFuture<'a, Result<(), Spent>> {
        Box::pin(async move {
            let change = (signed(cost.tokens), signed(cost.money));
            match self.spend(parties, "reserve", change).await {
                Ok((0, _)) => Ok(()),
                Ok((place, spent)) => Err(Spent { party: place - 1, spent }),
                Err(Away) => self.own.reserve(parties, cost).await,
            }
        })
    }

    fn correct<'a>(
        &'a self,
        parties: &'a [Party],
        reserved: Cost,
        cost: Cost,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let change = |now: u64, before: u64| signed(now).saturating_sub(signed(before));
            let change = (change(cost.tokens, reserved.tokens), change(cost.money, reserved.money));
            if let Err(Away) = self.spend(parties, "correct", change).await {
                self.own.correct(parties, reserved, cost).await;
            }
        })
    }
}
