//! The live feed: as many watchers as like, each from where it likes. None stops a run, and none
//! misses a fact without being told.

use std::time::Duration;

use flowmill_engine::fact::FramePath;
use flowmill_engine::value::Name;
use flowmill_infra::live::{Event, Live, Seen, Subscribe, Subscription};

use super::facts;

/// Each case has a feed of its own: its ways in and out.
pub(crate) async fn all<L: Live, S: Subscribe>(make: impl AsyncFn() -> (L, S)) {
    everybody_sees_everything(make().await).await;
    runs_do_not_mix(make().await).await;
    known_facts_are_left_out(make().await).await;
    what_came_before_is_shown_or_told(make().await).await;
    a_gap_is_told(make().await).await;
    a_slow_subscription_stops_nobody(make().await).await;
    a_subscription_that_ends_leaves_the_others_alone(make().await).await;
    a_wait_may_be_dropped(make().await).await;
}

pub(crate) fn fact(first: u64, last: u64) -> Event {
    Event::Facts(facts(first, last).into())
}

pub(crate) fn chunk(offset: u64, text: &str) -> Event {
    Event::Chunk {
        frame: FramePath::default().pass("it", 3),
        node: "llm".into(),
        generation: 2,
        attempt: 3,
        output: "text".into(),
        offset,
        text: text.into(),
        is_final: text.is_empty(),
    }
}

/// What is seen next, within a time that is enough for every server.
pub(crate) async fn next(subscription: &mut impl Subscription) -> Seen {
    let next = tokio::time::timeout(Duration::from_secs(20), subscription.next()).await;
    next.unwrap_or_else(|_| panic!("nothing more is seen"))
}

/// What one watcher saw.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// The last fact.
    pub(crate) seq: u64,
    /// Everything, as text: `?` where facts may be missing, `-` where the feed is away.
    pub(crate) seen: Vec<String>,
}

impl Story {
    pub(crate) fn after(seq: u64) -> Self {
        Self { seq, seen: Vec::new() }
    }

    /// Watches until a fact is seen. Facts come in order and once, and a gap is told before.
    pub(crate) async fn until(&mut self, subscription: &mut impl Subscription, last: u64) {
        while self.seq < last {
            self.see(next(subscription).await);
        }
        assert_eq!(self.seq, last);
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        let shown = match seen {
            Seen::Missed => "?".to_owned(),
            Seen::Away => "-".to_owned(),
            Seen::Event(Event::Chunk {
                frame,
                node,
                generation,
                attempt,
                output,
                offset,
                text,
                is_final,
            }) => {
                assert_eq!((frame.as_str(), &*node, &*output), ("it[3]", "llm", "text"));
                assert_eq!((generation, attempt, is_final), (2, 3, text.is_empty()));
                format!("{offset}:{text}")
            }
            Seen::Event(Event::Facts(facts)) => {
                let told = self.seen.last().is_some_and(|last| last == "?");
                for fact in facts.iter() {
                    let follows = fact.seq == self.seq + 1;
                    assert!(follows || (told && fact.seq > self.seq), "{} {fact:?}", self.seq);
                    self.seq = fact.seq;
                }
                let seqs: Vec<String> = facts.iter().map(|fact| fact.seq.to_string()).collect();
                seqs.join(" ")
            }
        };
        self.seen.push(shown);
    }

    /// Without what need not be there: a word at the beginning that there may be more.
    pub(crate) fn events(&self) -> &[String] {
        match &self.seen[..] {
            [first, rest @ ..] if first == "?" => rest,
            all => all,
        }
    }
}

async fn story(subscription: &mut impl Subscription, after: u64, last: u64) -> Story {
    let mut story = Story::after(after);
    story.until(subscription, last).await;
    story
}

async fn everybody_sees_everything<L: Live, S: Subscribe>((live, feed): (L, S)) {
    let run = Name::from("r");
    let (mut one, mut two) = (feed.subscribe(&run, 0), feed.subscribe(&run, 0));
    for event in [fact(1, 1), chunk(0, "a"), chunk(1, "bc"), chunk(3, ""), fact(2, 3)] {
        live.publish(&run, event).await;
    }
    for subscription in [&mut one, &mut two] {
        let story = story(subscription, 0, 3).await;
        assert_eq!(story.events(), ["1", "0:a", "1:bc", "3:", "2 3"]);
    }
    // and goes on to see it
    live.publish(&run, fact(4, 4)).await;
    assert_eq!(story(&mut two, 3, 4).await.events(), ["4"]);
    live.publish(&run, fact(5, 5)).await;
    assert_eq!(story(&mut one, 3, 5).await.events(), ["4", "5"]);
}

async fn runs_do_not_mix<L: Live, S: Subscribe>((live, feed): (L, S)) {
    let names = ["one", "two", "one:two"].map(Name::from);
    let mut all = names.clone().map(|run| feed.subscribe(&run, 0));
    for (number, run) in names.iter().enumerate() {
        live.publish(run, chunk(0, &number.to_string())).await;
        live.publish(run, fact(1, 1)).await;
    }
    for (number, subscription) in all.iter_mut().enumerate().rev() {
        let story = story(subscription, 0, 1).await;
        assert_eq!(story.events(), [format!("0:{number}"), "1".to_owned()]);
    }
}

async fn known_facts_are_left_out<L: Live, S: Subscribe>((live, feed): (L, S)) {
    let run = Name::from("r");
    let mut subscription = feed.subscribe(&run, 2);
    for event in [fact(1, 1), fact(2, 3), fact(3, 3), fact(2, 4), fact(5, 5)] {
        live.publish(&run, event).await;
    }
    assert_eq!(story(&mut subscription, 2, 5).await.events(), ["3", "4", "5"]);
}

async fn what_came_before_is_shown_or_told<L: Live, S: Subscribe>((live, feed): (L, S)) {
    let run = Name::from("r");
    live.publish(&run, fact(1, 3)).await;
    let mut subscription = feed.subscribe(&run, 0);
    live.publish(&run, fact(4, 4)).await;
    story(&mut subscription, 0, 4).await;
    // and where nothing is known there may be something
    let mut quiet = feed.subscribe(&"quiet".into(), 7);
    assert!(matches!(next(&mut quiet).await, Seen::Missed));
}

async fn a_gap_is_told<L: Live, S: Subscribe>((live, feed): (L, S)) {
    let run = Name::from("r");
    let mut subscription = feed.subscribe(&run, 0);
    for event in [fact(1, 1), fact(3, 3), chunk(0, "a"), fact(5, 6)] {
        live.publish(&run, event).await;
    }
    let story = story(&mut subscription, 0, 6).await;
    assert_eq!(story.events(), ["1", "?", "3", "0:a", "?", "5 6"]);
}

async fn a_slow_subscription_stops_nobody<L: Live, S: Subscribe>((live, feed): (L, S)) {
    const FACTS: u64 = 20_000;
    let run = Name::from("r");
    let mut slow = feed.subscribe(&run, 0);
    live.publish(&run, fact(1, 1)).await;
    story(&mut slow, 0, 1).await;
    let mut quick = feed.subscribe(&run, 0);
    let publish = async {
        for seq in 2..=FACTS {
            live.publish(&run, fact(seq, seq)).await;
            if seq % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let (_, ()) = tokio::join!(story(&mut quick, 0, FACTS), publish);
    let story = story(&mut slow, 1, FACTS).await;
    assert!(story.seen.len() < 2 * usize::try_from(FACTS).unwrap());
}

async fn a_subscription_that_ends_leaves_the_others_alone<L: Live, S: Subscribe>(
    (live, feed): (L, S),
) {
    let run = Name::from("r");
    let (mut first, mut second) = (feed.subscribe(&run, 0), feed.subscribe(&run, 0));
    live.publish(&run, fact(1, 1)).await;
    story(&mut first, 0, 1).await;
    drop(first);
    live.publish(&run, fact(2, 2)).await;
    story(&mut second, 0, 2).await;
    drop(second);
    live.publish(&run, fact(3, 3)).await;
    let mut third = feed.subscribe(&run, 2);
    live.publish(&run, fact(4, 4)).await;
    story(&mut third, 2, 4).await;
}

async fn a_wait_may_be_dropped<L: Live, S: Subscribe>((live, feed): (L, S)) {
    let run = Name::from("r");
    let mut subscription = feed.subscribe(&run, 0);
    let mut story = Story::after(0);
    for seq in 1..=200 {
        live.publish(&run, chunk(seq, "a")).await;
        live.publish(&run, fact(seq, seq)).await;
        let next = tokio::time::timeout(Duration::from_micros(seq * 10), subscription.next());
        if let Ok(seen) = next.await {
            story.see(seen);
        }
    }
    story.until(&mut subscription, 200).await;
    let wanted: Vec<String> =
        (1..=200).flat_map(|seq| [format!("{seq}:a"), seq.to_string()]).collect();
    assert_eq!(story.events(), wanted);
}
