//! What a load cost: time and memory of processes, and what servers counted. Everything is read before
//! a load and after it. The servers count for all who use them, so nobody else may.

mod processes;
mod servers;
mod sockets;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::counters::processes::{Group, Usage};
use crate::counters::sockets::{Flow, Flows};
use crate::flags::Flags;

/// Which processes and servers are looked at.
#[derive(Debug)]
pub(crate) struct Watch {
    groups: Vec<Group>,
    postgres: Option<String>,
    redis: Option<String>,
    rabbitmq: bool,
    settle: Duration,
}

/// How things stood before a load.
#[derive(Debug)]
pub(crate) struct Before {
    usage: BTreeMap<String, Usage>,
    flows: Flows,
    counts: BTreeMap<&'static str, f64>,
    at: Instant,
}

/// What a load cost.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// Of each process or group.
    pub(crate) usage: BTreeMap<String, Used>,
    /// Between a process and a server: name and name.
    pub(crate) flows: BTreeMap<(String, &'static str), Flow>,
    /// What servers counted.
    pub(crate) counts: BTreeMap<&'static str, f64>,
}

/// What a process used during a load.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    /// Of how many cores, on the average.
    pub(crate) cores: f64,
    pub(crate) memory_mib: f64,
    /// The most during the load; None of groups, and where the peak cannot be reset.
    pub(crate) peak_mib: Option<f64>,
}

impl Watch {
    /// # Errors
    /// When a process is named in another way than NAME=PROCESS.
    pub(crate) fn new(flags: &Flags) -> anyhow::Result<Self> {
        let groups: anyhow::Result<Vec<Group>> =
            flags.watch.iter().map(|given| Group::parse(given)).collect();
        Ok(Self {
            groups: groups?,
            postgres: flags.postgres.clone(),
            redis: flags.redis.clone(),
            rabbitmq: flags.rabbitmq,
            settle: flags.settle,
        })
    }

    /// Reads what there is to read before a load.
    pub(crate) async fn begin(&self) -> anyhow::Result<Before> {
        let counts = self.counts().await?;
        let flows = self.flows().await?;
        for group in &self.groups {
            group.forget_peak();
        }
        let usage = self.usage()?;
        Ok(Before { usage, flows, counts, at: Instant::now() })
    }

    /// Reads it again after the load.
    pub(crate) async fn end(&self, before: Before) -> anyhow::Result<Cost> {
        let seconds = before.at.elapsed().as_secs_f64().max(0.001);
        let mut usage = BTreeMap::new();
        for (name, after) in self.usage()? {
            let earlier = before.usage.get(&name).map_or(0.0, |usage| usage.cpu_seconds);
            let cpu_seconds = (after.cpu_seconds - earlier).max(0.0);
            let used = Used {
                cpu_seconds,
                cores: cpu_seconds / seconds,
                memory_mib: after.memory_mib,
                peak_mib: after.peak_mib,
            };
            usage.insert(name, used);
        }
        let flows = sockets::between(&before.flows, self.flows().await?);
        let mut counts = self.counts().await?;
        for (name, count) in &mut counts {
            *count -= before.counts.get(name).copied().unwrap_or_default();
        }
        Ok(Cost { usage, flows, counts })
    }

    fn usage(&self) -> anyhow::Result<BTreeMap<String, Usage>> {
        let usage = |group: &Group| {
            let usage = group.usage();
            let usage = usage.with_context(|| format!("failed to look at {}", group.name))?;
            Ok((group.name.clone(), usage))
        };
        self.groups.iter().map(usage).collect()
    }

    async fn flows(&self) -> anyhow::Result<Flows> {
        let processes: BTreeMap<u32, &str> =
            self.groups.iter().filter_map(|group| Some((group.pid()?, &*group.name))).collect();
        if processes.is_empty() {
            return Ok(Flows::default());
        }
        sockets::look(&processes).await
    }

    async fn counts(&self) -> anyhow::Result<BTreeMap<&'static str, f64>> {
        let mut counts = BTreeMap::new();
        if self.postgres.is_some() {
            sleep(self.settle).await;
        }
        if let Some(url) = &self.postgres {
            counts.extend(servers::postgres(url).await.context("failed to ask PostgreSQL")?);
        }
        if let Some(address) = &self.redis {
            counts.extend(servers::redis(address).await.context("failed to ask Redis")?);
        }
        if self.rabbitmq {
            counts.extend(servers::rabbitmq().await.context("failed to ask RabbitMQ")?);
        }
        Ok(counts)
    }
}
