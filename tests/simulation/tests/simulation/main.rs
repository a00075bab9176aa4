//! A cluster in one process on a clock that jumps: real schedulers and workers over a broker and a
//! store in memory, with faults from a seed. Whatever happens, what was promised holds.
//!
//! `FLOWMILL_SIM_SEED=7` repeats one seed, `FLOWMILL_SIM_SEEDS=1000` tries more than usual.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod broker;
mod chaos;
mod cluster;
mod dice;
mod nodes;
mod seeds;
mod store;
mod takeover;
