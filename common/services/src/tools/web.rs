//! The way to servers that whoever runs this has named. What a workflow can choose goes another
//! way, where addresses are checked.

use std::time::Duration;

use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, Url, multipart};

use super::{ToolError, ToolErrorKind};
use crate::causes::causes;
use crate::outgoing::{self, retry_after, server_of};

/// The most that is read of an answer.
const MOST_BYTES: usize = 32 << 20;

/// Asks servers.
#[derive(Clone, Debug)]
pub(super) struct Web {
    client: Client,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    /// Bytes and their media type.
    Bytes(Vec<u8>, &'static str),
    /// A form in parts.
    Parts {
        fields: Vec<(String, String)>,
        files: Vec<Part>,
    },
}

/// A file in a form.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) filename: String,
    pub(super) mime_type: String,
    pub(super) bytes: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case, without parameters; empty if nothing was said.
    pub(super) media_type: String,
    pub(super) filename: Option<String>,
    pub(super) bytes: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
}

impl Web {
    /// A client. It reads nothing of the environment.
    pub(super) fn new() -> Result<Self, String> {
        outgoing::client().map(|client| Self { client })
    }

    #[cfg(feature = "mcp")]
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks, and reads the whole answer. Whoever calls limits the time.
    pub(super) async fn send(&self, ask: Ask) -> Result<Answer, ToolError> {
        let Ask { method, url, headers, content } = ask;
        let server = server_of(&url);
        let mut request = self.client.request(method, url).headers(headers);
        request = match content {
            Content::Nothing => request,
            Content::Bytes(bytes, media_type) => {
                // a header that was asked for stays
                let request = request.body(bytes);
                match request.try_clone().and_then(|copy| copy.build().ok()) {
                    Some(built) if built.headers().contains_key(CONTENT_TYPE) => request,
                    _ => request.header(CONTENT_TYPE, media_type),
                }
            }
            Content::Parts { fields, files } => request.multipart(form(fields, files)?),
        };
        let broken = |error: reqwest::Error| broken(&server, &error);
        let mut response = request.send().await.map_err(broken)?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            media_type: media_type(response.headers()),
            filename: filename(response.headers()),
            bytes: Vec::new(),
            retry_after: retry_after(response.headers()),
        };
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if answer.bytes.len() + chunk.len() > MOST_BYTES {
                let message = format!("{server} answered with more than {MOST_BYTES} bytes");
                return Err(ToolError::new(ToolErrorKind::TooLarge, message));
            }
            answer.bytes.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

impl Answer {
    /// The answer, unless it says that it is none; in Dify's words.
    pub(super) fn accepted(self) -> Result<Self, ToolError> {
        /// More of what a server complains of helps nobody.
        const MOST_CHARACTERS: usize = 2000;
        let kind = match self.status {
            300..400 => Some(ToolErrorKind::Failed),
            status => ToolErrorKind::of_status(status),
        };
        let Some(kind) = kind else { return Ok(self) };
        let text = String::from_utf8_lossy(&self.bytes);
        let text: String = text.chars().take(MOST_CHARACTERS).collect();
        let message = format!("Request failed with status code {} and {text}", self.status);
        Err(ToolError { retry_after: self.retry_after, ..ToolError::new(kind, message) })
    }
}

fn broken(server: &str, error: &reqwest::Error) -> ToolError {
    let why = causes(error);
    let kind = if error.is_timeout() {
        ToolErrorKind::Timeout
    } else if error.is_builder() {
        ToolErrorKind::Misconfigured
    } else {
        ToolErrorKind::Connection
    };
    ToolError::new(kind, format!("cannot ask {server}: {why}"))
}

fn form(fields: Vec<(String, String)>, files: Vec<Part>) -> Result<multipart::Form, ToolError> {
    let mut form = multipart::Form::new();
    for (name, value) in fields {
        form = form.text(name, value);
    }
    for Part { name, filename, mime_type, bytes } in files {
        let part = multipart::Part::bytes(bytes).file_name(filename);
        let part = part.mime_str(&mime_type).map_err(|_| {
            let message = format!("{mime_type:?} is no media type");
            ToolError::new(ToolErrorKind::Argument, message)
        })?;
        form = form.part(name, part);
    }
    Ok(form)
}

fn media_type(headers: &HeaderMap) -> String {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().to_lowercase()
}

fn filename(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let (_, name) = said.split_once("filename=")?;
    let name = name.split(';').next()?.trim().trim_matches('"');
    // a name is no path
    let name = name.rsplit(['/', '\\']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn names_of_files_are_no_paths() {
        let of = |said: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(said));
            filename(&headers)
        };
        assert_eq!(of("attachment; filename=\"a b.png\"; size=1").as_deref(), Some("a b.png"));
        assert_eq!(of("attachment; filename=../../x").as_deref(), Some("x"));
        assert_eq!(of("inline"), None);
    }
}
