//! What a node makes of an answer (spec/nodes.md §4.2 "Response").

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Kind, Name, Value};
use flowmill_engine::variables::Variable;

use super::charset;
use super::client::{Limits, Response};
use super::mime::{guess_extension, guess_type, parameter, parameters};

/// How much of an answer is looked at to see whether it is text.
const SAMPLE_BYTES: usize = 1024;

/// What text that programs read tends to hold.
const TEXT_MARKERS: [&str; 7] = ["{", "[", "<", "function", "var ", "const ", "let "];

/// Parts of names of `application/` types that are text.
const TEXT_TYPES: [&str; 6] =
    ["json", "xml", "javascript", "x-www-form-urlencoded", "yaml", "graphql"];

/// What is known of the content if it is a file; it is to be kept then. Too large an answer is an
/// error.
pub(super) fn download(
    response: &Response,
    url: &str,
    limits: Limits,
) -> Result<Option<File>, NodeError> {
    let is_file = is_file(response);
    check_size(response, is_file, limits)?;
    Ok(is_file.then(|| file(response, url)))
}

/// The node's result; `kept` is the file that its content became.
pub(super) fn read(
    response: &Response,
    kept: Option<File>,
    fails_on_status: bool,
) -> Result<Success, NodeError> {
    let status = response.status;
    let (body, files) = if let Some(file) = kept {
        (String::new(), vec![Value::File(Arc::new(file))])
    } else {
        let content_type = header(response, "content-type").unwrap_or_default();
        // Python gives up on a name of a charset that is not ASCII
        let charset = parameter(content_type, "charset").filter(|charset| charset.is_ascii());
        (charset::decode(&response.body, charset.as_deref()), Vec::new())
    };
    let headers =
        response.headers.iter().map(|(name, value)| (Name::from(&**name), Value::from(&**value)));
    let outputs = vec![
        ("status_code".into(), Variable::infer(Value::int(status.into()))),
        ("body".into(), Variable::infer(Value::from(body))),
        ("headers".into(), Variable::infer(Value::object(headers))),
        ("files".into(), Variable::typed(Kind::ArrayFile, Value::array(files))),
    ];
    if fails_on_status && !(200..300).contains(&status) {
        let message = format!("Request failed with status code {status}");
        let error = NodeError::new("HTTPResponseCodeError", message)
            .with_class(class_of(status))
            .with_retry_after(retry_after(response));
        return Err(NodeError { outputs, ..error });
    }
    Ok(Success { outputs, ..Success::default() })
}

/// How long a server that is busy asks to be left alone. Of the two forms of the header only the
/// number of seconds is read: a date means nothing without the server's clock.
fn retry_after(response: &Response) -> Option<Duration> {
    let is_busy = matches!(response.status, 429 | 503);
    let asked = header(response, "retry-after").filter(|_| is_busy)?;
    asked.trim().parse().ok().map(Duration::from_secs)
}

/// What a status means for another try.
fn class_of(status: u16) -> ErrorClass {
    match status {
        401 | 403 | 407 => ErrorClass::Denied,
        408 => ErrorClass::Timeout,
        429 => ErrorClass::RateLimited,
        500.. => ErrorClass::Transient,
        _ => ErrorClass::Invalid,
    }
}

fn check_size(response: &Response, is_file: bool, limits: Limits) -> Result<(), NodeError> {
    let (what, limit) =
        if is_file { ("File", limits.file_bytes) } else { ("Text", limits.text_bytes) };
    let size = response.body.len();
    if size <= limit && !response.cut_off {
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "two decimals of mebibytes are shown")]
    let max = limit as f64 / f64::from(1 << 20);
    let over = if response.cut_off { "over " } else { "" };
    let message = format!(
        "{what} size is too large, max size is {max:.2} MB, but current size is {over}{}.",
        readable(size)
    );
    Err(NodeError::new("ResponseSizeError", message))
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn readable(bytes: usize) -> String {
    match bytes {
        0..=0x3ff => format!("{bytes} bytes"),
        0x400..=0xf_ffff => format!("{:.2} KB", bytes as f64 / 1024.0),
        _ => format!("{:.2} MB", bytes as f64 / f64::from(1 << 20)),
    }
}

/// A header in whatever case it came; only mocked ones have any but lower case.
fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let held = response.headers.iter().rev().find(|(held, _)| held.to_lowercase() == name);
    held.map(|(_, value)| &**value)
}

/// A header by its exact name: the decision below does not see others.
fn exact<'a>(response: &'a Response, name: &str) -> &'a str {
    let held = response.headers.iter().find(|(held, _)| held == name);
    held.map_or("", |(_, value)| &**value)
}

fn is_file(response: &Response) -> bool {
    let disposition = exact(response, "content-disposition");
    if !disposition.is_empty() {
        let parameters = parameters(disposition);
        let kind = disposition.split(';').next().unwrap_or_default().trim().to_lowercase();
        if kind == "attachment" || parameters.iter().any(|(name, _)| name == "filename") {
            return true;
        }
    }
    let media_type = exact(response, "content-type").split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_lowercase();
    if media_type.starts_with("text/") && !media_type.contains("csv") {
        return false;
    }
    if media_type.starts_with("application/") {
        let textual = TEXT_TYPES.iter().any(|name| media_type.contains(name));
        if textual || looks_like_text(&response.body) {
            return false;
        }
    }
    let known = guess_extension(&media_type).and_then(|ext| guess_type(&format!("dummy{ext}")));
    match known {
        Some(known) => {
            let main = known.split('/').next().unwrap_or_default();
            matches!(main, "application" | "image" | "audio" | "video")
        }
        None => ["image/", "audio/", "video/"].iter().any(|main| media_type.contains(main)),
    }
}

fn looks_like_text(body: &[u8]) -> bool {
    let sample = body.get(..SAMPLE_BYTES).unwrap_or(body);
    let text = std::str::from_utf8(sample);
    text.is_ok_and(|text| TEXT_MARKERS.iter().any(|marker| text.contains(marker)))
}

/// What is known of a downloaded file. Its content is kept elsewhere.
fn file(response: &Response, url: &str) -> File {
    let disposition = exact(response, "content-disposition");
    let given = parameter(disposition, "filename").filter(|name| !name.trim().is_empty());
    let path = url.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let content_type = exact(response, "content-type");
    let from_name = given.as_deref().and_then(guess_type).map(str::to_owned);
    let mime_type = from_name
        .or_else(|| (!content_type.is_empty()).then(|| content_type.to_owned()))
        .or_else(|| guess_type(last).map(str::to_owned))
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let bare_type = mime_type.split(';').next().unwrap_or_default().trim();
    let extension = guess_extension(bare_type).unwrap_or(".bin");
    let filename = given.map_or_else(|| last.to_owned(), |name| name.trim().to_owned());
    File {
        kind: kind(bare_type).into(),
        transfer_method: "tool_file".into(),
        filename: Some(filename).filter(|name| !name.is_empty()).map(Name::from),
        extension: Some(extension.into()),
        mime_type: Some((&*mime_type).into()),
        size_bytes: i64::try_from(response.body.len()).unwrap_or(i64::MAX),
        ..File::default()
    }
}

fn kind(media_type: &str) -> &'static str {
    let extension = guess_extension(media_type).unwrap_or_default();
    match media_type.split('/').next() {
        Some("image") => "image",
        Some("audio") => "audio",
        Some("video") => "video",
        _ if DOCUMENTS.contains(&extension) => "document",
        _ => "custom",
    }
}

/// Extensions that Dify counts as documents.
const DOCUMENTS: [&str; 19] = [
    ".txt",
    ".markdown",
    ".md",
    ".mdx",
    ".pdf",
    ".html",
    ".htm",
    ".xlsx",
    ".xls",
    ".vtt",
    ".properties",
    ".doc",
    ".docx",
    ".csv",
    ".eml",
    ".msg",
    ".pptx",
    ".xml",
    ".epub",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value as Json;

    use super::*;

    fn read(
        response: &Response,
        url: &str,
        limits: Limits,
        fails_on_status: bool,
    ) -> Result<Success, NodeError> {
        super::read(response, download(response, url, limits)?, fails_on_status)
    }

    #[test]
    fn a_server_that_is_busy_says_for_how_long() {
        let asked = |status, wait: &str| {
            let headers = vec![("retry-after".to_owned(), wait.to_owned())];
            let response = Response { status, headers, body: Vec::new(), cut_off: false };
            super::read(&response, None, true).unwrap_err().retry_after_ms
        };
        assert_eq!((asked(429, "30"), asked(503, " 2 ")), (Some(30_000), Some(2000)));
        assert_eq!((asked(500, "30"), asked(429, "Fri, 01 Jan 2027 00:00:00 GMT")), (None, None));
    }

    fn recorded() -> Json {
        let text = include_str!("../../tests/fixtures/http_request/responses.json");
        serde_json::from_str(text).unwrap()
    }

    fn output(success: &Success, name: &str) -> Value {
        let held = success.outputs.iter().find(|(held, _)| &**held == name).unwrap();
        held.1.value().clone()
    }

    #[test]
    fn answers_are_read_as_the_real_engine_reads_them() {
        let mut wrong = Vec::new();
        let recorded = recorded();
        let rows = recorded["rows"].as_array().unwrap();
        for row in rows {
            // invalid bytes of these charsets are split differently
            let kind = row["headers"]["content-type"].as_str().unwrap_or_default();
            let invalid = row["text"].as_str().unwrap().contains('\u{fffd}');
            if invalid && (kind.ends_with("gbk") || kind.ends_with("shift_jis")) {
                continue;
            }
            let headers: BTreeMap<String, String> =
                serde_json::from_value(row["headers"].clone()).unwrap();
            let response = Response {
                status: 200,
                headers: headers.into_iter().collect(),
                body: STANDARD.decode(row["content"].as_str().unwrap()).unwrap(),
                cut_off: false,
            };
            let limit =
                |index: usize| usize::try_from(row["limits"][index].as_u64().unwrap()).unwrap();
            let limits = Limits { text_bytes: limit(0), file_bytes: limit(1) };
            let found = match read(&response, "http://h/dir/name", limits, false) {
                Ok(success) => (
                    None,
                    !output(&success, "files").is_falsy(),
                    output(&success, "body").as_str().unwrap().to_owned(),
                ),
                Err(error) => (Some(error.message.to_string()), is_file(&response), String::new()),
            };
            let is_file = row["is_file"].as_bool().unwrap();
            let text = row["text"].as_str().unwrap().to_owned();
            let error = row["error"].as_str().map(str::to_owned);
            let shown = if is_file || error.is_some() { String::new() } else { text };
            let wanted = (error, is_file, shown);
            if found != wanted {
                wrong.push(format!("{}\n  want {wanted:?}\n  have {found:?}", row["headers"]));
            }
        }
        assert!(rows.len() > 900);
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    }

    #[test]
    fn media_types_are_guessed_as_python_does() {
        for (name, wanted) in recorded()["guesses"].as_object().unwrap() {
            assert_eq!(guess_type(name), wanted[0].as_str(), "{name}");
            assert_eq!(guess_extension(name), wanted[1].as_str(), "{name}");
        }
    }

    #[test]
    fn a_downloaded_file_is_described() {
        let response = Response {
            status: 200,
            headers: vec![
                ("content-type".to_owned(), "application/octet-stream".to_owned()),
                (
                    "content-disposition".to_owned(),
                    "attachment; filename=\"report.pdf\"".to_owned(),
                ),
            ],
            body: vec![0; 7],
            cut_off: false,
        };
        let success = read(&response, "http://h/x", Limits::DIFY, true).unwrap();
        let Value::Array(files) = output(&success, "files") else { panic!("a list") };
        let [Value::File(file)] = &files[..] else { panic!("one file") };
        assert_eq!(&*file.kind, "document");
        assert_eq!(file.filename.as_deref(), Some("report.pdf"));
        assert_eq!(file.mime_type.as_deref(), Some("application/pdf"));
        assert_eq!((file.extension.as_deref(), file.size_bytes), (Some(".pdf"), 7));
    }

    #[test]
    fn statuses_fail_only_where_somebody_deals_with_it() {
        let response = Response { status: 503, ..Response::default() };
        assert!(read(&response, "", Limits::DIFY, false).is_ok());
        let error = read(&response, "", Limits::DIFY, true).unwrap_err();
        assert_eq!(&*error.kind, "HTTPResponseCodeError");
        assert_eq!(&*error.message, "Request failed with status code 503");
        assert_eq!(error.class, ErrorClass::Transient);
        let shown: Vec<&str> = error.outputs.iter().map(|(name, _)| &**name).collect();
        assert_eq!(shown, ["status_code", "body", "headers", "files"]);
    }

    #[test]
    fn what_is_cut_off_is_too_large() {
        let limits = Limits { text_bytes: 10, file_bytes: 20 };
        let response =
            Response { status: 200, body: vec![b'a'; 20], cut_off: true, ..Response::default() };
        let error = read(&response, "", limits, false).unwrap_err();
        assert_eq!(
            &*error.message,
            "Text size is too large, max size is 0.00 MB, but current size is over 20 bytes."
        );
    }
}
