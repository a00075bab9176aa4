//! Notes of shard owners.

use std::time::Duration;

use ::redis::{Value, pipe};

use super::{Redis, millis};
use crate::message::Shard;
use crate::notes::{Note, Notes};

/// How long a note stays that is not renewed.
const KEPT: Duration = Duration::from_secs(30);

impl Notes for Redis {
    async fn leave(&self, notes: &[(Shard, Note)]) {
        let mut order = pipe();
        for (shard, note) in notes {
            let Ok(text) = serde_json::to_vec(note) else { continue };
            order.cmd("SET").arg(self.0.key("owner", &shard.to_string())).arg(text);
            order.arg("PX").arg(millis(KEPT));
        }
        if !notes.is_empty() {
            // the next one comes in seconds
            let _ = self.0.ask::<Value>(&mut order).await;
        }
    }

    async fn note(&self, shard: Shard) -> Option<Note> {
        let mut question = pipe();
        question.cmd("GET").arg(self.0.key("owner", &shard.to_string()));
        let answers = self.0.ask::<Option<Vec<u8>>>(&mut question).await.ok()?;
        // one of another release may say other things
        serde_json::from_slice(&answers.into_iter().next()???).ok()
    }
}
