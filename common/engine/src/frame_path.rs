//! Where a frame lies in its run.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::Name;

/// A frame's place in its run: empty for the root, `it[37]/inner[2]` inside containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FramePath(Name);

impl FramePath {
    /// The frame of a container's pass that lies in this frame. A `/` in the container's id is
    /// written `%2F` and a `%` is written `%25`, so that no two frames share a path.
    #[must_use]
    pub fn pass(&self, container: &str, index: u64) -> Self {
        let container = if container.contains(['/', '%']) {
            Cow::Owned(container.replace('%', "%25").replace('/', "%2F"))
        } else {
            Cow::Borrowed(container)
        };
        if self.0.is_empty() {
            Self(format!("{container}[{index}]").into())
        } else {
            Self(format!("{}/{container}[{index}]", self.0).into())
        }
    }

    /// Splits the last pass off: the frame around it, the container and the index.
    pub fn split(&self) -> Option<(Self, Cow<'_, str>, u64)> {
        let (outer, last) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        let (container, index) = last.strip_suffix(']')?.rsplit_once('[')?;
        let container = if container.contains('%') {
            Cow::Owned(container.replace("%2F", "/").replace("%25", "%"))
        } else {
            Cow::Borrowed(container)
        };
        Some((Self(outer.into()), container, index.parse().ok()?))
    }

    /// Whether it is the run's own frame.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for FramePath {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for FramePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_path_names_its_container_and_index() {
        let outer = FramePath::default().pass("it", 37);
        let inner = outer.pass("a[b", 2);
        assert_eq!(inner.as_str(), "it[37]/a[b[2]");
        assert_eq!(inner.split(), Some((outer.clone(), "a[b".into(), 2)));
        assert_eq!(outer.split(), Some((FramePath::default(), "it".into(), 37)));
        assert_eq!(FramePath::default().split(), None);
    }

    #[test]
    fn ids_with_slashes_do_not_run_into_each_other() {
        let root = FramePath::default();
        for id in ["a/b", "a[0]/b", "%2F", "%", "/"] {
            let path = root.pass("x", 1).pass(id, 0);
            assert_eq!(path.split(), Some((root.pass("x", 1), id.into(), 0)));
        }
        assert_ne!(root.pass("a[0]/b", 1), root.pass("a", 0).pass("b", 1));
    }
}
