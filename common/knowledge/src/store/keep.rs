//! How a document comes into a base: written, then given vectors a part at a time, then found.
//!
//! Whoever is cut off on the way, or is refused by the model, begins again with the same call: what
//! has a vector keeps it, and no text of a base is paid for twice.

use std::fmt::Write as _;

use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{Cut, Indexed, Kept, KnowledgeError, KnowledgeErrorKind};
use futures::future::join_all;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Answer, Base, Model, Store, damaged, refused, trouble};
use crate::score::unit;
use crate::shelf::{Begun, Draft, DraftPiece, DraftSegment, Lacking};
use crate::words;

/// The most passages of a document.
const MOST_PASSAGES: usize = 50_000;

/// The most bytes of all passages of a document.
const MOST_BYTES: usize = 64 << 20;

/// The most bytes of one passage, or of a smaller piece of it.
const MOST_PASSAGE: usize = 128 << 10;

/// The most bytes of what is known of a document.
const MOST_METADATA: usize = 64 << 10;

/// Texts that a model is given at once.
const BATCH: usize = 32;

/// Calls at a time. How many a provider allows is the matter of its limits.
const CALLS: usize = 4;

/// Keeps a document.
pub(super) async fn keep(
    store: &Store,
    base: &str,
    document: Kept,
    caller: &Caller,
) -> Answer<Indexed> {
    let base = store.base(&caller.tenant, base).await?;
    let draft = draft(&base, document)?;
    let Begun { document, is_done } = store.shelf.begin(base.key, &draft).await.map_err(trouble)?;
    if !is_done {
        if let Some(model) = &base.settings.embedding {
            fill(store, model, document.key, caller).await?;
        }
        if !store.shelf.finish(document.key).await.map_err(trouble)? {
            let message = format!(
                "the document {} was given another content, or was removed, while it was being kept",
                document.name
            );
            return Err(KnowledgeError::new(KnowledgeErrorKind::Unavailable, message));
        }
    }
    Ok(Indexed {
        base: base.id,
        base_name: base.name,
        batch: document.id.clone(),
        document: document.id,
        document_name: document.name,
        created_at: document.created_at,
        display_status: "available".into(),
    })
}

/// Gives all pieces of a document their vectors.
async fn fill(store: &Store, model: &Model, document: i64, caller: &Caller) -> Answer<()> {
    loop {
        let lacking = store.shelf.lacking(document, BATCH * CALLS).await.map_err(trouble)?;
        if lacking.is_empty() {
            return Ok(());
        }
        // each is kept as soon as it is there, and one that fails cuts no other, as all are paid for
        let parts = lacking.chunks(BATCH).map(async |texts| {
            let vectors = vectors(store, model, texts, caller).await?;
            store.shelf.save(document, &vectors).await.map_err(trouble)
        });
        join_all(parts).await.into_iter().collect::<Answer<()>>()?;
    }
}

async fn vectors(
    store: &Store,
    model: &Model,
    texts: &[Lacking],
    caller: &Caller,
) -> Answer<Vec<(String, Vec<f32>)>> {
    let contents = texts.iter().map(|text| text.content.clone()).collect();
    let answer = store.models.embed(&model.wanted(), contents, caller).await?;
    if answer.vectors.len() != texts.len() {
        let (got, asked) = (answer.vectors.len(), texts.len());
        return Err(damaged(format!("{model} gave {got} vectors for {asked} texts")));
    }
    let pair = |(text, vector): (&Lacking, Vec<f32>)| {
        let vector = unit(&vector)
            .ok_or_else(|| damaged(format!("{model} gave a vector without a direction")))?;
        Ok((text.hash.clone(), vector))
    };
    texts.iter().zip(answer.vectors).map(pair).collect()
}

/// A document as the shelf takes it.
fn draft(base: &Base, document: Kept) -> Answer<Draft> {
    let Kept { id, name, metadata, passages } = document;
    let passages: Vec<Cut> =
        passages.into_iter().filter(|passage| !passage.content.trim().is_empty()).collect();
    if passages.is_empty() {
        return Err(refused(format!("the document {name} has no text that could be kept")));
    }
    let parts = |cut: &Cut| 1 + cut.children.len();
    let bytes = |cut: &Cut| {
        let answer = cut.answer.as_ref().map_or(0, |answer| answer.len());
        cut.content.len() + answer + cut.children.iter().map(|child| child.len()).sum::<usize>()
    };
    if passages.iter().map(parts).sum::<usize>() > MOST_PASSAGES
        || passages.iter().map(bytes).sum::<usize>() > MOST_BYTES
    {
        return Err(refused(format!(
            "the document {name} is too large: it may have {MOST_PASSAGES} passages and {} MiB of \
             text; cut it into several",
            MOST_BYTES >> 20
        )));
    }
    let texts = |cut: &Cut| {
        let rest = cut.answer.iter().chain(&cut.children).cloned().collect::<Vec<_>>();
        std::iter::once(cut.content.clone()).chain(rest)
    };
    if passages.iter().flat_map(texts).any(|text| text.len() > MOST_PASSAGE) {
        return Err(refused(format!(
            "a passage of the document {name} is larger than {} KiB; cut it into several",
            MOST_PASSAGE >> 10
        )));
    }
    let metadata = dumps(&Value::object(metadata), Style::Compact);
    if metadata.len() > MOST_METADATA {
        return Err(refused(format!(
            "more is known of the document {name} than the {} KiB that are kept",
            MOST_METADATA >> 10
        )));
    }
    let name: Name = if name.trim().is_empty() { "untitled".into() } else { name };
    let model = base.settings.embedding.as_ref().map(ToString::to_string).unwrap_or_default();
    let hash = content_hash(&name, &metadata, &passages);
    let segments = passages.into_iter().map(|passage| segment(&model, passage)).collect();
    Ok(Draft { id, name, metadata, hash, segments })
}

fn segment(model: &str, passage: Cut) -> DraftSegment {
    let Cut { content, answer, children } = passage;
    let piece = |position: i64, content: Name, words: &str| DraftPiece {
        id: Uuid::now_v7().to_string(),
        position,
        hash: digest(&[model, &content]),
        words: words::of_text(words),
        content,
    };
    let mut pieces: Vec<DraftPiece> = (1..)
        .zip(children)
        .filter(|(_, child)| !child.trim().is_empty())
        .map(|(position, child)| piece(position, child.clone(), &child))
        .collect();
    if pieces.is_empty() {
        // a pair is found by the words of its answer as well
        let all = format!("{content}\n{}", answer.as_deref().unwrap_or_default());
        pieces.push(piece(0, content.clone(), &all));
    }
    let hash = digest(&[&content, answer.as_deref().unwrap_or_default()]);
    DraftSegment { id: Uuid::now_v7().to_string(), content, answer, hash, pieces }
}

fn content_hash(name: &str, metadata: &str, passages: &[Cut]) -> String {
    let mut parts = vec![name, metadata];
    for Cut { content, answer, children } in passages {
        parts.extend([&**content, answer.as_deref().unwrap_or_default()]);
        parts.extend(children.iter().map(|child| &**child));
        parts.push("");
    }
    digest(&parts)
}

/// What tells these texts from others.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // with its length, so that no text can pass for two
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // writing to a string cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_where_one_text_ends() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["ab"]).len(), 64);
    }
}
