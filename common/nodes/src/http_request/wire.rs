//! Encodes a request as httpx 0.28 over h11 does, and refuses what they refuse. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flowmill_engine::error::ErrorClass;

use super::client::{FilePart, HttpError, Payload, Request};
use super::url::{Url, form_encode, group, push_escaped};
use crate::python::repr_bytes;

/// A request as it goes out.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) method: &'static str,
    pub(super) url: Url,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Encodes a request. `boundary` divides the parts of a form.
pub(super) fn encode(
    request: &Request,
    user_agent: &str,
    boundary: &str,
) -> Result<Wire, HttpError> {
    let mut url = Url::parse(&request.url).map_err(HttpError::escaped)?;
    let mut headers = vec![
        ("Accept".to_owned(), "*/*".to_owned()),
        ("Accept-Encoding".to_owned(), "gzip, deflate".to_owned()),
        ("Connection".to_owned(), "keep-alive".to_owned()),
        ("User-Agent".to_owned(), user_agent.to_owned()),
    ];
    for (name, value) in &request.headers {
        check_ascii(name)?;
        check_ascii(value)?;
        headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name) || !is_default(held));
    }
    headers.extend(request.headers.iter().cloned());
    if !request.params.is_empty() {
        let query = form_encode(group(&request.params));
        url = url.with_query(query).map_err(HttpError::escaped)?;
    }
    let (body, content_type) = content(&request.payload, boundary)?;
    let length = (content_type.is_some() || !body.is_empty()).then_some(body.len());
    let absent = |headers: &[(String, String)], name: &str| get(headers, name).is_none();
    if let Some(length) = length
        && absent(&headers, "content-length")
    {
        headers.push(("Content-Length".to_owned(), length.to_string()));
    }
    if let Some(content_type) = content_type
        && absent(&headers, "content-type")
    {
        headers.push(("Content-Type".to_owned(), content_type));
    }
    let unframed = absent(&headers, "content-length") && absent(&headers, "transfer-encoding");
    if unframed && matches!(request.method, "POST" | "PUT" | "PATCH") {
        headers.insert(0, ("Content-Length".to_owned(), "0".to_owned()));
    }
    // the host goes first, whoever named it
    let named = headers.iter().position(|(held, _)| held.eq_ignore_ascii_case("host"));
    let host = named.map(|index| headers.remove(index));
    headers.insert(0, host.unwrap_or_else(|| ("Host".to_owned(), url.netloc())));
    if url.host.starts_with("xn--") && idna::domain_to_unicode(&url.host).1.is_err() {
        return Err(HttpError::escaped("Invalid A-label"));
    }
    if let Some((name, password)) = url.credentials() {
        let pair = [&name[..], b":", &password[..]].concat();
        set(&mut headers, "Authorization", format!("Basic {}", STANDARD.encode(pair)));
    }
    if !url.is_absolute() {
        let message = "Request URL is missing an 'http://' or 'https://' protocol.";
        return Err(HttpError::transport(ErrorClass::Invalid, message));
    }
    check(&headers, body.len())?;
    Ok(Wire { method: request.method, url, headers, body })
}

/// The value of a header, whatever its case.
pub(super) fn get<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name));
    found.map(|(_, value)| &**value)
}

/// Sets a header, replacing all of that name.
pub(super) fn set(headers: &mut Vec<(String, String)>, name: &str, value: String) {
    match headers.iter().position(|(held, _)| held.eq_ignore_ascii_case(name)) {
        Some(first) => {
            let mut index = 0;
            headers.retain(|(held, _)| {
                index += 1;
                index <= first + 1 || !held.eq_ignore_ascii_case(name)
            });
            if let Some(held) = headers.get_mut(first) {
                *held = (name.to_owned(), value);
            }
        }
        None => headers.push((name.to_owned(), value)),
    }
}

fn is_default(name: &str) -> bool {
    matches!(name, "Accept" | "Accept-Encoding" | "Connection" | "User-Agent")
}

/// The content with the media type that the client itself gives it.
fn content(payload: &Payload, boundary: &str) -> Result<(Vec<u8>, Option<String>), HttpError> {
    let own = |content_type: &str| Some(content_type.to_owned());
    match payload {
        Payload::Empty => Ok((Vec::new(), None)),
        Payload::Bytes(bytes) => Ok((bytes.clone(), None)),
        Payload::Json(value) => match value.to_text()? {
            Some(text) => Ok((text.into_bytes(), own("application/json"))),
            None => Ok((Vec::new(), None)),
        },
        Payload::Form(fields) if fields.is_empty() => Ok((Vec::new(), None)),
        Payload::Form(fields) => {
            let pairs = fields.iter().map(|(key, value)| (&**key, &**value));
            Ok((form_encode(pairs).into_bytes(), own("application/x-www-form-urlencoded")))
        }
        Payload::Multipart { fields, files } => Ok((
            multipart(fields, files, boundary),
            Some(format!("multipart/form-data; boundary={boundary}")),
        )),
    }
}

fn multipart(fields: &[(String, String)], files: &[FilePart], boundary: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend_from_slice(format!("--{boundary}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    for (name, value) in fields {
        let head = format!("Content-Disposition: form-data; name=\"{}\"", form_name(name));
        part(&head, value.as_bytes());
    }
    for file in files {
        let filename = match &*file.filename {
            "" => String::new(),
            filename => format!("; filename=\"{}\"", form_name(filename)),
        };
        let head = format!(
            "Content-Disposition: form-data; name=\"{}\"{filename}\r\nContent-Type: {}",
            form_name(&file.name),
            file.mime_type
        );
        part(&head, &file.content);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// A name within a part's head, escaped as HTML 5 says.
fn form_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' => escaped.push_str("%22"),
            '\\' => escaped.push_str("\\\\"),
            '\u{1b}' => escaped.push(c),
            // all control characters are one byte
            '\0'..='\u{1f}' => push_escaped(c as u8, &mut escaped),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Python's refusal to encode text as ASCII.
fn check_ascii(text: &str) -> Result<(), HttpError> {
    let Some((from, first)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii()) else {
        return Ok(());
    };
    let run = text.chars().skip(from).take_while(|c| !c.is_ascii()).count();
    let what = if run == 1 {
        let point = u32::from(first);
        let shown = match point {
            0..=0xff => format!("\\x{point:02x}"),
            0x100..=0xffff => format!("\\u{point:04x}"),
            _ => format!("\\U{point:08x}"),
        };
        format!("character '{shown}' in position {from}")
    } else {
        format!("characters in position {from}-{}", from + run - 1)
    };
    Err(HttpError::escaped(format!("'ascii' codec can't encode {what}: ordinal not in range(128)")))
}

/// What the protocol does not allow.
fn check(headers: &[(String, String)], body_bytes: usize) -> Result<(), HttpError> {
    let refuse = |message: String| Err(HttpError::transport(ErrorClass::Invalid, message));
    let mut length: Option<&str> = None;
    let mut chunked = false;
    for (name, value) in headers {
        if !is_token(name) {
            return refuse(format!("Illegal header name {}", repr_bytes(name.as_bytes())));
        }
        if !is_field_value(value) {
            return refuse(format!("Illegal header value {}", repr_bytes(value.as_bytes())));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let given = value.split(',').next().unwrap_or_default().trim();
            if value.split(',').any(|other| other.trim() != given)
                || length.is_some_and(|before| before != given)
            {
                return refuse("conflicting Content-Length headers".to_owned());
            }
            if given.is_empty()
                || !given.bytes().all(|byte| byte.is_ascii_digit())
                || given.len() > 20
            {
                return refuse("bad Content-Length".to_owned());
            }
            length = Some(given);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked {
                return refuse("multiple Transfer-Encoding headers".to_owned());
            }
            if !value.eq_ignore_ascii_case("chunked") {
                return refuse("Only Transfer-Encoding: chunked is supported".to_owned());
            }
            chunked = true;
        }
    }
    if headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count() > 1 {
        return refuse("Found multiple Host: headers".to_owned());
    }
    let declared = length.filter(|_| !chunked).and_then(|length| length.parse::<u128>().ok());
    match declared.map(|declared| declared.cmp(&(body_bytes as u128))) {
        Some(std::cmp::Ordering::Greater) => {
            Err(HttpError::escaped("Too little data for declared Content-Length"))
        }
        Some(std::cmp::Ordering::Less) => {
            Err(HttpError::escaped("Too much data for declared Content-Length"))
        }
        _ => Ok(()),
    }
}

fn is_token(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-!#$%&'*+.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

fn is_field_value(value: &str) -> bool {
    let inner = |byte: u8| !matches!(byte, 0 | b'\n' | b'\r' | 0xb | 0xc);
    value.bytes().all(inner) && value.trim_matches([' ', '\t']).len() == value.len()
}
