//! When a program is told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Counts how often the program was told to stop, by SIGTERM or SIGINT. Clones count the same.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Listens to the signals of this process, as long as the runtime lives.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (told, count) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = terminate.recv() => {}
                    Some(()) = interrupt.recv() => {}
                    else => return,
                }
                told.send_modify(|count| *count += 1);
                match *told.borrow() {
                    1 => tracing::info!("told to stop"),
                    2 => tracing::warn!("told again to stop: what runs is cut short"),
                    _ => {}
                }
            }
        });
        Ok(Self(count))
    }

    /// Returns once it was told so often. Once is to stop in order, twice to be quick about it.
    pub async fn told(&self, times: u32) {
        let mut count = self.0.clone();
        if count.wait_for(|count| *count >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
