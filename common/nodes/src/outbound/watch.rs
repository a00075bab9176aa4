//! Whoever counts requests to the outside.

use std::fmt::Debug;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// An answer, whatever its status.
    Answered,
    /// The rules do not allow it.
    Denied,
    /// It failed on the way.
    Failed,
}

/// Hears of requests. It must not block.
pub trait OutboundWatch: Debug + Send + Sync {
    /// A request is over.
    fn sent(&self, what: Sent);
}
