//! What callers want of runs: that they stop, wait, or go on. A wish is a row; the run's owner decides,
//! and says what became of it.

use std::time::Duration;

use axum::extract::Path;
use axum::http::{StatusCode, Uri};
use flowmill_engine::value::Name;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::{Intake, RunRow};
use flowmill_infra::shards::Wish;

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::json::Answer;
use super::problem::{Code, Problem};
use super::runs::{find, shown};
use super::show;

/// How long an owner is waited for. One that is told decides at once; a successor of one that died
/// takes longer, and its caller looks again.
pub(super) const DECIDED: Duration = Duration::from_secs(10);

/// Asks the owner of a run to stop it.
pub(super) async fn cancel<S: Intake + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let run = Name::from(run);
    leave(&api, &run, &Wish::Stop, &api.actor).await?;
    let found = find(&api, &run).await?;
    Ok(Answer(StatusCode::ACCEPTED, shown(&api, &found).await?))
}

/// Asks the owner of a run to start nothing more of it. One that is held already stays so.
pub(super) async fn pause<S: Intake + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let (run, _) = steer(&api, &Name::from(run), &Wish::Pause).await?;
    Ok(Answer(StatusCode::ACCEPTED, shown(&api, &run).await?))
}

/// Asks the owner of a run to go on with it.
pub(super) async fn resume<S: Intake + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let (run, is_refused) = steer(&api, &Name::from(run), &Wish::Resume).await?;
    if is_refused {
        let detail = format!("run {} is {}", run.run, show::status(run.status));
        return Err(Problem::new(Code::RunNotPaused, detail));
    }
    Ok(Answer(StatusCode::ACCEPTED, shown(&api, &run).await?))
}

/// The run after its owner decided, or as it is when that takes long; and whether the wish was
/// refused though the run goes on.
async fn steer<S: Intake + Contents>(
    api: &Session<Api<S>>,
    run: &Name,
    wish: &Wish,
) -> Result<(RunRow, bool), Problem> {
    let signal = leave(api, run, wish, &api.actor).await?;
    let found = find(api, run).await?;
    if found.status.is_none() {
        // its owner begins it with that, in its time
        return Ok((found, false));
    }
    let verdict = api.verdicts.wait(signal, DECIDED).await;
    let found = find(api, run).await?;
    let is_refused = verdict.flatten().is_some();
    if is_refused && found.finished_at.is_some() {
        return Err(ended(&found));
    }
    Ok((found, is_refused))
}

/// Leaves a wish for the owner of a run that goes on, and tells it to look; the signal's number.
pub(super) async fn leave<S: Intake + Contents>(
    api: &Session<Api<S>>,
    run: &Name,
    wish: &Wish,
    actor: &Name,
) -> Result<i64, Problem> {
    let Some(signal) = api.store.wish(&api.tenant, run, wish, actor).await? else {
        return Err(ended(&find(api, run).await?));
    };
    api.pokes.poke(run);
    Ok(signal)
}

/// Nothing can be wanted any more of a run that has ended.
pub(super) fn ended(run: &RunRow) -> Problem {
    let detail = format!("run {} has ended: {}", run.run, show::status(run.status));
    Problem::new(Code::RunEnded, detail)
}
