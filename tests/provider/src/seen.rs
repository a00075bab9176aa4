//! What was asked, and which rule is next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::asked::Asked;
use crate::script::{Answer, Script};

/// What a provider was asked, and how.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All calls, in the order in which they came, and when.
    pub calls: Vec<(Instant, Asked)>,
    /// Calls that were refused as too many.
    pub too_many: usize,
    /// The most that were under way at the same time.
    pub most_at_once: usize,
    /// Calls that are under way.
    pub under_way: usize,
    /// Calls whose caller left before he had his answer.
    pub left: usize,
}

#[derive(Debug)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    script: Script,
    /// How often each rule was needed, and when first.
    used: Vec<(usize, Option<Instant>)>,
    seen: Seen,
}

impl Shared {
    pub(crate) fn new(script: Script) -> Self {
        let used = vec![(0, None); script.rules.len()];
        Self(Mutex::new(State { script, used, seen: Seen::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn follow(&self, script: Script) {
        let mut state = self.lock();
        state.used = vec![(0, None); script.rules.len()];
        state.script = script;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    pub(crate) fn begin(self: &Arc<Self>, asked: Asked) -> UnderWay {
        let mut state = self.lock();
        state.seen.calls.push((Instant::now(), asked));
        state.seen.under_way += 1;
        state.seen.most_at_once = state.seen.most_at_once.max(state.seen.under_way);
        UnderWay { shared: self.clone(), is_done: false }
    }

    /// What is answered now.
    pub(crate) fn answer(&self, asked: &Asked) -> Answer {
        let mut state = self.lock();
        if let Some(refusal) = state.refusal(asked) {
            return refusal;
        }
        let now = Instant::now();
        let State { script, used, .. } = &mut *state;
        for (rule, (times, since)) in script.rules.iter().zip(used) {
            if !rule.when.fits(asked) || rule.times.is_some_and(|most| *times >= most) {
                continue;
            }
            let since = *since.get_or_insert(now);
            let lasts = rule.for_ms.map(Duration::from_millis);
            if lasts.is_some_and(|lasts| now.duration_since(since) >= lasts) {
                continue;
            }
            *times += 1;
            let answer = rule.answer.clone();
            if answer.status == Some(429) {
                state.seen.too_many += 1;
            }
            return answer;
        }
        Answer { delay_ms: state.script.delay_ms, ..Answer::default() }
    }
}

impl State {
    fn refusal(&mut self, asked: &Asked) -> Option<Answer> {
        if self.script.key.is_some() && self.script.key != asked.key {
            return Some(Answer {
                code: Some("invalid_api_key".to_owned()),
                ..Answer::status(401)
            });
        }
        let is_over = self.script.most_at_once.is_some_and(|most| self.seen.under_way > most);
        let last_second = || {
            let calls = self.seen.calls.iter().rev();
            calls.take_while(|(at, _)| at.elapsed() < Duration::from_secs(1)).count()
        };
        if is_over || self.script.most_a_second.is_some_and(|most| last_second() > most) {
            self.seen.too_many += 1;
            return Some(Answer::too_many("1"));
        }
        None
    }
}

/// A call until its answer has gone out, or its caller has left.
#[derive(Debug)]
pub(crate) struct UnderWay {
    shared: Arc<Shared>,
    is_done: bool,
}

impl UnderWay {
    pub(crate) fn done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.seen.under_way -= 1;
        if !self.is_done {
            state.seen.left += 1;
        }
    }
}
