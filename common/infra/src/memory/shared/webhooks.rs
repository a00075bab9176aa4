//! The shared store for those who look after endpoints, and for whoever sends events.

use std::collections::HashMap;
use std::time::Duration;

use flowmill_engine::fact::Status;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::store::StoreError;
use crate::webhooks::{
    Added, Answer, BATCH_COMPLETED, Backlog, Claim, Claimed, Deliveries, Delivery, DeliveryFilter,
    Endpoint, Failure, MOST_COUNTED, MOST_ENDPOINTS, Replay, SUSPECT, State as Fate, Webhooks,
    forlorn,
};

use super::{SharedStore, State};

/// An endpoint that is kept.
#[derive(Debug)]
pub(super) struct EndpointRow {
    tenant: Name,
    endpoint: Endpoint,
}

impl EndpointRow {
    /// Whether it is a tenant's.
    pub(super) fn is_of(&self, tenant: &Name) -> bool {
        self.tenant == *tenant
    }
}

/// A delivery that is kept.
#[derive(Debug)]
pub(super) struct DeliveryRow {
    tenant: Name,
    delivery: Delivery,
    /// Since when it is tried.
    begun_at: Time,
}

impl Webhooks for SharedStore {
    async fn endpoints(&self, tenant: &Name) -> Result<Vec<Endpoint>, StoreError> {
        let state = self.lock();
        let theirs = state.endpoints.iter().filter(|row| row.tenant == *tenant);
        Ok(theirs.map(|row| row.endpoint.clone()).collect())
    }

    async fn endpoint(&self, tenant: &Name, id: &Name) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.lock().endpoint_of(tenant, id).map(|endpoint| endpoint.clone()))
    }

    async fn add_endpoint(&self, tenant: &Name, endpoint: &Endpoint) -> Result<Added, StoreError> {
        let created_at = self.now();
        let mut state = self.lock();
        if state.endpoint_of(tenant, &endpoint.id).is_some() {
            return Ok(Added::There);
        }
        let theirs = state.endpoints.iter().filter(|row| row.tenant == *tenant);
        if theirs.count() >= MOST_ENDPOINTS {
            return Ok(Added::Full);
        }
        let fresh = Endpoint { created_at, revision: 1, ..rested(endpoint) };
        state.endpoints.push(EndpointRow { tenant: tenant.clone(), endpoint: fresh });
        Ok(Added::New)
    }

    async fn change_endpoint(
        &self,
        tenant: &Name,
        endpoint: &Endpoint,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let held = state.endpoint_of(tenant, &endpoint.id);
        let Some(held) = held.filter(|held| held.revision == endpoint.revision) else {
            return Ok(false);
        };
        let (created_at, revision) = (held.created_at, held.revision + 1);
        *held = Endpoint { created_at, revision, ..rested(endpoint) };
        Ok(true)
    }

    async fn remove_endpoint(&self, tenant: &Name, id: &Name) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let before = state.endpoints.len();
        state.endpoints.retain(|row| row.tenant != *tenant || row.endpoint.id != *id);
        Ok(state.endpoints.len() < before)
    }

    async fn deliveries(
        &self,
        tenant: &Name,
        filter: &DeliveryFilter,
    ) -> Result<Vec<Delivery>, StoreError> {
        let DeliveryFilter { endpoint, state, subject, before, most } = filter;
        let is_shown = |row: &&DeliveryRow| {
            let found = &row.delivery;
            row.tenant == *tenant
                && endpoint.as_ref().is_none_or(|endpoint| *endpoint == found.endpoint)
                && state.is_none_or(|state| state == found.state)
                && subject.as_ref().is_none_or(|subject| *subject == found.subject)
                && before.is_none_or(|before| found.id < before)
        };
        let held = self.lock();
        let bare = |row: &DeliveryRow| Delivery { body: None, ..row.delivery.clone() };
        Ok(held.deliveries.iter().rev().filter(is_shown).take(*most).map(bare).collect())
    }

    async fn delivery(&self, tenant: &Name, id: i64) -> Result<Option<Delivery>, StoreError> {
        let state = self.lock();
        let is_it = |row: &&DeliveryRow| row.tenant == *tenant && row.delivery.id == id;
        Ok(state.deliveries.iter().find(is_it).map(|row| row.delivery.clone()))
    }

    async fn replay(&self, tenant: &Name, which: &Replay) -> Result<Vec<i64>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let State { endpoints, deliveries, .. } = &mut *state;
        let is_open = |id: &Name| {
            let open = endpoints.iter().filter(|row| row.endpoint.disabled.is_none());
            open.into_iter().any(|row| row.tenant == *tenant && row.endpoint.id == *id)
        };
        let most = match which {
            Replay::One(_) => 1,
            Replay::Range { most, .. } => *most,
        };
        let mut begun = Vec::new();
        for DeliveryRow { tenant: theirs, delivery, begun_at } in deliveries {
            let is_asked = *theirs == *tenant && is_asked(which, delivery);
            if begun.len() < most && is_asked && is_open(&delivery.endpoint) {
                (delivery.state, delivery.tries) = (Fate::Waiting, 0);
                (delivery.due_at, delivery.settled_at) = (now, None);
                *begun_at = now;
                begun.push(delivery.id);
            }
        }
        Ok(begun)
    }
}

impl Deliveries for SharedStore {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let State { endpoints, deliveries, .. } = &mut *state;
        let mut held: HashMap<Name, usize> = claim.held.iter().cloned().collect();
        let mut claimed = Vec::new();
        let is_due = |row: &&mut DeliveryRow| {
            row.delivery.state == Fate::Waiting && row.delivery.due_at <= now
        };
        let mut due: Vec<&mut DeliveryRow> = deliveries.iter_mut().filter(is_due).collect();
        // those that have least under way come first, so that nobody waits for who is slow
        due.sort_by_key(|row| held.get(&row.delivery.endpoint).copied().unwrap_or_default());
        for DeliveryRow { tenant, delivery, .. } in due {
            let endpoint = endpoints.iter().map(|row| (&row.tenant, &row.endpoint));
            let endpoint = endpoint.filter(|(theirs, _)| *theirs == tenant);
            let Some((_, endpoint)) =
                endpoint.into_iter().find(|(_, it)| it.id == delivery.endpoint)
            else {
                continue;
            };
            let each = if endpoint.failures >= SUSPECT { 1 } else { claim.each };
            let count = held.entry(endpoint.id.clone()).or_default();
            let rests = endpoint.rests_until.is_some_and(|until| until > now);
            if endpoint.disabled.is_some() || rests || *count >= each {
                continue;
            }
            if claimed.len() >= claim.most {
                break;
            }
            *count += 1;
            delivery.tries += 1;
            (delivery.due_at, delivery.tried_at) = (now.after(claim.lease), Some(now));
            let (delivery, endpoint) = (delivery.clone(), endpoint.clone());
            claimed.push(Claimed { tenant: tenant.clone(), delivery, endpoint });
        }
        Ok(claimed)
    }

    async fn freeze(&self, id: i64, body: &Name) -> Result<Name, StoreError> {
        let mut state = self.lock();
        let row = state.deliveries.iter_mut().find(|row| row.delivery.id == id);
        let body = row.map(|row| row.delivery.body.get_or_insert_with(|| body.clone()).clone());
        body.ok_or_else(|| StoreError::Corrupt(format!("there is no delivery {id}")))
    }

    async fn delivered(&self, id: i64, answer: &Answer) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let row = state.deliveries.iter_mut().find(|row| row.delivery.id == id);
        let Some(row) = row.filter(|row| row.delivery.state != Fate::Delivered) else {
            return Ok(());
        };
        row.delivery.state = Fate::Delivered;
        row.delivery.settled_at = Some(now);
        row.delivery.last = Some(answer.clone());
        let (tenant, endpoint) = (row.tenant.clone(), row.delivery.endpoint.clone());
        if let Some(endpoint) = state.endpoint_of(&tenant, &endpoint) {
            (endpoint.failures, endpoint.rests_until) = (0, None);
        }
        Ok(())
    }

    async fn failed(&self, id: i64, tries: u32, failure: &Failure) -> Result<(), StoreError> {
        let Failure { answer, again, rest, disables } = failure;
        let now = self.now();
        let mut state = self.lock();
        let is_it = |row: &&mut DeliveryRow| {
            let found = &row.delivery;
            (found.id, found.tries, found.state) == (id, tries, Fate::Waiting)
        };
        let Some(row) = state.deliveries.iter_mut().find(is_it) else { return Ok(()) };
        row.delivery.last = Some(answer.clone());
        match again {
            Some(wait) => row.delivery.due_at = now.after(*wait),
            None => row.give_up(now),
        }
        let (tenant, endpoint) = (row.tenant.clone(), row.delivery.endpoint.clone());
        let Some(endpoint) = state.endpoint_of(&tenant, &endpoint) else { return Ok(()) };
        if let Some(rest) = rest {
            endpoint.failures += 1;
            endpoint.rests_until = endpoint.rests_until.max(Some(now.after(*rest)));
        }
        if let Some(why) = disables
            && endpoint.disabled.is_none()
        {
            endpoint.disabled = Some(why.clone());
            endpoint.revision += 1;
        }
        Ok(())
    }

    async fn tidy(&self, patience: Duration, keep: Duration) -> Result<u64, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let State { endpoints, deliveries, .. } = &mut *state;
        let mut count = 0;
        for row in deliveries.iter_mut().filter(|row| row.delivery.state == Fate::Waiting) {
            let endpoint = endpoints.iter().find(|found| {
                found.tenant == row.tenant && found.endpoint.id == row.delivery.endpoint
            });
            let is_late = now.since(row.begun_at) >= patience;
            let endpoint = endpoint.map(|row| row.endpoint.disabled.is_some());
            if let Some(why) = forlorn(endpoint, is_late) {
                let last = row.delivery.last.get_or_insert_default();
                last.error = Some(why.into());
                row.give_up(now);
                count += 1;
            }
        }
        let before = deliveries.len();
        let is_old = |at: Time| now.since(at) >= keep;
        deliveries.retain(|row| !row.delivery.settled_at.is_some_and(is_old));
        Ok(count + (before - deliveries.len()) as u64)
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let now = self.now();
        let state = self.lock();
        let waiting = state.deliveries.iter().filter(|row| row.delivery.state == Fate::Waiting);
        let waiting: Vec<Time> = waiting.map(|row| row.begun_at).take(MOST_COUNTED).collect();
        let oldest = waiting.iter().min().map(|begun_at| now.since(*begun_at));
        Ok(Backlog { waiting: waiting.len(), oldest: oldest.unwrap_or_default() })
    }
}

/// Whether a delivery is among those that are to be sent anew.
fn is_asked(which: &Replay, delivery: &Delivery) -> bool {
    match which {
        Replay::One(id) => delivery.id == *id,
        Replay::Range { endpoint, state, from, until, after, most: _ } => {
            delivery.id > *after
                && endpoint.as_ref().is_none_or(|endpoint| *endpoint == delivery.endpoint)
                && delivery.state != Fate::Waiting
                && state.is_none_or(|state| state == delivery.state)
                && (*from..*until).contains(&delivery.noted_at)
        }
    }
}

/// An endpoint that may be tried at once.
fn rested(endpoint: &Endpoint) -> Endpoint {
    Endpoint { failures: 0, rests_until: None, ..endpoint.clone() }
}

impl DeliveryRow {
    fn give_up(&mut self, now: Time) {
        self.delivery.state = Fate::Exhausted;
        self.delivery.settled_at = Some(now);
    }
}

impl State {
    fn endpoint_of(&mut self, tenant: &Name, id: &Name) -> Option<&mut Endpoint> {
        let mut rows = self.endpoints.iter_mut();
        let row = rows.find(|row| row.tenant == *tenant && row.endpoint.id == *id);
        row.map(|row| &mut row.endpoint)
    }

    /// Makes a delivery for each endpoint that wants to hear of what a run came to.
    pub(super) fn tell_endpoints(&mut self, now: Time, run: &Name, before: Option<Status>) {
        let State { runs, endpoints, deliveries, told, .. } = self;
        let Some(row) = runs.get(run) else { return };
        let Some(status) = row.status.filter(|status| Some(*status) != before) else { return };
        let event = Name::from(format!("run.{}", status.name().replace('-', "_")));
        let seq = row.journal.last().map_or(0, |fact| fact.seq);
        for EndpointRow { tenant, endpoint } in endpoints {
            let is_meant =
                endpoint.is_for_all || row.attached.endpoint == Some(endpoint.id.clone());
            let hears = endpoint.disabled.is_none() && endpoint.events.contains(&event);
            if *tenant != row.tenant || !is_meant || !hears {
                continue;
            }
            *told += 1;
            let of = (format!("msg_{run}_{seq}").into(), event.clone(), run.clone(), seq);
            let delivery = delivery(*told, now, &endpoint.id, of);
            deliveries.push(DeliveryRow { tenant: tenant.clone(), delivery, begun_at: now });
        }
    }

    /// The same of a batch that has ended.
    pub(super) fn tell_of_batch(&mut self, now: Time, whose: &Name, batch: &Name) {
        let State { endpoints, deliveries, told, .. } = self;
        let event = Name::from(BATCH_COMPLETED);
        for EndpointRow { tenant, endpoint } in endpoints {
            let hears = endpoint.disabled.is_none() && endpoint.events.contains(&event);
            if tenant != whose || !endpoint.is_for_all || !hears {
                continue;
            }
            *told += 1;
            let of = (format!("msg_{batch}").into(), event.clone(), batch.clone(), 0);
            let delivery = delivery(*told, now, &endpoint.id, of);
            deliveries.push(DeliveryRow { tenant: tenant.clone(), delivery, begun_at: now });
        }
    }
}

/// A delivery that waits, of a message with its event, subject and number.
fn delivery(
    id: i64,
    now: Time,
    endpoint: &Name,
    (message, event, subject, seq): (Name, Name, Name, u64),
) -> Delivery {
    Delivery {
        id,
        endpoint: endpoint.clone(),
        message,
        event,
        subject,
        seq,
        noted_at: now,
        state: Fate::Waiting,
        tries: 0,
        due_at: now,
        settled_at: None,
        tried_at: None,
        last: None,
        body: None,
    }
}
