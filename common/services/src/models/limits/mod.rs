//! How much is asked of providers, over all processes together, as a port.
//!
//! Whoever wants to call asks first, and says afterwards what came of it. What is limited together
//! has a *key*: a provider, or one model there. Where nobody else can be asked, a process limits
//! itself.

mod gauge;

use std::fmt::Debug;
use std::time::Duration;

use flowmill_engine::value::Name;
use futures::future::BoxFuture;

pub use gauge::{FAILURES, Gauge, LONGEST_PAUSE, PAUSE};

use super::config::Limits;

/// What is limited together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// What it is known by in every process: the provider, or the provider and a model.
    pub key: Name,
    /// How much it takes.
    pub limits: Limits,
}

/// Somebody who wants to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Who: another for each call.
    pub permit: Name,
    /// What the call counts for; it is granted by all of them or not at all.
    pub keys: Vec<Limited>,
    /// How many tokens it will take, by estimate.
    pub tokens: u64,
    /// After which time it counts as over if nobody says so.
    pub lasts: Duration,
}

/// Whether somebody may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Granted,
    /// Not now.
    Wait {
        /// When to ask again.
        after: Duration,
        /// What stands in the way.
        why: Why,
    },
    /// The provider failed again and again and is left alone.
    Shut {
        /// For how long.
        after: Duration,
    },
}

/// What stands in the way of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The calls of a minute.
    Requests,
    /// The tokens of a minute.
    Tokens,
    /// The calls at the same time.
    AtOnce,
    /// The provider asked to be left alone.
    Cooling,
}

impl Why {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tokens, Self::AtOnce, Self::Cooling];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::AtOnce => "at-once",
            Self::Cooling => "cooling",
        }
    }

    /// The one of a name, if there is one.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered,
    /// It was one too many; the provider may have said for how long.
    Cooled(Option<Duration>),
    /// The provider failed.
    Failed,
    /// Nothing that says anything of the provider.
    Neither,
}

/// Somebody whose spending is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// What it is known by in every process.
    pub key: Name,
    /// The most tokens.
    pub tokens: Option<u64>,
    /// The most money, in ten-millionths.
    pub money: Option<u64>,
    /// For how long that is; None: for as long as anybody spends.
    pub per: Option<Duration>,
}

/// What something costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens.
    pub tokens: u64,
    /// Money, in ten-millionths.
    pub money: u64,
}

/// What a party has spent already, so that it may spend no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Its place among those that were asked for.
    pub party: usize,
    /// What it has spent, reservations included.
    pub spent: Cost,
}

/// What a party has spent of what it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// What it has spent, reservations included.
    pub spent: Cost,
    /// The most tokens; None: any number.
    pub tokens: Option<u64>,
    /// The most money, in ten-millionths; None: any amount.
    pub money: Option<u64>,
    /// When it begins anew, where that is by time.
    pub ends: Option<Duration>,
}

/// Whether a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// As usual.
    Closed,
    /// It failed again and again and is left alone, or one call tries it.
    Open,
    /// The next call tries it.
    HalfOpen,
}

impl Circuit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How a key stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How much it takes, as whoever asked last said.
    pub limits: Limits,
    /// Calls that are under way.
    pub under_way: u64,
    /// How many may be at the same time for now, after the provider asked for fewer.
    pub allowed: Option<u64>,
    /// For how long it cools.
    pub cooling: Option<Duration>,
    /// For how long it is left alone.
    pub shut: Option<Duration>,
    /// Failures in a row.
    pub failures: u64,
}

impl Standing {
    /// Whether calls are let through.
    pub fn circuit(&self) -> Circuit {
        match (self.shut, self.failures >= FAILURES) {
            (Some(_), _) => Circuit::Open,
            (None, true) => Circuit::HalfOpen,
            (None, false) => Circuit::Closed,
        }
    }
}

/// Limits calls, and what is spent.
pub trait Limiter: Debug + Send + Sync {
    /// Asks for a call.
    fn acquire<'a>(&'a self, asking: &'a Asking) -> BoxFuture<'a, Verdict>;

    /// Says what came of a call that was granted, and how many tokens it took.
    fn settle<'a>(&'a self, asking: &'a Asking, outcome: Outcome, tokens: u64)
    -> BoxFuture<'a, ()>;

    /// A call that was granted was given up. It must not block.
    fn abandon(&self, asking: &Asking);

    /// How keys stand, in their order.
    fn standing<'a>(&'a self, keys: &'a [Name]) -> BoxFuture<'a, Vec<Standing>>;

    /// How all keys stand that somebody asked about within the last hour, by their names. None when
    /// those who share them cannot be asked: each process limits itself then.
    fn overview(&self) -> BoxFuture<'_, Option<Vec<(Name, Standing)>>>;

    /// What parties have spent, in their order: None for one that has spent nothing. None for all when
    /// those who share it cannot be asked.
    fn spending<'a>(&'a self, parties: &'a [Name]) -> BoxFuture<'a, Option<Vec<Option<Spending>>>>;

    /// Sets aside what a call will cost, for all parties or for none.
    ///
    /// # Errors
    /// [`Spent`] of the first party that may not spend it.
    fn reserve<'a>(&'a self, parties: &'a [Party], cost: Cost) -> BoxFuture<'a, Result<(), Spent>>;

    /// What was set aside cost something else.
    fn correct<'a>(&'a self, parties: &'a [Party], reserved: Cost, cost: Cost)
    -> BoxFuture<'a, ()>;
}
