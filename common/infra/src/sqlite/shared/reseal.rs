//! What is sealed in the folder, sealed anew.

use flowmill_engine::value::Name;
use sqlx::SqliteConnection;

use crate::reseal::texts::{found, place, written};
use crate::reseal::{ROWS, Reseal, Step, apart};
use crate::seal::SealError;
use crate::sqlite::writer::Change;
use crate::store::StoreError;

use super::{SharedFolder, get, list, most, trouble};

/// Where sealed texts lie. Each reads rows after the one with the key `?1`, an array as JSON, and says
/// of each what the sealed texts in it are about; a row without any has no text.
struct Table {
    /// The key before all others.
    first: &'static [&'static str],
    read: &'static str,
    /// Puts `?3` in the place of `?2` in the row with the key `?1`.
    write: &'static str,
}

/// The tables, those with few rows first.
const TABLES: [Table; 6] = [
    Table {
        first: &["", ""],
        read: "
            SELECT json_array(tenant, id) AS key, 'endpoint/' || tenant || '/' || id AS about,
                CASE WHEN instr(secrets, 'flowmill-sealed:1:') > 0 THEN secrets END AS text
            FROM endpoints WHERE (tenant, id) > (?1 ->> 0, ?1 ->> 1) ORDER BY tenant, id LIMIT ?2",
        write: "
            UPDATE endpoints SET secrets = ?3
            WHERE tenant = ?1 ->> 0 AND id = ?1 ->> 1 AND secrets = ?2",
    },
    Table {
        first: &["", ""],
        read: "
            SELECT json_array(tenant, digest) AS key, 'document/' || digest AS about,
                CASE WHEN substr(bytes, 1, 18) = CAST('flowmill-sealed:1:' AS BLOB)
                    THEN CAST(bytes AS TEXT) END AS text
            FROM texts WHERE (tenant, digest) > (?1 ->> 0, ?1 ->> 1)
            ORDER BY tenant, digest LIMIT ?2",
        write: "
            UPDATE texts SET bytes = CAST(?3 AS BLOB)
            WHERE tenant = ?1 ->> 0 AND digest = ?1 ->> 1 AND bytes = CAST(?2 AS BLOB)",
    },
    Table {
        first: &["", "", ""],
        read: "
            SELECT json_array(tenant, conversation, name) AS key, 'run/' || run AS about,
                CASE WHEN instr(variable, 'flowmill-sealed:1:') > 0 THEN variable END AS text
            FROM conversation_variables
            WHERE (tenant, conversation, name) > (?1 ->> 0, ?1 ->> 1, ?1 ->> 2)
            ORDER BY tenant, conversation, name LIMIT ?2",
        write: "
            UPDATE conversation_variables SET variable = ?3
            WHERE tenant = ?1 ->> 0 AND conversation = ?1 ->> 1 AND name = ?1 ->> 2
                AND variable = ?2",
    },
    Table {
        first: &[""],
        read: "
            SELECT json_array(run) AS key, 'run/' || run AS about,
                CASE WHEN instr(start, 'flowmill-sealed:1:') > 0 THEN start END AS text
            FROM runs WHERE run > ?1 ->> 0 ORDER BY run LIMIT ?2",
        write: "UPDATE runs SET start = ?3 WHERE run = ?1 ->> 0 AND start = ?2",
    },
    Table {
        first: &["", "0"],
        read: "
            SELECT json_array(run, CAST(first AS TEXT)) AS key, 'run/' || run AS about,
                CASE WHEN instr(facts, 'flowmill-sealed:1:') > 0 THEN facts END AS text
            FROM journal WHERE (run, first) > (?1 ->> 0, CAST(?1 ->> 1 AS INTEGER))
            ORDER BY run, first LIMIT ?2",
        write: "
            UPDATE journal SET facts = ?3
            WHERE run = ?1 ->> 0 AND first = CAST(?1 ->> 1 AS INTEGER) AND facts = ?2",
    },
    Table {
        first: &["", "", "", "0", "-1"],
        read: "
            SELECT json_array(tenant, run, task, CAST(attempt AS TEXT), CAST(n AS TEXT)) AS key,
                'run/' || run AS about,
                CASE WHEN instr(completion, 'flowmill-sealed:1:') > 0 THEN completion END AS text
            FROM checkpoints
            WHERE (tenant, run, task, attempt, n) > (?1 ->> 0, ?1 ->> 1, ?1 ->> 2,
                CAST(?1 ->> 3 AS INTEGER), CAST(?1 ->> 4 AS INTEGER))
            ORDER BY tenant, run, task, attempt, n LIMIT ?2",
        write: "
            UPDATE checkpoints SET completion = ?3
            WHERE tenant = ?1 ->> 0 AND run = ?1 ->> 1 AND task = ?1 ->> 2
                AND attempt = CAST(?1 ->> 3 AS INTEGER) AND n = CAST(?1 ->> 4 AS INTEGER)
                AND completion = ?2",
    },
];

impl Reseal for SharedFolder {
    fn sealing_key(&self) -> Option<Name> {
        self.codec.keys.sealing().map(Name::from)
    }

    async fn reseal(&self, from: Option<&Name>, changes: bool) -> Result<Step, StoreError> {
        let (number, mut after) = place(from)?;
        let Some(table) = TABLES.get(number) else {
            let sealed = (&self.codec.keys, &*self.payloads);
            return apart::step(sealed, (number, after), changes).await;
        };
        if after.len() != table.first.len() {
            after = table.first.iter().map(|&part| part.to_owned()).collect();
        }
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        let rows = sqlx::query(table.read).bind(list(&after)?).bind(most(ROWS));
        let rows = rows.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let mut step = Step::default();
        for row in &rows {
            let Some(text) = get::<Option<&str>>(row, "text")? else { continue };
            let sealing = |error: SealError| StoreError::Sealed(error.to_string());
            let found = found(&self.codec.keys, get(row, "about")?, text, changes);
            let found = found.map_err(sealing)?;
            if let Some(new) = &found.text {
                let texts = [get::<&str>(row, "key")?, text, new].map(str::to_owned);
                self.writer.write(Resealing(table.write, texts)).await?;
            }
            step.add(&found);
        }
        step.next = match rows.last() {
            Some(last) if rows.len() == ROWS => {
                let key: &str = get(last, "key")?;
                let key: Vec<String> = serde_json::from_str(key)
                    .map_err(|error| StoreError::Corrupt(format!("the key {key}: {error}")))?;
                written(number, &key)
            }
            // after the tables come payloads
            _ => written(number + 1, &[]),
        };
        Ok(step)
    }
}

/// A text that takes the place of another: how, and then the row's key, what is there and what is to be.
#[derive(Debug)]
struct Resealing(&'static str, [String; 3]);

impl Change for Resealing {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        let Self(write, [key, old, new]) = self;
        sqlx::query(*write).bind(key).bind(old).bind(new).execute(to).await?;
        Ok(Ok(()))
    }
}
