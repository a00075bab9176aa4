//! Forms of runs: what people are asked, and their answers. An answer is a wish like others: the
//! owner of the run decides which of several was first.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use flowmill_engine::fact::Fact;
use flowmill_engine::form::Asks;
use flowmill_engine::forms::{FormRecord, FormState, forms};
use flowmill_engine::plan::{Behaviour, Plan};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::shards::Wish;
use flowmill_infra::texts::Texts;
use flowmill_workflow::forms::{entered, form_id};
use flowmill_workflow::{Workflow, redact};

use super::Api;
use super::access::Session;
use super::guard::{parameters, read};
use super::json::{Answer, Members, object};
use super::problem::{Code, Problem};
use super::runs::find;
use super::show;
use super::wishes::{DECIDED, ended, leave};

/// All forms of a run, in the order in which they were put; values of secret variables are hidden.
pub(super) async fn list<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let Asked { workflow, facts } = asked(&api, &Name::from(run)).await?;
    let forms = folded(move || shown_forms(&workflow.plan, facts)).await?;
    let data = forms.into_iter().map(|(_, form)| form).collect();
    Ok(Answer::ok(object([("data", Value::array(data))])))
}

/// One form.
pub(super) async fn show<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    Path((run, form)): Path<(String, String)>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let (run, form) = (Name::from(run), Name::from(form));
    let (_, shown) = reread(&api, &run, &form).await?;
    Ok(Answer::ok(shown))
}

/// Takes an answer to a form: 200 when it counts, 202 when that is not decided yet.
pub(super) async fn answer<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    Path((run, form)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let body = read(&headers, body, api.settings.submission_bytes).await?;
    let mut members = Members::read(&body)?;
    let action = members.text("action")?;
    let action = action.ok_or_else(|| Problem::request("action is missing: the id of one"))?;
    let inputs = members.mapping("inputs")?.unwrap_or_default();
    let user = members.text("user")?;
    members.done()?;
    let (run, form) = (Name::from(run), Name::from(form));
    let Asked { workflow, facts } = asked(&api, &run).await?;
    let mut records = folded(move || forms(&facts)).await?.into_iter().rev();
    let record = records.find(|held| form_id(held) == form);
    let record = record.ok_or_else(|| no_form(&run, &form))?;
    if record.state != FormState::Waiting {
        return Err(refused(&api, &run, &form, "it takes no answer").await?);
    }
    let unfit = |why| Problem::new(Code::InvalidAnswer, why);
    let values = entered(&record, inputs.into_iter().collect()).map_err(unfit)?;
    if let (Some(asked), Some(asks)) = (&record.form, asks(&workflow.plan, &record.node)) {
        asks.answer(asked, &action, &values).map_err(unfit)?;
    }
    let frame = record.frame.as_str().into();
    let wish = Wish::Answer { frame, node: record.node, action, values };
    let signal = match leave(&api, &run, &wish, user.as_ref().unwrap_or(&api.actor)).await {
        Ok(signal) => signal,
        // it ended with another's answer, perhaps
        Err(problem) if problem.code() == Code::RunEnded => {
            return Err(refused(&api, &run, &form, "the run has ended").await?);
        }
        Err(problem) => return Err(problem),
    };
    match api.verdicts.wait(signal, DECIDED).await {
        Some(None) => Ok(Answer::ok(reread(&api, &run, &form).await?.1)),
        Some(Some(why)) => Err(refused(&api, &run, &form, &why).await?),
        None => Ok(Answer(StatusCode::ACCEPTED, reread(&api, &run, &form).await?.1)),
    }
}

/// A run with all that it asked.
struct Asked {
    workflow: Arc<Workflow>,
    facts: Vec<Fact>,
}

async fn asked<S: Intake + Texts + Contents>(
    api: &Session<Api<S>>,
    run: &Name,
) -> Result<Asked, Problem> {
    let found = api.store.facts(&api.tenant, run, 0).await?;
    let (key, facts) = found.ok_or_else(|| Problem::no_run(run))?;
    Ok(Asked { workflow: api.workflows.get(&api.tenant, &key).await?, facts })
}

/// Of a large run it takes a while, in which others want to be answered.
async fn folded<T: Send + 'static>(
    fold: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(fold).await.map_err(|error| {
        tracing::error!(%error, "the forms of a run could not be told");
        Problem::new(Code::Internal, "the run's journal could not be read")
    })
}

fn shown_forms(plan: &Plan, mut facts: Vec<Fact>) -> Vec<(FormRecord, Value)> {
    redact::facts(&mut facts);
    let shown = |form: FormRecord| {
        let title = plan.find(&form.node).map(|index| &plan.node(index).title);
        let value = show::form_record(&form, &form_id(&form), title);
        (form, value)
    };
    forms(&facts).into_iter().map(shown).collect()
}

/// A form as it is now.
async fn reread<S: Intake + Texts + Contents>(
    api: &Session<Api<S>>,
    run: &Name,
    form: &Name,
) -> Result<(FormRecord, Value), Problem> {
    let Asked { workflow, facts } = asked(api, run).await?;
    let forms = folded(move || shown_forms(&workflow.plan, facts)).await?;
    let found = forms.into_iter().rev().find(|(held, _)| form_id(held) == *form);
    found.ok_or_else(|| no_form(run, form))
}

fn no_form(run: &str, form: &str) -> Problem {
    let detail = format!("run {run} has no form {form:?}; GET /api/v1/runs/{run}/forms lists them");
    Problem::new(Code::FormNotFound, detail)
}

fn asks<'a>(plan: &'a Plan, node: &str) -> Option<&'a dyn Asks> {
    match &plan.node(plan.find(node)?).behaviour {
        Behaviour::Pause(asks) => asks.as_deref(),
        Behaviour::Inline(_)
        | Behaviour::Task(_)
        | Behaviour::Iteration(_)
        | Behaviour::Loop(_) => None,
    }
}

/// Why an answer was refused, by what became of the form meanwhile; else because of what it says.
async fn refused<S: Intake + Texts + Contents>(
    api: &Session<Api<S>>,
    run: &Name,
    form: &Name,
    why: &str,
) -> Result<Problem, Problem> {
    let (record, shown) = reread(api, run, form).await?;
    let is_late = record.expires_at.is_some_and(|at| at <= api.clock.now());
    let problem = match record.state {
        FormState::Submitted => {
            let by = record.answer.and_then(|answer| answer.by);
            let by = by.map_or(String::new(), |by| format!(" by {by}"));
            Problem::new(Code::FormAnswered, format!("form {form} was answered{by}"))
        }
        FormState::Timeout | FormState::Expired => late(form),
        FormState::Waiting if is_late => late(form),
        FormState::Waiting => Problem::new(Code::InvalidAnswer, why),
        FormState::Cancelled => {
            let found = find(api, run).await?;
            if found.finished_at.is_some() {
                ended(&found)
            } else {
                let detail = format!("the pass that asked form {form} has ended");
                Problem::new(Code::FormClosed, detail)
            }
        }
    };
    Ok(problem.with("form", shown))
}

fn late(form: &str) -> Problem {
    Problem::new(Code::FormExpired, format!("nobody answered form {form} in time"))
}
