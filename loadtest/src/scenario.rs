//! What each scenario does, and what is kept of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::Api;
use crate::counters::{Cost, Watch};
use crate::drive::{self, Ended, Subject};
use crate::figures::{Times, float, length};
use crate::flags::{Load, Scenario};
use crate::receiver::{Received, Receiver};
use crate::workloads::{Workload, chain, fan, iteration};

/// Nodes that the longer chain has more than the shorter, to see what one costs.
const FURTHER: u64 = 10;

/// Runs of one that is alone.
const ALONE: usize = 20;

/// Runs of a batch, and items of the iteration, in the background of w6.
const BACKGROUND_RUNS: usize = 1000;
const BACKGROUND_ITEMS: u64 = 20_000;

/// How long webhooks may stay away.
const UNTOLD: Duration = Duration::from_mins(1);

/// What a load gave.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) runs: usize,
    /// What is counted: nodes besides starts and ends, or items.
    pub(crate) units: f64,
    pub(crate) seconds: f64,
    /// From submission to end, in milliseconds.
    pub(crate) times: Times,
    pub(crate) cost: Cost,
    /// What only this scenario tells.
    pub(crate) more: Vec<(&'static str, Value)>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.units / self.seconds
    }
}

/// Brings a load upon a cluster that has nothing else to do.
pub(crate) async fn measure(
    api: &Arc<Api>,
    watch: &Watch,
    load: &Load,
) -> anyhow::Result<Measured> {
    match load.scenario {
        Scenario::W1 => many(api, watch, load, chain(10)).await,
        Scenario::W2 => {
            let mut measured = many(api, watch, load, fan(100)).await?;
            let subject = Subject::push(api, fan(100), load.mode).await?;
            let alone = drive::one_by_one(api, &subject, ALONE).await?;
            measured.more.push(("alone_ms", alone.busy.json()));
            Ok(measured)
        }
        Scenario::W3 => one_by_one(api, watch, load).await,
        Scenario::W4 => items(api, watch, load).await,
        Scenario::W5 => many(api, watch, load, chain(1)).await,
        Scenario::W6 => mixed(api, watch, load).await,
        Scenario::W7 => told(api, watch, load).await,
    }
}

async fn submit(
    api: &Arc<Api>,
    subject: &Subject,
    load: &Load,
    runs: usize,
) -> anyhow::Result<Ended> {
    match load.rate {
        Some(rate) => drive::at_rate(api, subject, runs, rate).await,
        None => drive::as_batch(api, subject, runs, load.concurrency).await,
    }
}

/// Many runs of one workflow.
async fn many(
    api: &Arc<Api>,
    watch: &Watch,
    load: &Load,
    workload: Workload,
) -> anyhow::Result<Measured> {
    let subject = Subject::push(api, workload, load.mode).await?;
    if load.warm_up > 0 {
        submit(api, &subject, load, load.warm_up).await?;
    }
    let before = watch.begin().await?;
    let ended = submit(api, &subject, load, load.runs).await?;
    let cost = watch.end(before).await?;
    let accepted = length(ended.runs) / ended.accepted_seconds.max(0.001);
    let mut more = vec![("accepted_per_second", json!(accepted)), ("busy_ms", ended.busy.json())];
    if load.rate.is_some() {
        more.push(("late_ms", json!(ended.late_ms)));
    }
    Ok(measured(&subject, ended, cost, more))
}

/// Many runs, of which each is told by webhook. The load is over when the last is told.
async fn told(api: &Arc<Api>, watch: &Watch, load: &Load) -> anyhow::Result<Measured> {
    let subject = Subject::push(api, chain(1), load.mode).await?;
    let receiver = Receiver::start().await?;
    let endpoint = api.tell(&receiver.url).await?;
    if load.warm_up > 0 {
        submit(api, &subject, load, load.warm_up).await?;
        all_told(&receiver, load.warm_up).await?;
    }
    let before = watch.begin().await?;
    let began = Instant::now();
    let ended = submit(api, &subject, load, load.runs).await?;
    let Received { times, again, last, .. } = all_told(&receiver, load.runs).await?;
    let seconds = last.map_or(ended.seconds, |last| (last - began).as_secs_f64());
    let cost = watch.end(before).await?;
    api.tell_no_more(&endpoint).await?;
    let more = vec![
        ("runs_per_second", json!(length(ended.runs) / ended.seconds)),
        ("told_ms", Times::new(times).json()),
        ("told_again", json!(again)),
    ];
    Ok(Measured { seconds, ..measured(&subject, ended, cost, more) })
}

/// What was received, once it is so much.
async fn all_told(receiver: &Receiver, count: usize) -> anyhow::Result<Received> {
    let (mut seen, mut changed_at) = (0, Instant::now());
    while seen < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if receiver.count() > seen {
            (seen, changed_at) = (receiver.count(), Instant::now());
        }
        ensure!(changed_at.elapsed() < UNTOLD, "of {count} runs {seen} were told by webhook");
    }
    Ok(receiver.take())
}

async fn one_by_one(api: &Arc<Api>, watch: &Watch, load: &Load) -> anyhow::Result<Measured> {
    let longer = Subject::push(api, chain(3 + FURTHER), load.mode).await?;
    let subject = Subject::push(api, chain(3), load.mode).await?;
    drive::one_by_one(api, &longer, load.warm_up).await?;
    let further = drive::one_by_one(api, &longer, load.runs.div_ceil(2)).await?;
    drive::one_by_one(api, &subject, load.warm_up).await?;
    let before = watch.begin().await?;
    let ended = drive::one_by_one(api, &subject, load.runs).await?;
    let cost = watch.end(before).await?;
    let further = further.times.percentile(50) - ended.times.percentile(50);
    let more = vec![("further_node_ms", json!(further / float(FURTHER)))];
    Ok(measured(&subject, ended, cost, more))
}

async fn items(api: &Arc<Api>, watch: &Watch, load: &Load) -> anyhow::Result<Measured> {
    let items = u64::try_from(load.items)?;
    let subject = Subject::push(api, iteration(items), load.mode).await?;
    drive::one_by_one(api, &subject, load.warm_up).await?;
    let before = watch.begin().await?;
    let ended = drive::one_by_one(api, &subject, load.runs).await?;
    let cost = watch.end(before).await?;
    let runs = Times::json(&ended.busy);
    let mut measured = measured(&subject, ended, cost, vec![("busy_ms", runs)]);
    // one is submitted when the one before has ended: what lies between is not theirs
    measured.seconds = measured.times.percentile(50) * length(measured.runs) / 1000.0;
    Ok(measured)
}

async fn mixed(api: &Arc<Api>, watch: &Watch, load: &Load) -> anyhow::Result<Measured> {
    let subject = Subject::push(api, chain(3), load.mode).await?;
    let row = Subject::push(api, chain(10), load.mode).await?;
    let list = Subject::push(api, iteration(BACKGROUND_ITEMS), load.mode).await?;
    let rate = load.rate.unwrap_or(1.0);
    drive::interactive(api, &subject, load.warm_up, rate).await?;
    let before = watch.begin().await?;
    let began = Instant::now();
    let is_over = AtomicBool::new(false);
    let background = async {
        while !is_over.load(Ordering::Relaxed) {
            let (row, list) = tokio::join!(
                drive::as_batch(api, &row, BACKGROUND_RUNS, load.concurrency),
                drive::one_by_one(api, &list, 1),
            );
            row.and(list)?;
        }
        anyhow::Ok(())
    };
    let foreground = async {
        let times = drive::interactive(api, &subject, load.runs, rate).await;
        is_over.store(true, Ordering::Relaxed);
        times.map(|times| (times, began.elapsed().as_secs_f64()))
    };
    // what is begun in the background comes to its end, and is of nobody else's load
    let (found, background) = tokio::join!(foreground, background);
    let ((times, seconds), ()) = (found?, background?);
    let cost = watch.end(before).await?;
    let runs = load.runs;
    let units = length(runs) * float(subject.workload.units);
    Ok(Measured { runs, units, seconds, times, cost, more: Vec::new() })
}

fn measured(
    subject: &Subject,
    ended: Ended,
    cost: Cost,
    more: Vec<(&'static str, Value)>,
) -> Measured {
    let units = length(ended.runs) * float(subject.workload.units);
    let Ended { runs, seconds, times, .. } = ended;
    Measured { runs, units, seconds, times, cost, more }
}
