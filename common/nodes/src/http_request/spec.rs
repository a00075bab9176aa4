//! What an http-request node's data says (spec/nodes.md §4.2 "Data").

use flowmill_engine::graph::{Content, Fields, Item, lax_bool};
use flowmill_engine::template::Template;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::python::{split_lines, strip};

const METHODS: [&str; 14] = [
    "get", "post", "put", "patch", "delete", "head", "options", "GET", "POST", "PUT", "PATCH",
    "DELETE", "HEAD", "OPTIONS",
];

const AUTHORIZATIONS: [&str; 2] = ["no-auth", "api-key"];
const SCHEMES: [&str; 3] = ["basic", "bearer", "custom"];
const BODIES: [&str; 6] =
    ["none", "form-data", "x-www-form-urlencoded", "raw-text", "json", "binary"];
const ITEMS: [&str; 2] = ["file", "text"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("method", FieldKind::Word(&METHODS), REQUIRED, "the method; `options` fails when sent"),
    field("url", FieldKind::Template, REQUIRED, "begins with http:// or https://"),
    field("authorization", FieldKind::Mapping, REQUIRED, "how the request says who sends it"),
    field("authorization.type", FieldKind::Word(&AUTHORIZATIONS), REQUIRED, "whether it does"),
    field(
        "authorization.config",
        FieldKind::Mapping,
        REQUIRED,
        "the key; with no-auth it is left out",
    ),
    field("authorization.config.type", FieldKind::Word(&SCHEMES), REQUIRED, "how the key is sent"),
    field(
        "authorization.config.api_key",
        FieldKind::Template,
        REQUIRED,
        "the key; for basic `user:password` or that encoded",
    ),
    field(
        "authorization.config.header",
        FieldKind::Text,
        "\"\"",
        "the header's name; empty: Authorization",
    ),
    field("headers", FieldKind::Template, REQUIRED, "lines of `name: value`; may be empty"),
    field(
        "params",
        FieldKind::Template,
        REQUIRED,
        "lines of `name: value`; if there are any, they replace the query of the url",
    ),
    field("body", FieldKind::Mapping, "null", "what is sent"),
    field("body.type", FieldKind::Word(&BODIES), REQUIRED, "what kind of content it is"),
    field("body.data", FieldKind::List, "[]", "its items; text counts as one item"),
    field("body.data[].type", FieldKind::Word(&ITEMS), REQUIRED, "text or files"),
    field("body.data[].key", FieldKind::Template, "\"\"", "the field's name in a form"),
    field("body.data[].value", FieldKind::Template, "\"\"", "the text"),
    field("body.data[].file", FieldKind::Selector, "[]", "where the file or files are"),
    field("timeout", FieldKind::Mapping, "null", "seconds to wait; 0 and null: the default"),
    field("timeout.connect", FieldKind::Integer, "null", "for a connection; default 10"),
    field("timeout.read", FieldKind::Integer, "null", "for each part of the answer; default 600"),
    field("timeout.write", FieldKind::Integer, "null", "for the request to go out; default 600"),
    field("ssl_verify", FieldKind::Flag, "null", "whether certificates are checked; default true"),
];

pub(super) const EXAMPLE: &str = r#"{
    "method": "post",
    "url": "https://api.example.com/items/{{#start.id#}}",
    "authorization": {
        "type": "api-key",
        "config": {"type": "bearer", "api_key": "{{#env.KEY#}}", "header": ""}},
    "headers": "Accept: application/json",
    "params": "verbose: 1",
    "body": {
        "type": "json",
        "data": [
            {"type": "text", "key": "", "value": "{\"name\": \"{{#start.name#}}\"}", "file": []}]},
    "timeout": {"connect": 10, "read": 60, "write": 60},
    "ssl_verify": true
}"#;

/// A node's data, read and its templates parsed.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// As written: lower or upper case.
    pub(super) method: &'static str,
    pub(super) url: Template,
    pub(super) authorization: Authorization,
    pub(super) headers: Template,
    /// Lines are split before their templates are rendered, unlike those of headers.
    pub(super) params: Vec<(Template, Template)>,
    pub(super) body: Option<Body>,
    pub(super) timeout: GivenTimeout,
    pub(super) ssl_verify: Option<bool>,
    /// Whether a status outside 200–299 is a failure.
    pub(super) fails_on_status: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Authorization {
    None,
    ApiKey { scheme: Scheme, key: Template, header: Name },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    Bearer,
    Custom,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) kind: BodyKind,
    pub(super) items: Vec<BodyItem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    None,
    FormData,
    UrlEncoded,
    RawText,
    Json,
    Binary,
}

#[derive(Clone, Debug)]
pub(super) struct BodyItem {
    pub(super) is_file: bool,
    pub(super) key: Template,
    pub(super) value: Template,
    pub(super) file: Selector,
}

/// Seconds, where given and not zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GivenTimeout {
    pub(super) connect: Option<i64>,
    pub(super) read: Option<i64>,
    pub(super) write: Option<i64>,
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let method = fields.one_of("method", &METHODS);
        let url = Template::parse(&fields.text("url"));
        let authorization = fields.mapping("authorization", Authorization::read);
        let headers = Template::parse(&fields.text("headers"));
        let params = params(&fields.text("params"));
        let body = fields.mapping_opt("body", Body::read);
        let timeout = fields.mapping_opt("timeout", GivenTimeout::read);
        let ssl_verify = fields.given("ssl_verify").is_some();
        Self {
            method,
            url,
            authorization: authorization.unwrap_or(Authorization::None),
            headers,
            params,
            body,
            timeout: timeout.unwrap_or_default(),
            ssl_verify: ssl_verify.then(|| fields.flag("ssl_verify", true)),
            fails_on_status: has_error_strategy(fields) || has_retry(fields),
        }
    }

    /// All it reads.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let mut templates = vec![&self.url, &self.headers];
        if let Authorization::ApiKey { key, .. } = &self.authorization {
            templates.push(key);
        }
        templates.extend(self.params.iter().flat_map(|(key, value)| [key, value]));
        let mut reads = Vec::new();
        for item in self.body.iter().flat_map(|body| &body.items) {
            templates.extend([&item.key, &item.value]);
            if item.file.variable().is_some() {
                reads.push(item.file.clone());
            }
        }
        reads.extend(templates.into_iter().flat_map(Template::references));
        reads.sort();
        reads.dedup();
        reads
    }
}

/// The status rule looks at whether there is a strategy, not at which one.
fn has_error_strategy(fields: &Fields<'_>) -> bool {
    fields.given("error_strategy").is_some_and(|item| item.as_str() != Some("none"))
}

fn has_retry(fields: &Fields<'_>) -> bool {
    let retry = fields.given("retry_config");
    retry.and_then(|retry| retry.get("retry_enabled")).and_then(lax_bool).unwrap_or(false)
}

fn params(text: &str) -> Vec<(Template, Template)> {
    let mut pairs = Vec::new();
    for line in split_lines(text) {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let key = strip(key);
        if !key.is_empty() {
            pairs.push((Template::parse(key), Template::parse(strip(value))));
        }
    }
    pairs
}

impl Authorization {
    fn read(fields: &mut Fields<'_>) -> Self {
        if fields.one_of("type", &AUTHORIZATIONS) == "no-auth" {
            return Self::None;
        }
        if fields.get("config").and_then(Item::as_map).is_some_and(<[_]>::is_empty) {
            fields.error("config", "must not be empty");
            return Self::None;
        }
        fields.mapping("config", Self::read_config).unwrap_or(Self::None)
    }

    fn read_config(fields: &mut Fields<'_>) -> Self {
        let scheme = match fields.one_of("type", &SCHEMES) {
            "basic" => Scheme::Basic,
            "bearer" => Scheme::Bearer,
            _ => Scheme::Custom,
        };
        let key = Template::parse(&fields.text("api_key"));
        Self::ApiKey { scheme, key, header: fields.text_or("header", "") }
    }
}

impl Body {
    fn read(fields: &mut Fields<'_>) -> Self {
        let kind = match fields.one_of("type", &BODIES) {
            "form-data" => BodyKind::FormData,
            "x-www-form-urlencoded" => BodyKind::UrlEncoded,
            "raw-text" => BodyKind::RawText,
            "json" => BodyKind::Json,
            "binary" => BodyKind::Binary,
            _ => BodyKind::None,
        };
        let items = match fields.get("data") {
            None => Vec::new(),
            Some(item) if is_falsy(item) => Vec::new(),
            // files of version 0.1 hold the text itself
            Some(Item { content: Content::Str(text), .. }) => vec![BodyItem::text(text)],
            Some(_) => fields.list("data", BodyItem::read),
        };
        Self { kind, items }
    }
}

impl BodyKind {
    /// Its name in documents and error texts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FormData => "form-data",
            Self::UrlEncoded => "x-www-form-urlencoded",
            Self::RawText => "raw-text",
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

impl BodyItem {
    fn text(text: &str) -> Self {
        Self {
            is_file: false,
            key: Template::default(),
            value: Template::parse(text),
            file: Selector::new([]),
        }
    }

    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            is_file: fields.one_of("type", &ITEMS) == "file",
            key: Template::parse(&fields.text_or("key", "")),
            value: Template::parse(&fields.text_or("value", "")),
            file: match fields.get("file") {
                Some(_) => fields.selector("file"),
                None => Selector::new([]),
            },
        }
    }
}

impl GivenTimeout {
    fn read(fields: &mut Fields<'_>) -> Self {
        let mut seconds = |key| fields.integer_opt(key).filter(|seconds| *seconds != 0);
        Self { connect: seconds("connect"), read: seconds("read"), write: seconds("write") }
    }
}

fn is_falsy(item: &Item) -> bool {
    match &item.content {
        Content::Null => true,
        Content::Bool(value) => !value,
        Content::Int(value) => value.is_zero(),
        Content::Float(value) => *value == 0.0,
        Content::Str(text) => text.is_empty(),
        Content::Seq(items) => items.is_empty(),
        Content::Map(members) => members.is_empty(),
        Content::Other(..) => false,
    }
}
