//! Knowledge bases behind Dify's External Knowledge API: one question, one list of records.

use flowmill_engine::value::{Object, Value};
use reqwest::{Client, Method};
use serde_json::{Value as Json, json};

use super::config::ExternalPlace;
use super::server::{Server, kind_of, not_set, number, some_text, text};
use super::{About, Document, KnowledgeError, KnowledgeErrorKind, Passage, Search};
use crate::secret::Credential;

/// The protocol's own words for what went wrong.
const BAD_AUTHORIZATION: [i64; 2] = [1001, 1002];
const NO_SUCH_BASE: i64 = 2001;

/// A knowledge base behind the External Knowledge API.
#[derive(Debug)]
pub(super) struct External {
    server: Server,
    knowledge_id: Credential,
}

impl External {
    pub(super) fn new(place: &ExternalPlace, client: Client) -> Self {
        let (url, key) = (place.url.clone(), place.key.clone());
        let server = Server::new("the External Knowledge API", client, url, key);
        Self { server, knowledge_id: place.knowledge_id.clone() }
    }

    /// Whom it asks, for people.
    pub(super) fn shown(&self) -> String {
        match self.knowledge_id.expose() {
            Some(id) => format!("{}, knowledge {id}", self.server.shown()),
            None => self.server.shown(),
        }
    }

    /// Which variable of the environment it needs and lacks, if any.
    pub(super) fn lacks(&self) -> Option<String> {
        let own = match &self.knowledge_id {
            Credential::Missing(name) => Some(not_set("knowledge_id", name)),
            Credential::None | Credential::Given(_) => None,
        };
        self.server.lacks().or(own)
    }

    /// The protocol says nothing of a knowledge base but its id.
    pub(super) fn about(&self) -> Result<About, KnowledgeError> {
        let id = self.id()?;
        Ok(About { id: id.into(), name: id.into(), ..About::default() })
    }

    pub(super) async fn search(&self, search: &Search) -> Result<Vec<Passage>, KnowledgeError> {
        // it takes texts only
        if search.query.is_empty() {
            return Ok(Vec::new());
        }
        let mut body = json!({
            "knowledge_id": self.id()?,
            "query": &*search.query,
            "retrieval_setting": {
                "top_k": search.top_k,
                "score_threshold": search.score_threshold.unwrap_or(0.0),
            },
        });
        if let Some(filter) = &search.filter {
            body["metadata_condition"] = filter.to_json();
        }
        let answer = self.server.ask(Method::POST, &["retrieval"], Some(&body)).await?;
        if let Some(code) = answer.json.get("error_code").and_then(code).filter(|code| *code != 0) {
            return Err(self.server.refusal(told(code, answer.status), &answer));
        }
        let answer = self.server.accepted(answer)?;
        let Some(records) = answer.get("records") else {
            let why = "its answer has no records";
            return Err(self.server.failure(KnowledgeErrorKind::BadAnswer, why));
        };
        Ok(records.as_array().into_iter().flatten().filter_map(passage).collect())
    }

    /// The protocol looks up, and no more.
    pub(super) fn keeps_nothing(&self) -> KnowledgeError {
        let why = "the protocol has no way to give it documents; bind a knowledge base of the built-in \
                   store (store = \"NAME\") or of a Dify server ([knowledge.dify])";
        self.server.failure(KnowledgeErrorKind::Refused, why)
    }

    fn id(&self) -> Result<&str, KnowledgeError> {
        self.knowledge_id.expose().ok_or_else(|| {
            let lacks = self.lacks().unwrap_or_else(|| "knowledge_id is empty".to_owned());
            KnowledgeError::new(KnowledgeErrorKind::Misconfigured, lacks)
        })
    }
}

/// A record as a passage; None where it has no text.
pub(super) fn passage(record: &Json) -> Option<Passage> {
    let content = record.get("content")?.as_str()?;
    let title = some_text(record, "title");
    let metadata = match record.get("metadata").cloned().map(Value::from_json) {
        Some(Value::Object(members)) => members.as_ref().clone(),
        _ => Object::default(),
    };
    let id = match metadata.get("document_id").filter(|id| !id.is_falsy()) {
        Some(id) => id.to_python().into(),
        None => title.clone().unwrap_or_default(),
    };
    Some(Passage {
        content: content.into(),
        score: record.get("score").and_then(number),
        document: Document {
            id,
            name: text(record, "title"),
            source: "external".into(),
            metadata: None,
        },
        title,
        metadata,
        ..Passage::default()
    })
}

fn code(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_str()?.parse().ok())
}

/// What went wrong, in the protocol's own words or by the status of the answer.
fn told(code: i64, status: u16) -> KnowledgeErrorKind {
    match code {
        NO_SUCH_BASE => KnowledgeErrorKind::NoBase,
        code if BAD_AUTHORIZATION.contains(&code) => KnowledgeErrorKind::Unauthorized,
        _ => kind_of(status).unwrap_or(KnowledgeErrorKind::Refused),
    }
}
