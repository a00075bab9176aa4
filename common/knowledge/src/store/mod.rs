//! What nodes and people ask: knowledge bases on a shelf, and the models that they need.

mod keep;
mod search;
mod settings;

use std::sync::Arc;

use flowmill_engine::value::{Name, Object, Value, loads};
use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{
    About, Field, Indexed, Kept, Knowledge, KnowledgeError, KnowledgeErrorKind, Passage, Search,
    Usual,
};
use flowmill_services::models::Models;
use futures::future::BoxFuture;

use crate::filter::time;
use crate::shelf::{BaseRow, Comparing, DocumentRow, NewBase, Shelf, ShelfError};

pub use settings::{Model, Settings};

/// The most passages that a search gives.
const MOST_TOP_K: u32 = 1000;

/// The most characters of a base's name.
const MOST_NAME: usize = 128;

/// Whoever says no tenant is this one.
const DEFAULT_TENANT: &str = "default";

/// What a call comes to.
pub type Answer<T> = Result<T, KnowledgeError>;

/// Keeps knowledge bases and searches them.
#[derive(Clone, Debug)]
pub struct Store {
    shelf: Arc<dyn Shelf>,
    models: Arc<dyn Models>,
}

/// A knowledge base.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Its id.
    pub id: Name,
    /// What people call it.
    pub name: Name,
    /// What is in it.
    pub description: Name,
    /// How it is searched and its documents are cut.
    pub settings: Settings,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// How many documents are in it.
    pub documents: i64,
    /// How many segments these have.
    pub segments: i64,
    key: i64,
}

/// A document of a knowledge base.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: Name,
    /// Its name.
    pub name: Name,
    /// What is known of it.
    pub metadata: Object,
    /// Whether all of it is found; otherwise it is still being indexed.
    pub is_available: bool,
    /// When it was brought, in seconds since 1970.
    pub created_at: i64,
    /// How many segments it has.
    pub segments: i64,
}

impl Store {
    /// Over a shelf and models.
    pub fn new(shelf: Arc<dyn Shelf>, models: Arc<dyn Models>) -> Self {
        Self { shelf, models }
    }

    /// Makes a base.
    ///
    /// # Errors
    /// When there is one of that name, or its settings are odd.
    pub async fn create(
        &self,
        tenant: &str,
        name: &str,
        description: &str,
        settings: &Settings,
    ) -> Answer<()> {
        let is_plain = !name.trim().is_empty() && !name.chars().any(char::is_control);
        if !is_plain || name.chars().count() > MOST_NAME {
            let why = format!(
                "a knowledge base has a name of at most {MOST_NAME} characters, without line breaks"
            );
            return Err(refused(why));
        }
        if let Some(why) = settings.objection() {
            return Err(refused(why));
        }
        let base = NewBase {
            id: uuid::Uuid::now_v7().to_string().into(),
            name: name.into(),
            description: description.into(),
            settings: serde_json::to_string(settings)
                .map_err(|error| refused(error.to_string()))?,
        };
        self.shelf.create(whose(tenant), &base).await.map_err(|error| match error {
            ShelfError::Taken(_) => refused(error.to_string()),
            error => trouble(error),
        })
    }

    /// All bases of a tenant, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn bases(&self, tenant: &str) -> Answer<Vec<Base>> {
        let rows = self.shelf.bases(whose(tenant)).await.map_err(trouble)?;
        rows.into_iter().map(read).collect()
    }

    /// A base by its name or id.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NoBase`], with the name that was probably meant.
    pub async fn base(&self, tenant: &str, base: &str) -> Answer<Base> {
        match self.shelf.base(whose(tenant), base).await.map_err(trouble)? {
            Some(row) => read(row),
            None => Err(self.no_base(tenant, base).await),
        }
    }

    async fn no_base(&self, tenant: &str, base: &str) -> KnowledgeError {
        let names = self.shelf.bases(whose(tenant)).await.unwrap_or_default();
        let names: Vec<Name> = names.into_iter().map(|row| row.base.name).collect();
        let near = names.iter().min_by_key(|name| strsim::levenshtein(name, base));
        let near = near.filter(|name| strsim::levenshtein(name, base) <= base.len() / 3 + 1);
        let hint = match (near, names.is_empty()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, true) => {
                format!("there is none yet; `flowmill knowledge create {base}` makes it")
            }
            (None, false) => format!("there are: {}", names.join(", ")),
        };
        let message = format!("there is no knowledge base {base}: {hint}");
        KnowledgeError::new(KnowledgeErrorKind::NoBase, message)
    }

    /// Removes a base with all that is in it.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NoBase`].
    pub async fn drop_base(&self, tenant: &str, base: &str) -> Answer<()> {
        let base = self.base(tenant, base).await?;
        self.shelf.drop_base(base.key).await.map_err(trouble)
    }

    /// How the vectors of a base are compared; None where it has none.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NoBase`].
    pub async fn comparing(&self, tenant: &str, base: &str) -> Answer<Option<Comparing>> {
        let base = self.base(tenant, base).await?;
        if base.settings.embedding.is_none() {
            return Ok(None);
        }
        self.shelf.comparing(base.key).await.map(Some).map_err(trouble)
    }

    /// Makes an index of a base's vectors, or removes it. Making one may take minutes; others may use
    /// the base meanwhile.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NoBase`], and [`KnowledgeErrorKind::Refused`] where there can be none.
    pub async fn index(&self, tenant: &str, base: &str, is_wanted: bool) -> Answer<()> {
        let base = self.base(tenant, base).await?;
        if is_wanted && base.settings.embedding.is_none() {
            return Err(refused(format!(
                "there can be no index of vectors: the knowledge base {} has none, since it was made \
                 without --embedding",
                base.name
            )));
        }
        self.shelf.index(base.key, is_wanted).await.map_err(trouble)
    }

    /// The documents of a base, by name.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NoBase`].
    pub async fn documents(&self, tenant: &str, base: &str) -> Answer<Vec<Entry>> {
        let base = self.base(tenant, base).await?;
        let rows = self.shelf.documents(base.key).await.map_err(trouble)?;
        rows.into_iter().map(entry).collect()
    }

    /// Removes a document, named or by its id. Answers whether there was one.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NoBase`].
    pub async fn remove(&self, tenant: &str, base: &str, document: &str) -> Answer<bool> {
        let base = self.base(tenant, base).await?;
        let rows = self.shelf.documents(base.key).await.map_err(trouble)?;
        let named = rows.iter().find(|row| &*row.id == document);
        let named = named.or_else(|| rows.iter().find(|row| &*row.name == document));
        let Some(row) = named else { return Ok(false) };
        self.shelf.remove(base.key, &row.id).await.map_err(trouble)?;
        Ok(true)
    }

    async fn tell(&self, base: &str, caller: &Caller) -> Answer<About> {
        let base = self.base(&caller.tenant, base).await?;
        let rows = self.shelf.documents(base.key).await.map_err(trouble)?;
        let Settings { method, top_k, score_threshold, .. } = base.settings;
        let usual = Usual { method: Some(method), top_k: Some(top_k), score_threshold };
        let Base { id, name, description, .. } = base;
        Ok(About { id, name, description, fields: fields(&rows)?, usual })
    }
}

impl Knowledge for Store {
    fn about<'a>(&'a self, base: &'a str, caller: &'a Caller) -> BoxFuture<'a, Answer<About>> {
        Box::pin(self.tell(base, caller))
    }

    fn search<'a>(
        &'a self,
        base: &'a str,
        search: &'a Search,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Answer<Vec<Passage>>> {
        Box::pin(search::search(self, base, search, caller))
    }

    fn keep<'a>(
        &'a self,
        base: &'a str,
        document: Kept,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Answer<Indexed>> {
        Box::pin(keep::keep(self, base, document, caller))
    }
}

/// What values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    /// Times as text.
    Time,
    /// All else.
    Text,
}

/// What is known of documents, and of what kind it is.
fn fields(rows: &[DocumentRow]) -> Answer<Vec<Field>> {
    let mut kinds: indexmap::IndexMap<Name, Kind> = indexmap::IndexMap::new();
    for row in rows {
        for (name, value) in known(row)? {
            let kind = kind(&value);
            let held = kinds.entry(name).or_insert(kind);
            if *held != kind {
                *held = Kind::Text;
            }
        }
    }
    let field = |(name, kind)| {
        let kind = match kind {
            Kind::Number => "number",
            Kind::Time => "time",
            Kind::Text => "string",
        };
        Field { name, kind: kind.into() }
    };
    Ok(kinds.into_iter().map(field).collect())
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Int(_) | Value::Float(_) => Kind::Number,
        Value::Str(text) if time(text).is_some() => Kind::Time,
        _ => Kind::Text,
    }
}

/// What is known of a document.
fn known(row: &DocumentRow) -> Answer<Object> {
    match loads(&row.metadata) {
        Ok(Value::Object(known)) => Ok(Arc::unwrap_or_clone(known)),
        _ => Err(damaged(format!("what is known of the document {} is damaged", row.name))),
    }
}

fn entry(row: DocumentRow) -> Answer<Entry> {
    let metadata = known(&row)?;
    let DocumentRow { id, name, is_available, created_at, segments, .. } = row;
    Ok(Entry { id, name, metadata, is_available, created_at, segments })
}

fn read(row: BaseRow) -> Answer<Base> {
    let BaseRow { key, base, created_at, documents, segments } = row;
    let settings = serde_json::from_str(&base.settings).map_err(|error| {
        damaged(format!("the settings of the knowledge base {} are damaged: {error}", base.name))
    })?;
    let NewBase { id, name, description, .. } = base;
    Ok(Base { id, name, description, settings, created_at, documents, segments, key })
}

fn whose(tenant: &str) -> &str {
    if tenant.is_empty() { DEFAULT_TENANT } else { tenant }
}

fn refused(why: impl Into<Name>) -> KnowledgeError {
    KnowledgeError::new(KnowledgeErrorKind::Refused, why)
}

fn damaged(why: impl Into<Name>) -> KnowledgeError {
    KnowledgeError::new(KnowledgeErrorKind::BadAnswer, why)
}

fn trouble(error: ShelfError) -> KnowledgeError {
    let kind = match &error {
        ShelfError::Unavailable(_) => KnowledgeErrorKind::Unavailable,
        ShelfError::Broken(_) | ShelfError::Dimensions { .. } => KnowledgeErrorKind::BadAnswer,
        ShelfError::Taken(_) | ShelfError::NoIndex(_) => KnowledgeErrorKind::Refused,
    };
    KnowledgeError::new(kind, error.to_string())
}
