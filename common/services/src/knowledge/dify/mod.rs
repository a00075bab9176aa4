//! Knowledge bases of a Dify server, by its knowledge API: `GET /datasets/{id}` says what one is,
//! `POST /datasets/{id}/retrieve` looks passages up. [`keeping`] gives it documents, [`records`]
//! reads what it finds.

mod keeping;
mod records;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flowmill_engine::value::Name;
use reqwest::{Client, Method};
use serde_json::{Value as Json, json};

use super::config::DifyPlace;
use super::server::{Answer, Server, not_set, number, some_text, text};
use super::{
    About, Field, Indexed, Kept, KnowledgeError, KnowledgeErrorKind, Method as Way, Passage,
    Search, Usual,
};
use crate::secret::Credential;
use crate::tools::pattern::is_id;

/// Longer questions are refused by the API; Dify itself has no such limit.
const MOST_CHARACTERS: usize = 250;

/// How long what a knowledge base says of itself counts: nodes ask it before every search.
const FRESH: Duration = Duration::from_mins(1);

/// What is known of documents without anybody having declared it.
const BUILT_IN: [(&str, &str); 5] = [
    ("document_name", "string"),
    ("uploader", "string"),
    ("upload_date", "time"),
    ("last_update_date", "time"),
    ("source", "string"),
];

/// The knowledge bases of a Dify server.
#[derive(Debug)]
pub(super) struct Dify {
    server: Server,
    dataset: Option<Credential>,
    /// How each knowledge base is set there, as it said last.
    known: Mutex<HashMap<Name, Settings>>,
    /// What each said of itself, and when.
    told: Mutex<HashMap<Name, (Instant, About)>>,
}

/// How a knowledge base is set in its own server.
#[derive(Clone, Debug)]
struct Settings {
    /// Whether it only passes questions on to somebody else.
    is_external: bool,
    /// `search_method`, `top_k` and the like.
    retrieval: Json,
}

impl Dify {
    pub(super) fn new(place: &DifyPlace, client: Client) -> Self {
        let server = Server::new("Dify", client, place.url.clone(), place.key.clone());
        let dataset = place.dataset.clone();
        Self { server, dataset, known: Mutex::default(), told: Mutex::default() }
    }

    /// Whom it asks, for people.
    pub(super) fn shown(&self) -> String {
        match self.dataset.as_ref().and_then(Credential::expose) {
            Some(dataset) => format!("{}, dataset {dataset}", self.server.shown()),
            None => self.server.shown(),
        }
    }

    /// Which variable of the environment it needs and lacks, if any.
    pub(super) fn lacks(&self) -> Option<String> {
        let own = match &self.dataset {
            Some(Credential::Missing(name)) => Some(not_set("dataset", name)),
            Some(Credential::Given(_) | Credential::None) | None => None,
        };
        self.server.lacks().or(own)
    }

    /// Whether it says which knowledge base it is, whatever documents ask for.
    pub(super) fn names_one(&self) -> bool {
        self.dataset.is_some()
    }

    /// Whether the server answers at all.
    pub(super) async fn greet(&self) -> Result<(), KnowledgeError> {
        let answer = self.server.ask(Method::GET, &["datasets"], None).await?;
        self.server.accepted(answer).map(|_| ())
    }

    pub(super) async fn about(&self, base: &str) -> Result<About, KnowledgeError> {
        let dataset = self.dataset(base)?;
        let told = held(&self.told).get(dataset).cloned();
        if let Some((_, about)) = told.filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(about);
        }
        let about = self.ask_about(dataset).await?;
        held(&self.told).insert(dataset.into(), (Instant::now(), about.clone()));
        Ok(about)
    }

    async fn ask_about(&self, dataset: &str) -> Result<About, KnowledgeError> {
        let (said, Settings { retrieval, .. }) = self.settings(dataset).await?;
        let is_limited =
            retrieval.get("score_threshold_enabled").and_then(Json::as_bool).unwrap_or(false);
        let top_k = retrieval.get("top_k").and_then(number).filter(|count| *count >= 1.0);
        let method = retrieval.get("search_method").cloned();
        let threshold = retrieval.get("score_threshold").and_then(number);
        Ok(About {
            id: dataset.into(),
            name: text(&said, "name"),
            description: text(&said, "description"),
            fields: self.fields(dataset, &said).await?,
            usual: Usual {
                method: method.and_then(|method| serde_json::from_value::<Way>(method).ok()),
                top_k: top_k.map(whole),
                score_threshold: threshold.filter(|_| is_limited),
            },
        })
    }

    pub(super) async fn search(
        &self,
        base: &str,
        search: &Search,
    ) -> Result<Vec<Passage>, KnowledgeError> {
        // it knows no files but those that were given to that server
        if search.query.is_empty() {
            return Ok(Vec::new());
        }
        let dataset = self.dataset(base)?;
        let known = held(&self.known).get(dataset).cloned();
        let settings = match known {
            Some(known) => known,
            None => self.settings(dataset).await?.1,
        };
        let query: String = search.query.chars().take(MOST_CHARACTERS).collect();
        let model =
            if settings.is_external { "external_retrieval_model" } else { "retrieval_model" };
        let mut body = json!({"query": query});
        body[model] = retrieval(settings.retrieval, search);
        let path = ["datasets", dataset, "retrieve"];
        let answer = self.server.ask(Method::POST, &path, Some(&body)).await?;
        let answer = self.accepted(answer)?;
        let Some(found) = answer.get("records").and_then(Json::as_array) else {
            let why = "its answer has no records";
            return Err(self.server.failure(KnowledgeErrorKind::BadAnswer, why));
        };
        Ok(found.iter().filter_map(records::passage).collect())
    }

    pub(super) async fn keep(&self, base: &str, document: Kept) -> Result<Indexed, KnowledgeError> {
        let dataset = self.dataset(base)?;
        let (said, _) = self.settings(dataset).await?;
        let form = keeping::Form::of(&document, text(&said, "doc_form").as_ref());
        let technique = some_text(&said, "indexing_technique");
        let body = form.and_then(|form| form.body(&document, technique.as_deref()));
        let body = body.map_err(|why| self.server.failure(KnowledgeErrorKind::Refused, &why))?;
        let mut answer = None;
        if let Some(id) = &document.id {
            let path = ["datasets", dataset, "documents", id, "update-by-text"];
            let said = self.server.ask(Method::POST, &path, Some(&body)).await?;
            // one that is not there yet is made
            answer = Some(said).filter(|said| said.status != 404);
        }
        let answer = if let Some(answer) = answer {
            answer
        } else {
            let path = ["datasets", dataset, "document", "create-by-text"];
            self.server.ask(Method::POST, &path, Some(&body)).await?
        };
        let kept = self.accepted(answer)?;
        let indexed = keeping::indexed(&kept, (dataset, &text(&said, "name")));
        indexed.ok_or_else(|| {
            let why = "its answer does not say which document it kept";
            self.server.failure(KnowledgeErrorKind::BadAnswer, why)
        })
    }

    /// What a knowledge base says of itself, and how it is set.
    async fn settings(&self, dataset: &str) -> Result<(Json, Settings), KnowledgeError> {
        let answer = self.server.ask(Method::GET, &["datasets", dataset], None).await?;
        let said = self.accepted(answer)?;
        let is_external = &*text(&said, "provider") == "external";
        let names: &[&str] = if is_external {
            &["external_retrieval_model"]
        } else {
            &["retrieval_model_dict", "retrieval_model"]
        };
        let retrieval = names.iter().find_map(|name| said.get(name).filter(|own| own.is_object()));
        let mut retrieval = retrieval.cloned().unwrap_or_else(|| json!({}));
        prune(&mut retrieval);
        // without vectors there is one way to look
        if &*text(&said, "indexing_technique") == "economy" {
            retrieval["search_method"] = "keyword_search".into();
        }
        let settings = Settings { is_external, retrieval };
        held(&self.known).insert(dataset.into(), settings.clone());
        Ok((said, settings))
    }

    /// What is known of its documents: newer servers say it of the knowledge base itself.
    async fn fields(&self, dataset: &str, said: &Json) -> Result<Vec<Field>, KnowledgeError> {
        if said.get("doc_metadata").is_some_and(Json::is_array) {
            return Ok(fields(said));
        }
        let answer = self.server.ask(Method::GET, &["datasets", dataset, "metadata"], None).await?;
        // servers before 1.1 know of none
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        self.server.accepted(answer).map(|said| fields(&said))
    }

    /// The answer's JSON. That there is no such knowledge base is told apart from a wrong address.
    fn accepted(&self, answer: Answer) -> Result<Json, KnowledgeError> {
        let said = text(&answer.json, "message").to_lowercase();
        if answer.status == 404 && said.contains("dataset") {
            return Err(self.server.refusal(KnowledgeErrorKind::NoBase, &answer));
        }
        self.server.accepted(answer)
    }

    fn dataset<'a>(&'a self, base: &'a str) -> Result<&'a str, KnowledgeError> {
        let wrong = |why| KnowledgeError::new(KnowledgeErrorKind::Misconfigured, Name::from(why));
        match &self.dataset {
            Some(Credential::Given(dataset)) => Ok(dataset.expose()),
            None if is_id(base) => Ok(base),
            None => Err(wrong(format!(
                "{base} is no id of a knowledge base in a Dify server (exports hide them); add an entry \
                 to the services file that asks for it and has dataset under [knowledge.dify]"
            ))),
            Some(Credential::Missing(name)) => Err(wrong(not_set("dataset", name))),
            Some(Credential::None) => Err(wrong("dataset is empty".to_owned())),
        }
    }
}

fn held<T>(known: &Mutex<T>) -> MutexGuard<'_, T> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fields(said: &Json) -> Vec<Field> {
    let declared = said.get("doc_metadata").and_then(Json::as_array).into_iter().flatten();
    let declared = declared.filter_map(|field| {
        let kind = some_text(field, "type").unwrap_or_else(|| "string".into());
        Some(Field { name: some_text(field, "name")?, kind })
    });
    let mut fields: Vec<Field> = declared.collect();
    if said.get("built_in_field_enabled").and_then(Json::as_bool).unwrap_or(false) {
        let field = |(name, kind): (&str, &str)| Field { name: name.into(), kind: kind.into() };
        fields.extend(BUILT_IN.map(field));
    }
    fields
}

/// Takes out what is null, and objects that hold nothing else: the server tells what is not set
/// so, and does not take it back.
fn prune(json: &mut Json) {
    let Some(members) = json.as_object_mut() else { return };
    members.values_mut().for_each(prune);
    members.retain(|_, value| {
        !value.is_null() && value.as_object().is_none_or(|members| !members.is_empty())
    });
}

/// How a knowledge base is to look: as it is set itself, but for what was asked for.
fn retrieval(mut own: Json, search: &Search) -> Json {
    let usual = [
        ("search_method", json!("semantic_search")),
        ("reranking_enable", json!(false)),
        ("top_k", json!(search.top_k.max(1))),
        ("score_threshold_enabled", json!(false)),
    ];
    for (name, value) in usual {
        if own.get(name).is_none_or(Json::is_null) {
            own[name] = value;
        }
    }
    if search.top_k > 0 {
        // where the way is left to it, it looks as it is set, and what is asked for is a limit
        let set = own["top_k"].as_u64().filter(|_| search.method.is_none());
        let limit = u64::from(search.top_k);
        own["top_k"] = set.map_or(limit, |set| set.min(limit)).into();
    }
    if let Some(threshold) = search.score_threshold {
        own["score_threshold_enabled"] = true.into();
        own["score_threshold"] = threshold.into();
    }
    if let Some(method) = search.method {
        own["search_method"] = json!(method);
    }
    if let Some(filter) = &search.filter {
        own["metadata_filtering_conditions"] = filter.to_json();
    }
    own
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is 1 or more, and what is beyond is cut"
)]
fn whole(count: f64) -> u32 {
    count as u32
}
