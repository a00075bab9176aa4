//! Tenants and their keys.

use std::num::NonZeroU32;

use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;

use crate::store::StoreError;
use crate::tenants::{
    AddedKey, AddedTenant, ApiKey, Former, KeyHash, MOST_KEYS, MOST_TENANTS, Rate, RemovedTenant,
    Role, Rotated, Rotation, SHOWN, Scope, Tenant, Tenants, USES,
};

use super::{PostgresStore, get, most, number, text, time, trouble};

/// The columns of an [`ApiKey`].
macro_rules! keys {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, name, scope, hash, former_hash, former_until, rotated_at, rate, burst,
                created_at, expires_at, revoked_at, used_at
            FROM api_keys ",
            $rest
        )
    };
}

impl Tenants for PostgresStore {
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        const TENANTS: &str = "SELECT name, created_at FROM tenants ORDER BY name";
        let found = sqlx::query(TENANTS).fetch_all(&self.readers).await;
        found.map_err(|error| trouble(&error))?.iter().map(tenant).collect()
    }

    async fn tenant(&self, name: &Name) -> Result<Option<Tenant>, StoreError> {
        const TENANT: &str = "SELECT name, created_at FROM tenants WHERE name = $1";
        let found = sqlx::query(TENANT).bind(&**name).fetch_optional(&self.readers).await;
        found.map_err(|error| trouble(&error))?.as_ref().map(tenant).transpose()
    }

    async fn add_tenant(&self, name: &Name) -> Result<AddedTenant, StoreError> {
        const ADD: &str = "
            INSERT INTO tenants (name) SELECT $1 WHERE (SELECT count(*) FROM tenants) < $2
                AND NOT EXISTS (SELECT FROM removed_tenants WHERE name = $1)
            ON CONFLICT DO NOTHING";
        const IS_LEAVING: &str = "SELECT EXISTS (SELECT FROM removed_tenants WHERE name = $1)";
        let add = sqlx::query(ADD).bind(&**name).bind(most(MOST_TENANTS));
        let added = add.execute(&self.writers).await.map_err(|error| trouble(&error))?;
        if added.rows_affected() > 0 {
            return Ok(AddedTenant::New);
        }
        if Tenants::tenant(self, name).await?.is_some() {
            return Ok(AddedTenant::There);
        }
        let is_leaving = sqlx::query_scalar(IS_LEAVING).bind(&**name).fetch_one(&self.writers);
        let is_leaving = is_leaving.await.map_err(|error| trouble(&error))?;
        Ok(if is_leaving { AddedTenant::Leaving } else { AddedTenant::Full })
    }

    async fn remove_tenant(&self, name: &Name) -> Result<RemovedTenant, StoreError> {
        // an open run is told the time, or has no deadline: both are found without a look at others
        const REMOVE: &str = "
            WITH gone AS (
                DELETE FROM tenants WHERE name = $1 AND name <> 'default'
                    AND NOT EXISTS (SELECT 1 FROM runs WHERE tenant = $1 AND wake_at IS NOT NULL)
                    AND NOT EXISTS (SELECT 1 FROM runs
                        WHERE tenant = $1 AND wake_at IS NULL AND finished_at IS NULL)
                    AND NOT EXISTS (SELECT 1 FROM batches
                        WHERE tenant = $1 AND finished_at IS NULL)
                RETURNING name),
            leaving AS (
                INSERT INTO removed_tenants (name) SELECT name FROM gone
                WHERE EXISTS (SELECT 1 FROM runs WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM workflows WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM uploads WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM batches WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM conversations WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM endpoints WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM retention WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM shares WHERE tenant = $1)
                    OR EXISTS (SELECT 1 FROM dead_letters WHERE tenant = $1)
                ON CONFLICT DO NOTHING)
            SELECT count(*) FROM gone";
        let remove = sqlx::query_scalar::<_, i64>(REMOVE).bind(&**name).fetch_one(&self.writers);
        if remove.await.map_err(|error| trouble(&error))? > 0 {
            return Ok(RemovedTenant::Gone);
        }
        let there = Tenants::tenant(self, name).await?;
        Ok(if there.is_some() { RemovedTenant::Needed } else { RemovedTenant::Unknown })
    }

    async fn keys(&self, tenant: Option<&Name>) -> Result<Vec<ApiKey>, StoreError> {
        const KEYS: &str = keys!("WHERE $1::text IS NULL OR tenant = $1 ORDER BY created_at, id");
        let found = sqlx::query(KEYS).bind(tenant.map(|tenant| &**tenant));
        self.all_of_some(tenant, found).await?.iter().map(key).collect()
    }

    async fn key(&self, id: &Name) -> Result<Option<ApiKey>, StoreError> {
        let found = sqlx::query(keys!("WHERE id = $1")).bind(&**id).fetch_optional(&self.readers);
        found.await.map_err(|error| trouble(&error))?.as_ref().map(key).transpose()
    }

    async fn add_key(&self, key: &ApiKey) -> Result<AddedKey, StoreError> {
        const FORGET: &str = "
            DELETE FROM api_keys
            WHERE tenant = $1 AND least(revoked_at, expires_at) < flowmill_now() - $2";
        const ADD: &str = "
            INSERT INTO api_keys (id, tenant, name, scope, hash, expires_at, rate, burst)
            SELECT $1, $2, $3, $4, $5, $6, $8, $9
            WHERE EXISTS (SELECT 1 FROM tenants WHERE name = $2)
                AND (SELECT count(*) FROM api_keys WHERE tenant = $2) < $7";
        let shown = i64::try_from(SHOWN.as_micros()).unwrap_or(i64::MAX);
        let forget = sqlx::query(FORGET).bind(&*key.tenant).bind(shown).execute(&self.writers);
        forget.await.map_err(|error| trouble(&error))?;
        let add = sqlx::query(ADD)
            .bind(&*key.id)
            .bind(&*key.tenant)
            .bind(&*key.name)
            .bind(key.role.scope().name())
            .bind(key.hash.0.as_slice())
            .bind(key.expires_at.map(|at| number(at.0)))
            .bind(most(MOST_KEYS))
            .bind(key.rate.map(|rate| i64::from(rate.per_second.get())))
            .bind(key.rate.map(|rate| i64::from(rate.burst.get())));
        let added = add.execute(&self.writers).await.map_err(|error| trouble(&error))?;
        if added.rows_affected() > 0 {
            return Ok(AddedKey::New);
        }
        let tenant = Tenants::tenant(self, &key.tenant).await?;
        Ok(if tenant.is_some() { AddedKey::Full } else { AddedKey::NoTenant })
    }

    async fn rotate_key(&self, id: &Name, rotation: &Rotation) -> Result<Rotated, StoreError> {
        const ROTATE: &str = "
            UPDATE api_keys SET former_hash = hash, former_until = flowmill_now() + $3, hash = $2,
                rotated_at = flowmill_now(), expires_at = coalesce($4, expires_at)
            WHERE id = $1 AND revoked_at IS NULL
                AND (expires_at IS NULL OR expires_at > flowmill_now())";
        let overlap = i64::try_from(rotation.overlap.as_micros()).unwrap_or(i64::MAX);
        let rotate = sqlx::query(ROTATE)
            .bind(&**id)
            .bind(rotation.hash.0.as_slice())
            .bind(overlap)
            .bind(rotation.expires_at.map(|at| number(at.0)));
        let rotated = rotate.execute(&self.writers).await.map_err(|error| trouble(&error))?;
        if rotated.rows_affected() > 0 {
            return Ok(Rotated::Done);
        }
        let there = Tenants::key(self, id).await?;
        Ok(if there.is_some() { Rotated::Ended } else { Rotated::Unknown })
    }

    async fn revoke_key(&self, id: &Name) -> Result<bool, StoreError> {
        const REVOKE: &str = "
            UPDATE api_keys SET revoked_at = coalesce(revoked_at, flowmill_now()) WHERE id = $1";
        let revoke = sqlx::query(REVOKE).bind(&**id).execute(&self.writers).await;
        Ok(revoke.map_err(|error| trouble(&error))?.rows_affected() > 0)
    }

    async fn note_uses(&self, ids: &[Name]) -> Result<(), StoreError> {
        const NOTE: &str = "
            UPDATE api_keys SET used_at = flowmill_now()
            WHERE id = ANY($1) AND coalesce(used_at, 0) < flowmill_now() - $2";
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        let uses = i64::try_from(USES.as_micros()).unwrap_or(i64::MAX);
        let note = sqlx::query(NOTE).bind(&ids).bind(uses).execute(&self.writers).await;
        note.map(drop).map_err(|error| trouble(&error))
    }
}

fn tenant(row: &PgRow) -> Result<Tenant, StoreError> {
    Ok(Tenant { name: text(row, "name")?, created_at: time(get(row, "created_at")?) })
}

fn key(row: &PgRow) -> Result<ApiKey, StoreError> {
    let id = text(row, "id")?;
    let later = |what: &str| StoreError::Later(format!("the {what} of key {id}"));
    let at = |column| Ok::<_, StoreError>(get::<Option<i64>>(row, column)?.map(time));
    let hash = |bytes: &[u8]| bytes.try_into().map(KeyHash).map_err(|_| later("hash"));
    let former = get::<Option<&[u8]>>(row, "former_hash")?.map(hash).transpose()?;
    Ok(ApiKey {
        tenant: text(row, "tenant")?,
        name: text(row, "name")?,
        role: Role::up_to(Scope::of(get(row, "scope")?).ok_or_else(|| later("scope"))?),
        hash: hash(get(row, "hash")?)?,
        former: former.zip(at("former_until")?).map(|(hash, until)| Former { hash, until }),
        rotated_at: at("rotated_at")?,
        rate: rate(row)?,
        created_at: time(get(row, "created_at")?),
        expires_at: at("expires_at")?,
        revoked_at: at("revoked_at")?,
        used_at: at("used_at")?,
        id,
    })
}

/// How often a key may ask; numbers that mean nothing are none.
fn rate(row: &PgRow) -> Result<Option<Rate>, StoreError> {
    let number = |column| {
        let number = get::<Option<i64>>(row, column)?;
        let number = number.and_then(|number| u32::try_from(number).ok());
        Ok::<_, StoreError>(number.and_then(NonZeroU32::new))
    };
    let pair = number("rate")?.zip(number("burst")?);
    Ok(pair.map(|(per_second, burst)| Rate { per_second, burst }))
}
