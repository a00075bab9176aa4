//! Claims: one holder at a time, for as long as it says that it lives.

use std::time::Duration;

use flowmill_engine::fact::TaskId;
use flowmill_infra::checkpoints::CheckpointKey;
use flowmill_infra::claims::{Claim, Claimed, Claims};

/// Longer than any case takes.
const LONG: Duration = Duration::from_mins(1);

/// Short, and long enough for a few requests.
const SHORT: Duration = Duration::from_millis(700);

pub(crate) async fn all<C: Claims>(make: impl AsyncFn() -> C) {
    one_holds_it(&make().await).await;
    attempts_do_not_mix(&make().await).await;
    a_claim_lapses(&make().await).await;
    a_claim_is_renewed(&make().await).await;
    only_its_holder_gives_it_up(&make().await).await;
    what_has_ended_is_nobodys_for_a_time(&make().await).await;
    of_many_one_gets_it(&make().await).await;
}

pub(crate) fn claim(node: &str, holder: &str) -> Claim {
    let task = TaskId { frame: "it[3]".into(), node: node.into(), generation: 1 };
    let key = CheckpointKey { tenant: "default".into(), run: "r".into(), task, attempt: 1 };
    Claim { key, holder: holder.into() }
}

async fn one_holds_it(claims: &impl Claims) {
    assert_eq!(claims.claim(&claim("a", "one"), LONG).await, Claimed::Ours);
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
    assert_eq!(claims.claim(&claim("a", "one"), LONG).await, Claimed::Ours);
    assert_eq!(claims.claim(&claim("b", "two"), LONG).await, Claimed::Ours);
}

async fn attempts_do_not_mix(claims: &impl Claims) {
    let first = claim("a", "one");
    let key = &first.key;
    let others = [
        CheckpointKey { attempt: 2, ..key.clone() },
        CheckpointKey { tenant: "other".into(), ..key.clone() },
        CheckpointKey { run: "s".into(), ..key.clone() },
        CheckpointKey { task: TaskId { generation: 2, ..key.task.clone() }, ..key.clone() },
        CheckpointKey { task: TaskId { frame: "".into(), ..key.task.clone() }, ..key.clone() },
        claim("a\",\"b", "two").key,
    ];
    assert_eq!(claims.claim(&first, LONG).await, Claimed::Ours);
    for key in others {
        let other = Claim { key, holder: "two".into() };
        assert_eq!(claims.claim(&other, LONG).await, Claimed::Ours, "{other:?}");
    }
}

async fn a_claim_lapses(claims: &impl Claims) {
    assert_eq!(claims.claim(&claim("a", "one"), SHORT).await, Claimed::Ours);
    assert_eq!(claims.claim(&claim("a", "two"), SHORT).await, Claimed::Theirs);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(claims.claim(&claim("a", "two"), SHORT).await, Claimed::Ours);
}

async fn a_claim_is_renewed(claims: &impl Claims) {
    let held = ["a", "b", "c"].map(|node| claim(node, "one"));
    for claim in &held {
        claims.claim(claim, SHORT).await;
    }
    claims.renew(&held[..2], LONG).await;
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
    assert_eq!(claims.claim(&claim("b", "two"), LONG).await, Claimed::Theirs);
    assert_eq!(claims.claim(&claim("c", "two"), LONG).await, Claimed::Ours);
    // one that another has by now stays his, and one that vanished is back
    claims.renew(&[claim("c", "one"), claim("d", "one")], LONG).await;
    assert_eq!(claims.claim(&claim("c", "two"), LONG).await, Claimed::Ours);
    assert_eq!(claims.claim(&claim("d", "two"), LONG).await, Claimed::Theirs);
    claims.renew(&[], LONG).await;
}

async fn only_its_holder_gives_it_up(claims: &impl Claims) {
    claims.claim(&claim("a", "one"), LONG).await;
    claims.release(&[claim("a", "two"), claim("b", "two")]).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
    claims.release(&[claim("a", "one")]).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Ours);
}

async fn what_has_ended_is_nobodys_for_a_time(claims: &impl Claims) {
    claims.claim(&claim("a", "one"), LONG).await;
    claims.finish(&[claim("a", "two")], SHORT).await;
    assert_eq!(claims.claim(&claim("a", "one"), LONG).await, Claimed::Ours);
    claims.finish(&[claim("a", "one")], SHORT).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
    assert_eq!(claims.claim(&claim("a", "one"), LONG).await, Claimed::Theirs);
    // giving it up does not bring it back
    claims.release(&[claim("a", "one")]).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Ours);
}

async fn of_many_one_gets_it(claims: &impl Claims) {
    let ask = |number: u32| {
        let claims = claims.clone();
        let claim = claim("a", &number.to_string());
        tokio::spawn(async move { claims.claim(&claim, LONG).await })
    };
    let asked: Vec<_> = (0..20).map(ask).collect();
    let mut ours = 0;
    for one in asked {
        ours += u32::from(one.await.unwrap() == Claimed::Ours);
    }
    assert_eq!(ours, 1);
}
