//! Runs that are watched: each is followed and folded once, however many watch it.
//!
//! What happens comes over the live feed. Whatever that does not show, or all when it is away, is
//! read in the journal, for all runs together.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use flowmill_infra::live::{Event, Seen, Subscribe, Subscription};
use flowmill_infra::store::StoreError;
use flowmill_workflow::Workflow;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use super::fold::{Fold, Frame, Gap};
use super::looks::{Looks, When};

/// What is told at once. Everybody who watches shares it.
pub(super) type Told = Arc<[Frame]>;

/// How far a reader may be behind: that many times something was told. Then it is cut off.
const BEHIND: usize = 256;

/// The most bytes of a run's events that are kept for whoever comes later; of a longer run they are
/// made again from its journal.
const HISTORY: usize = 256 << 10;

/// After which silence the journal is read: the feed may have lost the last that happened.
const QUIET: Duration = Duration::from_secs(5);

/// Readers on their way in.
const WAITING: usize = 256;

/// What a reader is given.
#[derive(Debug)]
pub(super) struct Joined {
    /// The last fact that was told before.
    pub(super) seq: u64,
    /// All that was told before; None when it is too much.
    pub(super) history: Option<Vec<Frame>>,
    /// Text that came early, after that.
    pub(super) ahead: Option<Frame>,
    /// What comes; it closes after the run's end.
    pub(super) coming: broadcast::Receiver<Told>,
}

pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Asked {
    Join { run: Name, workflow: Arc<Workflow>, joined: oneshot::Sender<Joined> },
    Work(Work),
}

/// Where runs are watched; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Feeds(mpsc::Sender<Asked>);

impl Feeds {
    /// Watches a run. None when the process is about to end.
    pub(super) async fn join(&self, run: &Name, workflow: &Arc<Workflow>) -> Option<Joined> {
        let (joined, answer) = oneshot::channel();
        let (run, workflow) = (run.clone(), workflow.clone());
        self.0.send(Asked::Join { run, workflow, joined }).await.ok()?;
        answer.await.ok()
    }

    /// Does something beside, at most until the process is about to end.
    pub(super) async fn work(&self, work: Work) {
        // nobody is left to do it: whoever waits for it sees that it was dropped
        let _ = self.0.send(Asked::Work(work)).await;
    }
}

/// Where runs are watched, and what follows them until all its ends are gone, or it was `enough`.
pub(super) fn feeds<L: Subscribe>(
    live: L,
    looks: Looks,
    enough: oneshot::Receiver<()>,
) -> (Feeds, impl Future<Output = ()> + Send) {
    let (asked, waiting) = mpsc::channel(WAITING);
    (Feeds(asked), follow_all(live, looks, waiting, enough))
}

async fn follow_all<L: Subscribe>(
    live: L,
    looks: Looks,
    mut asked: mpsc::Receiver<Asked>,
    mut enough: oneshot::Receiver<()>,
) {
    let mut watched = Watched { live, looks, feeds: BTreeMap::new(), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            _ = &mut enough => break,
            Some(ended) = watched.tasks.join_next() => watched.ended(ended),
            message = asked.recv() => match message {
                None => break,
                Some(Asked::Work(work)) => {
                    watched.tasks.spawn(async { work.await; None });
                }
                Some(Asked::Join { run, workflow, joined }) => {
                    // one that went away is noticed by its run
                    let _ = joined.send(watched.join(run, workflow));
                }
            },
        }
    }
    watched.tasks.shutdown().await;
}

/// All runs that are watched, and who works for them.
struct Watched<L> {
    live: L,
    looks: Looks,
    feeds: BTreeMap<Name, Arc<Feed>>,
    tasks: JoinSet<Option<Name>>,
}

impl<L: Subscribe> Watched<L> {
    fn join(&mut self, run: Name, workflow: Arc<Workflow>) -> Joined {
        if let Some(joined) = self.feeds.get(&run).and_then(|feed| feed.join()) {
            return joined;
        }
        let (feed, joined) = Feed::new();
        let feed = Arc::new(feed);
        self.feeds.insert(run.clone(), feed.clone());
        let seen = self.live.subscribe(&run, 0);
        let fold = self.looks.fold(&run, workflow);
        let follow = follow(feed, (run.clone(), fold), seen, self.looks.clone());
        self.tasks.spawn(async {
            follow.await;
            Some(run)
        });
        joined
    }

    fn ended(&mut self, ended: Result<Option<Name>, JoinError>) {
        match ended {
            // another feed may have taken its place
            Ok(Some(run)) => {
                if self.feeds.get(&run).is_some_and(|feed| feed.lock().is_closed) {
                    self.feeds.remove(&run);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a stream of events broke");
                self.feeds.retain(|_, feed| !feed.lock().is_closed);
            }
        }
    }
}

/// What all who watch a run share.
#[derive(Debug)]
struct Feed(Mutex<State>);

#[derive(Debug)]
struct State {
    seq: u64,
    history: Option<Vec<Frame>>,
    bytes: usize,
    ahead: Option<Frame>,
    /// None once there is no more to come.
    telling: Option<broadcast::Sender<Told>>,
    is_closed: bool,
}

impl Feed {
    /// With its first reader.
    fn new() -> (Self, Joined) {
        let (telling, coming) = broadcast::channel(BEHIND);
        let history = Some(Vec::new());
        let state = State {
            seq: 0,
            history: history.clone(),
            bytes: 0,
            ahead: None,
            telling: Some(telling),
            is_closed: false,
        };
        (Self(Mutex::new(state)), Joined { seq: 0, history, ahead: None, coming })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more watches; None when nobody follows the run any more.
    fn join(&self) -> Option<Joined> {
        let state = self.lock();
        let coming = state.telling.as_ref().filter(|_| !state.is_closed)?.subscribe();
        let (history, ahead) = (state.history.clone(), state.ahead.clone());
        Some(Joined { seq: state.seq, history, ahead, coming })
    }

    /// What a fold let out, and where it stands.
    fn tell(&self, fold: &Fold, frames: Vec<Frame>) {
        let mut state = self.lock();
        state.seq = fold.seq();
        state.ahead = fold.ahead();
        let certain = frames.iter().filter(|frame| frame.index.is_some());
        state.bytes += certain.clone().map(Frame::len).sum::<usize>();
        if state.bytes > HISTORY {
            state.history = None;
        }
        if let Some(history) = &mut state.history {
            history.extend(certain.cloned());
        }
        if let Some(telling) = state.telling.as_ref().filter(|_| !frames.is_empty()) {
            // the last reader may just have gone
            let _ = telling.send(frames.into());
        }
    }

    /// Ends once nobody reads any more; false when somebody does.
    fn close_if_alone(&self) -> bool {
        let mut state = self.lock();
        let is_alone = state.telling.as_ref().is_none_or(|telling| telling.receiver_count() == 0);
        state.is_closed |= is_alone;
        is_alone
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.telling = None;
    }

    /// Returns once nobody reads.
    async fn deserted(&self) {
        let telling = self.lock().telling.clone();
        if let Some(telling) = telling {
            telling.closed().await;
        }
    }
}

/// Closes what it follows, however it ends.
struct Closing(Arc<Feed>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Follows a run until it ended or nobody watches it.
async fn follow(
    feed: Arc<Feed>,
    (run, mut fold): (Name, Fold),
    mut watched: impl Subscription,
    looks: Looks,
) {
    let feed = Closing(feed);
    let feed = &*feed.0;
    let mut is_away = false;
    while !fold.has_ended() {
        let look = async {
            if !is_away {
                tokio::time::sleep(QUIET).await;
            }
            looks.news(&run, fold.seq(), When::Soon).await
        };
        let told = tokio::select! {
            () = feed.deserted() => {
                if feed.close_if_alone() {
                    return;
                }
                continue;
            }
            seen = watched.next() => {
                is_away = matches!(seen, Seen::Away);
                match seen {
                    Seen::Event(Event::Facts(facts)) => match fold.facts(&facts) {
                        Ok(frames) => {
                            feed.tell(&fold, frames);
                            continue;
                        }
                        Err(Gap) => looks.news(&run, fold.seq(), When::Now).await,
                    },
                    Seen::Event(chunk @ Event::Chunk { .. }) => {
                        let frames = fold.chunk(&chunk);
                        feed.tell(&fold, frames);
                        continue;
                    }
                    Seen::Missed => looks.news(&run, fold.seq(), When::Now).await,
                    Seen::Away => continue,
                }
            }
            news = look => news,
        };
        if !take_all(feed, (&run, &mut fold), &looks, told).await {
            return;
        }
    }
}

/// Takes what was read, and reads on until there is no more; false when the journal is damaged.
async fn take_all(
    feed: &Feed,
    (run, fold): (&Name, &mut Fold),
    looks: &Looks,
    mut news: Result<Vec<flowmill_engine::fact::Fact>, StoreError>,
) -> bool {
    loop {
        let facts = match news {
            Ok(facts) if facts.is_empty() => return true,
            Ok(facts) => facts,
            Err(StoreError::Unavailable(why)) => {
                tracing::debug!(run.id = %run, why, "a journal could not be read; it is tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                news = looks.news(run, fold.seq(), When::Now).await;
                continue;
            }
            Err(error) => {
                tracing::error!(run.id = %run, %error, "a run's journal could not be read");
                return false;
            }
        };
        let Ok(frames) = fold.facts(&facts) else {
            tracing::error!(run.id = %run, "facts are missing in a run's journal");
            return false;
        };
        feed.tell(fold, frames);
        if fold.has_ended() {
            return true;
        }
        news = looks.news(run, fold.seq(), When::Now).await;
    }
}
