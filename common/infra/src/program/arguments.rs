//! The command line that all programs of a cluster have.

use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

/// What a program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Its work.
    Run,
    /// Show what settings there are.
    Defaults,
    /// Show what settings apply.
    Print,
    /// Say whether the settings can be used.
    Check,
    /// Show what is counted.
    Metrics,
}

#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Settings come from the defaults, then the file, then the environment, then --set. A key of a
section has two underscores in the environment: FLOWMILL_POSTGRES__URL is postgres.url.

SIGTERM and SIGINT stop it in order; a second one shortens that.

Exit code: 0 it was stopped, 1 it cannot go on, 2 wrong usage or settings, 3 the database has
another form than this release reads (flowmill migrate)."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Arguments {
    /// A file with settings, in TOML.
    #[arg(long, value_name = "FILE", env = "FLOWMILL_CONFIG")]
    config: Option<PathBuf>,
    /// A setting, such as `http.listen=127.0.0.1:9090`; may be repeated. Everybody on the machine
    /// sees a command line: secrets belong into the environment or the file.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Show the settings that apply, without secrets, and end.
    #[arg(long, group = "instead")]
    print_config: bool,
    /// Say whether the settings can be used, and end.
    #[arg(long, group = "instead")]
    check_config: bool,
    /// Show all settings with their defaults, as a file to begin with, and end.
    #[arg(long, group = "instead")]
    print_defaults: bool,
    /// Show all metrics that the programs count, as a page in Markdown, and end.
    #[arg(long, group = "instead")]
    print_metrics: bool,
}

impl Arguments {
    /// Reads the command line; ends the program where it is wrong or asks for help.
    pub(super) fn read(name: &'static str, about: &'static str) -> Self {
        let matches = Self::command().name(name).bin_name(name).about(about).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    pub(super) fn action(&self) -> Action {
        let asked = [
            (self.print_defaults, Action::Defaults),
            (self.print_metrics, Action::Metrics),
            (self.print_config, Action::Print),
            (self.check_config, Action::Check),
        ];
        // the command line takes one of them at most
        asked.iter().find(|(is_asked, _)| *is_asked).map_or(Action::Run, |(_, action)| *action)
    }

    /// The file and the flags.
    pub(super) fn sources(self) -> (Option<PathBuf>, Vec<(String, String)>) {
        (self.config, self.set)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
