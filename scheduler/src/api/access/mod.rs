//! Who asks, for which tenant, and what it may: by the configured key, or by one of the store's
//! (`docs/tenants.md`).
//!
//! `secret` is a key as its holder has it, `known` what is remembered so that no request costs a
//! query, `rates` how often keys ask, `actions` what can be asked and what that needs, `session` a
//! request with whose it is.

pub(super) mod actions;
mod known;
mod rates;
pub(super) mod secret;
mod session;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use flowmill_engine::value::Name;
use flowmill_infra::audit::{Audit, Deed};
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::store::StoreError;
use flowmill_infra::tenants::{ApiKey, DEFAULT_TENANT, Rate, Role, Tenants, USES, objection};
use tokio::sync::oneshot;

use super::Settings;
use super::problem::{Code, Problem};

use actions::Action;
use known::Known;
use rates::Rates;
use secret::{Key, Pepper};

pub(super) use session::Session;

/// The header by which a caller says for which tenant it asks.
const TENANT: &str = "flowmill-tenant";

/// What the holder of the configured key is called, and whoever asks where no key is needed.
const NOBODY: &str = "api";

/// The most keys whose use waits to be written down; of further ones it is not known.
const MOST_USED: usize = 4096;

/// A store that knows who asks, and keeps what they did.
pub trait GuardStore: Tenants + Audit {}

impl<T: Tenants + Audit> GuardStore for T {}

/// Finds who asks; cheap to clone.
#[derive(Debug)]
pub struct Guard<T>(Arc<Finder<T>>);

impl<T> Clone for Guard<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Finder<T> {
    store: Arc<T>,
    /// The configured key; where there is none, whoever brings none may do everything.
    key: Option<Key>,
    pepper: Pepper,
    keys: Known<ApiKey>,
    /// How often keys may ask for which nothing else is said; None: as often as they like.
    rate: Option<Rate>,
    rates: Rates,
    tenants: Known<()>,
    /// Keys that were used since that was written down.
    used: Mutex<BTreeSet<Name>>,
    clock: SystemClock,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// For whom.
    pub(super) tenant: Name,
    /// What it is called where it is noted who wanted something.
    pub(super) actor: Name,
    pub(super) role: Role,
    /// The key of the store's that it brought.
    pub(super) key: Option<ApiKey>,
}

/// What a caller did, or was refused.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) action: Action,
    pub(super) object: Name,
    /// `done`, or the code of a problem.
    pub(super) outcome: Name,
    pub(super) address: Option<IpAddr>,
}

impl Caller {
    /// Whoever holds the configured key, or needs none.
    fn of_server() -> Self {
        Self { tenant: DEFAULT_TENANT.into(), actor: NOBODY.into(), role: Role::Admin, key: None }
    }
}

impl<T: GuardStore> Guard<T> {
    /// Lets in who has the configured key, or one of a store's.
    pub fn new(store: Arc<T>, settings: &Settings) -> Self {
        Self(Arc::new(Finder {
            store,
            key: settings.key.clone(),
            pepper: settings.pepper.clone(),
            keys: Known::default(),
            rate: settings.rate,
            rates: Rates::default(),
            tenants: Known::default(),
            used: Mutex::default(),
            clock: SystemClock::new(),
        }))
    }

    /// Where tenants and keys are.
    pub(super) fn store(&self) -> &T {
        &self.0.store
    }

    /// What keys are hashed with.
    pub(super) fn pepper(&self) -> &Pepper {
        &self.0.pepper
    }

    /// Who asks, and for which tenant: by the headers of a request.
    ///
    /// # Errors
    /// When it is not to be let in, or the store cannot be asked.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let own = self.0.key.as_ref();
        let caller = match (bearer(headers), own) {
            (None, None) => Caller::of_server(),
            (None, Some(_)) => {
                let detail = "send the key as `Authorization: Bearer KEY`";
                return Err(Problem::new(Code::Unauthorized, detail));
            }
            (Some(given), Some(own)) if own.is(given) => Caller::of_server(),
            (Some(given), _) => self.holder(given).await?,
        };
        let Some(named) = headers.get(TENANT) else { return Ok(caller) };
        let tenant = Name::from(named.to_str().unwrap_or_default().trim());
        if tenant == caller.tenant {
            return Ok(caller);
        }
        if caller.role != Role::Admin {
            let detail = format!("this key is of tenant {:?}", &*caller.tenant);
            return Err(Problem::new(Code::Forbidden, detail));
        }
        if !self.knows(&tenant).await? {
            return Err(Problem::no_tenant(&tenant));
        }
        Ok(Caller { tenant, ..caller })
    }

    /// Who holds a key of the store's.
    async fn holder(&self, given: &str) -> Result<Caller, Problem> {
        let refused = |detail| Problem::new(Code::Unauthorized, detail);
        let unknown = || refused("this is not a key of this server".to_owned());
        let id = secret::id_of(given).ok_or_else(unknown)?;
        let remembered = self.0.keys.get(&id).filter(|key| self.is_of(key, given));
        let key = if let Some(key) = remembered {
            key
        } else {
            // a secret that is not the one remembered may be a newer one
            let found = self.0.store.key(&id).await?.ok_or_else(unknown)?;
            self.0.keys.keep(id, found.clone());
            found
        };
        // why a key is of no more use hears who has the whole of it
        if !self.is_of(&key, given) {
            return Err(unknown());
        }
        self.is_of_use(&key, given)?;
        let rate = key.rate.or(self.0.rate);
        if let Some(Err(wait)) = rate.map(|rate| self.0.rates.take(&key.id, rate)) {
            return Err(Problem::too_often(wait));
        }
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < MOST_USED {
            used.insert(key.id.clone());
        }
        drop(used);
        let (tenant, actor, role) = (key.tenant.clone(), key.name.clone(), key.role);
        Ok(Caller { tenant, actor, role, key: Some(key) })
    }

    /// Whether this is a key as it is, or as it was.
    fn is_of(&self, key: &ApiKey, given: &str) -> bool {
        let is_now = self.0.pepper.has_made(&key.hash, given);
        let former = key.former.as_ref();
        is_now | former.is_some_and(|former| self.0.pepper.has_made(&former.hash, given))
    }

    /// Says why a key is of no more use, if it is not.
    fn is_of_use(&self, key: &ApiKey, given: &str) -> Result<(), Problem> {
        let now = self.0.clock.now();
        if let Some(at) = key.revoked_at {
            let detail = format!("key {} was revoked at {}", key.id, at.rfc3339());
            return Err(Problem::new(Code::KeyRevoked, detail));
        }
        if let Some(at) = key.expires_at.filter(|at| *at <= now) {
            let detail = format!("key {} expired at {}", key.id, at.rfc3339());
            return Err(Problem::new(Code::KeyExpired, detail));
        }
        let Some(former) = key.former.filter(|former| former.until <= now) else { return Ok(()) };
        if self.0.pepper.has_made(&key.hash, given) {
            return Ok(());
        }
        let until = former.until.rfc3339();
        let detail =
            format!("key {} has another secret; this one was of use until {until}", key.id);
        Err(Problem::new(Code::KeyExpired, detail))
    }

    /// Notes what somebody did. What cannot be noted is logged: it was done all the same.
    pub(super) async fn note(&self, caller: &Caller, done: Done) {
        let Done { action, object, outcome, address } = done;
        let deed = Deed {
            tenant: caller.tenant.clone(),
            actor: caller.actor.clone(),
            key: caller.key.as_ref().map(|key| key.id.clone()),
            action: action.name.into(),
            object,
            outcome,
            address,
        };
        if let Err(error) = self.0.store.note_deed(&deed).await {
            tracing::error!(%error, ?deed, "what somebody did is not in the audit log");
        }
    }

    /// Whether there is a tenant of this name, or was one a moment ago.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub(super) async fn knows(&self, tenant: &Name) -> Result<bool, StoreError> {
        if &**tenant == DEFAULT_TENANT || self.0.tenants.get(tenant).is_some() {
            return Ok(true);
        }
        // what nobody can be called need not be asked for, and no store takes every text
        if objection(tenant).is_some() {
            return Ok(false);
        }
        let is_there = self.0.store.tenant(tenant).await?.is_some();
        if is_there {
            self.0.tenants.keep(tenant.clone(), ());
        }
        Ok(is_there)
    }

    /// Asks the store anew for a key, however lately that was done.
    pub(super) fn forget_key(&self, id: &Name) {
        self.0.keys.forget(id);
    }

    /// Asks the store anew for a tenant and all keys.
    pub(super) fn forget_tenant(&self, tenant: &Name) {
        self.0.tenants.forget(tenant);
        self.0.keys.forget_all();
    }

    /// Writes down which keys were used, once in a while and when it is `enough`. What cannot be
    /// written is not: it only serves people who clean up.
    pub(super) async fn note_uses(self, mut enough: oneshot::Receiver<()>) {
        loop {
            let is_enough = tokio::select! {
                _ = &mut enough => true,
                () = tokio::time::sleep(USES) => false,
            };
            let used =
                std::mem::take(&mut *self.0.used.lock().unwrap_or_else(PoisonError::into_inner));
            let used: Vec<Name> = used.into_iter().collect();
            if !used.is_empty()
                && let Err(error) = self.0.store.note_uses(&used).await
            {
                tracing::debug!(%error, "it is not written down which keys were used");
            }
            if is_enough {
                return;
            }
        }
    }
}

/// What a caller sends as its key.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, given) = given.and_then(|value| value.split_once(' '))?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}
