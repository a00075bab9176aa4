//! Looks into journals, for all streams together: one query reads what is new of every run that is
//! asked for at a time, whosever it is. Whoever opens a stream has seen that the run is its tenant's.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::Fact;
use flowmill_engine::value::Name;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::stash::Stash;
use flowmill_infra::store::StoreError;
use flowmill_workflow::Workflow;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::super::links::Links;
use super::fold::Fold;

/// How often those are answered who wait for the next look.
const TICK: Duration = Duration::from_secs(1);

/// The most runs of one query.
const BATCH: usize = 1024;

type Answer = Result<Vec<Fact>, StoreError>;

/// When a look is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// As soon as the store can.
    Now,
    /// With all others who wait, once a second.
    Soon,
}

#[derive(Debug)]
struct Asked {
    run: Name,
    after: u64,
    when: When,
    answer: oneshot::Sender<Answer>,
}

/// Where looks are asked for; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    asked: mpsc::Sender<Asked>,
    stash: Option<Stash>,
}

impl Looks {
    /// Facts of a run after a number, a part of them when there are many; none when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn news(&self, run: &Name, after: u64, when: When) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("the process is about to end".to_owned());
        let asked = Asked { run: run.clone(), after, when, answer };
        self.asked.send(asked).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// A run from its first fact on, large values as links.
    pub(super) fn fold(&self, run: &Name, workflow: Arc<Workflow>) -> Fold {
        Fold::new(run.clone(), workflow, Links::of(run, self.stash.clone()))
    }
}

/// Where looks are asked for, and what looks until all its ends are gone.
pub(super) fn looks<S: Intake + Contents>(
    store: Arc<S>,
) -> (Looks, impl Future<Output = ()> + Send) {
    let (asked, waiting) = mpsc::channel(BATCH);
    let looks = Looks { asked, stash: store.stash() };
    (looks, look(store, waiting))
}

async fn look<S: Intake>(store: Arc<S>, mut asked: mpsc::Receiver<Asked>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut now, mut soon, mut came) = (Vec::new(), Vec::new(), Vec::with_capacity(BATCH));
    loop {
        tokio::select! {
            count = asked.recv_many(&mut came, BATCH) => {
                if count == 0 {
                    return;
                }
            }
            _ = tick.tick(), if !soon.is_empty() => now.append(&mut soon),
        }
        for caller in came.drain(..) {
            match caller.when {
                When::Now => now.push(caller),
                When::Soon => soon.push(caller),
            }
        }
        // one that went away needs no answer
        now.retain(|caller: &Asked| !caller.answer.is_closed());
        while !now.is_empty() {
            let some = now.split_off(now.len().saturating_sub(BATCH));
            answer(&*store, some).await;
        }
        if soon.len() > BATCH {
            soon.retain(|caller: &Asked| !caller.answer.is_closed());
        }
    }
}

async fn answer<S: Intake>(store: &S, callers: Vec<Asked>) {
    let asked: Vec<(Name, u64)> =
        callers.iter().map(|caller| (caller.run.clone(), caller.after)).collect();
    match store.news(&asked).await {
        Ok(news) => {
            for (caller, facts) in callers.into_iter().zip(news) {
                let _ = caller.answer.send(Ok(facts));
            }
        }
        // one journal that cannot be read must not keep the others back
        Err(StoreError::Corrupt(_) | StoreError::Sealed(_) | StoreError::Later(_))
            if callers.len() > 1 =>
        {
            for (caller, alone) in callers.into_iter().zip(asked) {
                let news = store.news(std::slice::from_ref(&alone)).await;
                let news = news.map(|mut news| news.pop().unwrap_or_default());
                let _ = caller.answer.send(news);
            }
        }
        Err(error) => {
            for caller in callers {
                let _ = caller.answer.send(Err(error.clone()));
            }
        }
    }
}
