//! Builds the request a node sends (spec/nodes.md §4.2 "Building the request"). Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Kind, Name, str_repr};
use flowmill_engine::variables::Variables;

use super::client::{FilePart, JsonPayload, Payload, Request, Timeouts};
use super::json::points;
use super::repair::{GiveUp, RepairError, Repaired, repair};
use super::spec::{Authorization, Body, BodyItem, BodyKind, Scheme, Spec};
use crate::python::{split_lines, strip};

type Pairs = Vec<(String, String)>;

/// The request a node sends over these variables.
pub(super) fn build(spec: &Spec, variables: &Variables) -> Result<Request, NodeError> {
    let authorization = authorization(&spec.authorization, variables)?;
    let url = url(&spec.url, variables)?;
    let params = params(&spec.params, variables)?;
    let mut headers = headers(&spec.headers, variables)?;
    let payload = match &spec.body {
        Some(body) => payload(body, variables)?,
        None => Payload::Empty,
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
    Ok(Request {
        method: method(spec.method)?,
        url,
        params,
        headers,
        payload,
        timeouts,
        ssl_verify,
    })
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

fn payload(body: &Body, variables: &Variables) -> Result<Payload, NodeError> {
    match body.kind {
        BodyKind::None => Ok(Payload::Empty),
        BodyKind::RawText => {
            let text = single(body)?.value.render_text(variables)?;
            Ok(Payload::Bytes(text.as_bytes().to_vec()))
        }
        BodyKind::Json => json(&single(body)?.value.render_text(variables)?),
        BodyKind::Binary => {
            let selector = &single(body)?.file;
            let file = variables.get(selector.parts()).filter(|found| found.kind == Kind::File);
            let message = match file {
                None => format!("cannot fetch file with selector {selector}"),
                Some(_) => format!("the content of file {selector} is not available"),
            };
            Err(error("FileFetchError", message))
        }
        BodyKind::UrlEncoded => fields(body.items.iter(), variables).map(Payload::Form),
        BodyKind::FormData => form_data(body, variables),
    }
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

fn form_data(body: &Body, variables: &Variables) -> Result<Payload, NodeError> {
    let texts = body.items.iter().filter(|item| !item.is_file);
    let fields = fields(texts, variables)?;
    for item in body.items.iter().filter(|item| item.is_file) {
        item.key.render_text(variables)?;
        let found = variables.get(item.file.parts());
        let is_file = |kind| matches!(kind, Kind::File | Kind::ArrayFile);
        // an empty list of files sends none
        if found.is_some_and(|found| is_file(found.kind) && !found.value().is_falsy()) {
            let message = format!("the content of file {} is not available", item.file);
            return Err(error("FileFetchError", message));
        }
    }
    // without a file the form must go out in parts all the same
    let placeholder = FilePart {
        name: "__multipart_placeholder__".to_owned(),
        filename: String::new(),
        content: Vec::new(),
        mime_type: "application/octet-stream".to_owned(),
    };
    Ok(Payload::Multipart { fields, files: vec![placeholder] })
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
