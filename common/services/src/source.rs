//! From a services file to services.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Services;
use crate::file::{FileError, ServicesFile, USUAL_NAME};
use crate::knowledge::Knowledge;
use crate::models::limits::Limiter;
use crate::models::{ClientError, Gateway, ModelWatch, Routes};
use crate::secret::Environment;

/// A services file as it was read, or what there is without one.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it says.
    pub file: ServicesFile,
    /// What its paths are relative to.
    folder: PathBuf,
    /// Who hears of calls of models, if anybody does.
    watch: Option<Arc<dyn ModelWatch>>,
}

/// Why there are no services.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("read the services file {file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        why: std::io::Error,
    },
    /// It says what cannot be.
    #[error(transparent)]
    File(#[from] FileError),
    /// A provider can never be connected to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A tool can never be called.
    #[cfg(feature = "tools")]
    #[error("use the services file: {0}")]
    Tools(#[from] crate::tools::ConfigError),
    /// Nobody can be asked for knowledge.
    #[cfg(feature = "knowledge")]
    #[error("reach knowledge bases: {0}")]
    Knowledge(String),
}

impl Source {
    /// Reads a file. Without one, the usual variables of the environment name the providers.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read or used.
    pub fn read(path: Option<&Path>, environment: Environment<'_>) -> Result<Self, OpenError> {
        let Some(path) = path else {
            let file = ServicesFile::of_environment(environment);
            return Ok(Self { file, folder: PathBuf::from("."), watch: None });
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|why| OpenError::Unreadable { file: name.clone(), why })?;
        let file = ServicesFile::read(&name, &text, environment)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new(".")).to_owned();
        Ok(Self { file, folder, watch: None })
    }

    /// The same; this one hears of calls of models.
    #[must_use]
    pub fn watched_by(self, watch: Arc<dyn ModelWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The file that is read when nobody names one: [`USUAL_NAME`] in a folder, if it is there.
    pub fn usual(folder: &Path) -> Option<PathBuf> {
        let path = folder.join(USUAL_NAME);
        path.is_file().then_some(path)
    }

    /// What its paths are relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The models that it names.
    ///
    /// # Errors
    /// [`ClientError`] when a provider can never be connected to.
    pub fn models(&self, limiter: Arc<dyn Limiter>) -> Result<Gateway, ClientError> {
        let gateway = Gateway::new(Routes::new(self.file.models.clone()), limiter)?;
        Ok(gateway.watched_by(self.watch.clone()))
    }

    /// The tools that it binds.
    ///
    /// # Errors
    /// [`crate::tools::ConfigError`] when one of them can never be called.
    #[cfg(feature = "tools")]
    pub fn tools(
        &self,
        environment: Environment<'_>,
    ) -> Result<crate::tools::BoundTools, crate::tools::ConfigError> {
        let origin = crate::tools::Origin { folder: &self.folder, environment };
        crate::tools::BoundTools::new(self.file.tools.clone(), origin)
    }

    /// The knowledge bases that it binds, and those of the built-in store.
    ///
    /// # Errors
    /// [`OpenError::Knowledge`] when this machine cannot ask servers at all.
    #[cfg(feature = "knowledge")]
    pub fn knowledge(
        &self,
        store: Option<Arc<dyn Knowledge>>,
    ) -> Result<crate::knowledge::BoundKnowledge, OpenError> {
        let bindings = self.file.knowledge.clone();
        crate::knowledge::BoundKnowledge::new(bindings, store).map_err(OpenError::Knowledge)
    }

    /// All services that it names. `store` is the built-in store of knowledge, where there is one.
    ///
    /// # Errors
    /// [`OpenError`] when one of them can never be called.
    pub fn services(
        &self,
        limiter: Arc<dyn Limiter>,
        environment: Environment<'_>,
        store: Option<Arc<dyn Knowledge>>,
    ) -> Result<Services, OpenError> {
        let models = Arc::new(self.models(limiter)?);
        #[cfg(feature = "tools")]
        let tools = Arc::new(self.tools(environment)?);
        #[cfg(not(feature = "tools"))]
        let tools = {
            let (_, _) = (environment, &self.folder);
            Arc::new(crate::tools::NoTools)
        };
        #[cfg(feature = "knowledge")]
        let knowledge: Arc<dyn Knowledge> = Arc::new(self.knowledge(store)?);
        #[cfg(not(feature = "knowledge"))]
        let knowledge = store.unwrap_or_else(|| Services::default().knowledge);
        Ok(Services { models, tools, knowledge })
    }
}
