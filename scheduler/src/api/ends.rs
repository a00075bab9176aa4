//! Waits for the ends of runs, for all callers together: one query asks for whatever is looked at
//! at a time. A run is looked at after 100 ms, then less and less often.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::value::Name;
use flowmill_infra::intake::Intake;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// After which time a run is looked at first.
const SOON: Duration = Duration::from_millis(100);

/// The longest time between two looks.
const SELDOM: Duration = Duration::from_secs(1);

/// Looks that are due within this time are taken together.
const TOGETHER: Duration = Duration::from_millis(25);

/// The most runs that are waited for; whoever comes then gets an answer at once.
const MOST: usize = 4096;

/// Callers on their way in.
const WAITING: usize = 256;

type Told = oneshot::Sender<()>;

/// Where callers wait; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Ends(mpsc::Sender<(Name, Told)>);

impl Ends {
    /// Returns once the run has ended, or at the latest after `most`.
    pub(super) async fn wait(&self, run: &Name, most: Duration) {
        let (told, ended) = oneshot::channel();
        let waiting = async {
            if self.0.send((run.clone(), told)).await.is_ok() {
                // an error says that nobody looks any more: the caller looks for itself
                let _ = ended.await;
            }
        };
        let _ = tokio::time::timeout(most, waiting).await;
    }
}

/// Where callers wait, and what looks for them until all its ends are gone, or it was `enough`: then
/// all callers are let go.
pub(super) fn ends<S: Intake>(
    store: Arc<S>,
    tenant: Name,
    enough: oneshot::Receiver<()>,
) -> (Ends, impl Future<Output = ()> + Send) {
    let (callers, asked) = mpsc::channel(WAITING);
    (Ends(callers), look(store, tenant, asked, enough))
}

/// A run that somebody waits for.
#[derive(Debug)]
struct Watched {
    callers: Vec<Told>,
    next: Instant,
    pause: Duration,
}

async fn look<S: Intake>(
    store: Arc<S>,
    tenant: Name,
    mut asked: mpsc::Receiver<(Name, Told)>,
    mut enough: oneshot::Receiver<()>,
) {
    let mut watched: BTreeMap<Name, Watched> = BTreeMap::new();
    loop {
        let next = watched.values().map(|run| run.next).min();
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut enough => return,
            caller = asked.recv() => match caller {
                Some((run, told)) => watch(&mut watched, run, told),
                None => return,
            },
            () = due => ask(&*store, &tenant, &mut watched).await,
        }
    }
}

fn watch(watched: &mut BTreeMap<Name, Watched>, run: Name, told: Told) {
    if watched.len() >= MOST && !watched.contains_key(&run) {
        return;
    }
    let next = Instant::now() + SOON;
    let new = || Watched { callers: Vec::new(), next, pause: SOON };
    let run = watched.entry(run).or_insert_with(new);
    run.callers.push(told);
    run.next = run.next.min(next);
    run.pause = SOON;
}

async fn ask<S: Intake>(store: &S, tenant: &Name, watched: &mut BTreeMap<Name, Watched>) {
    watched.retain(|_, run| {
        run.callers.retain(|caller| !caller.is_closed());
        !run.callers.is_empty()
    });
    let until = Instant::now() + TOGETHER;
    let due: Vec<Name> =
        watched.iter().filter(|(_, run)| run.next <= until).map(|(run, _)| run.clone()).collect();
    if due.is_empty() {
        return;
    }
    match store.ended(tenant, &due).await {
        Ok(ended) => {
            for run in ended {
                for caller in watched.remove(&run).into_iter().flat_map(|run| run.callers) {
                    // one that went away needs no answer
                    let _ = caller.send(());
                }
            }
        }
        // it is asked again in a moment, and who waits too long sees for itself
        Err(error) => tracing::debug!(%error, "ends of runs could not be asked for"),
    }
    let now = Instant::now();
    for run in &due {
        if let Some(run) = watched.get_mut(run) {
            run.next = now + run.pause;
            run.pause = (run.pause * 3 / 2).min(SELDOM);
        }
    }
}
