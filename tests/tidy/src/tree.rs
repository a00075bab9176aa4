//! The files of the repository, and how a broken rule is told.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file of the repository.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The lines before the unit tests, which stand at the bottom, with their numbers from 1.
    pub(crate) fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text).take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// Whether it is data of a test: recorded answers and documents from elsewhere.
    pub(crate) fn is_test_data(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "fixtures" | "cases" | "corpus"))
    }
}

/// Lines with their numbers from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every text file that git tracks or would add.
pub(crate) fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("these tests ask git which files there are: install git");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).unwrap();
    let read = |path: &str| {
        // what was deleted but not yet committed is listed too, and pictures are no text
        let text = std::fs::read_to_string(root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> =
        paths.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect();
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "the list lacks Cargo.toml");
    files
}

/// Fails the test when anything was found: each finding on a line, then what to do.
#[track_caller]
pub(crate) fn none(found: &[String], advice: &str) {
    assert!(found.is_empty(), "\n  {}\n{advice}\n", found.join("\n  "));
}
