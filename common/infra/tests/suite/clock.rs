//! The clock: it never goes back, and wakes nobody early.

use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_infra::clock::Clock;

use super::at_once;

/// Runs under tokio's paused clock.
pub(crate) async fn all<C: Clock>(make: impl Fn() -> C) {
    does_not_go_back(make());
    wakes_on_time(make()).await;
    does_not_wait_for_the_past(make()).await;
    waits_for_the_end_of_time(make()).await;
    is_the_same_for_all_who_share_it(make()).await;
}

fn does_not_go_back(clock: impl Clock) {
    let mut before = clock.now();
    for _ in 0..1000 {
        let now = clock.now();
        assert!(now >= before);
        before = now;
    }
}

async fn wakes_on_time(clock: impl Clock) {
    for wait in [1, 999, 1000, 1001, 1_500_500, 3_600_000_000] {
        let at = clock.now().after(Duration::from_micros(wait));
        clock.sleep_until(at).await;
        let late = clock.now().since(at);
        assert!(clock.now() >= at, "woken early");
        assert!(late <= Duration::from_millis(1), "{late:?} late");
    }
}

async fn does_not_wait_for_the_past(clock: impl Clock) {
    let before = clock.now();
    clock.sleep_until(Time(0)).await;
    clock.sleep_until(before).await;
    assert!(clock.now().since(before) <= Duration::from_millis(1));
}

async fn waits_for_the_end_of_time(clock: impl Clock) {
    assert!(at_once(clock.sleep_until(Time(u64::MAX))).await.is_none());
}

async fn is_the_same_for_all_who_share_it(clock: impl Clock) {
    let other = clock.clone();
    let at = clock.now().after(Duration::from_secs(1));
    clock.sleep_until(at).await;
    assert!(other.now() >= at);
}
