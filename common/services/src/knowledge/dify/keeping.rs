//! A document that was cut already, given to a Dify server as text.
//!
//! Its API takes texts and cuts them itself, so each passage is told apart by a line that no passage
//! has, and the server is told to cut there. It cannot be given smaller pieces but those that line
//! ends make, and no pairs of question and answer: its model would write pairs of its own.

use flowmill_engine::value::Name;
use serde_json::{Value as Json, json};

use super::super::server::{some_text, text};
use super::super::{Cut, Indexed, Kept};

/// The most tokens that the server takes for one passage; it cuts longer ones.
const MOST_TOKENS: u32 = 4000;

/// How the server keeps documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Passages.
    Text,
    /// Passages with smaller pieces they are found by.
    Hierarchical,
}

impl Form {
    /// The form of a document, which must be that of the knowledge base if it has one.
    pub(super) fn of(document: &Kept, kept_as: &str) -> Result<Self, String> {
        if document.passages.iter().any(|cut| cut.answer.is_some()) {
            return Err("its API takes no pairs of question and answer; keep them in a knowledge \
                        base of the built-in store (store = \"NAME\")"
                .to_owned());
        }
        if !document.metadata.is_empty() {
            return Err("metadata of documents cannot be given to it from here".to_owned());
        }
        let form = if document.passages.iter().any(|cut| !cut.children.is_empty()) {
            Self::Hierarchical
        } else {
            Self::Text
        };
        if !kept_as.is_empty() && kept_as != form.name() {
            return Err(format!(
                "the knowledge base keeps documents as {kept_as}, and these passages are {}; choose that \
                 chunk structure in the document",
                form.name()
            ));
        }
        Ok(form)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text_model",
            Self::Hierarchical => "hierarchical_model",
        }
    }

    /// What is sent. `technique` is how the knowledge base indexes, where it says so.
    pub(super) fn body(self, document: &Kept, technique: Option<&str>) -> Result<Json, String> {
        if self == Self::Hierarchical {
            document.passages.iter().try_for_each(check_lines)?;
        }
        let separator = separator(&document.passages);
        let contents: Vec<&str> = document.passages.iter().map(|cut| &*cut.content).collect();
        let mut rules = json!({
            "pre_processing_rules": [
                {"id": "remove_extra_spaces", "enabled": false},
                {"id": "remove_urls_emails", "enabled": false},
            ],
            "segmentation": {
                "separator": separator,
                "max_tokens": MOST_TOKENS,
                "chunk_overlap": 0,
            },
        });
        let mode = match self {
            Self::Text => "custom",
            Self::Hierarchical => {
                rules["parent_mode"] = "paragraph".into();
                rules["subchunk_segmentation"] =
                    json!({"separator": "\n", "max_tokens": MOST_TOKENS, "chunk_overlap": 0});
                "hierarchical"
            }
        };
        Ok(json!({
            "name": &*document.name,
            "text": contents.join(&separator),
            "indexing_technique": technique.unwrap_or("high_quality"),
            "doc_form": self.name(),
            "process_rule": {"mode": mode, "rules": rules},
        }))
    }
}

/// A line between passages that none of them has.
fn separator(passages: &[Cut]) -> String {
    let mut line = "~~~ next passage ~~~".to_owned();
    while passages.iter().any(|cut| cut.content.contains(&line)) {
        line.insert(0, '~');
        line.push('~');
    }
    format!("\n{line}\n")
}

/// Whether the smaller pieces of a passage are its lines.
fn check_lines(cut: &Cut) -> Result<(), String> {
    let said = |text: &str| !text.trim().is_empty();
    let lines = cut.content.lines().filter(|line| said(line)).map(str::trim);
    let pieces = cut.children.iter().filter(|piece| said(piece)).map(|piece| piece.trim());
    if lines.eq(pieces) {
        return Ok(());
    }
    Err("its API cuts passages into smaller pieces at line ends only, and these are cut elsewhere; \
         have the chunker cut smaller pieces at \"\\n\", or keep them in a knowledge base of the \
         built-in store (store = \"NAME\")"
        .to_owned())
}

/// What the server kept; None when it does not say which document.
pub(super) fn indexed(answer: &Json, (base, base_name): (&str, &Name)) -> Option<Indexed> {
    let document = answer.get("document")?;
    let status = some_text(document, "display_status");
    Some(Indexed {
        base: base.into(),
        base_name: base_name.clone(),
        document: some_text(document, "id")?,
        document_name: text(document, "name"),
        batch: text(answer, "batch"),
        created_at: document.get("created_at").and_then(Json::as_i64).unwrap_or_default(),
        display_status: status.unwrap_or_else(|| "indexing".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(passages: &[(&str, &[&str])]) -> Kept {
        let cut = |(content, children): &(&str, &[&str])| Cut {
            content: (*content).into(),
            answer: None,
            children: children.iter().map(|child| (*child).into()).collect(),
        };
        let passages = passages.iter().map(cut).collect();
        Kept { name: "d".into(), passages, ..Kept::default() }
    }

    fn sent(document: &Kept, kept_as: &str) -> Result<Json, String> {
        Form::of(document, kept_as)?.body(document, None)
    }

    #[test]
    fn passages_are_told_apart_by_a_line_that_none_has() {
        let sent = sent(&document(&[("a\n~~~ next passage ~~~\nb", &[]), ("c", &[])]), "").unwrap();
        let line = "\n~~~~ next passage ~~~~\n";
        assert_eq!(sent["text"], format!("a\n~~~ next passage ~~~\nb{line}c"));
        assert_eq!(sent["process_rule"]["rules"]["segmentation"]["separator"], line);
        assert_eq!(
            (&sent["doc_form"], &sent["process_rule"]["mode"]),
            (&json!("text_model"), &json!("custom"))
        );
    }

    #[test]
    fn smaller_pieces_must_be_lines() {
        let lines = document(&[("one\ntwo", &["one", "two"])]);
        let sent_lines = sent(&lines, "hierarchical_model").unwrap();
        assert_eq!(sent_lines["process_rule"]["rules"]["subchunk_segmentation"]["separator"], "\n");
        let words = document(&[("one two", &["one", "two"])]);
        assert!(sent(&words, "").unwrap_err().contains("at line ends only"));
        assert!(sent(&lines, "text_model").unwrap_err().contains("keeps documents as text_model"));
    }

    #[test]
    fn what_the_api_cannot_take_is_refused() {
        let mut pairs = document(&[("why?", &[])]);
        pairs.passages[0].answer = Some("because".into());
        assert!(sent(&pairs, "").unwrap_err().contains("no pairs of question and answer"));
        let mut known = document(&[("x", &[])]);
        known.metadata.insert("a".into(), "b".into());
        assert!(sent(&known, "").unwrap_err().contains("metadata"));
    }
}
