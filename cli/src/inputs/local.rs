//! Files of this machine as inputs: `--file NAME=PATH`. A workflow's own data never names a path;
//! only what the command line gave is read.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use flowmill_engine::value::{File, Name, Value};
use flowmill_nodes::files::{FileStore, LOCAL_FILE, address_of, media_type_of};
use flowmill_workflow::inputs::{GivenFiles, extension_of, kind_of};

/// The largest file, unless Dify's sizes hold.
const MOST_BYTES: u64 = 512 << 20;

/// Dify's largest files by kind (its upload limits), in MiB.
const DIFY_MIB: [(&str, u64); 4] = [("image", 10), ("audio", 50), ("video", 100), ("", 15)];

/// `--file`: `NAME=PATH`, or `PATH` for a file that `--inputs` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileArgument {
    name: Option<Name>,
    path: PathBuf,
}

impl FromStr for FileArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !name.contains('/') => {
                Self { name: Some(name.into()), path: path.into() }
            }
            _ => Self { name: None, path: text.into() },
        })
    }
}

impl FileArgument {
    /// The input that it is for.
    pub(crate) fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The files that were given, described.
#[derive(Clone, Debug)]
pub(crate) struct LocalFiles {
    given: GivenFiles,
    /// By what `upload_file_id` says: the path as it was written.
    paths: HashMap<Name, PathBuf>,
}

impl LocalFiles {
    /// Looks at each file without reading it.
    ///
    /// # Errors
    /// When one is no file, or too large.
    pub(crate) fn look(arguments: &[FileArgument], dify_sizes: bool) -> anyhow::Result<Self> {
        let mut given = GivenFiles::new("give it with --file PATH");
        let mut paths = HashMap::new();
        for argument in arguments {
            let file = described(&argument.path, dify_sizes)?;
            let id: Name = argument.path.to_string_lossy().into();
            paths.insert(id.clone(), argument.path.clone());
            given.add(id, argument.name.clone(), file);
        }
        Ok(Self { given, paths })
    }

    /// What is said of them where inputs are checked.
    pub(crate) fn given(&self) -> GivenFiles {
        self.given.clone()
    }

    /// Reads the files in a value and keeps their content.
    ///
    /// # Errors
    /// When one cannot be read or kept.
    pub(crate) async fn keep(&self, value: Value, store: &dyn FileStore) -> anyhow::Result<Value> {
        match value {
            Value::File(file) => Ok(Value::File(self.keep_file(file, store).await?)),
            Value::Array(items) if items.iter().any(|item| matches!(item, Value::File(_))) => {
                let mut kept = Vec::with_capacity(items.len());
                for item in items.iter() {
                    kept.push(match item {
                        Value::File(file) => {
                            Value::File(self.keep_file(file.clone(), store).await?)
                        }
                        other => other.clone(),
                    });
                }
                Ok(Value::array(kept))
            }
            other => Ok(other),
        }
    }

    async fn keep_file(&self, file: Arc<File>, store: &dyn FileStore) -> anyhow::Result<Arc<File>> {
        let path = file.related_id.as_ref().and_then(|id| self.paths.get(id));
        let Some(path) = path.filter(|_| &*file.transfer_method == LOCAL_FILE) else {
            return Ok(file);
        };
        let content = tokio::fs::read(path).await;
        let content = content.with_context(|| format!("failed to read {}", path.display()))?;
        let url = file.url.clone().or_else(|| Some(address_of(path).into()));
        let about = File { url, ..file.as_ref().clone() };
        let kept = store.put(content, about).await;
        Ok(Arc::new(kept.with_context(|| format!("failed to keep {}", path.display()))?))
    }
}

/// What is known of a file without reading it.
///
/// # Errors
/// When it is none, or too large.
pub(crate) fn described(path: &Path, dify_sizes: bool) -> anyhow::Result<File> {
    let shown = path.display();
    let found = std::fs::metadata(path).with_context(|| format!("failed to read {shown}"))?;
    ensure!(found.is_file(), "{shown} is not a file");
    let Some(filename) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        bail!("{shown} is not a file");
    };
    let extension = extension_of(&filename);
    let kind = kind_of(extension.as_deref());
    let most_bytes = if dify_sizes {
        let limit = DIFY_MIB.iter().find(|(name, _)| *name == kind || name.is_empty());
        limit.map_or(MOST_BYTES, |(_, mib)| mib << 20)
    } else {
        MOST_BYTES
    };
    let bytes = found.len();
    ensure!(bytes <= most_bytes, "{shown} is larger than {} MiB", most_bytes >> 20);
    Ok(File {
        kind: kind.into(),
        transfer_method: LOCAL_FILE.into(),
        related_id: Some(path.to_string_lossy().into()),
        mime_type: Some(media_type_of(&filename).into()),
        extension,
        filename: Some(filename.into()),
        size_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        ..File::default()
    })
}
