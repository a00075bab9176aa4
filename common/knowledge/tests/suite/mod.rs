//! The cases, and a world for each: a store of its own with models that a test can look into.

mod cases;
mod keeping;
mod models;
mod pgvector;

use std::sync::Arc;

use flowmill_engine::value::{Name, Value};
use flowmill_knowledge::{Settings, Store, open};
use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{Cut, Indexed, Kept, Knowledge as _, Passage, Search};
use flowmill_services::models::{Models, NoModels};

pub(crate) use cases::*;
pub(crate) use keeping::*;
pub(crate) use models::Scripted;

/// A store, and whose it is.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) models: Arc<Scripted>,
    pub(crate) caller: Caller,
    /// Whether bases get an index as soon as there can be one.
    has_index: bool,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("knowledge.db").display());
        Self::at(&url, Some(folder))
    }

    /// In the server of the tests, as a tenant that nobody else is.
    pub(crate) fn postgres() -> Self {
        let own = std::env::var("FLOWMILL_TEST_POSTGRES");
        let usual = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable";
        Self::at(&own.unwrap_or_else(|_| usual.to_owned()), None)
    }

    /// The same in a server whose database compares vectors.
    pub(crate) fn pgvector() -> Self {
        Self::at(&pgvector::url(), None)
    }

    /// The same with an index for each base.
    pub(crate) fn indexed() -> Self {
        Self { has_index: true, ..Self::pgvector() }
    }

    /// Makes an index of the base `b` if this is the place for it.
    pub(crate) async fn settle(&self) {
        let has_vectors = self.store.comparing(self.tenant(), "b").await.unwrap().is_some();
        if self.has_index && has_vectors {
            self.store.index(self.tenant(), "b", true).await.unwrap();
        }
    }

    pub(crate) fn at(url: &str, folder: Option<tempfile::TempDir>) -> Self {
        let models = Arc::new(Scripted::default());
        let store = open(url, models.clone()).unwrap();
        let tenant: Name = format!("t{}", uuid::Uuid::now_v7().simple()).into();
        let caller = Caller { tenant, ..Caller::default() };
        Self { store, models, caller, has_index: false, _folder: folder }
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.caller.tenant
    }

    /// Makes a base `b`.
    pub(crate) async fn base(&self, settings: Settings) {
        self.store.create(self.tenant(), "b", "All of it.", &settings).await.unwrap();
    }

    /// Keeps a document of these passages in it.
    pub(crate) async fn keep(&self, name: &str, passages: &[&str]) -> Indexed {
        let kept = self.store.keep("b", document(name, passages), &self.caller).await.unwrap();
        self.settle().await;
        kept
    }

    /// The contents that are found there.
    pub(crate) async fn find(&self, search: Search) -> Vec<String> {
        self.passages(search).await.iter().map(|passage| passage.content.to_string()).collect()
    }

    pub(crate) async fn passages(&self, search: Search) -> Vec<Passage> {
        self.store.search("b", &search, &self.caller).await.unwrap()
    }
}

pub(crate) fn no_models() -> Arc<dyn Models> {
    Arc::new(NoModels)
}

pub(crate) fn ask(query: &str) -> Search {
    Search { query: query.into(), ..Search::default() }
}

pub(crate) fn cut(content: &str) -> Cut {
    Cut { content: content.into(), ..Cut::default() }
}

pub(crate) fn document(name: &str, passages: &[&str]) -> Kept {
    let passages = passages.iter().map(|passage| cut(passage)).collect();
    Kept { name: name.into(), passages, ..Kept::default() }
}

/// The same with something known of it.
pub(crate) fn known(kept: Kept, metadata: &[(&str, Value)]) -> Kept {
    let metadata = metadata.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Kept { metadata, ..kept }
}
