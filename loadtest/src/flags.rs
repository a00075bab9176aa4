//! What the command line says.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use flowmill_engine::time::parse_duration;

use crate::figures::number;

/// Loads a cluster and says what it did.
#[derive(Debug, clap::Parser)]
#[command(name = "flowmill-loadtest", version)]
pub(crate) struct Flags {
    /// Where schedulers answer, with commas between them: they are asked in turns.
    #[arg(
        long = "server",
        env = "FLOWMILL_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_delimiter = ',',
        value_name = "URLS"
    )]
    pub(crate) servers: Vec<String>,
    /// Their key; better in the environment, where other users do not see it.
    #[arg(long, env = "FLOWMILL_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// What is loaded, with commas between: each in each mode, one after the other.
    #[arg(
        long = "scenario",
        value_enum,
        value_delimiter = ',',
        default_value = "w1,w2,w3,w4",
        value_name = "NAMES"
    )]
    pub(crate) scenarios: Vec<Scenario>,
    /// How much one task carries, with commas between.
    #[arg(
        long = "mode",
        value_enum,
        value_delimiter = ',',
        default_value = "hop,fused,default",
        value_name = "MODES"
    )]
    pub(crate) modes: Vec<Mode>,
    /// Submit so many runs a second, one by one, whatever becomes of them (w1, w2, w5, w7), or so many of
    /// the interactive ones (w6). Otherwise all are submitted as one batch.
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    rate: Option<f64>,
    /// How many runs are measured. Each scenario has its own number.
    #[arg(long, value_name = "NUMBER", conflicts_with = "time")]
    runs: Option<usize>,
    /// How long runs are submitted at the rate.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, requires = "rate")]
    time: Option<Duration>,
    /// How many runs go before those that are measured. A tenth of them when missing.
    #[arg(long, value_name = "NUMBER")]
    warm_up: Option<usize>,
    /// Items that w4 iterates over.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    items: usize,
    /// Runs of a batch that have not ended, at the most.
    #[arg(long, value_name = "NUMBER", default_value_t = 2000)]
    concurrency: usize,
    /// A process whose memory and time count, as NAME=PID, or all processes with the name of a command,
    /// as NAME=COMMAND. May be given again.
    #[arg(long, value_name = "NAME=PROCESS")]
    pub(crate) watch: Vec<String>,
    /// The cluster's database, whose commits and log are counted; needs `psql`.
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
    /// The cluster's Redis, whose commands are counted, as HOST:PORT.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) redis: Option<String>,
    /// Count the messages of the `RabbitMQ` on this machine; needs `rabbitmqctl` and the right to use it.
    #[arg(long)]
    pub(crate) rabbitmq: bool,
    /// How long after a load the servers' counters are read: the database adds up what its backends
    /// did ten seconds late.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "11s")]
    pub(crate) settle: Duration,
    /// A file for all figures, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// The loads of docs/benchmarks.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Ten nodes in a row, many runs.
    W1,
    /// A node, a hundred beside each other, one that gathers; several runs at once, and one alone.
    W2,
    /// Three nodes in a row, one run after the other.
    W3,
    /// An iteration of one node over many items, ten at a time.
    W4,
    /// One node, very many runs.
    W5,
    /// w3 at a rate, while w1 and w4 load the cluster.
    W6,
    /// One node, many runs, of which each is told by webhook.
    W7,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
            Self::W5 => "w5",
            Self::W6 => "w6",
            Self::W7 => "w7",
        })
    }
}

/// How much one task carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// One node: each crosses the queue.
    Hop,
    /// Chains and passes; no node is evaluated by the scheduler.
    Fused,
    /// As shipped.
    Default,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hop => "hop",
            Self::Fused => "fused",
            Self::Default => "default",
        })
    }
}

/// One load, with all that it needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) scenario: Scenario,
    pub(crate) mode: Mode,
    /// Runs that are measured.
    pub(crate) runs: usize,
    /// Runs before them.
    pub(crate) warm_up: usize,
    /// Runs a second; None: as one batch.
    pub(crate) rate: Option<f64>,
    pub(crate) items: usize,
    pub(crate) concurrency: usize,
}

/// Interactive runs a second in w6.
const INTERACTIVE: f64 = 10.0;

impl Flags {
    /// What a scenario does in a mode.
    pub(crate) fn load(&self, scenario: Scenario, mode: Mode) -> Load {
        let usual = match scenario {
            Scenario::W1 => 2000,
            Scenario::W2 | Scenario::W3 | Scenario::W6 => 200,
            Scenario::W4 => 3,
            Scenario::W5 => 100_000,
            Scenario::W7 => 10_000,
        };
        let rate = match scenario {
            Scenario::W6 => Some(self.rate.unwrap_or(INTERACTIVE)),
            Scenario::W3 | Scenario::W4 => None,
            Scenario::W1 | Scenario::W2 | Scenario::W5 | Scenario::W7 => self.rate,
        };
        let timed = self.time.zip(rate).map(|(time, rate)| whole(time.as_secs_f64() * rate));
        let runs = timed.or(self.runs).unwrap_or(usual).max(1);
        let warm_up = self.warm_up.unwrap_or(runs.div_ceil(10));
        let (items, concurrency) = (self.items.max(1), self.concurrency.max(1));
        Load { scenario, mode, runs, warm_up, rate, items, concurrency }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and bounded, and so are loads"
)]
fn whole(number: f64) -> usize {
    number.round() as usize
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = number(text).ok_or("say a number of runs a second")?;
    let is_possible = (0.01..=100_000.0).contains(&rate);
    is_possible.then_some(rate).ok_or_else(|| "say between 0.01 and 100000 a second".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn load(arguments: &[&str], scenario: Scenario) -> Load {
        let arguments = [&["flowmill-loadtest"], arguments].concat();
        Flags::try_parse_from(arguments).unwrap().load(scenario, Mode::Hop)
    }

    #[test]
    fn a_rate_and_a_time_say_how_many_runs() {
        let load = load(&["--rate", "50", "--for", "1m"], Scenario::W1);
        assert_eq!((load.runs, load.warm_up, load.rate), (3000, 300, Some(50.0)));
    }

    #[test]
    fn runs_that_follow_each_other_have_no_rate() {
        let load = load(&["--rate", "50", "--runs", "7"], Scenario::W3);
        assert_eq!((load.runs, load.warm_up, load.rate), (7, 1, None));
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in ["0", "-1", "NaN", "inf", "many"] {
            let given = ["flowmill-loadtest", "--rate", rate];
            assert!(Flags::try_parse_from(given).is_err(), "{rate}");
        }
    }
}
