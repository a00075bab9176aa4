//! The knowledge bases of a services file, and the built-in store's.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::value::Name;
use futures::future::BoxFuture;

use super::config::{Bindings, Entry, Place};
use super::dify::Dify;
use super::external::External;
use super::server::not_set;
use super::{About, Indexed, Kept, Knowledge, KnowledgeError, KnowledgeErrorKind, Passage, Search};
use crate::caller::Caller;
use crate::outgoing;
use crate::secret::Credential;

/// How long an answer may take where the entry does not say it.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a server is asked that can only be asked to look something up.
const GREETING: &str = "hello";

/// Knowledge bases by the entries of a services file; the first entry that fits what a document asks
/// for counts. What no entry fits is looked for in the built-in store, under that name.
#[derive(Debug)]
pub struct BoundKnowledge {
    bound: Vec<Bound>,
    store: Option<Arc<dyn Knowledge>>,
}

#[derive(Debug)]
struct Bound {
    entry: Entry,
    keeper: Keeper,
}

/// Who keeps a knowledge base.
#[derive(Debug)]
enum Keeper {
    Store(Credential),
    Dify(Dify),
    External(External),
}

/// An entry as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is asked for as.
    pub asked: Name,
    /// Who keeps it.
    pub keeper: String,
    /// What keeps it from answering, as far as that is known without asking.
    pub problem: Option<String>,
}

/// Who keeps what a document asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which entry, counted from 1; None where the built-in store has it under that name.
    pub entry: Option<usize>,
    /// Who keeps it.
    pub keeper: String,
}

/// What came of asking who keeps a knowledge base.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The entry.
    pub listed: Listed,
    /// What the knowledge base is, where the entry names a single one and its keeper says it; or why
    /// it does not answer.
    pub about: Result<Option<About>, String>,
}

impl BoundKnowledge {
    /// The knowledge bases of these entries, and those of the built-in store. Nobody is asked yet.
    ///
    /// # Errors
    /// When this machine cannot ask servers at all.
    pub fn new(bindings: Bindings, store: Option<Arc<dyn Knowledge>>) -> Result<Self, String> {
        let client = outgoing::client()?;
        let bound = |entry: Entry| {
            let keeper = match &entry.place {
                Place::Store(name) => Keeper::Store(name.clone()),
                Place::Dify(place) => Keeper::Dify(Dify::new(place, client.clone())),
                Place::External(place) => Keeper::External(External::new(place, client.clone())),
            };
            Bound { entry, keeper }
        };
        Ok(Self { bound: bindings.entries.into_iter().map(bound).collect(), store })
    }

    /// The entries.
    pub fn list(&self) -> Vec<Listed> {
        self.bound.iter().map(|bound| self.listed(bound)).collect()
    }

    /// Who keeps what a document asks for; None if nobody does.
    ///
    /// # Errors
    /// [`KnowledgeError`] when the built-in store cannot be looked into.
    pub async fn offer(
        &self,
        base: &str,
        caller: &Caller,
    ) -> Result<Option<Offer>, KnowledgeError> {
        if let Some((at, bound)) = self.entry(base) {
            return Ok(Some(Offer { entry: Some(at + 1), keeper: bound.keeper.shown() }));
        }
        let Some(store) = &self.store else { return Ok(None) };
        match store.about(base, caller).await {
            Ok(_) => Ok(Some(Offer { entry: None, keeper: store_shown(base) })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks everybody who keeps a knowledge base whether they answer.
    pub async fn check(&self, caller: &Caller) -> Vec<Checked> {
        let mut checked = Vec::with_capacity(self.bound.len());
        for bound in &self.bound {
            let listed = self.listed(bound);
            let about = match &listed.problem {
                Some(problem) => Err(problem.clone()),
                None => self.greet(bound, caller).await.map_err(|error| error.to_string()),
            };
            checked.push(Checked { listed, about });
        }
        checked
    }

    async fn greet(&self, bound: &Bound, caller: &Caller) -> Result<Option<About>, KnowledgeError> {
        let asked = &*bound.entry.asked;
        match &bound.keeper {
            // it may be any of that server's
            Keeper::Dify(dify) if !dify.names_one() && asked.contains('*') => {
                bound.in_time(dify.greet()).await.map(|()| None)
            }
            Keeper::External(external) => {
                let hello = Search { query: GREETING.into(), top_k: 1, ..Search::default() };
                bound.in_time(external.search(&hello)).await?;
                self.about(asked, caller).await.map(Some)
            }
            Keeper::Store(_) | Keeper::Dify(_) => self.about(asked, caller).await.map(Some),
        }
    }

    fn entry(&self, base: &str) -> Option<(usize, &Bound)> {
        let fits = |bound: &Bound| bound.entry.answers(base);
        self.bound.iter().enumerate().find(|(_, bound)| fits(bound))
    }

    fn listed(&self, bound: &Bound) -> Listed {
        let problem = match &bound.keeper {
            Keeper::Store(_) if self.store.is_none() => Some(no_store().to_string()),
            keeper => keeper.lacks(),
        };
        Listed { asked: bound.entry.asked.clone(), keeper: bound.keeper.shown(), problem }
    }

    /// The built-in store and the name there, for an entry that names one.
    fn stored<'a>(
        &'a self,
        name: &'a Credential,
    ) -> Result<(&'a dyn Knowledge, &'a str), KnowledgeError> {
        let Some(store) = &self.store else { return Err(no_store()) };
        match name {
            Credential::Given(name) => Ok((&**store, name.expose())),
            Credential::Missing(variable) => {
                let why = not_set("store", variable);
                Err(KnowledgeError::new(KnowledgeErrorKind::Misconfigured, why))
            }
            Credential::None => {
                Err(KnowledgeError::new(KnowledgeErrorKind::Misconfigured, "store is empty"))
            }
        }
    }

    /// What the built-in store says of a name that no entry fits.
    async fn unbound<'a, T>(
        &'a self,
        base: &'a str,
        ask: impl FnOnce(&'a dyn Knowledge) -> BoxFuture<'a, Result<T, KnowledgeError>>,
    ) -> Result<T, KnowledgeError> {
        let Some(store) = &self.store else { return Err(KnowledgeError::not_bound(base)) };
        let answer = ask(&**store).await;
        answer.map_err(
            |error| {
                if is_absent(&error) { KnowledgeError::not_bound(base) } else { error }
            },
        )
    }
}

impl Knowledge for BoundKnowledge {
    fn about<'a>(
        &'a self,
        base: &'a str,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<About, KnowledgeError>> {
        Box::pin(async move {
            let Some((_, bound)) = self.entry(base) else {
                return self.unbound(base, |store| store.about(base, caller)).await;
            };
            let about = match &bound.keeper {
                Keeper::Store(name) => {
                    let (store, name) = self.stored(name)?;
                    let asked = bound.in_time(store.about(name, caller)).await;
                    asked.map_err(|error| named(error, name))
                }
                Keeper::Dify(dify) => bound.in_time(dify.about(base)).await,
                Keeper::External(external) => external.about(),
            };
            let mut about = about?;
            if let Some(name) = &bound.entry.name {
                about.name = name.clone();
            }
            if let Some(description) = &bound.entry.description {
                about.description = description.clone();
            }
            Ok(about)
        })
    }

    fn search<'a>(
        &'a self,
        base: &'a str,
        search: &'a Search,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Passage>, KnowledgeError>> {
        Box::pin(async move {
            let Some((_, bound)) = self.entry(base) else {
                return self.unbound(base, |store| store.search(base, search, caller)).await;
            };
            match &bound.keeper {
                Keeper::Store(name) => {
                    let (store, name) = self.stored(name)?;
                    let found = bound.in_time(store.search(name, search, caller)).await;
                    found.map_err(|error| named(error, name))
                }
                Keeper::Dify(dify) => bound.in_time(dify.search(base, search)).await,
                Keeper::External(external) => bound.in_time(external.search(search)).await,
            }
        })
    }

    fn keep<'a>(
        &'a self,
        base: &'a str,
        document: Kept,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Indexed, KnowledgeError>> {
        Box::pin(async move {
            let Some((_, bound)) = self.entry(base) else {
                return self.unbound(base, |store| store.keep(base, document, caller)).await;
            };
            match &bound.keeper {
                Keeper::Store(name) => {
                    let (store, name) = self.stored(name)?;
                    // it may have many vectors to make: whoever calls limits the time
                    let kept = store.keep(name, document, caller).await;
                    kept.map_err(|error| named(error, name))
                }
                Keeper::Dify(dify) => bound.in_time(dify.keep(base, document)).await,
                Keeper::External(external) => Err(external.keeps_nothing()),
            }
        })
    }
}

impl Bound {
    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, KnowledgeError>>,
    ) -> Result<T, KnowledgeError> {
        let timeout = self.entry.timeout.unwrap_or(PATIENCE);
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
            let why = format!("{} did not answer within {timeout:?}", self.keeper.shown());
            Err(KnowledgeError::new(KnowledgeErrorKind::Timeout, why))
        })
    }
}

impl Keeper {
    fn shown(&self) -> String {
        match self {
            Self::Store(name) => store_shown(name.expose().unwrap_or_default()),
            Self::Dify(dify) => dify.shown(),
            Self::External(external) => external.shown(),
        }
    }

    fn lacks(&self) -> Option<String> {
        match self {
            Self::Store(Credential::Missing(variable)) => Some(not_set("store", variable)),
            Self::Store(Credential::Given(_) | Credential::None) => None,
            Self::Dify(dify) => dify.lacks(),
            Self::External(external) => external.lacks(),
        }
    }
}

fn store_shown(name: &str) -> String {
    format!("the built-in store, {name}")
}

fn no_store() -> KnowledgeError {
    let why = "this program has no built-in store of knowledge";
    KnowledgeError::new(KnowledgeErrorKind::Misconfigured, why)
}

fn is_absent(error: &KnowledgeError) -> bool {
    matches!(error.kind, KnowledgeErrorKind::NoBase | KnowledgeErrorKind::NotBound)
}

/// An error of the built-in store, where an entry names what the store does not have.
fn named(error: KnowledgeError, name: &str) -> KnowledgeError {
    if !is_absent(&error) {
        return error;
    }
    let why = format!(
        "the built-in store has no knowledge base {name}, which the services file names; make it: \
         flowmill knowledge create {name}"
    );
    KnowledgeError::new(KnowledgeErrorKind::Misconfigured, why)
}
