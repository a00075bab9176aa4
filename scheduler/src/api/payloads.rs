//! `GET /api/v1/runs/{id}/payloads/{digest}`: a large value of a run, as JSON.
//!
//! What other answers hide is not to be had here either: a payload that holds a secret of its run is
//! refused whole, because a part of it could not be told apart from the rest.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use flowmill_engine::value::Name;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::payloads::{Digest, Owner};
use flowmill_infra::seal::is_sealed;
use flowmill_workflow::redact::Secrets;

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::pieces::{Content, PIECE};
use super::problem::{Code, Problem};
use super::runs::find;

/// How many payloads are known to hold a secret, or none.
const KNOWN: usize = 4096;

/// Of which payloads it is known whether they hold a secret of their run.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<BTreeMap<(Name, Digest), bool>>);

impl Looked {
    fn at(&self, key: &(Name, Digest)) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn keep(&self, key: (Name, Digest), is_secret: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key, is_secret);
    }
}

/// A payload of a run, or a range of it.
pub(super) async fn show<S: Intake + Contents>(
    api: Session<Api<S>>,
    Path((run, digest)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    let run = Name::from(run);
    find(&api, &run).await?;
    let digest = digest.parse().map_err(|error| {
        let detail = format!("there is no payload {digest:?}: {error}");
        Problem::new(Code::PayloadNotFound, detail)
    })?;
    let (payloads, owner) = (api.store.content(), Owner::Run(run.clone()));
    let content = Content { payloads, owner, digest };
    if is_secret(&api, &run, &content).await? {
        let detail = "it holds the value of a secret variable; outputs of the run itself are whole \
                      with `values=whole`, as far as that goes";
        return Err(Problem::new(Code::PayloadHidden, detail));
    }
    content.answer(&headers, "application/json").await
}

/// Whether a payload holds a secret of its run, or is one.
async fn is_secret<S: Contents>(
    api: &Session<Api<S>>,
    run: &Name,
    content: &Content,
) -> Result<bool, Problem> {
    let key = (run.clone(), content.digest);
    if let Some(known) = api.looked.at(&key) {
        return Ok(known);
    }
    let begun = api.store.secrets(&api.tenant, run).await?;
    let secrets = Secrets::among(begun.iter().flatten());
    let found = holds(content, &secrets).await?;
    // before a run begins it is not known what its secrets are
    if begun.is_some() {
        api.looked.keep(key, found);
    }
    Ok(found)
}

/// Looks through a payload, a piece at a time; of one without secrets only at its beginning.
async fn holds(content: &Content, secrets: &Secrets) -> Result<bool, Problem> {
    let total = content.total().await?;
    // a secret may lie across the end of a piece
    let overlap = secrets.reach().saturating_sub(1);
    let mut seen: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < total {
        let piece = content.piece(at..total.min(at + PIECE)).await?;
        if piece.is_empty() {
            break;
        }
        if at == 0 && is_sealed(String::from_utf8_lossy(&piece).trim_start_matches('"')) {
            return Ok(true);
        }
        if secrets.is_empty() {
            return Ok(false);
        }
        at += piece.len() as u64;
        seen.extend(piece);
        // what is cut within a letter is whole with the next piece
        if secrets.are_in(&String::from_utf8_lossy(&seen)) {
            return Ok(true);
        }
        seen.drain(..seen.len().saturating_sub(overlap));
    }
    Ok(false)
}
