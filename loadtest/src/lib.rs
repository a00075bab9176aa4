//! Loads a cluster through its HTTP API and says what it did: how much a second, how long a run took
//! from its submission to its end, and what each node cost its programs and servers. README.md beside
//! it tells how to read that.
//!
//! It knows nothing of the programs but what `docs/api.md` says. What it reads besides, it reads from
//! the operating system and from the servers' own counters, before and after a load, never during it.

mod api;
mod counters;
mod drive;
mod figures;
mod flags;
mod receiver;
mod report;
mod scenario;
mod workloads;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;

use crate::api::Api;
use crate::counters::Watch;
use crate::flags::Flags;
use crate::report::Report;

/// What the binary does.
pub fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(measure(flags))
}

async fn measure(flags: &Flags) -> anyhow::Result<()> {
    let api = Arc::new(Api::new(&flags.servers, flags.api_key.as_deref())?);
    let watch = Watch::new(flags)?;
    let mut report = Report::new(flags);
    for scenario in &flags.scenarios {
        for mode in &flags.modes {
            let load = flags.load(*scenario, *mode);
            let measured = scenario::measure(&api, &watch, &load).await;
            let measured = measured.with_context(|| format!("{scenario} {mode} broke off"))?;
            report.add(&load, measured);
        }
    }
    report.finish(flags.json.as_deref())
}
