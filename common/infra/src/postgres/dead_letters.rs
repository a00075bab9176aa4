//! Where dead letters lie, for people.

use flowmill_engine::value::Name;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::dead_letters::{Claim, DeadLetter, DeadLetters, Fate, LetterBox, LetterFilter, Parked};
use crate::store::StoreError;

use super::{PostgresStore, Tries, get, most as rows, text, time, trouble};

/// The columns of a [`Parked`], but for the message.
macro_rules! letters {
    ($message:literal, $rest:literal) => {
        concat!(
            "SELECT id, run, queue, origin, reason, headers, properties, put_at,
                coalesce(settled, 'waiting') AS fate, settled_at,
                octet_length(message)::bigint AS bytes, ",
            $message,
            " AS message FROM dead_letters WHERE tenant = $1 AND ",
            $rest
        )
    };
}

impl DeadLetters for PostgresStore {
    async fn park(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        const PARK: &str = "
            INSERT INTO dead_letters
                (tenant, run, queue, reason, headers, message, origin, properties)
            SELECT coalesce((SELECT tenant FROM runs WHERE run = $1),
                    (SELECT name FROM tenants WHERE name = $8), 'default'),
                $1, $2, $3, $4, $5, $6, $7";
        let (headers, properties) = (pairs(&letter.headers)?, pairs(&letter.properties)?);
        // a text of the database holds no NUL
        let plain = |text: &str| text.replace('\0', "\u{fffd}");
        let mut tries = Tries::new();
        loop {
            let park = sqlx::query(PARK)
                .bind(letter.run.as_deref().map(plain))
                .bind(plain(&letter.queue))
                .bind(plain(&letter.reason))
                .bind(&headers)
                .bind(&letter.body)
                .bind(letter.origin.as_deref().map(plain))
                .bind(&properties)
                .bind(letter.tenant().map(|tenant| plain(tenant)));
            match park.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }
}

impl LetterBox for PostgresStore {
    async fn letters(
        &self,
        tenant: &Name,
        filter: &LetterFilter,
    ) -> Result<Vec<Parked>, StoreError> {
        const LETTERS: &str = letters!(
            "''::bytea",
            "($2 IS NULL OR queue = $2 OR origin = $2)
                AND ($3 IS NULL OR coalesce(settled, 'waiting') = $3)
                AND ($4 IS NULL OR id < $4)
            ORDER BY id DESC LIMIT $5"
        );
        let found = sqlx::query(LETTERS)
            .bind(&**tenant)
            .bind(filter.queue.as_deref())
            .bind(filter.fate.map(Fate::name))
            .bind(filter.before)
            .bind(rows(filter.most));
        self.all_of(tenant, found).await?.iter().map(parked).collect()
    }

    async fn letter(&self, tenant: &Name, id: i64) -> Result<Option<Parked>, StoreError> {
        let found = sqlx::query(letters!("message", "id = $2")).bind(&**tenant).bind(id);
        self.first_of(tenant, found).await?.as_ref().map(parked).transpose()
    }

    async fn claim(&self, tenant: &Name, id: i64) -> Result<Claim, StoreError> {
        // whoever asked and died leaves it to others after a minute
        const CLAIM: &str = "
            UPDATE dead_letters SET claimed_until = flowmill_now() + 60000000
            WHERE tenant = $1 AND id = $2 AND settled IS NULL AND claimed_until < flowmill_now()";
        let claim = sqlx::query(CLAIM).bind(&**tenant).bind(id).execute(&self.writers).await;
        let is_granted = claim.map_err(|error| trouble(&error))?.rows_affected() > 0;
        Ok(match self.letter(tenant, id).await? {
            None => Claim::Unknown,
            Some(parked) if is_granted => Claim::Granted(Box::new(parked)),
            Some(parked) if parked.fate == Fate::Waiting => Claim::Busy,
            Some(parked) => Claim::Settled(parked.fate),
        })
    }

    async fn decide(&self, tenant: &Name, id: i64, fate: Fate) -> Result<(), StoreError> {
        const DECIDE: &str = "
            UPDATE dead_letters SET settled = $3, claimed_until = 0,
                settled_at = CASE WHEN $3 IS NOT NULL THEN flowmill_now() END
            WHERE tenant = $1 AND id = $2 AND settled IS NULL";
        let settled = (fate != Fate::Waiting).then(|| fate.name());
        let mut tries = Tries::new();
        loop {
            let decide = sqlx::query(DECIDE).bind(&**tenant).bind(id).bind(settled);
            match decide.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }
}

/// Names and values as a column holds them.
fn pairs(pairs: &[(Name, Name)]) -> Result<String, StoreError> {
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
    serde_json::to_string(&pairs)
        .map_err(|error| StoreError::Corrupt(format!("headers cannot be written: {error}")))
}

fn read_pairs(row: &PgRow, column: &str) -> Result<Vec<(Name, Name)>, StoreError> {
    let pairs = serde_json::from_str::<Vec<(String, String)>>(get(row, column)?)
        .map_err(|error| StoreError::Corrupt(format!("headers cannot be read: {error}")))?;
    Ok(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

fn parked(row: &PgRow) -> Result<Parked, StoreError> {
    let given = |column| Ok(get::<Option<&str>>(row, column)?.map(Name::from));
    let fate: &str = get(row, "fate")?;
    let fate = Fate::ALL.into_iter().find(|known| known.name() == fate).ok_or_else(|| {
        StoreError::Corrupt(format!("a dead letter is {fate:?}, which nobody knows"))
    })?;
    let body = row.try_get("message").map_err(|error| trouble(&error))?;
    let letter = DeadLetter {
        queue: text(row, "queue")?,
        origin: given("origin")?,
        reason: text(row, "reason")?,
        run: given("run")?,
        headers: read_pairs(row, "headers")?,
        properties: read_pairs(row, "properties")?,
        body,
        unanswered: None,
        is_odd: true,
    };
    Ok(Parked {
        id: get(row, "id")?,
        put_at: time(get(row, "put_at")?),
        body_bytes: get::<i64>(row, "bytes")?.unsigned_abs(),
        letter,
        fate,
        settled_at: get::<Option<i64>>(row, "settled_at")?.map(time),
    })
}
