//! Builds the request a node sends (spec/nodes.md §4.2 "Building the request"). Pure.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::template::Template;
use flowmill_engine::value::{File, Kind, Name, Value, str_repr};
use flowmill_engine::variables::{Selector, Variable, Variables};
use indexmap::IndexMap;

use super::client::{FilePart, JsonPayload, Payload, Request, Timeouts};
use super::json::points;
use super::repair::{GiveUp, RepairError, Repaired, repair};
use super::spec::{Authorization, Body, BodyItem, BodyKind, Scheme, Spec};
use crate::context::NodeContext;
use crate::files::REMOTE_URL;
use crate::python::{split_lines, strip};

type Pairs = Vec<(String, String)>;

/// A request, and the files that are still to be put into it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) request: Request,
    attachments: Attachments,
}

#[derive(Debug)]
enum Attachments {
    None,
    /// The whole content.
    Binary(Arc<File>),
    /// Parts of a form, by their field.
    Parts(Vec<(String, Arc<File>)>),
}

impl Draft {
    /// Reads the files. What fails then leaves the node as Dify's exceptions do.
    pub(super) async fn complete(self, context: &NodeContext) -> Result<Request, NodeError> {
        let Self { mut request, attachments } = self;
        let most_bytes = context.http.policy().limits.most() as u64;
        let open = async |file: &File| {
            let content = context.open(file, most_bytes).await;
            content.map_err(|error| NodeError::escaped(error.to_string()).with_class(error.class()))
        };
        match attachments {
            Attachments::None => {}
            Attachments::Binary(file) => request.payload = Payload::Bytes(open(&file).await?),
            Attachments::Parts(parts) => {
                let mut opened = Vec::with_capacity(parts.len());
                for (name, file) in parts {
                    let mime_type = file.mime_type.as_deref().filter(|kind| !kind.is_empty());
                    opened.push(FilePart {
                        name,
                        filename: file.filename.as_deref().unwrap_or_default().to_owned(),
                        content: open(&file).await?,
                        mime_type: mime_type.unwrap_or("application/octet-stream").to_owned(),
                    });
                }
                if let Payload::Multipart { files, .. } = &mut request.payload {
                    *files = opened;
                }
            }
        }
        Ok(request)
    }
}

/// The request a node sends over these variables.
pub(super) fn build(spec: &Spec, variables: &Variables) -> Result<Draft, NodeError> {
    let authorization = authorization(&spec.authorization, variables)?;
    let url = url(&spec.url, variables)?;
    let params = params(&spec.params, variables)?;
    let mut headers = headers(&spec.headers, variables)?;
    let (payload, attachments) = match &spec.body {
        Some(body) => payload(body, variables)?,
        None => (Payload::Empty, Attachments::None),
    };
    check_as_logged(&url)?;
    if let Some((name, value)) = authorization {
        set(&mut headers, name, value);
    }
    if let Some(body) = &spec.body {
        content_type(body.kind, &mut headers);
    }
    let default = Timeouts::default();
    let timeouts = Timeouts {
        connect_s: spec.timeout.connect.unwrap_or(default.connect_s),
        read_s: spec.timeout.read.unwrap_or(default.read_s),
        write_s: spec.timeout.write.unwrap_or(default.write_s),
    };
    let ssl_verify = spec.ssl_verify;
    let method = method(spec.method)?;
    let request = Request { method, url, params, headers, payload, timeouts, ssl_verify };
    Ok(Draft { request, attachments })
}

fn method(written: &str) -> Result<&'static str, NodeError> {
    match &*written.to_ascii_uppercase() {
        "GET" => Ok("GET"),
        "POST" => Ok("POST"),
        "PUT" => Ok("PUT"),
        "PATCH" => Ok("PATCH"),
        "DELETE" => Ok("DELETE"),
        "HEAD" => Ok("HEAD"),
        _ => Err(error("InvalidHttpMethodError", format!("Invalid http method {written}"))),
    }
}

fn authorization(
    authorization: &Authorization,
    variables: &Variables,
) -> Result<Option<(String, String)>, NodeError> {
    let (scheme, key, header) = match authorization {
        Authorization::None => return Ok(None),
        Authorization::ApiKey { scheme, key, header } => (scheme, key, header),
    };
    let key = key.render_text(variables)?;
    if strip(&key).is_empty() {
        let message = "API key is required for authorization but was empty. \
                       Please provide a valid API key.";
        return Err(error("AuthorizationConfigError", message));
    }
    let value = match scheme {
        Scheme::Bearer => format!("Bearer {key}"),
        // without a colon it is taken as encoded already
        Scheme::Basic if key.contains(':') => format!("Basic {}", STANDARD.encode(&*key)),
        Scheme::Basic => format!("Basic {key}"),
        Scheme::Custom => (*key).to_owned(),
    };
    let name = if header.is_empty() { "Authorization" } else { &**header };
    Ok(Some((name.to_owned(), value)))
}

fn url(template: &Template, variables: &Variables) -> Result<Name, NodeError> {
    let url = template.render_text(variables)?;
    if url.is_empty() {
        return Err(error("InvalidURLError", "url is required"));
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        let message = "url should start with http:// or https://";
        return Err(error("InvalidURLError", message));
    }
    Ok(url)
}

fn params(params: &[(Template, Template)], variables: &Variables) -> Result<Pairs, NodeError> {
    let render = |(key, value): &(Template, Template)| pair(key, value, variables);
    params.iter().map(render).collect()
}

fn headers(template: &Template, variables: &Variables) -> Result<Pairs, NodeError> {
    let text = template.render_text(variables)?;
    let mut headers = Pairs::new();
    for line in split_lines(&text) {
        if strip(line).is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        set(&mut headers, strip(name).to_owned(), strip(value).to_owned());
    }
    Ok(headers)
}

fn payload(body: &Body, variables: &Variables) -> Result<(Payload, Attachments), NodeError> {
    let payload = match body.kind {
        BodyKind::None => Payload::Empty,
        BodyKind::RawText => {
            let text = single(body)?.value.render_text(variables)?;
            Payload::Bytes(text.as_bytes().to_vec())
        }
        BodyKind::Json => json(&single(body)?.value.render_text(variables)?)?,
        BodyKind::Binary => {
            let selector = &single(body)?.file;
            let found = variables.get(selector.parts());
            let Some(Value::File(file)) = found.as_ref().map(Variable::value) else {
                let message = format!("cannot fetch file with selector {selector}");
                return Err(error("FileFetchError", message));
            };
            return Ok((Payload::Empty, Attachments::Binary(file.clone())));
        }
        BodyKind::UrlEncoded => Payload::Form(fields(body.items.iter(), variables)?),
        BodyKind::FormData => return form_data(body, variables),
    };
    Ok((payload, Attachments::None))
}

fn single(body: &Body) -> Result<&BodyItem, NodeError> {
    let [item] = &body.items[..] else {
        let message = format!("{} body type should have exactly one item", body.kind.name());
        return Err(error("RequestBodyError", message));
    };
    Ok(item)
}

fn json(text: &str) -> Result<Payload, NodeError> {
    let failed = || error("RequestBodyError", format!("Failed to parse JSON: {text}"));
    match repair(&points(text)) {
        Ok(Repaired::Value(value)) => Ok(Payload::Json(JsonPayload(value))),
        Ok(Repaired::Nothing) | Err(RepairError::GaveUp(GiveUp::TooMuchWork)) => Err(failed()),
        Err(RepairError::GaveUp(GiveUp::KeyIsNoText)) => Err(NodeError::escaped("")),
        Err(RepairError::GaveUp(GiveUp::TooDeep)) => {
            Err(NodeError::escaped("Input nesting exceeds the supported parser recursion depth."))
        }
        Err(RepairError::Unreadable(what)) => Err(NodeError::escaped(format!(
            "maximum recursion depth exceeded while decoding a JSON {what} from a unicode string"
        ))),
    }
}

fn form_data(body: &Body, variables: &Variables) -> Result<(Payload, Attachments), NodeError> {
    let texts = body.items.iter().filter(|item| !item.is_file);
    let fields = fields(texts, variables)?;
    // of equal names the last one's files stand at the first's place
    let mut named: IndexMap<Name, &Selector> = IndexMap::new();
    for item in body.items.iter().filter(|item| item.is_file) {
        named.insert(item.key.render_text(variables)?, &item.file);
    }
    let mut parts = Vec::new();
    for (name, selector) in named {
        let Some(found) = variables.get(selector.parts()) else { continue };
        let files = match found.value() {
            file @ Value::File(_) if found.kind == Kind::File => std::slice::from_ref(file),
            Value::Array(items) if found.kind == Kind::ArrayFile => items,
            _ => continue,
        };
        let lies_somewhere = |file: &&Arc<File>| {
            let is_remote = &*file.transfer_method == REMOTE_URL && file.remote_url.is_some();
            file.related_id.is_some() || is_remote
        };
        let files = files.iter().filter_map(|file| match file {
            Value::File(file) => Some(file).filter(lies_somewhere),
            _ => None,
        });
        parts.extend(files.map(|file| (name.to_string(), file.clone())));
    }
    if !parts.is_empty() {
        let payload = Payload::Multipart { fields, files: Vec::new() };
        return Ok((payload, Attachments::Parts(parts)));
    }
    // without a file the form must go out in parts all the same
    let placeholder = FilePart {
        name: "__multipart_placeholder__".to_owned(),
        filename: String::new(),
        content: Vec::new(),
        mime_type: "application/octet-stream".to_owned(),
    };
    Ok((Payload::Multipart { fields, files: vec![placeholder] }, Attachments::None))
}

fn fields<'a>(
    items: impl Iterator<Item = &'a BodyItem>,
    variables: &Variables,
) -> Result<Pairs, NodeError> {
    let mut fields = Pairs::new();
    for item in items {
        let (key, value) = pair(&item.key, &item.value, variables)?;
        set(&mut fields, key, value);
    }
    Ok(fields)
}

fn pair(
    key: &Template,
    value: &Template,
    variables: &Variables,
) -> Result<(String, String), NodeError> {
    let key = key.render_text(variables)?;
    let value = value.render_text(variables)?;
    Ok(((*key).to_owned(), (*value).to_owned()))
}

/// Sets a member of a mapping: the last value at the first's place.
fn set(pairs: &mut Pairs, key: String, value: String) {
    match pairs.iter_mut().find(|(held, _)| *held == key) {
        Some((_, held)) => *held = value,
        None => pairs.push((key, value)),
    }
}

fn content_type(kind: BodyKind, headers: &mut Pairs) {
    let is_content_type = |name: &str| name.to_lowercase() == "content-type";
    let default = match kind {
        BodyKind::Json => "application/json",
        BodyKind::UrlEncoded => "application/x-www-form-urlencoded",
        BodyKind::RawText => "text/plain",
        // the client says how it divides the parts
        BodyKind::FormData => return headers.retain(|(name, _)| !is_content_type(name)),
        BodyKind::None | BodyKind::Binary => return,
    };
    if !headers.iter().any(|(name, _)| is_content_type(name)) {
        headers.push(("Content-Type".to_owned(), default.to_owned()));
    }
}

/// What Dify's log of the request refuses to print before anything is sent.
fn check_as_logged(url: &str) -> Result<(), NodeError> {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    let plain: String = rest.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
    let netloc = plain.split(['/', '?', '#']).next().unwrap_or_default();
    if netloc.contains('[') != netloc.contains(']') {
        return Err(NodeError::escaped("Invalid IPv6 URL"));
    }
    if let Some((_, rest)) = netloc.split_once('[') {
        let host = rest.split(']').next().unwrap_or_default();
        check_bracketed(host)?;
    }
    if netloc.contains(BECOMES_DELIMITER) {
        return Err(NodeError::escaped(format!(
            "netloc '{netloc}' contains invalid characters under NFKC normalization"
        )));
    }
    Ok(())
}

/// Characters that NFKC turns into text with one of `/?#@:`.
const BECOMES_DELIMITER: [char; 19] = [
    '\u{2047}', '\u{2048}', '\u{2049}', '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}', '\u{2a74}',
    '\u{fe13}', '\u{fe16}', '\u{fe55}', '\u{fe56}', '\u{fe5f}', '\u{fe6b}', '\u{ff03}', '\u{ff0f}',
    '\u{ff1a}', '\u{ff1f}', '\u{ff20}',
];

fn check_bracketed(host: &str) -> Result<(), NodeError> {
    if let Some(version) = host.strip_prefix('v') {
        let valid = version.split_once('.').is_some_and(|(digits, rest)| {
            !digits.is_empty()
                && !rest.is_empty()
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        return if valid {
            Ok(())
        } else {
            Err(NodeError::escaped("IPvFuture address is invalid"))
        };
    }
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if host.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(NodeError::escaped("An IPv4 address cannot be in brackets"));
    }
    let shown = str_repr(host);
    Err(NodeError::escaped(format!("{shown} does not appear to be an IPv4 or IPv6 address")))
}

fn error(kind: &str, message: impl Into<Name>) -> NodeError {
    NodeError::new(kind, message).with_class(ErrorClass::Invalid)
}
