//! Waits for what the store will say one day, for all callers together: one query asks for
//! whatever is looked at at a time. A key is looked at soon, then less and less often.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::value::Name;
use flowmill_infra::intake::Intake;
use flowmill_infra::store::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// After which time a key is looked at first: most runs are short, and an owner that is told of a
/// wish looks at once.
const SOON: Duration = Duration::from_millis(10);

/// The longest time between two looks.
const SELDOM: Duration = Duration::from_secs(1);

/// Looks that are due within this time are taken together.
const TOGETHER: Duration = Duration::from_millis(25);

/// The most keys that are waited for; whoever comes then gets an answer at once.
const MOST: usize = 4096;

/// Callers on their way in.
const WAITING: usize = 256;

/// What is said of some keys.
type Said<K, W> = Result<Vec<(K, W)>, StoreError>;

/// Something that the store is asked for again and again until it says it.
pub(super) trait Question: Send + Sync + 'static {
    /// What one caller waits for.
    type Key: Clone + Ord + Send + Sync + 'static;
    /// What is said of it in the end.
    type Word: Clone + Send + Sync + 'static;

    /// Asks for all of these; those of which nothing is said yet are left out.
    fn ask(&self, keys: &[Self::Key]) -> impl Future<Output = Said<Self::Key, Self::Word>> + Send;
}

/// Which runs have ended; whoever waits for one has seen that it is the caller's.
#[derive(Debug)]
pub(super) struct Ends<S>(pub(super) Arc<S>);

impl<S: Intake> Question for Ends<S> {
    type Key = Name;
    type Word = ();

    async fn ask(&self, runs: &[Name]) -> Said<Name, ()> {
        let ended = self.0.ended(runs).await?;
        Ok(ended.into_iter().map(|run| (run, ())).collect())
    }
}

/// What the owners of runs made of signals: why each was refused, None when it was applied.
#[derive(Debug)]
pub(super) struct Verdicts<S>(pub(super) Arc<S>);

impl<S: Intake> Question for Verdicts<S> {
    type Key = i64;
    type Word = Option<Name>;

    async fn ask(&self, signals: &[i64]) -> Said<i64, Option<Name>> {
        let settled = self.0.settled(signals).await?;
        Ok(settled.into_iter().map(|settled| (settled.signal, settled.refused)).collect())
    }
}

type Told<W> = oneshot::Sender<W>;

/// What reaches whoever looks.
#[derive(Debug)]
enum Call<K, W> {
    /// Somebody waits.
    Wait(K, Told<W>),
    /// This is said of a key: the store need not be asked.
    Heard(K, W),
}

/// Where callers wait.
#[derive(Debug)]
pub(super) struct Waits<K, W>(mpsc::Sender<Call<K, W>>);

impl<K, W> Clone for Waits<K, W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, W> Waits<K, W> {
    /// Tells those who wait for a key what the store says of it by now. It never waits itself: what
    /// is not told when very much happens is asked for as ever.
    pub(super) fn hear(&self, key: K, word: W) {
        let _ = self.0.try_send(Call::Heard(key, word));
    }

    /// Returns once something is said, or without it after `most` at the latest.
    pub(super) async fn wait(&self, key: K, most: Duration) -> Option<W> {
        let (told, word) = oneshot::channel();
        let waiting = async {
            self.0.send(Call::Wait(key, told)).await.ok()?;
            // an error says that nobody looks any more: the caller looks for itself
            word.await.ok()
        };
        tokio::time::timeout(most, waiting).await.ok().flatten()
    }
}

/// Where callers wait, and what looks for them until all its ends are gone, or it was `enough`: then
/// all callers are let go.
pub(super) fn waits<Q: Question>(
    question: Q,
    enough: oneshot::Receiver<()>,
) -> (Waits<Q::Key, Q::Word>, impl Future<Output = ()> + Send) {
    let (callers, asked) = mpsc::channel(WAITING);
    (Waits(callers), look(question, asked, enough))
}

/// A key that somebody waits for.
#[derive(Debug)]
struct Watched<W> {
    callers: Vec<Told<W>>,
    next: Instant,
    pause: Duration,
}

type AllWatched<Q> = BTreeMap<<Q as Question>::Key, Watched<<Q as Question>::Word>>;

async fn look<Q: Question>(
    question: Q,
    mut asked: mpsc::Receiver<Call<Q::Key, Q::Word>>,
    mut enough: oneshot::Receiver<()>,
) {
    let mut watched = AllWatched::<Q>::new();
    loop {
        let next = watched.values().map(|held| held.next).min();
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut enough => return,
            caller = asked.recv() => match caller {
                Some(Call::Wait(key, told)) => watch::<Q>(&mut watched, key, told),
                Some(Call::Heard(key, word)) => tell::<Q>(&mut watched, &key, &word),
                None => return,
            },
            () = due => ask(&question, &mut watched).await,
        }
    }
}

fn watch<Q: Question>(watched: &mut AllWatched<Q>, key: Q::Key, told: Told<Q::Word>) {
    if watched.len() >= MOST && !watched.contains_key(&key) {
        return;
    }
    let next = Instant::now() + SOON;
    let new = || Watched { callers: Vec::new(), next, pause: SOON };
    let held = watched.entry(key).or_insert_with(new);
    held.callers.push(told);
    held.next = held.next.min(next);
    held.pause = SOON;
}

/// Those who wait for a key have their answer.
fn tell<Q: Question>(watched: &mut AllWatched<Q>, key: &Q::Key, word: &Q::Word) {
    for caller in watched.remove(key).into_iter().flat_map(|held| held.callers) {
        // one that went away needs no answer
        let _ = caller.send(word.clone());
    }
}

async fn ask<Q: Question>(question: &Q, watched: &mut AllWatched<Q>) {
    watched.retain(|_, held| {
        held.callers.retain(|caller| !caller.is_closed());
        !held.callers.is_empty()
    });
    let until = Instant::now() + TOGETHER;
    let due = watched.iter().filter(|(_, held)| held.next <= until);
    let due: Vec<Q::Key> = due.map(|(key, _)| key.clone()).collect();
    if due.is_empty() {
        return;
    }
    match question.ask(&due).await {
        Ok(said) => {
            for (key, word) in said {
                tell::<Q>(watched, &key, &word);
            }
        }
        // it is asked again in a moment, and who waits too long sees for itself
        Err(error) => tracing::debug!(%error, "what callers wait for could not be asked for"),
    }
    let now = Instant::now();
    for key in &due {
        if let Some(held) = watched.get_mut(key) {
            held.next = now + held.pause;
            held.pause = (held.pause * 3 / 2).min(SELDOM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that never says anything.
    #[derive(Debug)]
    struct Silent;

    impl Question for Silent {
        type Key = u32;
        type Word = &'static str;

        async fn ask(&self, _: &[u32]) -> Said<u32, &'static str> {
            Ok(Vec::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_need_not_be_asked_for() {
        let (_until, enough) = oneshot::channel();
        let (waits, looking) = waits(Silent, enough);
        let looking = tokio::spawn(looking);
        let most = Duration::from_secs(5);
        let (one, other) = (waits.wait(1, most), waits.wait(2, most));
        let hearing = async {
            // once both wait
            tokio::time::sleep(SOON).await;
            waits.hear(1, "ended");
        };
        assert_eq!(tokio::join!(one, other, hearing), (Some("ended"), None, ()));
        looking.abort();
    }
}
