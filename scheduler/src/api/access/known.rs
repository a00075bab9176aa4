//! What the store said a moment ago, so that it is not asked for each request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use tokio::time::Instant;

/// How long something is believed: a key that was revoked elsewhere is let in for as long.
const BELIEVED: Duration = Duration::from_secs(10);

/// The most that is remembered.
const MOST: usize = 4096;

/// What is believed of names.
#[derive(Debug)]
pub(super) struct Known<V>(Mutex<HashMap<Name, (Instant, V)>>);

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> Known<V> {
    pub(super) fn get(&self, name: &Name) -> Option<V> {
        let held = self.lock();
        let (since, value) = held.get(name)?;
        (since.elapsed() < BELIEVED).then(|| value.clone())
    }

    pub(super) fn keep(&self, name: Name, value: V) {
        let mut held = self.lock();
        if held.len() >= MOST && !held.contains_key(&name) {
            held.retain(|_, (since, _)| since.elapsed() < BELIEVED);
            if held.len() >= MOST {
                held.clear();
            }
        }
        held.insert(name, (Instant::now(), value));
    }

    pub(super) fn forget(&self, name: &Name) {
        self.lock().remove(name);
    }

    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, (Instant, V)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_said_is_believed_for_a_while() {
        let known = Known::default();
        known.keep("a".into(), 1);
        tokio::time::advance(BELIEVED / 2).await;
        known.keep("b".into(), 2);
        assert_eq!((known.get(&"a".into()), known.get(&"c".into())), (Some(1), None));
        tokio::time::advance(BELIEVED / 2).await;
        assert_eq!((known.get(&"a".into()), known.get(&"b".into())), (None, Some(2)));
        known.forget(&"b".into());
        assert_eq!(known.get(&"b".into()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_remembers_no_more_than_so_much() {
        let known = Known::default();
        for at in 0..=MOST {
            known.keep(at.to_string().into(), ());
            assert!(known.lock().len() <= MOST);
        }
        assert!(known.get(&MOST.to_string().into()).is_some());
        known.forget_all();
        assert!(known.lock().is_empty());
    }
}
