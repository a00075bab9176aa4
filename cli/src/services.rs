//! Whom nodes ask: the services file, from a flag, the environment or the working directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_infra::memory::MemoryLimiter;
use flowmill_services::Services;
#[cfg(feature = "store")]
use flowmill_services::knowledge::BoundKnowledge;
use flowmill_services::knowledge::Knowledge;
use flowmill_services::models::Gateway;
#[cfg(feature = "serve")]
use flowmill_services::models::ModelWatch;
use flowmill_services::models::limits::Limiter;
use flowmill_services::source::Source;
use flowmill_services::tools::BoundTools;

/// Names the file where the flag does not.
const VARIABLE: &str = "FLOWMILL_SERVICES";

/// Says where the built-in store of knowledge lies.
#[cfg(feature = "store")]
pub(crate) const KNOWLEDGE_VARIABLE: &str = "FLOWMILL_KNOWLEDGE";

/// The file that it is where nobody says.
#[cfg(feature = "store")]
const KNOWLEDGE_FILE: &str = "knowledge.db";

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
        services(self.read()?, Arc::new(MemoryLimiter::default()))
    }

    /// The same, as often as a limiter lets them; `watch` hears of calls of models.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    #[cfg(feature = "serve")]
    pub(crate) fn watched(
        &self,
        limiter: Arc<dyn Limiter>,
        watch: Arc<dyn ModelWatch>,
    ) -> anyhow::Result<Arc<Services>> {
        services(self.read()?.watched_by(watch), limiter)
    }

    /// The knowledge bases alone.
    ///
    /// # Errors
    /// When the file cannot be read or used.
    #[cfg(feature = "store")]
    pub(crate) fn knowledge(&self) -> anyhow::Result<BoundKnowledge> {
        let source = self.read()?;
        let store = store(&source, Arc::new(MemoryLimiter::default()))?;
        source.knowledge(store).map_err(failed)
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

/// What a file says, as services of this process.
fn services(source: Source, limiter: Arc<dyn Limiter>) -> anyhow::Result<Arc<Services>> {
    let store = store(&source, limiter.clone())?;
    let services = source.services(limiter, &variable, store);
    services.map(Arc::new).map_err(failed)
}

/// The built-in store of knowledge. It is neither connected to nor made before it is needed.
#[cfg(feature = "store")]
fn store(source: &Source, limiter: Arc<dyn Limiter>) -> anyhow::Result<Option<Arc<dyn Knowledge>>> {
    let models = source.models(limiter).context("failed to reach the models")?;
    let store = flowmill_knowledge::open(&store_url(None), Arc::new(models))?;
    Ok(Some(Arc::new(store)))
}

/// The built-in store of knowledge: this program was built without one.
#[cfg(not(feature = "store"))]
#[expect(clippy::unnecessary_wraps, reason = "where there is one it may be out of reach")]
fn store(_: &Source, _: Arc<dyn Limiter>) -> anyhow::Result<Option<Arc<dyn Knowledge>>> {
    Ok(None)
}

/// Where the built-in store lies: as somebody says, else the environment; else in a file beside.
#[cfg(feature = "store")]
pub(crate) fn store_url(said: Option<&str>) -> String {
    let named = std::env::var(KNOWLEDGE_VARIABLE).ok();
    let said = said.map(str::to_owned).or(named).filter(|url| !url.is_empty());
    let url = said.unwrap_or_else(|| KNOWLEDGE_FILE.to_owned());
    let file = url.strip_prefix("sqlite:").unwrap_or(&url);
    if Path::new(file).is_dir() {
        return format!("sqlite:{}", Path::new(file).join(KNOWLEDGE_FILE).display());
    }
    url
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What libraries say reads after these words.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("failed to {error}")
}
