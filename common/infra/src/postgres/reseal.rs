//! What is sealed in the tables, sealed anew.

use flowmill_engine::value::Name;

use crate::reseal::texts::{Found, found, place, written};
use crate::reseal::{ROWS, Reseal, Step, apart};
use crate::seal::SealError;
use crate::store::StoreError;

use super::{PostgresStore, get, most, trouble};

/// Where sealed texts lie. Each reads rows after the one with the key `$1`, and says of each what the
/// sealed texts in it are about; a row without any has no text.
struct Table {
    /// The key before all others.
    first: &'static [&'static str],
    read: &'static str,
    /// Puts `$3` in the place of `$2` in the row with the key `$1`.
    write: &'static str,
}

/// The tables, those with few rows first.
const TABLES: [Table; 6] = [
    Table {
        first: &["", ""],
        read: "
            SELECT ARRAY[tenant, id] AS key, 'endpoint/' || tenant || '/' || id AS about,
                CASE WHEN position('flowmill-sealed:1:' IN secrets) > 0 THEN secrets END AS text
            FROM endpoints WHERE (tenant, id) > ($1[1], $1[2]) ORDER BY tenant, id LIMIT $2",
        write: "
            UPDATE endpoints SET secrets = $3 WHERE tenant = $1[1] AND id = $1[2] AND secrets = $2",
    },
    Table {
        first: &["", ""],
        read: "
            SELECT ARRAY[tenant, digest] AS key, 'document/' || digest AS about,
                CASE WHEN substring(bytes FROM 1 FOR 18) = 'flowmill-sealed:1:'::bytea
                    THEN convert_from(bytes, 'UTF8') END AS text
            FROM payloads WHERE owner = 'workflow' AND (tenant, digest) > ($1[1], $1[2])
            ORDER BY tenant, digest LIMIT $2",
        write: "
            UPDATE payloads SET bytes = convert_to($3, 'UTF8')
            WHERE owner = 'workflow' AND tenant = $1[1] AND digest = $1[2]
                AND bytes = convert_to($2, 'UTF8')",
    },
    Table {
        first: &["", "", ""],
        read: "
            SELECT ARRAY[tenant, conversation, name] AS key, 'run/' || run AS about,
                CASE WHEN position('flowmill-sealed:1:' IN variable) > 0 THEN variable END AS text
            FROM conversation_variables
            WHERE (tenant, conversation, name) > ($1[1], $1[2], $1[3])
            ORDER BY tenant, conversation, name LIMIT $2",
        write: "
            UPDATE conversation_variables SET variable = $3
            WHERE tenant = $1[1] AND conversation = $1[2] AND name = $1[3] AND variable = $2",
    },
    Table {
        first: &[""],
        read: "
            SELECT ARRAY[run] AS key, 'run/' || run AS about,
                CASE WHEN position('flowmill-sealed:1:' IN start) > 0 THEN start END AS text
            FROM runs WHERE run > $1[1] ORDER BY run LIMIT $2",
        write: "UPDATE runs SET start = $3 WHERE run = $1[1] AND start = $2",
    },
    Table {
        first: &["", "0"],
        read: "
            SELECT ARRAY[run, first::text] AS key, 'run/' || run AS about,
                CASE WHEN position('flowmill-sealed:1:' IN facts) > 0 THEN facts END AS text
            FROM journal WHERE (run, first) > ($1[1], $1[2]::bigint) ORDER BY run, first LIMIT $2",
        write: "
            UPDATE journal SET facts = $3
            WHERE run = $1[1] AND first = $1[2]::bigint AND facts = $2",
    },
    Table {
        first: &["", "", "", "0", "-1"],
        read: "
            SELECT ARRAY[tenant, run, task, attempt::text, n::text] AS key, 'run/' || run AS about,
                CASE WHEN position('flowmill-sealed:1:' IN completion) > 0 THEN completion END AS text
            FROM checkpoints
            WHERE (tenant, run, task, attempt, n)
                > ($1[1], $1[2], $1[3], $1[4]::integer, $1[5]::integer)
            ORDER BY tenant, run, task, attempt, n LIMIT $2",
        write: "
            UPDATE checkpoints SET completion = $3
            WHERE tenant = $1[1] AND run = $1[2] AND task = $1[3] AND attempt = $1[4]::integer
                AND n = $1[5]::integer AND completion = $2",
    },
];

impl Reseal for PostgresStore {
    fn sealing_key(&self) -> Option<Name> {
        self.codec.keys.sealing().map(Name::from)
    }

    async fn reseal(&self, from: Option<&Name>, changes: bool) -> Result<Step, StoreError> {
        let (number, mut after) = place(from)?;
        let Some(table) = TABLES.get(number) else {
            let sealed = (&self.codec.keys, &self.payloads);
            return apart::step(sealed, (number, after), changes).await;
        };
        if after.len() != table.first.len() {
            after = table.first.iter().map(|&part| part.to_owned()).collect();
        }
        let rows = sqlx::query(table.read).bind(&after).bind(most(ROWS)).fetch_all(&self.readers);
        let rows = rows.await.map_err(|error| trouble(&error))?;
        let mut step = Step::default();
        for row in &rows {
            let Some(text) = get::<Option<&str>>(row, "text")? else { continue };
            let found = self.look(get(row, "about")?, text, changes)?;
            if let Some(new) = &found.text {
                let key: Vec<String> = get(row, "key")?;
                let write = sqlx::query(table.write).bind(key).bind(text).bind(new);
                write.execute(&self.writers).await.map_err(|error| trouble(&error))?;
            }
            step.add(&found);
        }
        step.next = match rows.last() {
            Some(last) if rows.len() == ROWS => written(number, &get::<Vec<String>>(last, "key")?),
            // after the tables come payloads
            _ => written(number + 1, &[]),
        };
        Ok(step)
    }
}

impl PostgresStore {
    fn look(&self, about: &str, text: &str, changes: bool) -> Result<Found, StoreError> {
        let sealing = |error: SealError| StoreError::Sealed(error.to_string());
        found(&self.codec.keys, about, text, changes).map_err(sealing)
    }
}
