//! Knowledge bases that have what a test says, and remember what they were asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{
    About, Document, Indexed, Kept, Knowledge, KnowledgeError, KnowledgeErrorKind, Passage, Search,
    Segment,
};
use futures::future::BoxFuture;

/// A knowledge base: what it is, and what it finds or why it finds nothing.
type Base = (About, Result<Vec<Passage>, KnowledgeError>);

#[derive(Debug, Default)]
pub(crate) struct Bases {
    by_name: BTreeMap<String, Base>,
    searches: Mutex<Vec<(String, Search)>>,
    kept: Mutex<Vec<(String, Kept)>>,
}

impl Bases {
    /// Those that have these passages; each is its own name.
    pub(crate) fn new<'a>(bases: impl IntoIterator<Item = (&'a str, Vec<Passage>)>) -> Self {
        let base = |(name, passages): (&str, Vec<Passage>)| {
            let about = About {
                id: format!("id-{name}").into(),
                name: name.into(),
                description: format!("all about {name}").into(),
                ..About::default()
            };
            (name.to_owned(), (about, Ok(passages)))
        };
        Self { by_name: bases.into_iter().map(base).collect(), ..Self::default() }
    }

    /// The same, where a knowledge base is said to be something else.
    pub(crate) fn with(mut self, name: &str, change: impl FnOnce(&mut About)) -> Self {
        change(&mut self.by_name.get_mut(name).expect("no such base").0);
        self
    }

    /// The same, where a knowledge base does not answer.
    pub(crate) fn failing(mut self, name: &str, kind: KnowledgeErrorKind) -> Self {
        let error = KnowledgeError::new(kind, format!("{name} fails"));
        self.by_name.get_mut(name).expect("no such base").1 = Err(error);
        self
    }

    /// What was looked for: the base's name and the search, in the order of the names.
    pub(crate) fn searches(&self) -> Vec<(String, Search)> {
        let mut searches = self.searches.lock().unwrap().clone();
        searches.sort_by(|one, other| one.0.cmp(&other.0));
        searches
    }

    /// What was kept, and where.
    pub(crate) fn kept(&self) -> Vec<(String, Kept)> {
        self.kept.lock().unwrap().clone()
    }

    fn base(&self, base: &str) -> Result<&Base, KnowledgeError> {
        let missing = || match base {
            "gone" => KnowledgeError::new(KnowledgeErrorKind::NoBase, "there is no gone"),
            other => KnowledgeError::not_bound(other),
        };
        self.by_name.get(base).ok_or_else(missing)
    }
}

/// A passage of a document, as good as this.
pub(crate) fn passage(id: &str, content: &str, score: Option<f64>) -> Passage {
    Passage {
        content: content.into(),
        score,
        document: Document {
            id: format!("d-{id}").into(),
            name: format!("{id}.md").into(),
            source: "upload_file".into(),
            metadata: None,
        },
        segment: Some(Segment { id: id.into(), position: 1, ..Segment::default() }),
        ..Passage::default()
    }
}

impl Knowledge for Bases {
    fn about<'a>(
        &'a self,
        base: &'a str,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<About, KnowledgeError>> {
        Box::pin(std::future::ready(self.base(base).map(|(about, _)| about.clone())))
    }

    fn search<'a>(
        &'a self,
        base: &'a str,
        search: &'a Search,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Passage>, KnowledgeError>> {
        self.searches.lock().unwrap().push((base.to_owned(), search.clone()));
        Box::pin(std::future::ready(self.base(base).and_then(|(_, found)| found.clone())))
    }

    fn keep<'a>(
        &'a self,
        base: &'a str,
        document: Kept,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Indexed, KnowledgeError>> {
        let kept = self.base(base).and_then(|(about, found)| {
            found.as_ref().map_err(Clone::clone)?;
            Ok(Indexed {
                base: about.id.clone(),
                base_name: about.name.clone(),
                document: document.id.clone().unwrap_or_else(|| "d-new".into()),
                document_name: document.name.clone(),
                batch: "its own".into(),
                created_at: 1_700_000_000,
                display_status: "available".into(),
            })
        });
        self.kept.lock().unwrap().push((base.to_owned(), document));
        Box::pin(std::future::ready(kept))
    }
}

/// Services with these knowledge bases and no others.
pub(crate) fn services(bases: &Arc<Bases>) -> flowmill_services::Services {
    flowmill_services::Services { knowledge: bases.clone(), ..Default::default() }
}
