//! Whoever counts calls of models.

use std::fmt::Debug;
use std::time::Duration;

use super::limits::Standing;
use super::reply::Usage;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// With an answer.
    Answered,
    /// The provider takes no more for now.
    Limited,
    /// On the provider's side.
    Failed,
    /// It asks for what the provider does not give.
    Refused,
}

/// Hears of calls; `provider` is the name of its section in the services file. It must not block.
pub trait ModelWatch: Debug + Send + Sync {
    /// A call waited for limits.
    fn waited(&self, provider: &str, waited: Duration);

    /// A call ended; what it took is known of answers.
    fn called(&self, provider: &str, how: Called, took: Duration, usage: Option<&Usage>);

    /// A provider stands like this from now on, or still.
    fn stands(&self, provider: &str, standing: &Standing);
}
