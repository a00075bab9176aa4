//! Tenants and their keys.

use std::num::NonZeroU32;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::sqlite::writer::Change;
use crate::store::StoreError;
use crate::tenants::{
    AddedKey, AddedTenant, ApiKey, Former, KeyHash, MOST_KEYS, MOST_TENANTS, Rate, RemovedTenant,
    Role, Rotated, Rotation, SHOWN, Scope, Tenant, Tenants, USES,
};

use super::{SharedFolder, get, list, most, number, text, time, trouble};

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

impl Tenants for SharedFolder {
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        const TENANTS: &str = "SELECT name, created_at FROM tenants ORDER BY name";
        let found = sqlx::query(TENANTS).fetch_all(&self.readers).await;
        found.map_err(|error| trouble(&error))?.iter().map(tenant).collect()
    }

    async fn tenant(&self, name: &Name) -> Result<Option<Tenant>, StoreError> {
        const TENANT: &str = "SELECT name, created_at FROM tenants WHERE name = ?";
        let found = sqlx::query(TENANT).bind(&**name).fetch_optional(&self.readers).await;
        found.map_err(|error| trouble(&error))?.as_ref().map(tenant).transpose()
    }

    async fn add_tenant(&self, name: &Name) -> Result<AddedTenant, StoreError> {
        self.writer.write(AddingTenant(name.clone(), self.now())).await
    }

    async fn remove_tenant(&self, name: &Name) -> Result<RemovedTenant, StoreError> {
        self.writer.write(RemovingTenant(name.clone())).await
    }

    async fn keys(&self, tenant: Option<&Name>) -> Result<Vec<ApiKey>, StoreError> {
        const KEYS: &str = keys!("WHERE ?1 IS NULL OR tenant = ?1 ORDER BY created_at, id");
        let found = sqlx::query(KEYS).bind(tenant.map(|tenant| &**tenant));
        let found = found.fetch_all(&self.readers).await;
        found.map_err(|error| trouble(&error))?.iter().map(key).collect()
    }

    async fn key(&self, id: &Name) -> Result<Option<ApiKey>, StoreError> {
        let found = sqlx::query(keys!("WHERE id = ?")).bind(&**id).fetch_optional(&self.readers);
        found.await.map_err(|error| trouble(&error))?.as_ref().map(key).transpose()
    }

    async fn add_key(&self, key: &ApiKey) -> Result<AddedKey, StoreError> {
        self.writer.write(AddingKey(key.clone(), self.now())).await
    }

    async fn rotate_key(&self, id: &Name, rotation: &Rotation) -> Result<Rotated, StoreError> {
        self.writer.write(Rotating(id.clone(), *rotation, self.now())).await
    }

    async fn revoke_key(&self, id: &Name) -> Result<bool, StoreError> {
        self.writer.write(Revoking(id.clone(), self.now())).await
    }

    async fn note_uses(&self, ids: &[Name]) -> Result<(), StoreError> {
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        self.writer.write(Noting(list(&ids)?, self.now())).await
    }
}

/// A tenant that is new, and when that is.
#[derive(Debug)]
struct AddingTenant(Name, Time);

impl Change for AddingTenant {
    type Answer = AddedTenant;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<AddedTenant, StoreError>, sqlx::Error> {
        const ADD: &str = "
            INSERT INTO tenants (name, created_at)
            SELECT ?1, ?2 WHERE (SELECT count(*) FROM tenants) < ?3
                AND NOT EXISTS (SELECT 1 FROM removed_tenants WHERE name = ?1)
            ON CONFLICT DO NOTHING";
        const IS_LEAVING: &str = "SELECT EXISTS (SELECT 1 FROM removed_tenants WHERE name = ?)";
        let Self(name, now) = self;
        let add = sqlx::query(ADD).bind(&**name).bind(number(now.0)).bind(most(MOST_TENANTS));
        if add.execute(&mut *to).await?.rows_affected() > 0 {
            return Ok(Ok(AddedTenant::New));
        }
        if is_there(to, name).await? {
            return Ok(Ok(AddedTenant::There));
        }
        let is_leaving = sqlx::query_scalar(IS_LEAVING).bind(&**name).fetch_one(&mut *to).await?;
        Ok(Ok(if is_leaving { AddedTenant::Leaving } else { AddedTenant::Full }))
    }
}

/// A tenant that nobody wants any more.
#[derive(Debug)]
struct RemovingTenant(Name);

impl Change for RemovingTenant {
    type Answer = RemovedTenant;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<RemovedTenant, StoreError>, sqlx::Error> {
        // an open run is told the time, or has no deadline: both are found without a look at others
        const REMOVE: &str = "
            DELETE FROM tenants WHERE name = ?1 AND name <> 'default'
                AND NOT EXISTS (SELECT 1 FROM runs WHERE tenant = ?1 AND wake_at IS NOT NULL)
                AND NOT EXISTS (SELECT 1 FROM runs
                    WHERE tenant = ?1 AND wake_at IS NULL AND finished_at IS NULL)
                AND NOT EXISTS (SELECT 1 FROM batches WHERE tenant = ?1 AND finished_at IS NULL)";
        const LEAVE: &str = "
            INSERT INTO removed_tenants (name) SELECT ?1
            WHERE EXISTS (SELECT 1 FROM runs WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM workflows WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM uploads WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM batches WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM conversations WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM endpoints WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM retention WHERE tenant = ?1)
                OR EXISTS (SELECT 1 FROM shares WHERE tenant = ?1)
            ON CONFLICT DO NOTHING";
        let remove = sqlx::query(REMOVE).bind(&*self.0).execute(&mut *to).await?;
        Ok(Ok(if remove.rows_affected() > 0 {
            sqlx::query(LEAVE).bind(&*self.0).execute(&mut *to).await?;
            RemovedTenant::Gone
        } else if is_there(to, &self.0).await? {
            RemovedTenant::Needed
        } else {
            RemovedTenant::Unknown
        }))
    }
}

/// A key that is new, and when that is.
#[derive(Debug)]
struct AddingKey(ApiKey, Time);

impl Change for AddingKey {
    type Answer = AddedKey;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<AddedKey, StoreError>, sqlx::Error> {
        const FORGET: &str = "
            DELETE FROM api_keys WHERE tenant = ?1
                AND min(coalesce(revoked_at, expires_at), coalesce(expires_at, revoked_at)) < ?2";
        const ADD: &str = "
            INSERT INTO api_keys
                (id, tenant, name, scope, hash, expires_at, created_at, rate, burst)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?8, ?9, ?10
            WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?2)
                AND (SELECT count(*) FROM api_keys WHERE tenant = ?2) < ?7";
        let Self(key, now) = self;
        let shown = i64::try_from(SHOWN.as_micros()).unwrap_or(i64::MAX);
        let forget = sqlx::query(FORGET).bind(&*key.tenant).bind(number(now.0) - shown);
        forget.execute(&mut *to).await?;
        let add = sqlx::query(ADD)
            .bind(&*key.id)
            .bind(&*key.tenant)
            .bind(&*key.name)
            .bind(key.role.scope().name())
            .bind(key.hash.0.as_slice())
            .bind(key.expires_at.map(|at| number(at.0)))
            .bind(most(MOST_KEYS))
            .bind(number(now.0))
            .bind(key.rate.map(|rate| i64::from(rate.per_second.get())))
            .bind(key.rate.map(|rate| i64::from(rate.burst.get())));
        if add.execute(&mut *to).await?.rows_affected() > 0 {
            return Ok(Ok(AddedKey::New));
        }
        Ok(Ok(if is_there(to, &key.tenant).await? { AddedKey::Full } else { AddedKey::NoTenant }))
    }
}

/// A key that gets another secret, and when that is.
#[derive(Debug)]
struct Rotating(Name, Rotation, Time);

impl Change for Rotating {
    type Answer = Rotated;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Rotated, StoreError>, sqlx::Error> {
        const ROTATE: &str = "
            UPDATE api_keys SET former_hash = hash, former_until = ?3, hash = ?2, rotated_at = ?4,
                expires_at = coalesce(?5, expires_at)
            WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?4)";
        const THERE: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)";
        let Self(id, rotation, now) = self;
        let rotate = sqlx::query(ROTATE)
            .bind(&**id)
            .bind(rotation.hash.0.as_slice())
            .bind(number(now.after(rotation.overlap).0))
            .bind(number(now.0))
            .bind(rotation.expires_at.map(|at| number(at.0)));
        if rotate.execute(&mut *to).await?.rows_affected() > 0 {
            return Ok(Ok(Rotated::Done));
        }
        let there = sqlx::query_scalar::<_, bool>(THERE).bind(&**id).fetch_one(to).await?;
        Ok(Ok(if there { Rotated::Ended } else { Rotated::Unknown }))
    }
}

/// A key that is to be of no more use, and from when on.
#[derive(Debug)]
struct Revoking(Name, Time);

impl Change for Revoking {
    type Answer = bool;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        const REVOKE: &str =
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
        let revoke = sqlx::query(REVOKE).bind(&*self.0).bind(number(self.1.0));
        Ok(Ok(revoke.execute(to).await?.rows_affected() > 0))
    }
}

/// Keys that were used, as a list, and when.
#[derive(Debug)]
struct Noting(String, Time);

impl Change for Noting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const NOTE: &str = "
            UPDATE api_keys SET used_at = ?2
            WHERE id IN (SELECT value FROM json_each(?1)) AND coalesce(used_at, 0) < ?3";
        let uses = i64::try_from(USES.as_micros()).unwrap_or(i64::MAX);
        let now = number(self.1.0);
        sqlx::query(NOTE).bind(&self.0).bind(now).bind(now - uses).execute(to).await?;
        Ok(Ok(()))
    }
}

async fn is_there(to: &mut SqliteConnection, name: &Name) -> Result<bool, sqlx::Error> {
    const THERE: &str = "SELECT EXISTS (SELECT 1 FROM tenants WHERE name = ?)";
    sqlx::query_scalar::<_, bool>(THERE).bind(&**name).fetch_one(to).await
}

fn tenant(row: &SqliteRow) -> Result<Tenant, StoreError> {
    Ok(Tenant { name: text(row, "name")?, created_at: time(get(row, "created_at")?) })
}

fn key(row: &SqliteRow) -> Result<ApiKey, StoreError> {
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
fn rate(row: &SqliteRow) -> Result<Option<Rate>, StoreError> {
    let number = |column| {
        let number = get::<Option<i64>>(row, column)?;
        let number = number.and_then(|number| u32::try_from(number).ok());
        Ok::<_, StoreError>(number.and_then(NonZeroU32::new))
    };
    let pair = number("rate")?.zip(number("burst")?);
    Ok(pair.map(|(per_second, burst)| Rate { per_second, burst }))
}
