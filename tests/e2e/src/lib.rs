//! Tests of the programs over servers of their own; see `tests/e2e`. Beside them there are programs of
//! a next release (`src/bin`): the present ones, with everything in the next version.

/// The version of facts and messages that the next release reads.
pub const NEXT: u8 = flowmill_infra::versions::PRESENT + 1;
