//! `flowmill purge`: what need not be kept is removed at once, whether anything serves or not.

use std::path::PathBuf;
use std::time::Duration;

use flowmill_engine::time::parse_duration;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Removes runs that ended long enough ago with all that is theirs, then batches, files, conversations, names of
submissions and large values that nothing refers to, and what removed tenants had. Runs that have not ended
stay, and those whose end somebody is still to be told of. Schedulers do the same about once an hour by their
section `retention`, whose names in the environment this reads, too; one of them, or this, is at it at a time.

It works over the database of a cluster (--url), or over the folder of a `flowmill serve` that does not run
(--data). Terms that tenants have of their own (`flowmill retention`) count before these. It may be stopped at
any time and begun again.

Exit code: 0 all that is due is removed, 1 it is not, 2 wrong usage.

Examples:
  flowmill purge --url postgres://flowmill@127.0.0.1/flowmill --runs 30d --dry-run
  flowmill purge --url postgres://flowmill@127.0.0.1/flowmill --runs 30d --failed 90d --uploads 30d
  flowmill purge --data flowmill-data --runs 7d
  FLOWMILL_POSTGRES__URL=postgres://owner:…@db/flowmill flowmill purge --audit 365d")]
pub(crate) struct Args {
    /// The database. Everybody on the machine sees a command line: a password belongs into the
    /// environment.
    #[arg(
        long,
        value_name = "URL",
        env = "FLOWMILL_POSTGRES__URL",
        hide_env_values = true,
        required_unless_present = "data"
    )]
    url: Option<String>,
    /// The folder of a `flowmill serve` that does not run.
    #[arg(long, value_name = "DIR", conflicts_with = "audit")]
    data: Option<PathBuf>,
    /// How long runs are kept after their end, however they ended: 12h, 30d. Not given: for good.
    #[arg(long, value_name = "TIME", value_parser = period)]
    runs: Option<Duration>,
    /// Those that succeeded.
    #[arg(long, value_name = "TIME", env = "FLOWMILL_RETENTION__SUCCEEDED", value_parser = period)]
    succeeded: Option<Duration>,
    /// Those that succeeded with errors that were dealt with.
    #[arg(
        long,
        value_name = "TIME",
        env = "FLOWMILL_RETENTION__PARTIAL_SUCCEEDED",
        value_parser = period
    )]
    partial_succeeded: Option<Duration>,
    /// Those that failed.
    #[arg(long, value_name = "TIME", env = "FLOWMILL_RETENTION__FAILED", value_parser = period)]
    failed: Option<Duration>,
    /// Those that were stopped.
    #[arg(long, value_name = "TIME", env = "FLOWMILL_RETENTION__STOPPED", value_parser = period)]
    stopped: Option<Duration>,
    /// Uploaded files, since they came or a run named them last.
    #[arg(long, value_name = "TIME", env = "FLOWMILL_RETENTION__UPLOADS", value_parser = period)]
    uploads: Option<Duration>,
    /// Conversations, from their last turn on.
    #[arg(
        long,
        value_name = "TIME",
        env = "FLOWMILL_RETENTION__CONVERSATIONS",
        value_parser = period
    )]
    conversations: Option<Duration>,
    /// Names of submissions, at least; they also live as long as their run.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "7d",
        env = "FLOWMILL_RETENTION__KEYS",
        value_parser = period
    )]
    keys: Duration,
    /// Dead letters that were put back or dropped.
    #[arg(long, value_name = "TIME", env = "FLOWMILL_RETENTION__LETTERS", value_parser = period)]
    letters: Option<Duration>,
    /// What people did (`flowmill audit`). Only whoever owns the tables may remove some of that.
    #[arg(long, value_name = "TIME", value_parser = period)]
    audit: Option<Duration>,
    /// The share of the time that it may be at work, 0.01 to 1: it rests for those who serve.
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    share: f64,
    /// Remove nothing: say how many runs would be removed, in all and of each tenant.
    #[arg(long)]
    dry_run: bool,
    /// Print what was removed as one JSON object.
    #[arg(long)]
    json: bool,
}

fn period(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time < flowmill_infra::retention::SHORTEST => Err("1m at least".to_owned()),
        read => read,
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.01..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0.01 to 1".to_owned())
}

#[cfg(not(any(feature = "cluster", feature = "serve")))]
pub(crate) fn run(args: &Args) -> anyhow::Result<std::process::ExitCode> {
    let Args { url: _, data: _, runs: _, succeeded: _, partial_succeeded: _, failed: _, .. } = args;
    let Args { stopped: _, uploads: _, conversations: _, keys: _, letters: _, audit: _, .. } = args;
    let Args { share: _, dry_run: _, json: _, .. } = args;
    anyhow::bail!("this flowmill was built with neither a client of PostgreSQL nor `serve`")
}

#[cfg(any(feature = "cluster", feature = "serve"))]
pub(crate) use at_work::run;

#[cfg(any(feature = "cluster", feature = "serve"))]
mod at_work {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::process::ExitCode;
    use std::time::Instant;

    use anyhow::Context as _;
    use flowmill_engine::value::{Style, Value, dumps};
    use flowmill_infra::retention::{Kind, Limits, Purge, Purged, Terms, purge};

    use super::Args;
    use crate::console::{print, talk};
    use crate::duration;
    use crate::result::member;

    pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
        let begun = Instant::now();
        let done = runtime.block_on(async {
            match (&args.data, &args.url) {
                (Some(data), _) => of_folder(args, data).await,
                (None, Some(url)) => of_database(args, url).await,
                (None, None) => anyhow::bail!("name --url or --data"),
            }
        });
        let (purged, audit) = match done {
            Ok(done) => done,
            Err(error) => {
                talk(format_args!("flowmill: {error:#}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        print(&told(args, &purged, audit))?;
        talk(format_args!("it took {}", duration::show(begun.elapsed())));
        Ok(ExitCode::SUCCESS)
    }

    fn limits(args: &Args) -> Limits {
        let Args { succeeded, partial_succeeded, failed, stopped, uploads, conversations, .. } =
            args;
        let of_runs = |own: &Option<_>| own.or(args.runs);
        let usual = Terms::from([
            (Kind::Succeeded, of_runs(succeeded)),
            (Kind::Partial, of_runs(partial_succeeded)),
            (Kind::Failed, of_runs(failed)),
            (Kind::Stopped, of_runs(stopped)),
            (Kind::Uploads, *uploads),
            (Kind::Conversations, *conversations),
        ]);
        let Args { keys, letters, share, dry_run, .. } = *args;
        Limits { usual, keys, letters, share, is_dry: dry_run }
    }

    /// Removes what is due, and says how far it is.
    async fn remove<P: Purge>(args: &Args, store: &mut P) -> anyhow::Result<Purged> {
        let mut said = Instant::now();
        let mut told = |so_far: &Purged| {
            if said.elapsed().as_secs() >= 2 {
                said = Instant::now();
                talk(format_args!("{} runs so far", so_far.runs));
            }
        };
        Ok(purge(store, &limits(args), &mut told).await?)
    }

    #[cfg(feature = "serve")]
    async fn of_folder(args: &Args, data: &Path) -> anyhow::Result<(Purged, Option<u64>)> {
        use flowmill_infra::sqlite::SharedFolder;

        use crate::keep::keys;
        use crate::serve::SHARDS;

        if !data.is_dir() {
            anyhow::bail!("there is no folder {}", data.display());
        }
        let store = SharedFolder::open(data, SHARDS, keys()?).await?;
        let purged = remove(args, &mut store.purge()).await;
        store.close().await;
        Ok((purged?, None))
    }

    #[cfg(not(feature = "serve"))]
    fn of_folder(
        _: &Args,
        _: &Path,
    ) -> impl Future<Output = anyhow::Result<(Purged, Option<u64>)>> {
        let why = "this flowmill was built without `serve`, so it knows nothing of its folders";
        std::future::ready(Err(anyhow::anyhow!(why)))
    }

    #[cfg(feature = "cluster")]
    async fn of_database(args: &Args, url: &str) -> anyhow::Result<(Purged, Option<u64>)> {
        use flowmill_infra::postgres::PostgresPurge;

        let Some(mut store) = PostgresPurge::open(url).await? else {
            anyhow::bail!("a scheduler, or another purge, is at it: try again when it is done");
        };
        let purged = remove(args, &mut store).await?;
        let audit = match args.audit {
            Some(keep) => Some(store.remove_audit(keep, args.dry_run).await?),
            None => None,
        };
        store.close().await;
        Ok((purged, audit))
    }

    #[cfg(not(feature = "cluster"))]
    fn of_database(
        Args { audit: _, .. }: &Args,
        _: &str,
    ) -> impl Future<Output = anyhow::Result<(Purged, Option<u64>)>> {
        std::future::ready(Err(anyhow::anyhow!(
            "this flowmill was built without a client of PostgreSQL; build one that has it: cargo \
             build --release -p flowmill-cli --features cluster"
        )))
    }

    fn told(args: &Args, purged: &Purged, audit: Option<u64>) -> String {
        let audit = audit.map(|audit| ("audit", audit));
        let counts: Vec<(&str, u64)> = purged.counts().into_iter().chain(audit).collect();
        if args.json {
            let number = |count| Value::int(i64::try_from(count).unwrap_or(i64::MAX));
            let members = counts.iter().map(|(name, count)| member(name, number(*count)));
            let of_tenants =
                purged.due.iter().map(|(tenant, count)| member(tenant, number(*count)));
            let due = args.dry_run.then(|| member("runs_of_tenants", Value::object(of_tenants)));
            return dumps(&Value::object(members.chain(due)), Style::Finite) + "\n";
        }
        let did = if args.dry_run { "would be removed" } else { "removed" };
        let some = counts.iter().filter(|(_, count)| *count > 0);
        let some: Vec<String> = some.map(|(name, count)| format!("{count} {name}")).collect();
        if some.is_empty() {
            return format!("nothing {did}\n");
        }
        let mut text = format!("{did}: {}\n", some.join(", "));
        for (tenant, count) in &purged.due {
            let _ = writeln!(text, "  of {tenant}: {count} runs");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_are_in_bounds() {
        assert_eq!(period("30d"), Ok(Duration::from_hours(30 * 24)));
        assert!(period("30s").is_err() && period("soon").is_err());
        assert!(share("1").is_ok() && share("0.05").is_ok());
        for wrong in ["0", "1.5", "-1", "all", "nan"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
