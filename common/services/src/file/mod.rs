//! The services file: who offers what documents ask for by name.
//!
//! It is TOML and belongs to whoever runs the workflows. A key in it is written as the name of an
//! environment variable (`key = "$OPENAI_API_KEY"`), so that the file can lie beside the workflows.
//! Everything that is wrong with it is told at once; a key that there is not is refused.

pub mod decimal;
mod section;

use std::fmt;

use flowmill_engine::value::Name;

pub use section::{Document, Problem, Section};

use crate::knowledge::Bindings as Knowledge;
use crate::models::config::Config as Models;
use crate::secret::Environment;
use crate::tools::Bindings;

/// What the file is called when nobody names another.
pub const USUAL_NAME: &str = "flowmill-services.toml";

/// What a services file says.
#[derive(Clone, Debug, Default)]
pub struct ServicesFile {
    /// Providers of models, and what documents ask of them.
    pub models: Models,
    /// Who answers for which tool.
    pub tools: Bindings,
    /// Where knowledge bases lie.
    pub knowledge: Knowledge,
}

/// A services file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file as whoever named it wrote it.
    pub file: Name,
    /// All that is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, problems } = self;
        write!(f, "use the services file {file}")?;
        for problem in problems {
            write!(f, "\n  {file}: {problem}")?;
        }
        Ok(())
    }
}

impl ServicesFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`FileError`] with all that is wrong.
    pub fn read(file: &str, text: &str, environment: Environment<'_>) -> Result<Self, FileError> {
        let refused = |problems| FileError { file: file.into(), problems };
        let document = Document::parse(text).map_err(|problem| refused(vec![problem]))?;
        let root = document.root();
        let models = Models::read(&root, file, environment);
        let knowledge = Knowledge::read(&root, environment);
        root.leave("tools");
        root.finish();
        let mut problems = document.into_problems();
        let tools = Bindings::parse(text).unwrap_or_else(|error| {
            let message = error.to_string().trim_end().into();
            problems.push(Problem { line: None, key: Name::default(), message });
            Bindings::default()
        });
        if problems.is_empty() {
            Ok(Self { models, tools, knowledge })
        } else {
            Err(refused(problems))
        }
    }

    /// What there is without a file: the providers whose usual variables are set.
    pub fn of_environment(environment: Environment<'_>) -> Self {
        let models = Models::of_environment(environment);
        Self { models, ..Self::default() }
    }
}
