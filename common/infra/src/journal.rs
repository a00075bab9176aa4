//! A journal as stores keep it: a row for each commit, its facts as JSON. Whoever reads rows checks
//! here that nothing is missing or out of place.

use flowmill_engine::fact::Fact;
use flowmill_engine::value::decode;

use crate::store::StoreError;

/// A row of a journal.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// Its first fact's number.
    pub(crate) first: i64,
    /// Its last fact's number.
    pub(crate) last: i64,
    /// The version that its facts are written in.
    pub(crate) version: i64,
    /// Its facts.
    pub(crate) facts: &'a str,
}

impl Part<'_> {
    /// Its facts, which follow fact `before` of a run, by a program that reads versions up to
    /// `reads`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when they do not, or cannot be read; [`StoreError::Later`] when this
    /// release is too old for them.
    pub(crate) fn read(&self, run: &str, before: i64, reads: u8) -> Result<Vec<Fact>, StoreError> {
        let mut expected = before + 1;
        if self.first != expected {
            return Err(missing(run, expected));
        }
        if self.version > i64::from(reads) {
            let version = self.version;
            return Err(StoreError::Later(format!(
                "fact {expected} of run {run}: it is of version {version}, which a later release of \
                 flowmill wrote; this one reads up to {reads}"
            )));
        }
        let facts: Vec<Fact> = decode(self.facts.as_bytes())
            .map_err(|error| damaged(run, expected, &format!("it cannot be read: {error}")))?;
        for fact in &facts {
            if i64::try_from(fact.seq) != Ok(expected) {
                return Err(damaged(run, expected, &format!("fact {} is in its place", fact.seq)));
            }
            expected += 1;
        }
        if self.last + 1 != expected {
            return Err(missing(run, expected));
        }
        Ok(facts)
    }
}

/// A fact of a run is not there.
pub(crate) fn missing(run: &str, seq: i64) -> StoreError {
    damaged(run, seq, "it is missing")
}

fn damaged(run: &str, seq: i64, why: &str) -> StoreError {
    StoreError::Corrupt(format!("fact {seq} of run {run}: {why}"))
}
