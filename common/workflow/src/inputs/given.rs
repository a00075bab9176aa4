//! Files that come with a run's inputs: described, not read. Who takes them in keeps their content.

use std::collections::HashMap;
use std::sync::Arc;

use flowmill_engine::value::{File, Name, Value};
use flowmill_nodes::files::LOCAL_FILE;

/// The files that were given, described.
#[derive(Clone, Debug, Default)]
pub struct GivenFiles {
    named: Vec<(Name, Arc<File>)>,
    /// By what `upload_file_id` says.
    by_id: HashMap<Name, Arc<File>>,
    /// What somebody should do who names a file that is not among them.
    advice: &'static str,
}

impl GivenFiles {
    /// None yet; `advice` is told to whoever names a file that was not given.
    pub fn new(advice: &'static str) -> Self {
        Self { advice, ..Self::default() }
    }

    /// Takes a file under its id, and under the name of an input if it was given for one.
    pub fn add(&mut self, id: Name, name: Option<Name>, file: File) {
        let file = Arc::new(file);
        self.by_id.insert(id, file.clone());
        self.named.extend(name.map(|name| (name, file)));
    }

    /// The files given under a name.
    pub fn of(&self, name: &str) -> Vec<Value> {
        let named = self.named.iter().filter(|(held, _)| &**held == name);
        named.map(|(_, file)| Value::File(file.clone())).collect()
    }

    /// The names, each once, in order.
    pub(super) fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        for (name, _) in &self.named {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Mappings that say a file comes with the run become files that were given; the error is a
    /// fragment.
    pub(super) fn find(&self, given: Value) -> Result<Value, String> {
        match given {
            Value::Array(items) => {
                let found = items.iter().map(|item| self.find(item.clone()));
                Ok(Value::array(found.collect::<Result<_, _>>()?))
            }
            Value::Object(members) => {
                let text = |key: &str| members.get(key).and_then(Value::as_str);
                if text("transfer_method") != Some(LOCAL_FILE) {
                    return Ok(Value::Object(members));
                }
                let id = text("upload_file_id").or(text("related_id")).unwrap_or_default();
                let Some(file) = self.by_id.get(id) else {
                    return Err(format!("no file {id:?} was given: {}", self.advice));
                };
                let kind = text("type").map_or_else(|| file.kind.clone(), Into::into);
                Ok(Value::File(Arc::new(File { kind, ..file.as_ref().clone() })))
            }
            other => Ok(other),
        }
    }
}
