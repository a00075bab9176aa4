//! Conversations: turns as they are accepted, what a commit keeps, and what a turn begins with.

use flowmill_engine::value::Name;
use sqlx::SqliteConnection;

use crate::intake::{Conversation, Turn};
use crate::store::StoreError;

use super::{SharedFolder, get, text, trouble};

impl SharedFolder {
    pub(super) async fn read_conversation(
        &self,
        tenant: &Name,
        conversation: &Name,
    ) -> Result<Option<Conversation>, StoreError> {
        const CONVERSATION: &str = "
            SELECT app, turns, name, run, variable
            FROM conversations LEFT JOIN conversation_variables USING (tenant, conversation)
            WHERE tenant = ? AND conversation = ? ORDER BY name";
        let rows = sqlx::query(CONVERSATION).bind(&**tenant).bind(&**conversation);
        let rows = rows.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let Some(first) = rows.first() else { return Ok(None) };
        let mut kept = Conversation {
            app: text(first, "app")?,
            turns: get::<i64>(first, "turns")?.unsigned_abs(),
            values: Vec::new(),
        };
        for row in &rows {
            // none where nothing was written
            let Some(name) = get::<Option<&str>>(row, "name")? else { continue };
            let variable = self.codec.read_said(get(row, "run")?, get(row, "variable")?)?;
            kept.values.push((name.into(), variable));
        }
        Ok(Some(kept))
    }
}

/// Counts a turn that was accepted; a conversation begins with its first.
pub(super) async fn count(
    to: &mut SqliteConnection,
    tenant: &Name,
    turn: &Turn,
) -> Result<(), sqlx::Error> {
    const COUNT: &str = "
        INSERT INTO conversations (tenant, conversation, app, turns, used_at)
        VALUES (?, ?, ?, ?, CAST(unixepoch('subsec') * 1000000 AS INTEGER))
        ON CONFLICT (tenant, conversation) DO UPDATE
            SET turns = turns + excluded.turns, used_at = excluded.used_at";
    let Turn { conversation, app, counts } = turn;
    let count = sqlx::query(COUNT).bind(&**tenant).bind(&**conversation).bind(&**app);
    count.bind(i64::from(*counts)).execute(to).await.map(|_| ())
}

/// Keeps what a run wrote, if it is a turn.
pub(super) async fn keep(
    to: &mut SqliteConnection,
    run: &Name,
    (name, variable): &(Name, String),
) -> Result<(), sqlx::Error> {
    const KEEP: &str = "
        INSERT INTO conversation_variables (tenant, conversation, name, run, variable)
        SELECT tenant, conversation, ?2, run, ?3 FROM runs
        WHERE run = ?1 AND conversation IS NOT NULL
        ON CONFLICT (tenant, conversation, name) DO UPDATE
            SET run = excluded.run, variable = excluded.variable";
    let keep = sqlx::query(KEEP).bind(&**run).bind(&**name).bind(&**variable);
    keep.execute(to).await.map(|_| ())
}
