//! Limits of calls and of spending: the same for whoever shares them.

use std::time::Duration;

use flowmill_services::models::config::Limits;
use flowmill_services::models::limits::{
    Asking, Circuit, Cost, Limited, Limiter, Outcome, Party, Spending, Spent, Verdict, Why,
};

/// Longer than any case takes.
const LONG: Duration = Duration::from_mins(1);

/// Two that share what they limit.
type Two<L> = (L, L);

pub(crate) async fn all<L: Limiter>(make: impl AsyncFn() -> Two<L>) {
    places_are_shared(&make().await).await;
    a_place_lapses(&make().await).await;
    whoever_gives_up_gives_his_place_back(&make().await).await;
    calls_of_a_minute_are_shared(&make().await).await;
    tokens_count_by_what_was_taken(&make().await).await;
    all_wait_while_a_key_cools(&make().await).await;
    who_fails_is_left_alone_and_tried_by_one(&make().await).await;
    a_call_counts_for_all_its_keys_or_none(&make().await).await;
    nobody_spends_more_than_he_may(&make().await).await;
    a_budget_begins_anew_with_its_period(&make().await).await;
}

/// Of those that can be asked how all stands: not of a process that lost what it shares.
pub(crate) async fn told<L: Limiter>(make: impl AsyncFn() -> Two<L>) {
    whoever_asks_is_told_how_keys_stand(&make().await).await;
    whoever_asks_is_told_what_was_spent(&make().await).await;
}

async fn whoever_asks_is_told_how_keys_stand<L: Limiter>((one, two): &Two<L>) {
    assert_eq!(two.overview().await, Some(Vec::new()));
    let of_provider =
        Limits { requests_per_minute: Some(600), tokens_per_minute: None, at_once: Some(9) };
    let mut first = asking("a", of_provider);
    first.keys.push(Limited { key: "openai/m/x".into(), limits: at_once(3) });
    assert!(grants(one, &first).await && grants(one, &asking("b", of_provider)).await);
    let all = two.overview().await.unwrap();
    let names: Vec<&str> = all.iter().map(|(key, _)| &**key).collect();
    assert_eq!(names, ["openai", "openai/m/x"]);
    let [(_, provider), (_, model)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((provider.limits, provider.under_way), (of_provider, 2));
    assert_eq!((model.limits, model.under_way), (at_once(3), 1));
    assert_eq!((provider.circuit(), provider.cooling), (Circuit::Closed, None));
    one.settle(&asking("b", of_provider), Outcome::Cooled(Some(LONG)), 0).await;
    for _ in 0..5 {
        one.settle(&first, Outcome::Failed, 0).await;
    }
    let all = two.overview().await.unwrap();
    let provider = all[0].1;
    assert_eq!((provider.circuit(), provider.failures), (Circuit::Open, 5));
    assert_eq!((provider.under_way, provider.allowed), (0, Some(1)));
    let cooling = provider.cooling.unwrap();
    assert!(cooling <= LONG && cooling > LONG / 2, "{cooling:?}");
}

async fn whoever_asks_is_told_what_was_spent<L: Limiter>((one, two): &Two<L>) {
    let parties = ["tenant:t", "run:r", "run:else"].map(Into::into);
    assert_eq!(two.spending(&[]).await, Some(Vec::new()));
    assert_eq!(two.spending(&parties).await, Some(vec![None, None, None]));
    let tenant = Party { per: Some(LONG), ..party("tenant:t", None, Some(500)) };
    let both = [tenant, party("run:r", Some(100), None)];
    let cost = Cost { tokens: 60, money: 20 };
    assert_eq!(one.reserve(&both, cost).await, Ok(()));
    one.correct(&both, cost, Cost { tokens: 40, money: 30 }).await;
    let told = two.spending(&parties).await.unwrap();
    let [Some(tenant), run, None] = &told[..] else { panic!("{told:?}") };
    let spent = Cost { tokens: 40, money: 30 };
    assert_eq!((tenant.spent, tenant.tokens, tenant.money), (spent, None, Some(500)));
    let ends = tenant.ends.unwrap();
    assert!(ends <= LONG && ends > LONG / 2, "{ends:?}");
    assert_eq!(*run, Some(Spending { spent, tokens: Some(100), money: None, ends: None }));
}

fn asking(permit: &str, limits: Limits) -> Asking {
    let key = Limited { key: "openai".into(), limits };
    Asking { permit: permit.into(), keys: vec![key], tokens: 10, lasts: LONG }
}

fn at_once(most: u64) -> Limits {
    Limits { at_once: Some(most), ..Limits::default() }
}

async fn grants(limiter: &impl Limiter, asking: &Asking) -> bool {
    limiter.acquire(asking).await == Verdict::Granted
}

async fn places_are_shared<L: Limiter>((one, two): &Two<L>) {
    let asking = ["a", "b", "c"].map(|permit| asking(permit, at_once(2)));
    assert!(grants(one, &asking[0]).await && grants(two, &asking[1]).await);
    let verdict = one.acquire(&asking[2]).await;
    assert!(matches!(verdict, Verdict::Wait { why: Why::AtOnce, .. }), "{verdict:?}");
    assert_eq!(two.standing(&["openai".into()]).await[0].under_way, 2);
    two.settle(&asking[0], Outcome::Answered, 10).await;
    assert!(grants(two, &asking[2]).await);
}

async fn a_place_lapses<L: Limiter>((one, two): &Two<L>) {
    let short = Asking { lasts: Duration::from_millis(300), ..asking("a", at_once(1)) };
    assert!(grants(one, &short).await);
    assert!(!grants(two, &asking("b", at_once(1))).await);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(grants(two, &asking("b", at_once(1))).await);
}

async fn whoever_gives_up_gives_his_place_back<L: Limiter>((one, two): &Two<L>) {
    assert!(grants(one, &asking("a", at_once(1))).await);
    one.abandon(&asking("a", at_once(1)));
    for _ in 0..100 {
        if grants(two, &asking("b", at_once(1))).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place is still taken");
}

async fn calls_of_a_minute_are_shared<L: Limiter>((one, two): &Two<L>) {
    let limits = Limits { requests_per_minute: Some(60), ..Limits::default() };
    let mut granted = 0;
    for call in 0..20 {
        let asking = asking(&call.to_string(), limits);
        let limiter = if call % 2 == 0 { one } else { two };
        match limiter.acquire(&asking).await {
            Verdict::Granted => granted += 1,
            Verdict::Wait { after, why: Why::Requests } => {
                assert!(after > Duration::ZERO && after < Duration::from_millis(1100), "{after:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    // a twelfth of a minute's calls at once, and one that came to be allowed meanwhile
    assert!((5..=6).contains(&granted), "{granted}");
}

async fn tokens_count_by_what_was_taken<L: Limiter>((one, two): &Two<L>) {
    let limits = Limits { tokens_per_minute: Some(4000), ..Limits::default() };
    let dear = Asking { tokens: 3000, ..asking("a", limits) };
    assert!(grants(one, &dear).await);
    let verdict = two.acquire(&asking("b", limits)).await;
    assert!(matches!(verdict, Verdict::Wait { why: Why::Tokens, .. }), "{verdict:?}");
    one.settle(&dear, Outcome::Answered, 100).await;
    assert!(grants(two, &asking("b", limits)).await);
}

async fn all_wait_while_a_key_cools<L: Limiter>((one, two): &Two<L>) {
    let first = asking("a", Limits::default());
    for permit in ["a", "b", "c", "d"] {
        assert!(grants(one, &asking(permit, Limits::default())).await);
    }
    one.settle(&first, Outcome::Cooled(Some(Duration::from_millis(800))), 0).await;
    let verdict = two.acquire(&asking("e", Limits::default())).await;
    let Verdict::Wait { after, why: Why::Cooling } = verdict else { panic!("{verdict:?}") };
    assert!(after <= Duration::from_millis(800), "{after:?}");
    let standing = two.standing(&["openai".into()]).await[0];
    assert!(standing.cooling.is_some());
    assert_eq!(standing.allowed, Some(2), "half of those that were under way");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for permit in ["b", "c", "d"] {
        one.settle(&asking(permit, Limits::default()), Outcome::Answered, 10).await;
    }
    let mut granted = 0;
    for permit in ["f", "g", "h", "i"] {
        granted += u32::from(grants(two, &asking(permit, Limits::default())).await);
    }
    assert_eq!(granted, 3, "two, and one more for a round that went well");
}

async fn who_fails_is_left_alone_and_tried_by_one<L: Limiter>((one, two): &Two<L>) {
    for permit in ["a", "b", "c", "d", "e"] {
        let asking = asking(permit, Limits::default());
        assert!(grants(one, &asking).await, "{permit}");
        one.settle(&asking, Outcome::Failed, 0).await;
    }
    let verdict = two.acquire(&asking("f", Limits::default())).await;
    let Verdict::Shut { after } = verdict else { panic!("{verdict:?}") };
    let standing = two.standing(&["openai".into()]).await[0];
    assert!(standing.shut.is_some());
    assert_eq!(standing.failures, 5);
    tokio::time::sleep(after + Duration::from_millis(100)).await;
    assert!(grants(two, &asking("f", Limits::default())).await, "one tries");
    assert!(!grants(one, &asking("g", Limits::default())).await, "the others wait");
    two.settle(&asking("f", Limits::default()), Outcome::Answered, 1).await;
    assert!(grants(one, &asking("g", Limits::default())).await);
}

async fn a_call_counts_for_all_its_keys_or_none<L: Limiter>((one, _): &Two<L>) {
    let of_model = |permit: &str| {
        let mut asking = asking(permit, at_once(9));
        asking.keys.push(Limited { key: "openai/m".into(), limits: at_once(1) });
        asking
    };
    assert!(grants(one, &of_model("a")).await);
    assert!(!grants(one, &of_model("b")).await);
    let standing = one.standing(&["openai".into(), "openai/m".into(), "else".into()]).await;
    let under_way: Vec<u64> = standing.iter().map(|standing| standing.under_way).collect();
    assert_eq!(under_way, [1, 1, 0]);
}

fn party(key: &str, tokens: Option<u64>, money: Option<u64>) -> Party {
    Party { key: key.into(), tokens, money, per: None }
}

async fn nobody_spends_more_than_he_may<L: Limiter>((one, two): &Two<L>) {
    let (run, tenant) = (party("run:r", Some(100), None), party("tenant:t", None, Some(50)));
    let both = [run.clone(), tenant];
    let cost = |tokens, money| Cost { tokens, money };
    assert_eq!(one.reserve(&both, cost(60, 20)).await, Ok(()));
    let spent = cost(60, 20);
    assert_eq!(two.reserve(&both, cost(41, 0)).await, Err(Spent { party: 0, spent }));
    assert_eq!(two.reserve(&both, cost(1, 31)).await, Err(Spent { party: 1, spent }));
    // nothing was counted of what was refused, and what cost less is given back
    one.correct(&both, cost(60, 20), cost(10, 5)).await;
    assert_eq!(two.reserve(&both, cost(90, 45)).await, Ok(()));
    assert!(two.reserve(std::slice::from_ref(&run), cost(1, 0)).await.is_err());
    one.correct(&both, cost(500, 500), cost(0, 0)).await;
    assert_eq!(one.reserve(&both, cost(100, 50)).await, Ok(()), "less than nothing is nothing");
}

async fn a_budget_begins_anew_with_its_period<L: Limiter>((one, _): &Two<L>) {
    let per = Some(Duration::from_millis(400));
    let party = Party { per, ..party("tenant:t", Some(10), None) };
    let (party, cost) = ([party], Cost { tokens: 10, money: 0 });
    assert_eq!(one.reserve(&party, cost).await, Ok(()));
    assert!(one.reserve(&party, cost).await.is_err());
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(one.reserve(&party, cost).await, Ok(()));
}
