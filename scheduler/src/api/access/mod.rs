//! Who asks, for which tenant, and what it may: by the configured key, or by one of the store's
//! (`docs/tenants.md`).
//!
//! `secret` is a key as its holder has it, `known` what is remembered so that no request costs a
//! query, `session` a request with whose it is.

mod known;
pub(super) mod secret;
mod session;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use flowmill_engine::value::Name;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::store::StoreError;
use flowmill_infra::tenants::{ApiKey, DEFAULT_TENANT, Scope, Tenants, USES, objection};
use tokio::sync::oneshot;

use super::Settings;
use super::problem::{Code, Problem};

use known::Known;
use secret::{Key, Pepper};

pub(super) use session::{Admin, Session};

/// The header by which a caller says for which tenant it asks.
const TENANT: &str = "flowmill-tenant";

/// What the holder of the configured key is called, and whoever asks where no key is needed.
const NOBODY: &str = "api";

/// The most keys whose use waits to be written down; of further ones it is not known.
const MOST_USED: usize = 4096;

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
    pub(super) scope: Scope,
    /// The key of the store's that it brought.
    pub(super) key: Option<ApiKey>,
}

impl Caller {
    /// Whoever holds the configured key, or needs none.
    fn of_server() -> Self {
        Self { tenant: DEFAULT_TENANT.into(), actor: NOBODY.into(), scope: Scope::Admin, key: None }
    }
}

impl<T: Tenants> Guard<T> {
    /// Lets in who has the configured key, or one of a store's.
    pub fn new(store: Arc<T>, settings: &Settings) -> Self {
        Self(Arc::new(Finder {
            store,
            key: settings.key.clone(),
            pepper: settings.pepper.clone(),
            keys: Known::default(),
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
        if caller.scope < Scope::Admin {
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
        let key = if let Some(key) = self.0.keys.get(&id) {
            key
        } else {
            let found = self.0.store.key(&id).await?.ok_or_else(unknown)?;
            self.0.keys.keep(id, found.clone());
            found
        };
        // why a key is of no more use hears who has the whole of it
        if !self.0.pepper.has_made(&key.hash, given) {
            return Err(unknown());
        }
        if let Some(at) = key.revoked_at {
            return Err(refused(format!("key {} was revoked at {}", key.id, at.rfc3339())));
        }
        if let Some(at) = key.expires_at.filter(|at| *at <= self.0.clock.now()) {
            return Err(refused(format!("key {} expired at {}", key.id, at.rfc3339())));
        }
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < MOST_USED {
            used.insert(key.id.clone());
        }
        drop(used);
        let (tenant, actor, scope) = (key.tenant.clone(), key.name.clone(), key.scope);
        Ok(Caller { tenant, actor, scope, key: Some(key) })
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
