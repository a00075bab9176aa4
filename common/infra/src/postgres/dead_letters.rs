//! Where dead letters lie, for people.

use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::store::StoreError;

use super::{PostgresStore, Tries};

impl DeadLetters for PostgresStore {
    async fn park(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        const PARK: &str = "
            INSERT INTO dead_letters (tenant, run, queue, reason, headers, message)
            SELECT coalesce((SELECT tenant FROM runs WHERE run = $1), 'default'), $1, $2, $3, $4, $5";
        let headers: Vec<(&str, &str)> =
            letter.headers.iter().map(|(key, value)| (&**key, &**value)).collect();
        let headers = serde_json::to_string(&headers)
            .map_err(|error| StoreError::Corrupt(format!("headers cannot be written: {error}")))?;
        // a text of the database holds no NUL
        let plain = |text: &str| text.replace('\0', "\u{fffd}");
        let mut tries = Tries::new();
        loop {
            let park = sqlx::query(PARK)
                .bind(letter.run.as_deref().map(plain))
                .bind(plain(&letter.queue))
                .bind(plain(&letter.reason))
                .bind(&headers)
                .bind(&letter.body);
            match park.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }
}
