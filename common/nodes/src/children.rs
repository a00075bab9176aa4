//! Runs that a node has begun and waits for. The node does not hold its worker meanwhile: it is given up
//! where it waits, and begun anew once the run ended.

use std::sync::{Mutex, PoisonError};

use flowmill_engine::fact::{ChildCall, ChildEnd};
use tokio::sync::Notify;

/// The runs that one sending of an attempt may wait for.
#[derive(Debug, Default)]
pub struct Children {
    /// The end that it was sent with.
    end: Option<ChildEnd>,
    call: Mutex<Option<ChildCall>>,
    is_called: Notify,
}

impl Children {
    /// For a sending that brings this end.
    pub fn with_end(end: Option<ChildEnd>) -> Self {
        Self { end, ..Self::default() }
    }

    /// The end of the run that a call stands for. Where it has not ended, this never returns:
    /// whoever executes the node gives it up.
    pub async fn end_of(&self, call: ChildCall) -> ChildEnd {
        if let Some(end) = self.end.as_ref().filter(|end| end.name == call.name) {
            return end.clone();
        }
        self.call.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(call);
        self.is_called.notify_one();
        std::future::pending().await
    }

    /// Returns once the node waits for a run that has not ended.
    pub async fn called(&self) -> ChildCall {
        loop {
            self.is_called.notified().await;
            let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(call) = call {
                return call;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::fact::Status;
    use futures::FutureExt as _;

    use super::*;

    fn call(name: &str) -> ChildCall {
        ChildCall { name: name.into(), workflow: "w".into(), inputs: Vec::new() }
    }

    #[tokio::test]
    async fn a_call_is_answered_by_its_own_end_only() {
        let end = ChildEnd {
            name: "1".into(),
            run: Some("r".into()),
            status: Status::Succeeded,
            outputs: Vec::new(),
            error: None,
        };
        let children = Children::with_end(Some(end.clone()));
        assert_eq!(children.end_of(call("1")).await, end);
        assert!(children.called().now_or_never().is_none());
        assert!(children.end_of(call("2")).now_or_never().is_none());
        assert_eq!(children.called().await, call("2"));
    }
}
