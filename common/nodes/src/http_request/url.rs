//! Addresses as httpx 0.28 reads and writes them, which is not quite how browsers do: a path keeps
//! its backslashes, a query its apostrophes, an existing `%xx` is never touched.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowmill_engine::value::{python_int, str_repr};

/// The longest address, and the longest component, in characters.
const MAX_CHARS: usize = 65_536;

/// What no part of an address may hold unescaped.
const NEVER_SAFE: &str = " \"#<>";
const NOT_IN_FRAGMENT: &str = " \"<>`";
const NOT_IN_PATH: &str = " \"#<>?`{}";
const NOT_IN_USERINFO: &str = " \"#<>?`{}/;=@[\\]^|";

/// An address taken apart and escaped; text parts are ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Lower case; empty for a relative reference.
    pub(crate) scheme: String,
    /// `user:password`, escaped.
    pub(crate) userinfo: String,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    /// None for the scheme's own port.
    pub(crate) port: Option<i64>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) fragment: Option<String>,
}

impl Url {
    /// Reads an address; the error is httpx's `InvalidURL` text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > MAX_CHARS {
            return Err("URL too long".to_owned());
        }
        if let Some((at, c)) = text.chars().enumerate().find(|(_, c)| c.is_ascii_control()) {
            let shown = str_repr(&c.to_string());
            return Err(format!(
                "Invalid non-printable ASCII character in URL, {shown} at position {at}."
            ));
        }
        let parts = split(text);
        let (userinfo, host, port) = split_authority(parts.authority.unwrap_or_default());
        let scheme = parts.scheme.to_ascii_lowercase();
        let host = encode_host(host)?;
        let port = normalize_port(port, parts.scheme)?;
        let userinfo = quote(userinfo, NOT_IN_USERINFO);
        let absolute = !userinfo.is_empty() || !host.is_empty() || port.is_some();
        check_path(parts.path, !scheme.is_empty(), absolute)?;
        let path = if scheme.is_empty() && !absolute {
            parts.path.to_owned()
        } else {
            normalize_path(parts.path)
        };
        Ok(Self {
            scheme,
            userinfo,
            host,
            port,
            path: quote(&path, NOT_IN_PATH),
            query: parts.query.map(|query| quote(query, NEVER_SAFE)),
            fragment: parts.fragment.map(|fragment| quote(fragment, NOT_IN_FRAGMENT)),
        })
    }

    /// The same with another query, already encoded.
    pub(crate) fn with_query(mut self, query: String) -> Result<Self, String> {
        if query.chars().count() > MAX_CHARS {
            return Err("URL component 'query' too long".to_owned());
        }
        self.query = Some(quote(&query, NEVER_SAFE));
        Ok(self)
    }

    /// Whether it names a scheme and a host.
    pub(crate) fn is_absolute(&self) -> bool {
        !self.scheme.is_empty() && !self.host.is_empty()
    }

    /// `host` or `host:port`, as the Host header says it.
    pub(crate) fn netloc(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// The path with the query: what the request line asks for.
    pub(crate) fn target(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// The port it is reached at.
    pub(crate) fn port_or_default(&self) -> i64 {
        let given = self.port.filter(|port| *port != 0);
        given.unwrap_or(if self.scheme == "https" { 443 } else { 80 })
    }

    /// Whether both name the same scheme, host and port.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.host == other.host
            && self.port_or_default() == other.port_or_default()
    }

    /// The name and password it carries, unescaped.
    pub(crate) fn credentials(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (name, password) = self.userinfo.split_once(':').unwrap_or((&self.userinfo, ""));
        let pair = (unquote(name), unquote(password));
        (!pair.0.is_empty() || !pair.1.is_empty()).then_some(pair)
    }

    /// Where a redirect from this address leads to (RFC 3986 §5.2, httpx's exceptions included).
    pub(crate) fn redirect(&self, location: &str) -> Result<Self, String> {
        let mut next = Self::parse(location)?;
        if !next.scheme.is_empty() && next.host.is_empty() {
            next.host.clone_from(&self.host);
        }
        if !next.is_absolute() {
            next = self.join(next);
        }
        if next.fragment.is_none() {
            next.fragment.clone_from(&self.fragment);
        }
        Ok(next)
    }

    fn join(&self, reference: Self) -> Self {
        if !reference.host.is_empty() {
            return Self { scheme: self.scheme.clone(), ..reference };
        }
        let mut joined = Self { fragment: reference.fragment, ..self.clone() };
        if reference.path.is_empty() {
            joined.query = reference.query.or(joined.query);
            return joined;
        }
        let path = if reference.path.starts_with('/') {
            reference.path
        } else {
            let folder = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
            format!("{folder}{}", reference.path)
        };
        joined.path = remove_dots(&path);
        joined.query = reference.query;
        joined
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if !self.userinfo.is_empty() {
            write!(f, "{}@", self.userinfo)?;
        }
        write!(f, "{}{}", self.netloc(), self.target())?;
        match &self.fragment {
            Some(fragment) => write!(f, "#{fragment}"),
            None => Ok(()),
        }
    }
}

/// A form or query: keys and values with blanks as `+`.
pub(crate) fn form_encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut encoded = String::new();
    for (key, value) in pairs {
        if !encoded.is_empty() {
            encoded.push('&');
        }
        quote_plus(key, &mut encoded);
        encoded.push('=');
        quote_plus(value, &mut encoded);
    }
    encoded
}

/// Query parameters as httpx orders them: equal keys together, where the first of them stood.
pub(crate) fn group<'a>(pairs: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
    let mut groups: indexmap::IndexMap<&'a str, Vec<&'a str>> = indexmap::IndexMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups.into_iter().flat_map(|(key, values)| values.into_iter().map(move |v| (key, v))).collect()
}

fn quote_plus(text: &str, encoded: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if is_unreserved(byte) => encoded.push(char::from(byte)),
            _ => push_escaped(byte, encoded),
        }
    }
}

struct Parts<'a> {
    scheme: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

fn split(text: &str) -> Parts<'_> {
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => ("", text),
    };
    let (authority, rest) = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, rest),
    };
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (rest, None),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    Parts { scheme, authority, path, query, fragment }
}

fn is_scheme(text: &str) -> bool {
    text.is_empty()
        || (text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c)))
}

fn split_authority(authority: &str) -> (&str, &str, &str) {
    let (userinfo, rest) = authority.rsplit_once('@').unwrap_or(("", authority));
    let bracketed = rest.starts_with('[').then(|| rest.rfind(']')).flatten();
    let end = match bracketed {
        Some(close) => close + 1,
        None => rest.find(':').unwrap_or(rest.len()),
    };
    let (host, port) = rest.split_at(end);
    (userinfo, host, port.strip_prefix(':').unwrap_or(port))
}

fn encode_host(host: &str) -> Result<String, String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = host.split('.').collect();
    if parts.len() == 4 && parts.iter().all(|part| digits(part)) {
        let valid = host.parse::<Ipv4Addr>().is_ok();
        return if valid { Ok(host.to_owned()) } else { Err(bad_host("IPv4 address", host)) };
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address =
            inner.split_once('%').filter(|(_, zone)| !zone.is_empty() && !zone.contains('%'));
        let valid = address.map_or(inner, |(address, _)| address).parse::<Ipv6Addr>().is_ok();
        return if valid { Ok(inner.to_owned()) } else { Err(bad_host("IPv6 address", host)) };
    }
    let lower = host.to_lowercase();
    if host.is_ascii() {
        return Ok(quote(&lower, " #/:<>?@[]^"));
    }
    // IDNA 2008 maps nothing: a name that only UTS 46's mapping makes valid is refused
    let encoded = idna::domain_to_ascii_strict(&lower).ok();
    encoded
        .filter(|encoded| idna::domain_to_unicode(encoded).0 == lower)
        .ok_or_else(|| bad_host("IDNA hostname", host))
}

fn bad_host(what: &str, host: &str) -> String {
    format!("Invalid {what}: {}", str_repr(host))
}

fn normalize_port(port: &str, scheme: &str) -> Result<Option<i64>, String> {
    if port.is_empty() {
        return Ok(None);
    }
    let number = python_int(port).and_then(|port| port.to_i64());
    let number = number.ok_or_else(|| format!("Invalid port: {}", str_repr(port)))?;
    let default = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Ok((Some(number) != default).then_some(number))
}

fn check_path(path: &str, has_scheme: bool, absolute: bool) -> Result<(), String> {
    if absolute && !path.is_empty() && !path.starts_with('/') {
        return Err("For absolute URLs, path must be empty or begin with '/'".to_owned());
    }
    if !has_scheme && !absolute && path.starts_with("//") {
        return Err("Relative URLs cannot have a path starting with '//'".to_owned());
    }
    if !has_scheme && !absolute && path.starts_with(':') {
        return Err("Relative URLs cannot have a path starting with ':'".to_owned());
    }
    Ok(())
}

/// httpx's removal of dot segments: a trailing `..` leaves no slash behind.
fn normalize_path(path: &str) -> String {
    let mut output: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if output.is_empty() || output == [""] => {}
            ".." => {
                output.pop();
            }
            _ => output.push(part),
        }
    }
    output.join("/")
}

/// RFC 3986's removal of dot segments, which keeps a trailing slash.
fn remove_dots(path: &str) -> String {
    let folder = path.ends_with("/.") || path.ends_with("/..");
    let mut cleaned = normalize_path(path);
    if folder && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    if cleaned.starts_with('/') { cleaned } else { format!("/{cleaned}") }
}

/// Escapes what is not safe, leaving `%xx` as it stands.
fn quote(text: &str, unsafe_chars: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        // a `%` that begins no escape is itself safe in all parts
        if matches!(c, '\u{20}'..='\u{7e}') && !unsafe_chars.contains(c) {
            quoted.push(c);
        } else {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                push_escaped(byte, &mut quoted);
            }
        }
    }
    quoted
}

fn unquote(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Appends a byte as `%XX`.
pub(super) fn push_escaped(byte: u8, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_as_rfc_3986_says() {
        let base = Url::parse("http://h:81/a/b?x=1#f").unwrap();
        let cases = [
            ("/c", "http://h:81/c#f"),
            ("c", "http://h:81/a/c#f"),
            ("../c?y", "http://h:81/c?y#f"),
            ("?y=2", "http://h:81/a/b?y=2#f"),
            ("//o/p", "http://o/p#f"),
            ("https://o", "https://o/#f"),
            ("http:///p", "http://h/p#f"),
            ("#g", "http://h:81/a/b?x=1#g"),
            ("./", "http://h:81/a/#f"),
        ];
        for (location, wanted) in cases {
            assert_eq!(base.redirect(location).unwrap().to_string(), wanted, "{location}");
        }
        assert!(base.redirect("http://h/\n").is_err());
    }
}
