//! Files as they are named on the command line, and the text in them.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use flowmill_nodes::document_extractor::convert::html_lines;
use flowmill_nodes::document_extractor::converter::Documents;
use flowmill_nodes::document_extractor::kind::Kind;

/// How deep folders may lie in each other.
const MOST_DEPTH: usize = 32;

/// How many files one call takes.
const MOST_FILES: usize = 100_000;

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// What its document is called: the path without what leads out of the folder.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => {
                let parts = path.components().filter_map(|part| match part {
                    Component::Normal(part) => Some(part.to_string_lossy()),
                    _ => None,
                });
                parts.collect::<Vec<_>>().join("/")
            }
        }
    }

    fn extension(&self) -> Option<String> {
        match self {
            Self::Stdin => None,
            Self::File(path) => {
                path.extension().map(|text| format!(".{}", text.to_string_lossy().to_lowercase()))
            }
        }
    }

    fn bytes(&self, most: u64) -> anyhow::Result<Vec<u8>> {
        let reader: Box<dyn std::io::Read> = match self {
            Self::Stdin => Box::new(std::io::stdin().lock()),
            Self::File(path) => Box::new(std::fs::File::open(path)?),
        };
        let mut bytes = Vec::new();
        reader.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        let is_small = u64::try_from(bytes.len()).is_ok_and(|length| length <= most);
        ensure!(is_small, "it is larger than {} MiB", most >> 20);
        Ok(bytes)
    }

    /// Its text. What no converter knows is taken as it is, if it is text.
    pub(super) async fn text(&self, documents: &Documents) -> anyhow::Result<String> {
        let bytes = self.bytes(documents.most_bytes())?;
        let extension = self.extension();
        let is_html = matches!(extension.as_deref(), Some(".html" | ".htm" | ".xhtml"));
        let kind = match Kind::of(extension.as_deref(), None) {
            Ok(kind) => kind,
            Err(_) if is_html || is_text(&bytes) => Kind::Plain,
            Err(error) => return Err(error.into()),
        };
        let text = documents.convert(kind, bytes, std::time::Duration::MAX).await?;
        Ok(if is_html { html_lines(&text).join("\n\n") } else { text })
    }
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// The files of a call: folders with all that is in them, but for what is hidden.
pub(super) fn sources(named: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            sources.push(Source::Stdin);
        } else if path.is_dir() {
            let before = sources.len();
            walk(path, 0, &mut sources)
                .with_context(|| format!("failed to read the folder {}", path.display()))?;
            ensure!(sources.len() > before, "there are no files in {}", path.display());
        } else {
            sources.push(Source::File(path.clone()));
        }
    }
    let stdins = sources.iter().filter(|source| **source == Source::Stdin).count();
    ensure!(stdins <= 1, "standard input can be read once");
    Ok(sources)
}

fn walk(folder: &Path, depth: usize, into: &mut Vec<Source>) -> anyhow::Result<()> {
    ensure!(depth < MOST_DEPTH, "folders lie in each other more than {MOST_DEPTH} times");
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // links are not followed: they may lead anywhere, and back
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), depth + 1, into)?;
        } else if kind.is_file() {
            into.push(Source::File(entry.path()));
        }
        if into.len() > MOST_FILES {
            bail!("there are more than {MOST_FILES} files: add them in parts");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_called_by_their_paths() {
        let name = |path: &str| Source::File(path.into()).name();
        assert_eq!(name("docs/a.md"), "docs/a.md");
        assert_eq!(name("./../docs/./a.md"), "docs/a.md");
        assert_eq!(Source::Stdin.name(), "stdin");
    }
}
