//! Whoever counts programs of the sandbox.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What runs in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Python of a code node.
    Python,
    /// JavaScript of a code node.
    JavaScript,
    /// A template that only the real Jinja2 renders.
    Jinja2,
    /// The converter of a document that is not text.
    Document,
    /// The command of a tool.
    Command,
}

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
    /// A program waited for its turn. Documents and commands have none: they begin at once.
    fn waited(&self, guest: Guest, waited: Duration);

    /// A program runs, as long as what this gives lives.
    fn runs(&self, guest: Guest) -> Box<dyn Send + Sync>;

    /// A program ran.
    fn ran(&self, guest: Guest, how: Ran);
}

/// The one who hears of programs, if anybody does. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<OnceLock<Arc<dyn SandboxWatch>>>);

impl Watch {
    /// From now on this one hears; the first one stays.
    pub(crate) fn set(&self, watch: Arc<dyn SandboxWatch>) {
        // whoever came first stays
        let _ = self.0.set(watch);
    }

    pub(crate) fn waited(&self, guest: Guest, waited: Duration) {
        if let Some(watch) = self.0.get() {
            watch.waited(guest, waited);
        }
    }

    /// Runs a program before its eyes; `how` says what its result means. One whose caller left was cut
    /// off.
    pub(crate) async fn over<T>(
        &self,
        guest: Guest,
        run: impl Future<Output = T>,
        how: impl Fn(&T) -> Ran,
    ) -> T {
        let Some(watch) = self.0.get() else { return run.await };
        let _runs = watch.runs(guest);
        let mut cut = Cut(Some((&**watch, guest)));
        let result = run.await;
        cut.0 = None;
        watch.ran(guest, how(&result));
        result
    }
}

/// Says that a program was cut off, unless it is told otherwise.
struct Cut<'a>(Option<(&'a dyn SandboxWatch, Guest)>);

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if let Some((watch, guest)) = self.0 {
            watch.ran(guest, Ran::Failed);
        }
    }
}
