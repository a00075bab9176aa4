//! What a server answers, as Dify takes it.

use base64::Engine as _;
use flowmill_engine::value::{Value, loads};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

use super::super::{Message, OnMessage, ToolError, ToolErrorKind};

/// Hands an answer on, or says why it is none.
pub(super) fn hand_on(answer: CallToolResult, on_message: OnMessage<'_>) -> Result<(), ToolError> {
    if answer.is_error == Some(true) {
        return Err(refused(&answer));
    }
    for content in answer.content {
        for message in messages(content)? {
            on_message(message);
        }
    }
    if let Some(serde_json::Value::Object(members)) = answer.structured_content {
        for (name, value) in members {
            let value = Value::from_json(value);
            on_message(Message::Variable { name: name.into(), value, streams: false });
        }
    }
    Ok(())
}

fn refused(answer: &CallToolResult) -> ToolError {
    let texts = answer.content.iter().filter_map(|content| match content {
        ContentBlock::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    let text =
        if text.is_empty() { "the tool failed and does not say why".to_owned() } else { text };
    ToolError::new(ToolErrorKind::Failed, text)
}

fn messages(content: ContentBlock) -> Result<Vec<Message>, ToolError> {
    Ok(match content {
        ContentBlock::Text(text) => of_text(&text.text),
        ContentBlock::Image(image) => vec![blob(&image.data, Some(&image.mime_type), None)?],
        ContentBlock::Audio(audio) => vec![blob(&audio.data, Some(&audio.mime_type), None)?],
        ContentBlock::Resource(held) => match held.resource {
            ResourceContents::TextResourceContents { text, .. } => vec![Message::text(text)],
            ResourceContents::BlobResourceContents { uri, mime_type, blob: data, .. } => {
                let name = uri.rsplit('/').next().filter(|name| !name.is_empty());
                vec![blob(&data, mime_type.as_deref(), name)?]
            }
            // kinds that later versions may bring
            _ => Vec::new(),
        },
        ContentBlock::ResourceLink(link) => vec![Message::Link(link.uri.as_str().into())],
        // kinds that later versions may bring
        _ => Vec::new(),
    })
}

/// Text that is JSON is said as JSON: an object, or each of a list of objects.
fn of_text(text: &str) -> Vec<Message> {
    let trimmed = text.trim();
    let looks_like_json = trimmed.starts_with(['{', '[']) && trimmed.ends_with(['}', ']']);
    match loads(trimmed).ok().filter(|_| looks_like_json) {
        Some(value @ Value::Object(_)) => vec![Message::Json(value)],
        Some(Value::Array(items)) if items.iter().all(|item| matches!(item, Value::Object(_))) => {
            items.iter().cloned().map(Message::Json).collect()
        }
        Some(list @ Value::Array(_)) => vec![Message::text(list.to_python())],
        _ => vec![Message::text(text)],
    }
}

fn blob(data: &str, mime_type: Option<&str>, name: Option<&str>) -> Result<Message, ToolError> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(data);
    let bytes = decoded.map_err(|error| {
        ToolError::new(
            ToolErrorKind::Failed,
            format!("the server sent content that is no base64: {error}"),
        )
    })?;
    Ok(Message::Blob {
        bytes: bytes.into(),
        mime_type: mime_type.map(Into::into),
        name: name.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn said(answer: &str) -> (Vec<Message>, Option<ToolError>) {
        let said = Mutex::new(Vec::new());
        let answer = serde_json::from_str(answer).unwrap();
        let error = hand_on(answer, &|message| said.lock().unwrap().push(message)).err();
        (said.into_inner().unwrap(), error)
    }

    #[test]
    fn answers_are_taken_as_in_dify() {
        let (found, error) = said(
            r#"{"content": [
                {"type": "text", "text": "hi"},
                {"type": "text", "text": " {\"a\": 1} "},
                {"type": "text", "text": "[{\"b\": 1}, {\"b\": 2}]"},
                {"type": "text", "text": "[1, null]"},
                {"type": "text", "text": "{no"},
                {"type": "image", "data": "YWI=", "mimeType": "image/png"},
                {"type": "resource", "resource": {"uri": "file:///x/y.bin", "blob": "YQ=="}},
                {"type": "resource_link", "uri": "https://h/x", "name": "x"}],
               "structuredContent": {"n": 2}}"#,
        );
        assert_eq!(error, None);
        let blob = |bytes: &[u8], mime_type: Option<&str>, name: Option<&str>| Message::Blob {
            bytes: bytes.into(),
            mime_type: mime_type.map(Into::into),
            name: name.map(Into::into),
        };
        let json = |text: &str| Message::Json(loads(text).unwrap());
        assert_eq!(
            found,
            [
                Message::text("hi"),
                json(r#"{"a": 1}"#),
                json(r#"{"b": 1}"#),
                json(r#"{"b": 2}"#),
                Message::text("[1, None]"),
                Message::text("{no"),
                blob(b"ab", Some("image/png"), None),
                blob(b"a", None, Some("y.bin")),
                Message::Link("https://h/x".into()),
                Message::Variable { name: "n".into(), value: Value::int(2), streams: false },
            ]
        );
        let failed = r#"{"content": [{"type": "text", "text": "no such city"}], "isError": true}"#;
        let (found, error) = said(failed);
        assert_eq!(&*error.unwrap().message, "no such city");
        assert!(found.is_empty());
    }
}
