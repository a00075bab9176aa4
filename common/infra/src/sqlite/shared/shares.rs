//! The store for whoever shares things out. What schedulers have lies in this process's memory, as
//! their leases do.

use std::collections::BTreeMap;

use flowmill_engine::value::Name;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::shares::{Allotted, Party, Quota, Share, Shares, Usage};
use crate::sqlite::writer::Change;
use crate::store::StoreError;

use super::{SharedFolder, get, text, trouble};

impl Shares for SharedFolder {
    async fn set_share(
        &self,
        tenant: &Name,
        party: &Party,
        share: Option<&Share>,
    ) -> Result<(), StoreError> {
        let (tenant, party, share) = (tenant.clone(), party.clone(), share.copied());
        self.writer.write(Setting { tenant, party, share }).await
    }

    async fn shares(&self, tenant: Option<&Name>) -> Result<Vec<Allotted>, StoreError> {
        const SHARES: &str = "
            SELECT tenant, kind, name, weight, runs, tasks FROM shares
            WHERE ?1 IS NULL OR tenant = ?1";
        let found = sqlx::query(SHARES).bind(tenant.map(|tenant| &**tenant));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let mut held = found.iter().map(held).collect::<Result<Vec<_>, _>>()?;
        held.sort_by(|one, other| (&one.tenant, &one.party).cmp(&(&other.tenant, &other.party)));
        Ok(held)
    }

    async fn quotas(&self, scheduler: &Name, usages: &[Usage]) -> Result<Vec<Quota>, StoreError> {
        let held = self.shares(None).await?.into_iter();
        let held: BTreeMap<(Name, Party), Share> =
            held.map(|held| ((held.tenant, held.party), held.share)).collect();
        let share = |usage: &Usage| {
            let key = (usage.tenant.clone(), usage.party.clone());
            held.get(&key).copied().unwrap_or_default()
        };
        let (now, lease) = (self.now(), self.lease);
        let leases = self.leases.lock().await;
        let is_alive = |name: &Name| leases.is_alive(name, now, lease);
        Ok(self.parts.lock().await.say(scheduler, usages, share, is_alive, now))
    }

    async fn usages(&self, tenant: Option<&Name>) -> Result<Vec<Usage>, StoreError> {
        let (now, lease) = (self.now(), self.lease);
        let leases = self.leases.lock().await;
        let is_alive = |name: &Name| leases.is_alive(name, now, lease);
        Ok(self.parts.lock().await.usages(tenant, is_alive))
    }
}

fn held(row: &SqliteRow) -> Result<Allotted, StoreError> {
    let (kind, name) = (text(row, "kind")?, text(row, "name")?);
    let party = Party::of(&kind, &name);
    let party = party.ok_or_else(|| StoreError::Corrupt(format!("a share is of a {kind}")))?;
    let number = |column| {
        let found = get::<Option<i64>>(row, column)?;
        Ok::<_, StoreError>(found.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    };
    let weight = number("weight")?.unwrap_or(1);
    let share = Share { weight, runs: number("runs")?, tasks: number("tasks")? };
    Ok(Allotted { tenant: text(row, "tenant")?, party, share })
}

/// The share of a party, from now on.
#[derive(Debug)]
struct Setting {
    tenant: Name,
    party: Party,
    share: Option<Share>,
}

impl Change for Setting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const SET: &str = "
            INSERT INTO shares (tenant, kind, name, weight, runs, tasks) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE
            SET weight = excluded.weight, runs = excluded.runs, tasks = excluded.tasks";
        const CLEAR: &str = "DELETE FROM shares WHERE tenant = ? AND kind = ? AND name = ?";
        let change = sqlx::query(if self.share.is_some() { SET } else { CLEAR });
        let change = change.bind(&*self.tenant).bind(self.party.kind()).bind(self.party.name());
        let change = match self.share {
            Some(Share { weight, runs, tasks }) => change.bind(weight).bind(runs).bind(tasks),
            None => change,
        };
        change.execute(to).await.map(|_| Ok(()))
    }
}
