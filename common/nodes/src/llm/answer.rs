//! What becomes of a model's answer: its text while it comes, and the node's outputs.

use std::sync::{Mutex, PoisonError};

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Kind, Value};
use flowmill_engine::variables::Variable;
use flowmill_services::models::{Media, MediaKind, Piece, Reply, Source};

use super::structured;
use crate::context::NodeContext;
use crate::files::REMOTE_URL;
use crate::model::{ThoughtFilter, split, usage};

/// What stands around thoughts that a provider tells apart, as Dify writes them into the text.
const THINK: &str = "<think>\n";
const THOUGHT: &str = "\n</think>";

/// The text as others see it while it comes.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    context: &'a NodeContext,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    is_thinking: bool,
    /// Takes thoughts out, where they do not belong to the text.
    filter: Option<ThoughtFilter>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(is_separated: bool, context: &'a NodeContext) -> Self {
        let filter = is_separated.then(ThoughtFilter::default);
        Self { context, state: Mutex::new(State { is_thinking: false, filter }) }
    }

    /// Shows a piece.
    pub(super) fn piece(&self, piece: Piece<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, text, thinks) = match (piece, state.is_thinking) {
            (Piece::Thought(text), false) => (THINK, text, true),
            (Piece::Thought(text), true) => ("", text, true),
            (Piece::Text(text), true) => (THOUGHT, text, false),
            (Piece::Text(text), false) => ("", text, false),
        };
        state.is_thinking = thinks;
        for text in [before, text].into_iter().filter(|text| !text.is_empty()) {
            match &mut state.filter {
                Some(filter) => self.show(&filter.feed(text)),
                None => self.show(text),
            }
        }
    }

    /// Shows what was held back.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.filter.as_mut().map(ThoughtFilter::finish);
        match held {
            Some(held) => self.show(&held),
            None if state.is_thinking => self.show(THOUGHT),
            None => {}
        }
    }

    fn show(&self, text: &str) {
        if !text.is_empty() {
            self.context.chunk("text", text);
        }
    }
}

/// The node's outputs.
pub(super) async fn success(
    reply: Reply,
    is_separated: bool,
    is_structured: bool,
    context: &NodeContext,
) -> Result<Success, NodeError> {
    let Reply { text, thoughts, media, finish_reason, usage: took, .. } = reply;
    let mut whole =
        if thoughts.is_empty() { text } else { [THINK, &thoughts, THOUGHT, &text].concat() };
    let mut files = Vec::with_capacity(media.len());
    for media in media {
        let file = kept(media, context).await?;
        let shown = markdown(&file);
        context.chunk("text", &shown);
        whole.push_str(&shown);
        files.push(file);
    }
    let structured = if is_structured { Some(structured::object(&whole)?) } else { None };
    let (text, thoughts) = if is_separated { split(&whole) } else { (whole, String::new()) };
    let mut success = Success::of([
        ("text".into(), Value::from(text)),
        ("reasoning_content".into(), Value::from(thoughts)),
        ("usage".into(), usage(&took)),
        ("finish_reason".into(), finish_reason.map_or(Value::None, Value::Str)),
    ]);
    let mut add = |name: &str, variable| success.outputs.push((name.into(), variable));
    if let Some(object) = structured {
        add("structured_output", Variable::infer(object));
    }
    if !files.is_empty() {
        let files = files.into_iter().map(|file| Value::File(file.into())).collect();
        add("files", Variable::typed(Kind::ArrayFile, Value::array(files)));
    }
    Ok(success)
}

/// What a model made, as a file.
async fn kept(media: Media, context: &NodeContext) -> Result<File, NodeError> {
    let (kind, extension) = match media.kind {
        MediaKind::Image => ("image", ".png"),
        MediaKind::Audio => ("audio", ".mp3"),
        MediaKind::Video => ("video", ".mp4"),
        MediaKind::Document => ("document", ".bin"),
    };
    let about = File {
        kind: kind.into(),
        transfer_method: "tool_file".into(),
        filename: media.name,
        extension: Some(extension.into()),
        mime_type: Some(media.mime_type),
        ..File::default()
    };
    match media.source {
        Source::Bytes(content) => context.keep(content.to_vec(), about).await,
        Source::Url(url) => Ok(File {
            transfer_method: REMOTE_URL.into(),
            remote_url: Some(url.clone()),
            url: Some(url),
            size_bytes: -1,
            ..about
        }),
    }
}

fn markdown(file: &File) -> String {
    let url = file.url.as_deref().unwrap_or_default();
    match &*file.kind {
        "image" => format!("![]({url})"),
        _ => format!("[{}]({url})", file.filename.as_deref().unwrap_or(url)),
    }
}
