//! `/api/v1/models`: how providers of models stand, and what has been spent of budgets, as those
//! know it who call them.
//!
//! Nothing here reads the services file, which workers have: whoever asks a provider leaves behind
//! what is limited together, and how much of it.

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::middleware;
use axum::routing::get;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::batches::Batches;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::intake::Intake;
use flowmill_services::file::decimal::amount;
use flowmill_services::models::limits::{Limiter, Spending, Standing};

use super::access::{Guard, GuardStore, Session};
use super::guard::{self, parameters};
use super::json::{Answer, number, object, time};
use super::no_method;
use super::problem::Problem;

#[derive(Debug)]
struct Models<S> {
    store: Arc<S>,
    limiter: Arc<dyn Limiter>,
    clock: SystemClock,
}

/// What can be asked of providers of models; `limiter` is what those share who call them.
pub fn models<S, T>(store: Arc<S>, limiter: Arc<dyn Limiter>, guard: Guard<T>) -> Router
where
    S: Intake + Batches,
    T: GuardStore,
{
    let models = Models { store, limiter, clock: SystemClock::new() };
    Router::new()
        .route("/api/v1/models", get(list::<S>))
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(guard, guard::admit::<T>))
        .with_state(Arc::new(models))
}

/// All providers that were asked within the last hour, and the budgets of the tenant, of a run and of
/// a batch.
async fn list<S: Intake + Batches>(api: Session<Models<S>>, uri: Uri) -> Result<Answer, Problem> {
    let [run, batch] = parameters(&uri, ["run", "batch"])?;
    let mut parties: Vec<(&str, Name)> = vec![("tenant", api.tenant.clone())];
    if let Some(run) = run {
        let id = Name::from(run.as_str());
        api.store.run(&api.tenant, &id).await?.ok_or_else(|| Problem::no_run(&run))?;
        parties.push(("run", id));
    }
    if let Some(batch) = batch.map(Name::from) {
        let found = api.store.batch(&api.tenant, &batch).await?;
        found.ok_or_else(|| super::batches::none(&batch))?;
        parties.push(("batch", batch));
    }
    let keys: Vec<Name> =
        parties.iter().map(|(kind, name)| format!("{kind}:{name}").into()).collect();
    let standing = api.limiter.overview().await;
    let spending = api.limiter.spending(&keys).await;
    let now = api.clock.now();
    let is_known = standing.is_some() && spending.is_some();
    let data = standing.unwrap_or_default();
    let data = data.iter().map(|(key, standing)| row(key, standing, now)).collect();
    let spent = parties.iter().zip(spending.unwrap_or_default());
    let budgets =
        spent.filter_map(|(party, spending)| Some(budget(party, &spending?, now))).collect();
    Ok(Answer::ok(object([
        ("is_known", is_known.into()),
        ("data", Value::array(data)),
        ("budgets", Value::array(budgets)),
    ])))
}

/// Whether calls wait, or fail, for what is limited together: it is left alone, it cools, or as many are
/// under way as there may be.
pub(super) fn holds_calls_back(standing: &Standing) -> bool {
    let most = standing.allowed.or(standing.limits.at_once);
    let is_full = most.is_some_and(|most| standing.under_way >= most);
    standing.shut.is_some() || standing.cooling.is_some() || is_full
}

/// How something that is limited together stands.
pub(super) fn row(key: &Name, standing: &Standing, now: Time) -> Value {
    // a provider has no slash in its name, a model may
    let (provider, model) = match key.split_once('/') {
        Some((provider, model)) => (provider, Value::from(model)),
        None => (&**key, Value::None),
    };
    let Standing { limits, under_way, allowed, cooling, shut, failures } = standing;
    let until = |left: &Option<std::time::Duration>| time(left.map(|left| now.after(left)));
    object([
        ("provider", provider.into()),
        ("model", model),
        ("circuit", standing.circuit().name().into()),
        ("open_until", until(shut)),
        ("failures_in_a_row", number(*failures)),
        ("cools_until", until(cooling)),
        ("in_flight", number(*under_way)),
        ("at_once", most(limits.at_once)),
        ("at_once_for_now", most(*allowed)),
        ("requests_per_minute", most(limits.requests_per_minute)),
        ("tokens_per_minute", most(limits.tokens_per_minute)),
    ])
}

fn budget((kind, name): &(&str, Name), spending: &Spending, now: Time) -> Value {
    let Spending { spent, tokens, money, ends } = spending;
    object([
        ("kind", (*kind).into()),
        ("name", Value::Str(name.clone())),
        ("tokens", number(spent.tokens)),
        ("tokens_limit", most(*tokens)),
        ("money", amount(spent.money).into()),
        ("money_limit", money.map_or(Value::None, |money| amount(money).into())),
        ("begins_anew_at", time(ends.map(|left| now.after(left)))),
    ])
}

fn most(most: Option<u64>) -> Value {
    most.map_or(Value::None, number)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flowmill_engine::value::{Style, dumps};
    use flowmill_services::models::config::Limits;
    use flowmill_services::models::limits::Cost;

    use super::*;

    #[test]
    fn what_is_limited_together_is_a_provider_or_one_of_its_models() {
        let limits = Limits { at_once: Some(8), ..Limits::default() };
        let (cooling, shut) = (Some(Duration::from_secs(3)), Some(Duration::from_secs(5)));
        let standing =
            Standing { limits, under_way: 2, allowed: Some(4), cooling, shut, failures: 6 };
        let shown = |key: &str| {
            dumps(&row(&key.into(), &standing, Time(0)), Style::Finite).replace('"', "'")
        };
        assert_eq!(
            shown("local/org/model"),
            "{'provider':'local','model':'org/model','circuit':'open','open_until':\
             '1970-01-01T00:00:05.000Z','failures_in_a_row':6,'cools_until':\
             '1970-01-01T00:00:03.000Z','in_flight':2,'at_once':8,'at_once_for_now':4,\
             'requests_per_minute':null,'tokens_per_minute':null}"
        );
        assert!(shown("local").contains("'provider':'local','model':null"));
    }

    #[test]
    fn calls_are_held_back_by_what_is_shut_cools_or_is_full() {
        let well = Standing {
            limits: Limits { at_once: Some(8), ..Limits::default() },
            under_way: 7,
            allowed: None,
            cooling: None,
            shut: None,
            failures: 0,
        };
        assert!(!holds_calls_back(&well));
        let second = Some(Duration::from_secs(1));
        for held in [
            Standing { under_way: 8, ..well },
            Standing { allowed: Some(7), ..well },
            Standing { cooling: second, ..well },
            Standing { shut: second, ..well },
        ] {
            assert!(holds_calls_back(&held), "{held:?}");
        }
    }

    #[test]
    fn money_is_told_as_people_write_it() {
        let spent = Cost { tokens: 30, money: 1_200_000 };
        let spending = Spending { spent, tokens: None, money: Some(50_000_000), ends: None };
        let shown = dumps(&budget(&("tenant", "t".into()), &spending, Time(0)), Style::Finite);
        assert_eq!(
            shown.replace('"', "'"),
            "{'kind':'tenant','name':'t','tokens':30,'tokens_limit':null,'money':'0.12',\
             'money_limit':'5','begins_anew_at':null}"
        );
    }
}
