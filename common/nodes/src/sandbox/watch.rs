//! Whoever counts programs of the sandbox.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Finished, PythonError};

/// How a program ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// To its end, whatever its status.
    Ended,
    /// Past its time.
    TimedOut,
    /// It could not be run, or was cut off.
    Failed,
}

/// Hears of programs. It must not block.
pub trait SandboxWatch: Debug + Send + Sync {
    /// A program waited for its turn.
    fn waited(&self, waited: Duration);

    /// A program runs, as long as what this gives lives.
    fn runs(&self) -> Box<dyn Send + Sync>;

    /// A program ran.
    fn ran(&self, how: Ran);
}

/// The one who hears of programs, if anybody does.
#[derive(Debug, Default)]
pub(super) struct Watch(OnceLock<Arc<dyn SandboxWatch>>);

impl Watch {
    /// From now on this one hears; the first one stays.
    pub(super) fn set(&self, watch: Arc<dyn SandboxWatch>) {
        // whoever came first stays
        let _ = self.0.set(watch);
    }

    pub(super) fn waited(&self, waited: Duration) {
        if let Some(watch) = self.0.get() {
            watch.waited(waited);
        }
    }

    /// Runs a program before its eyes. One whose caller left was cut off.
    pub(super) async fn over(
        &self,
        run: impl Future<Output = Result<Finished, PythonError>>,
    ) -> Result<Finished, PythonError> {
        let Some(watch) = self.0.get() else { return run.await };
        let _runs = watch.runs();
        let mut cut = Cut(Some(&**watch));
        let result = run.await;
        cut.0 = None;
        watch.ran(match &result {
            Ok(_) => Ran::Ended,
            Err(PythonError::TimedOut) => Ran::TimedOut,
            Err(_) => Ran::Failed,
        });
        result
    }
}

/// Says that a program was cut off, unless it is told otherwise.
struct Cut<'a>(Option<&'a dyn SandboxWatch>);

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.0 {
            watch.ran(Ran::Failed);
        }
    }
}
