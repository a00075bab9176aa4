//! Owns runs: plans them, publishes ready nodes, resolves what comes back, records the end.
//!
//! [`Service`] is the owner of one shard: one task that holds its runs in memory, applies what
//! arrives, commits the facts that follow and only then lets their effects happen. Nothing here
//! decides what becomes of a run; that is `flowmill_engine::run`.
//!
//! `service` is the loop around its ports, `owner` the runs, `active` one of them and what it waits
//! for, `gate` who may send how many tasks, by `allotments` and at the workers' `pace`, `effects` what
//! facts call for, `outbox` how that
//! reaches workers, `fence` what keeps a
//! fault of one run from the others, `shards` the share of one of several schedulers,
//! `children` the way to runs that nodes wait for,
//! `meters` what is counted, `dead_letters` what becomes of messages that nobody could use, `purging` what
//! removes that which need not be kept. With the feature `api`
//! there is what it answers over HTTP, with `service` the program: `config` its settings, `program`
//! how it is joined, `sending` its part that sends webhooks.

mod active;
mod allotments;
#[cfg(feature = "api")]
pub mod api;
mod children;
#[cfg(feature = "service")]
pub mod config;
mod dead_letters;
mod duties;
mod effects;
mod fence;
mod gate;
mod handle;
mod meters;
mod outbox;
mod owner;
mod pace;
mod plans;
#[cfg(feature = "service")]
pub mod program;
mod purging;
#[cfg(feature = "service")]
mod sending;
mod service;
mod shards;

pub use children::{Called, ChildNews, Children, News};
pub use dead_letters::deal_with_dead_letters;
pub use duties::{Alone, Duties};
pub use gate::Window;
pub use handle::{Finished, Handle, Submission, SubmitError};
pub use meters::Meters;
pub use plans::{PlanError, Plans};
pub use purging::{Purging, keep_purging};
pub use service::{Service, load};
pub use shards::{Near, NearOr, Sharded};
