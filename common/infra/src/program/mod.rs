//! What the programs of a cluster have in common: the command line, settings, logs, signals, health.
//!
//! A program is [`main`] with its settings and an async function that runs until it is told to stop.
//! Nothing here knows what it does.

mod arguments;
mod beside;
mod log;
mod metering;
mod name;
mod servers;

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use crate::config::{Loaded, Settings, Sources, load};
use crate::http::ListenError;
use crate::metrics::page;

use arguments::{Action, Arguments};

pub use crate::http::{Check, Health, Listener, Stop};
pub use crate::redis::Redis;
pub use crate::traces::Otlp;
pub use beside::Beside;
pub use log::{Format, Log};
pub use metering::{Metering, look_at_broker, look_at_health, look_at_pools, look_at_redeliveries};
pub use name::name_or;
pub use servers::{Database, Kind, Memory, Messages, Sealing, patiently, watch, watch_database};

/// A program's settings as far as this module needs them.
pub trait Common: Settings {
    /// How it logs.
    fn log(&self) -> &Log;

    /// Where its spans go.
    fn otlp(&self) -> &Otlp;

    /// Threads that its tasks run on; 0: one for each processor.
    fn threads(&self) -> usize;
}

/// Why a program ended though nobody told it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It cannot go on.
    Broken(String),
    /// The database has another form than this release reads.
    Form(String),
}

impl Failure {
    /// The program's exit code: 1 when it broke, 3 when the database has to be migrated. 2 is a wrong
    /// command line or wrong settings.
    pub fn code(&self) -> u8 {
        match self {
            Self::Broken(_) => 1,
            Self::Form(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Form(why) => f.write_str(why),
        }
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        Self::Broken(format!("{error}; http.listen says where"))
    }
}

/// The exit code of a wrong command line or wrong settings.
const USAGE: u8 = 2;

/// A program: reads its command line and its settings, then runs until it is told to stop.
///
/// `about` is what its help begins with.
pub fn main<C: Common>(
    name: &'static str,
    about: &'static str,
    run: impl AsyncFnOnce(C, Stop) -> Result<(), Failure>,
) -> ExitCode {
    let arguments = Arguments::read(name, about);
    let action = arguments.action();
    match action {
        Action::Defaults => return say(C::DEFAULTS),
        Action::Metrics => return say(&page()),
        Action::Run | Action::Print | Action::Check => {}
    }
    let (file, flags) = arguments.sources();
    let loaded: Loaded<C> = match load(&Sources::of_process(file, flags)) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(name, &format!("the settings cannot be used\n{error}"));
            return ExitCode::from(USAGE);
        }
    };
    match action {
        Action::Print => return say(&loaded.show()),
        Action::Check => return say("the settings can be used\n"),
        Action::Defaults | Action::Metrics | Action::Run => {}
    }
    let settings = loaded.settings;
    let tracing = settings.otlp().start(name).and_then(|tracing| {
        settings.log().start(tracing.as_ref())?;
        Ok(tracing)
    });
    let tracing = match tracing {
        Ok(tracing) => tracing,
        Err(error) => {
            complain(name, &error);
            return ExitCode::from(USAGE);
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if settings.threads() > 0 {
        builder.worker_threads(settings.threads());
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(name, &format!("failed to start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let stop = Stop::on_signals().map_err(|error| Failure::Broken(error.to_string()))?;
        tracing::info!(program = name, version = env!("CARGO_PKG_VERSION"), "starting");
        run(settings, stop).await
    });
    // what still blocks a thread does not keep the program
    runtime.shutdown_background();
    if let Some(tracing) = tracing {
        tracing.end();
    }
    match ended {
        Ok(()) => {
            tracing::info!(program = name, "stopped");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tracing::error!(program = name, error = %failure, "ended");
            ExitCode::from(failure.code())
        }
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // whoever read it has seen enough
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(name: &str, text: &str) {
    // where nobody listens there is nobody to tell
    let _ = writeln!(std::io::stderr(), "{name}: {text}");
}
