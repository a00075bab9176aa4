//! Tests of workflows: a file says what goes in and what must come out, `flowmill test` holds runs
//! against it (docs/testing-workflows.md).
//!
//! `file` reads test files, `matcher` is what a value must be, `execute` runs tests over the same
//! services as every run, `judge` compares, `show` and `junit` say what came of it.

mod execute;
mod file;
mod judge;
mod junit;
mod matcher;
mod show;

use std::time::Duration;

pub(crate) use execute::{Executor, Ready, Settings};
pub(crate) use file::{TestFile, read};
pub(crate) use junit::document as junit;
pub(crate) use show::{result, summary};

use matcher::Difference;

/// What came of a test.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) took: Duration,
    /// Empty when it passed.
    pub(crate) differences: Vec<Difference>,
}

/// Something that is wrong with a test file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: u32,
    pub(crate) message: String,
}

impl Problem {
    fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}
