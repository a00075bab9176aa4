//! Conversations: what a commit keeps of them, and what they begin with.

use std::collections::BTreeMap;

use flowmill_engine::fact::Event;
use flowmill_engine::value::Name;

use crate::codec::Codec;
use crate::intake::Conversation;
use crate::store::{Commit, StoreError};

use super::{PostgresStore, get, text};

/// A conversation variable that a run wrote, to be kept with its end.
#[derive(Debug)]
pub(super) struct Said {
    /// Which of the commits' runs, as they are numbered there.
    pub(super) place: usize,
    pub(super) name: Name,
    /// The variable as it is kept.
    pub(super) variable: String,
}

/// What the runs that end in these commits wrote. `place` numbers the runs.
pub(super) fn said<'a>(
    codec: &Codec,
    commits: impl Iterator<Item = &'a Commit>,
    place: impl Fn(&Name) -> usize,
) -> Result<Vec<Said>, StoreError> {
    let mut all = BTreeMap::new();
    for commit in commits {
        for fact in commit.facts.iter() {
            let Event::RunFinished(finished) = &fact.event else { continue };
            for (name, variable) in &finished.conversation {
                all.insert((place(&commit.run), name), codec.said(&commit.run, variable)?);
            }
        }
    }
    let said = |((place, name), variable): ((usize, &Name), _)| Said {
        place,
        name: name.clone(),
        variable,
    };
    Ok(all.into_iter().map(said).collect())
}

impl PostgresStore {
    pub(super) async fn read_conversation(
        &self,
        tenant: &Name,
        conversation: &Name,
    ) -> Result<Option<Conversation>, StoreError> {
        const CONVERSATION: &str = "
            SELECT app, turns, name, run, variable
            FROM conversations LEFT JOIN conversation_variables USING (tenant, conversation)
            WHERE tenant = $1 AND conversation = $2 ORDER BY name";
        let rows = sqlx::query(CONVERSATION).bind(&**tenant).bind(&**conversation);
        let rows = self.all_of(tenant, rows).await?;
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
