//! Whom nodes ask: the services file, from a flag, the environment or the working directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_infra::memory::MemoryLimiter;
use flowmill_services::Services;
use flowmill_services::models::Gateway;
use flowmill_services::source::Source;
use flowmill_services::tools::BoundTools;

/// Names the file where the flag does not.
const VARIABLE: &str = "FLOWMILL_SERVICES";

#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct ServicesFlag {
    /// Who answers when nodes ask for models, tools and knowledge; also `FLOWMILL_SERVICES` [default:
    /// flowmill-services.toml if it is there, else providers whose keys are in the environment].
    #[arg(long = "services", value_name = "FILE")]
    services: Option<PathBuf>,
}

impl ServicesFlag {
    /// Whether it was given.
    #[cfg(feature = "store")]
    pub(crate) fn is_given(&self) -> bool {
        self.services.is_some()
    }

    /// What the file says.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub(crate) fn read(&self) -> anyhow::Result<Source> {
        let named =
            || std::env::var_os(VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from);
        let usual = || Source::usual(Path::new("."));
        let file = self.services.clone().or_else(named).or_else(usual);
        Source::read(file.as_deref(), &variable).map_err(failed)
    }

    /// The services that nodes of this process may ask.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub(crate) fn open(&self) -> anyhow::Result<Arc<Services>> {
        let services = self.read()?.services(Arc::new(MemoryLimiter::default()), &variable, None);
        services.map(Arc::new).map_err(failed)
    }

    /// The folder of the file; without one, where the program was started.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(self.read()?.folder().to_owned())
    }

    /// The tools alone.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub(crate) fn tools(&self) -> anyhow::Result<BoundTools> {
        self.read()?
            .tools(&variable)
            .map_err(|error| failed(format!("use the services file: {error}")))
    }

    /// The models alone.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    pub(crate) fn models(&self) -> anyhow::Result<Gateway> {
        let models = self.read()?.models(Arc::new(MemoryLimiter::default()));
        models.context("failed to reach the models")
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What libraries say reads after these words.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("failed to {error}")
}
