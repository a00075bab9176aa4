//! Somebody who sends webhooks: the sender itself, over a server's store.

use std::sync::Arc;

use flowmill_scheduler::api::send_webhooks;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::server::{Server, courier};

/// Somebody who sends, until it is dropped.
pub(crate) struct Sender {
    task: JoinHandle<()>,
    pub(crate) told: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
}

impl Sender {
    pub(crate) fn over(server: &Server) -> Self {
        Self::telling(server, 100)
    }

    /// One that tells outputs of at most so many bytes.
    pub(crate) fn telling(server: &Server, outputs_bytes: usize) -> Self {
        let (told, (stop, stopped)) = (Arc::new(Notify::new()), oneshot::channel::<()>());
        let sending =
            send_webhooks(server.store.clone(), courier(outputs_bytes), told.clone(), async {
                stopped.await.ok();
            });
        Self { task: tokio::spawn(sending), told, stop: Some(stop) }
    }

    /// It dies in the middle of what it does.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    /// It finishes what it has in hand.
    pub(crate) async fn stop(&mut self) {
        self.stop.take();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}
