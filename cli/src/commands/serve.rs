//! `flowmill serve`: the whole HTTP API in this process, over a folder.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flowmill_engine::time::parse_duration;
use flowmill_infra::http::{Health, Limits, Listener, Stop, TlsFiles};
use flowmill_infra::memory::MemoryLimiter;
use flowmill_infra::metrics::{Metrics, Program};
use flowmill_infra::retention::{Kind, SHORTEST};
use flowmill_infra::sqlite::SharedFolder;
use flowmill_infra::tenants::Rate;
use flowmill_nodes::http_request::client::Policy;
use flowmill_scheduler::Purging;
use flowmill_scheduler::api::{Courier, Door, Key, Pepper, WebhookSettings};
use flowmill_worker::{OutsideMeters, Slots};
use tracing_subscriber::EnvFilter;

use super::run::code;
use crate::code::{CodeFlags, warn};
use crate::console::talk;
use crate::embedded::{cores, watched_outside};
use crate::keep::keys;
use crate::net::Net;
use crate::serve::{SHARDS, Serving, Settings};
use crate::services::ServicesFlag;

/// The most nodes of a class that run at a time.
const MOST_SLOTS: u16 = 4096;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything is kept in the folder: workflows, runs, files. Whatever was accepted runs to its end, also
after a crash: nodes that cost something and had ended are not paid for again, runs that wait go on
waiting. One process at a time serves a folder.

Ctrl-C or SIGTERM: no more requests are taken, nodes that run may finish for as long as --drain says;
what is left goes on when the folder is served again. A second one hands back at once.

`flowmill workflows`, `submit` and `runs` talk to it, by default at the same address. Runs by messages
and announced ends need the broker of a cluster: here, `submit --wait` and `runs events --follow` tell
of an end.

Exit code: 0 told to stop, 1 something broke, 2 wrong usage, a folder or port that is in use.

Examples:
  flowmill serve --data flowmill-data
  flowmill submit hello.yml --input name=Ada --wait           # in another terminal
  FLOWMILL_KEY=$(openssl rand -hex 16) flowmill serve --data /var/lib/flowmill --listen 0.0.0.0:8080
  flowmill serve --data flowmill-data --slots llm=8 --slots code=2 --allow-private-network")]
pub(crate) struct Args {
    /// Where everything is kept; made when it is missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where it answers. Where others can reach it, callers must have a key.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The key of whoever looks after the server, 16 characters at least. Everybody on the machine sees a
    /// command line: it belongs into the environment.
    #[arg(long, env = "FLOWMILL_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// What further keys (`flowmill keys`) are hashed with, so that the folder alone is of no use to
    /// anybody who has it; under another one all those keys are others.
    #[arg(
        long,
        env = "FLOWMILL_PEPPER",
        hide_env_values = true,
        default_value = "",
        value_name = "TEXT"
    )]
    pepper: String,
    /// How many requests a second a further key may ask in the long run, and twice as many at once,
    /// unless it was made with a --rate of its own; 0: as many as it likes.
    #[arg(long, default_value = "1000", value_name = "NUMBER")]
    rate: u32,
    /// The certificate that it answers with, as PEM, those that lead to it behind it. It is read again
    /// when it changes.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The key of the certificate, as PEM.
    #[arg(long, requires = "tls_certificate", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Let in only callers whose certificate leads to one of this file (PEM). It is read again when it
    /// changes.
    #[arg(long, requires = "tls_certificate", value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Let runs bring canned answers in place of nodes.
    #[arg(long)]
    allow_mocks: bool,
    /// The largest file that is taken in for runs, in MiB.
    #[arg(long, default_value = "15", value_name = "MIB")]
    file_mib: NonZeroU16,
    /// How many nodes of a class run at a time: light, code, http or llm. May be repeated
    /// [default: one for each processor of light and code, 64 of http and llm].
    #[arg(long = "slots", value_name = "CLASS=NUMBER", value_parser = slot)]
    slots: Vec<(Class, u16)>,
    /// How long nodes may finish when it is told to stop: 500ms, 30s, 5m.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_duration)]
    drain: Duration,
    /// How others reach it, such as <https://flowmill.example>: what links in webhooks begin with.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URL")]
    public_url: String,
    /// How long runs, files that no run names, and conversations are kept after they were of use last:
    /// 12h, 30d. Tenants may say otherwise (`flowmill retention`) [default: for good].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    keep: Option<Duration>,
    /// Count nothing: no `/metrics` for Prometheus.
    #[arg(long)]
    no_metrics: bool,
    /// What is logged: error, warn, info or debug, also of parts: `warn,flowmill_worker=debug`.
    #[arg(long, env = "FLOWMILL_LOG", default_value = "warn", value_name = "LEVELS")]
    log: String,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    net: Net,
    #[command(flatten)]
    services: ServicesFlag,
}

/// A class of nodes that share slots.
#[derive(Clone, Copy, Debug)]
enum Class {
    Light,
    Code,
    Http,
    Llm,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    let filter = EnvFilter::builder().parse(&args.log);
    let filter = filter.context("--log (it looks like warn,flowmill_worker=debug)")?;
    let is_seen = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(is_seen);
    lines.with_env_filter(filter).init();
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let served = runtime.block_on(Box::pin(serve(args, settings)));
    // a program that does not end must not hold us
    runtime.shutdown_background();
    served
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let key = args.key.as_deref().filter(|key| !key.is_empty());
    if let Some(why) = key.and_then(Key::objection) {
        bail!("--key, or FLOWMILL_KEY: {why}");
    }
    if key.is_none() && !args.listen.ip().is_loopback() {
        bail!(
            "others can reach {}, so callers must have a key: set FLOWMILL_KEY (a new one: openssl \
             rand -hex 16), or listen on 127.0.0.1",
            args.listen
        );
    }
    let cores = cores();
    let mut slots = Slots { light: cores, code: cores, http: 64, llm: 64 };
    for (class, count) in &args.slots {
        let slot = match class {
            Class::Light => &mut slots.light,
            Class::Code => &mut slots.code,
            Class::Http => &mut slots.http,
            Class::Llm => &mut slots.llm,
        };
        *slot = usize::from(*count);
    }
    let (api_key, allow_mocks, drain) = (key.map(Key::of), args.allow_mocks, args.drain);
    let courier = Courier::new(WebhookSettings {
        public_url: args.public_url.clone(),
        reach: args.net.reach(),
        allowed_by: ["--allow-net", "--allow-private-network"],
        ..WebhookSettings::default()
    });
    let courier = courier.context("failed to prepare webhooks")?;
    let metrics = if args.no_metrics { Metrics::off() } else { Metrics::of(Program::Serve) };
    let courier = Arc::new(courier.with_metrics(&metrics));
    let file_bytes = usize::from(args.file_mib.get()) << 20;
    let pepper = Pepper::of(&args.pepper);
    let burst = NonZeroU32::new(args.rate.saturating_mul(2));
    let rate = NonZeroU32::new(args.rate).zip(burst);
    let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
    let limiter = Arc::new(MemoryLimiter::default());
    let purging = purging(args.keep)?;
    Ok(Settings {
        api_key,
        pepper,
        rate,
        allow_mocks,
        file_bytes,
        slots,
        drain,
        courier,
        metrics,
        purging,
        limiter,
    })
}

/// How what is not kept is removed.
fn purging(keep: Option<Duration>) -> anyhow::Result<Purging> {
    if keep.is_some_and(|keep| keep < SHORTEST) {
        bail!("--keep: 1m at least: whoever waits for an end reads it after that");
    }
    let mut purging = Purging::default();
    purging.limits.usual = Kind::ALL.map(|kind| (kind, keep)).into();
    Ok(purging)
}

/// Serves until it is told to stop.
async fn serve(args: &Args, settings: Settings) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals().context("failed to listen to signals")?;
    let counted = OutsideMeters::of(&settings.metrics);
    let outside = watched_outside(
        &args.code.settings()?,
        Policy::default(),
        args.net.reach(),
        args.services.watched(settings.limiter.clone(), counted.clone())?,
        &counted,
    )?;
    let (code, documents) = (outside.code.clone(), outside.documents.clone());
    let store = SharedFolder::open(&args.data, SHARDS, keys()?).await?;
    let (health, door) = (Health::waiting_for(&["api"]), Door::default());
    let router = health.router().merge(settings.metrics.router()).merge(door.router());
    let files = args.tls_certificate.clone().zip(args.tls_key.clone());
    let client_ca = args.tls_client_ca.clone();
    let files = files.map(|(certificate, key)| TlsFiles { certificate, key, client_ca });
    let scheme = if files.is_some() { "https" } else { "http" };
    let terms = (Limits::default(), files);
    let listener = Listener::open_with(args.listen, terms, router, stop.clone()).await;
    let listener =
        listener.context("see --listen, --tls-certificate, --tls-key and --tls-client-ca")?;
    let drain = settings.drain;
    let mut serving = Serving::start(store, settings, outside).await?;
    door.open(serving.router());
    health.has("api");
    let folder = args.data.display();
    talk(format_args!("serving {scheme}://{}, kept in {folder}; Ctrl-C stops it", listener.at()));

    let broken = tokio::select! {
        broken = serving.broken() => Some(broken),
        () = stop.told(1) => None,
    };
    health.lacks("api", "it was told to stop");
    door.close();
    if let Some(why) = broken {
        talk(format_args!("flowmill: {why:#}; what was accepted goes on when it is served again"));
        return Ok(ExitCode::from(code::FAILED));
    }
    talk(format_args!(
        "stopping: nodes that run may finish for {drain:?}; Ctrl-C again hands them back at once"
    ));
    let stopped = serving.stop(stop.told(2)).await;
    listener.finish().await;
    warn(&code, &documents);
    stopped.map(|()| ExitCode::SUCCESS)
}

fn slot(text: &str) -> Result<(Class, u16), String> {
    let (class, count) = text.split_once('=').ok_or("write it as llm=8")?;
    let class = match class {
        "light" => Class::Light,
        "code" => Class::Code,
        "http" => Class::Http,
        "llm" => Class::Llm,
        _ => return Err("the classes are light, code, http and llm".to_owned()),
    };
    match count.parse() {
        Ok(count @ 1..=MOST_SLOTS) => Ok((class, count)),
        _ => Err(format!("a class has 1 to {MOST_SLOTS} slots")),
    }
}
