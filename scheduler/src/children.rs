//! Runs that nodes wait for: the way from the owners of runs, who know what is wanted, to whoever
//! begins runs. An owner does not wait for it. What is lost on this way is asked for again, by the
//! next owner or ten minutes later.

use flowmill_engine::fact::Options;
use flowmill_engine::run::ChildOrder;
use flowmill_engine::value::Name;
use tokio::sync::mpsc;

/// Something that concerns children.
#[derive(Clone, Debug)]
pub enum News {
    /// A run is to be begun, if it was not.
    Called(Box<Called>),
    /// A child ended: what its parent's owner finds in the store is new.
    Ended {
        /// The parent.
        parent: Name,
    },
}

/// A run that is to be begun.
#[derive(Clone, Debug)]
pub struct Called {
    /// Whose it is.
    pub tenant: Name,
    /// What is to be begun, and who waits for it.
    pub order: ChildOrder,
    /// What the parent's limits are.
    pub options: Options,
}

/// Where owners leave word.
#[derive(Clone, Debug)]
pub struct Children(mpsc::UnboundedSender<News>);

/// Where it is heard.
pub type ChildNews = mpsc::UnboundedReceiver<News>;

impl Children {
    /// A new way, and its end.
    pub fn new() -> (Self, ChildNews) {
        let (told, news) = mpsc::unbounded_channel();
        (Self(told), news)
    }

    /// Nobody may be left to hear it: then it is asked for again later.
    pub(crate) fn tell(&self, news: News) {
        let _ = self.0.send(news);
    }
}
