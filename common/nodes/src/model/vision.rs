//! The files that a model sees (spec/nodes.md §5.1).

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::value::{File, Kind, Value};
use flowmill_engine::variables::{Selector, Variable, Variables};
use flowmill_services::models::{Detail, Known, Media, MediaKind, Part, Source};

use super::failed;
use crate::context::NodeContext;

const DETAILS: &[&str] = &["low", "high"];
/// Where files are when the document does not say.
const FILES: &str = "sys.files";
/// The most bytes of one file that go into a prompt.
const MAX_BYTES: u64 = 20 << 20;

/// `vision`: whether a node's model sees files, and which.
#[derive(Debug)]
pub(crate) struct Vision {
    /// Where the files are, if it is on.
    files: Option<Selector>,
    /// How closely images are looked at.
    pub(crate) detail: Detail,
}

impl Vision {
    /// Reads `vision`; absent is off.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Self {
        let off = Self { files: None, detail: Detail::High };
        if fields.get("vision").is_none() {
            return off;
        }
        let read = fields.mapping("vision", |fields| {
            let enabled = fields.flag("enabled", false);
            let configs = fields.mapping_opt("configs", |fields| {
                let detail = match fields.one_of_or("detail", DETAILS, "high") {
                    "low" => Detail::Low,
                    _ => Detail::High,
                };
                let files = fields.get("variable_selector").is_some();
                (detail, files.then(|| fields.selector("variable_selector")))
            });
            let (detail, files) = configs.unwrap_or_default();
            let files = files.unwrap_or_else(|| Selector::from_dotted(FILES));
            Self { files: enabled.then_some(files), detail }
        });
        read.unwrap_or(off)
    }

    /// What it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = Selector> + '_ {
        self.files.iter().cloned()
    }

    /// Its files as parts of a message; none when it is off.
    pub(crate) async fn parts(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Vec<Part>, NodeError> {
        let Some(selector) = &self.files else { return Ok(Vec::new()) };
        let Some(found) = variables.get(selector.parts()) else { return Ok(Vec::new()) };
        let mut parts = Vec::new();
        for file in files_of(&found)? {
            parts.push(part(file, self.detail, context).await?);
        }
        Ok(parts)
    }
}

/// The files in a variable that is looked at.
fn files_of(found: &Variable) -> Result<Vec<&File>, NodeError> {
    match (found.kind, found.value()) {
        (_, Value::File(file)) => Ok(vec![file]),
        (Kind::ArrayFile, Value::Array(items)) => Ok(files_in(items)),
        (Kind::None | Kind::ArrayAny | Kind::ArrayFile, _) => Ok(Vec::new()),
        (kind, _) => {
            let message = format!("Invalid variable type: {}", kind.name());
            Err(failed("InvalidVariableTypeError", message))
        }
    }
}

fn files_in(items: &[Value]) -> Vec<&File> {
    let mut files = Vec::new();
    for item in items {
        if let Value::File(file) = item {
            files.push(&**file);
        }
    }
    files
}

/// The files that a text's reference stands for, of the kinds that models take.
pub(super) fn files_referred(found: &Variable) -> Vec<&File> {
    let files = match found.value() {
        Value::File(file) => vec![&**file],
        Value::Array(items) if found.kind == Kind::ArrayFile => files_in(items),
        _ => Vec::new(),
    };
    files.into_iter().filter(|file| kind_of(file).is_some()).collect()
}

fn kind_of(file: &File) -> Option<MediaKind> {
    Some(match &*file.kind {
        "image" => MediaKind::Image,
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        "document" => MediaKind::Document,
        _ => return None,
    })
}

/// A file as a part of a message, with its content.
pub(super) async fn part(
    file: &File,
    detail: Detail,
    context: &NodeContext,
) -> Result<Part, NodeError> {
    if file.extension.as_deref().is_none_or(str::is_empty) {
        return Err(failed("ValueError", "Missing file extension"));
    }
    let Some(mime_type) = file.mime_type.clone().filter(|kind| !kind.is_empty()) else {
        return Err(failed("ValueError", "Missing file mime_type"));
    };
    let Some(kind) = kind_of(file) else {
        let name = file.filename.as_deref().unwrap_or_default();
        let text = format!("[Unsupported file type: {name} ({})]", file.kind);
        return Ok(Part::Text(text.into()));
    };
    let content = context.open(file, MAX_BYTES).await.map_err(|error| {
        let message = format!("the file for the model cannot be read: {error}");
        failed("ValueError", message).with_class(error.class())
    })?;
    let source = Source::Bytes(Arc::from(content));
    Ok(Part::Media(Media { kind, mime_type, name: file.filename.clone(), source, detail }))
}

/// Whether a model takes such a part; others are dropped from its prompt.
pub(super) fn is_taken(part: &Part, known: &Known) -> bool {
    match part {
        Part::Text(_) => true,
        Part::Media(media) => match media.kind {
            MediaKind::Image => known.images,
            MediaKind::Audio => known.audio,
            MediaKind::Video => known.video,
            MediaKind::Document => known.documents,
        },
    }
}
