//! `flowmill migrate`: the database of a cluster gets the form that this release reads.

use std::process::ExitCode;

/// Shards of a database at most: each has a queue and an owner.
const MOST_SHARDS: i64 = 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Several may run at the same time, and again at any time: one does the work, the others find it
done. Run it before schedulers and workers of a new release start; those of the release before go
on. It also makes the partitions of the next months, which schedulers do daily.

Exit code: 0 the database is ready, 1 it is not, 2 wrong usage.

Examples:
  flowmill migrate --url postgres://flowmill@127.0.0.1/flowmill
  FLOWMILL_POSTGRES__URL=postgres://flowmill:…@db/flowmill flowmill migrate --shards 32")]
pub(crate) struct Args {
    /// The database: `postgres://user:password@host:5432/database`. Everybody on the machine sees a
    /// command line: a password belongs into the environment.
    #[arg(long, value_name = "URL", env = "FLOWMILL_POSTGRES__URL", hide_env_values = true)]
    url: String,
    /// How many shards a new database gets: at most so many schedulers share the runs. It cannot
    /// be changed later [default: 16].
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=MOST_SHARDS)
    )]
    shards: Option<u16>,
}

#[cfg(not(feature = "cluster"))]
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { url: _, shards: _ } = args;
    anyhow::bail!(
        "this flowmill was built without a client of PostgreSQL; build one that has it: cargo \
         build --release -p flowmill-cli --features cluster"
    )
}

#[cfg(feature = "cluster")]
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    use anyhow::Context as _;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to start the runtime")?;
    match runtime.block_on(migrate(&args)) {
        Ok(done) => {
            crate::console::print(&done)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ flowmill_infra::postgres::OpenError::Url { .. }) => Err(error.into()),
        Err(error) => {
            crate::console::talk(format_args!("flowmill: {error}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Does it, and says what was done.
#[cfg(feature = "cluster")]
async fn migrate(args: &Args) -> Result<String, flowmill_infra::postgres::OpenError> {
    use flowmill_infra::postgres::{SHARDS, migrate, version};

    let before = version(&args.url).await?;
    let shards = migrate(&args.url, args.shards.unwrap_or(SHARDS)).await?;
    let after = version(&args.url).await?.unwrap_or_default();
    let mut done = match before {
        None => format!("the database is ready: form {after}, {shards} shards\n"),
        Some(before) if before < after => {
            format!("the database went from form {before} to form {after}\n")
        }
        Some(_) => format!("the database was up to date: form {after}, {shards} shards\n"),
    };
    let asked = args.shards.filter(|asked| *asked != shards);
    if asked.is_some() {
        done.push_str("the number of shards stays as it was: runs lie by it\n");
    }
    Ok(done)
}
