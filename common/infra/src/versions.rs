//! Which versions of facts and messages a program reads, and which one it writes.
//!
//! One number counts both: a release that changes the form of any of them raises it. A release reads
//! every version from the oldest to its own. It writes the highest that all programs read which live
//! beside it, so that releases can be mixed; what others read is heard from the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use flowmill_engine::fact::VERSION;

/// The lowest version that is read, and that is written before it is known what others read.
pub const OLDEST: u8 = 1;

/// The version of this release.
pub const PRESENT: u8 = 1;

// what the engine calls the version of its facts is the same number
const _: () = assert!(VERSION == PRESENT as u32);

/// What a program reads and writes. Clones share what is written.
#[derive(Clone, Debug)]
pub struct Versions {
    reads: u8,
    writes: Arc<AtomicU8>,
}

impl Versions {
    /// A program of this release that shares nothing with others: it writes its own version.
    pub fn alone() -> Self {
        Self { reads: PRESENT, writes: Arc::new(AtomicU8::new(PRESENT)) }
    }

    /// A program of a release that reads up to this version, beside others: it writes the oldest
    /// version until it [hears](Self::hear) what they read.
    pub fn among_others(reads: u8) -> Self {
        Self { reads: reads.max(OLDEST), writes: Arc::new(AtomicU8::new(OLDEST)) }
    }

    /// The highest version that is read.
    pub fn reads(&self) -> u8 {
        self.reads
    }

    /// The version that is written now.
    pub fn writes(&self) -> u8 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Whether a version can be read.
    pub fn can_read(&self, version: u8) -> bool {
        (OLDEST..=self.reads).contains(&version)
    }

    /// All programs that live read this version and those before it. Answers the version that is
    /// written from now on, if that is another.
    pub fn hear(&self, lowest: u8) -> Option<u8> {
        let writes = lowest.clamp(OLDEST, self.reads);
        let before = self.writes.swap(writes, Ordering::Relaxed);
        (before != writes).then_some(writes)
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::alone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_read_is_written() {
        let versions = Versions::among_others(3);
        let shared = versions.clone();
        assert_eq!((versions.reads(), versions.writes()), (3, 1));
        assert_eq!(versions.hear(2), Some(2));
        assert_eq!(versions.hear(2), None);
        assert_eq!(shared.writes(), 2);
        // what is not known here is not written, whoever reads it
        assert_eq!(versions.hear(9), Some(3));
        assert_eq!(versions.hear(0), Some(1));
        assert_eq!(
            [0, 1, 3, 4].map(|version| versions.can_read(version)),
            [false, true, true, false]
        );
        assert_eq!(Versions::alone().writes(), PRESENT);
    }
}
