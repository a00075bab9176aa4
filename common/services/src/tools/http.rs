//! A tool that is an HTTP call. Its server is named by whoever runs this; arguments fill its path,
//! its query, its headers and what is sent.

use std::collections::BTreeMap;

use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::answer::{self, Shape};
use super::config::{HttpEntry, Origin};
use super::fill::{Fill, FillError, escaped};
use super::web::{Ask, Content, Web};
use super::{Call, ToolError, ToolErrorKind};
use crate::outgoing::server_of;

/// An HTTP call with places for arguments.
#[derive(Debug)]
pub(super) struct HttpCall {
    method: Method,
    url: Fill,
    query: Vec<(String, Fill)>,
    headers: Vec<(String, Fill)>,
    sent: Sent,
    shape: Shape,
}

#[derive(Debug)]
enum Sent {
    Nothing,
    Json(Tree),
    Form(Vec<(String, Fill)>),
    Text(Fill),
}

/// JSON with places.
#[derive(Debug)]
enum Tree {
    Leaf(Value),
    Text(Fill),
    List(Vec<Tree>),
    Members(Vec<(String, Tree)>),
}

impl HttpCall {
    pub(super) fn new(entry: &HttpEntry, origin: Origin<'_>) -> Result<Self, String> {
        let fill = |text: &str| Fill::parse(text, origin.environment);
        let fills = |map: &BTreeMap<String, String>| -> Result<Vec<(String, Fill)>, String> {
            map.iter().map(|(name, text)| Ok((name.clone(), fill(text)?))).collect()
        };
        let sent = match (&entry.json, &entry.form, &entry.body) {
            (Some(json), _, _) => Sent::Json(Tree::new(json, &fill)?),
            (None, Some(form), _) => Sent::Form(fills(form)?),
            (None, None, Some(text)) => Sent::Text(fill(text)?),
            (None, None, None) => Sent::Nothing,
        };
        let default = if matches!(sent, Sent::Nothing) { "GET" } else { "POST" };
        let method = entry.method.as_deref().unwrap_or(default).to_uppercase();
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("{method:?} is no HTTP method"))?;
        let url = fill(&entry.url)?;
        // where the environment fills it in, it may be there later
        if let Ok(head) = url.head() {
            whole_server(head, url.places().next().is_some())?;
        }
        let call = Self {
            method,
            url,
            query: fills(&entry.query)?,
            headers: fills(&entry.headers)?,
            sent,
            shape: Shape::new(entry.result, entry.path.as_deref()),
        };
        Ok(call)
    }

    /// The values in it that came from the environment.
    pub(super) fn secrets(&self) -> Vec<String> {
        let mut fills = vec![&self.url];
        fills.extend(self.query.iter().chain(&self.headers).map(|(_, fill)| fill));
        match &self.sent {
            Sent::Nothing => {}
            Sent::Json(tree) => tree.fills(&mut fills),
            Sent::Form(form) => fills.extend(form.iter().map(|(_, fill)| fill)),
            Sent::Text(text) => fills.push(text),
        }
        fills.into_iter().flat_map(Fill::secrets).map(str::to_owned).collect()
    }

    /// Which variables of the environment it needs and lacks, if any.
    pub(super) fn lacks(&self) -> Option<String> {
        match self.ask(&Object::default()) {
            Err(error) if error.kind == ToolErrorKind::Misconfigured => {
                Some(error.message.to_string())
            }
            _ => None,
        }
    }

    /// Whom it asks, for people.
    pub(super) fn shown(&self) -> String {
        let server = self.url.head().ok().and_then(|head| Url::parse(head).ok());
        match server {
            Some(url) => format!("{} {}", self.method, server_of(&url)),
            None => self.method.to_string(),
        }
    }

    pub(super) async fn call(&self, web: &Web, call: &Call<'_>) -> Result<(), ToolError> {
        let answer = web.send(self.ask(call.arguments)?).await?.accepted()?;
        let content = answer::Content {
            bytes: &answer.bytes,
            media_type: &answer.media_type,
            filename: answer.filename.as_deref(),
        };
        answer::messages(&content, &self.shape)?.into_iter().for_each(call.on_message);
        Ok(())
    }

    fn ask(&self, arguments: &Object) -> Result<Ask, ToolError> {
        let head = self.url.head()?;
        whole_server(head, self.url.places().next().is_some())
            .map_err(|why| ToolError::new(ToolErrorKind::Misconfigured, why))?;
        for name in self.url.places() {
            no_step(name, arguments)?;
        }
        let url = self.url.whole_text(arguments, escaped)?;
        let mut url = Url::parse(&url).map_err(|error| {
            ToolError::new(ToolErrorKind::Misconfigured, format!("the address is none: {error}"))
        })?;
        let plain = str::to_owned;
        for (name, fill) in &self.query {
            if let Some(value) = fill.text(arguments, plain)? {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let mut headers = HeaderMap::new();
        for (name, fill) in &self.headers {
            if let Some(value) = fill.text(arguments, plain)? {
                let (name, value) = header(name, &value)?;
                headers.insert(name, value);
            }
        }
        let content = match &self.sent {
            Sent::Nothing => Content::Nothing,
            Sent::Json(tree) => {
                let value = tree.value(arguments)?.unwrap_or_default();
                Content::Bytes(dumps(&value, Style::Compact).into_bytes(), "application/json")
            }
            Sent::Form(form) => {
                let mut encoded = Vec::new();
                for (name, fill) in form {
                    if let Some(value) = fill.text(arguments, escaped)? {
                        encoded.push(format!("{}={value}", escaped(name)));
                    }
                }
                let encoded = encoded.join("&").into_bytes();
                Content::Bytes(encoded, "application/x-www-form-urlencoded")
            }
            Sent::Text(text) => {
                let text = text.text(arguments, plain)?.unwrap_or_default();
                Content::Bytes(text.into_bytes(), "text/plain; charset=utf-8")
            }
        };
        Ok(Ask { method: self.method.clone(), url, headers, content })
    }
}

impl Tree {
    fn new(
        json: &toml::Value,
        fill: &impl Fn(&str) -> Result<Fill, String>,
    ) -> Result<Self, String> {
        Ok(match json {
            toml::Value::String(text) => Self::Text(fill(text)?),
            toml::Value::Integer(number) => Self::Leaf(Value::int(*number)),
            toml::Value::Float(number) => Self::Leaf(Value::from(*number)),
            toml::Value::Boolean(flag) => Self::Leaf(Value::Bool(*flag)),
            toml::Value::Datetime(time) => Self::Leaf(Value::from(time.to_string())),
            toml::Value::Array(items) => Self::List(
                items.iter().map(|item| Self::new(item, fill)).collect::<Result<_, _>>()?,
            ),
            toml::Value::Table(members) => {
                let member = |(name, value): (&String, &toml::Value)| {
                    Ok::<_, String>((name.clone(), Self::new(value, fill)?))
                };
                Self::Members(members.iter().map(member).collect::<Result<_, _>>()?)
            }
        })
    }

    /// What it says with these arguments; None where it is a place and nothing for it.
    fn value(&self, arguments: &Object) -> Result<Option<Value>, FillError> {
        Ok(match self {
            Self::Leaf(value) => Some(value.clone()),
            Self::Text(fill) => fill.value(arguments)?,
            Self::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.extend(item.value(arguments)?);
                }
                Some(Value::array(values))
            }
            Self::Members(members) => {
                let mut values = Vec::new();
                for (name, tree) in members {
                    let value = tree.value(arguments)?;
                    values.extend(value.map(|value| (name.as_str().into(), value)));
                }
                Some(Value::object(values))
            }
        })
    }

    fn fills<'a>(&'a self, found: &mut Vec<&'a Fill>) {
        match self {
            Self::Leaf(_) => {}
            Self::Text(fill) => found.push(fill),
            Self::List(items) => items.iter().for_each(|item| item.fills(found)),
            Self::Members(members) => members.iter().for_each(|(_, tree)| tree.fills(found)),
        }
    }
}

/// Whether an address names its whole server before the first argument.
fn whole_server(head: &str, has_places: bool) -> Result<(), String> {
    let rest = head.strip_prefix("http://").or_else(|| head.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err("the address must begin with http:// or https://".to_owned());
    };
    let ends = rest.find(['/', '?']);
    if has_places && ends.is_none() {
        return Err("arguments may stand in the address after its host only".to_owned());
    }
    Ok(())
}

/// An argument in a path is one name, and no way to another path.
pub(super) fn no_step(name: &str, arguments: &Object) -> Result<(), ToolError> {
    let value = arguments.get(name).map(super::fill::plain).unwrap_or_default();
    if !value.is_empty() && value.chars().all(|character| character == '.') {
        let message =
            format!("the parameter {name} must not be {value:?}, which is a step of a path");
        return Err(ToolError::new(ToolErrorKind::Argument, message));
    }
    Ok(())
}

/// A header that can be sent.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ToolError> {
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        ToolError::new(ToolErrorKind::Misconfigured, format!("{name:?} is no header's name"))
    })?;
    let value = HeaderValue::from_str(value).map_err(|_| {
        let message = format!("the header {name} cannot hold line ends and the like");
        ToolError::new(ToolErrorKind::Argument, message)
    })?;
    Ok((key, value))
}

impl From<FillError> for ToolError {
    fn from(error: FillError) -> Self {
        let kind = match error {
            FillError::NotSet(_) => ToolErrorKind::Misconfigured,
            FillError::Missing(_) => ToolErrorKind::Argument,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flowmill_engine::value::loads;

    use super::*;

    fn call(text: &str) -> Result<HttpCall, String> {
        let entry: HttpEntry = toml::from_str(text).map_err(|error| error.to_string())?;
        let environment = |name: &str| (name == "KEY").then(|| "sesame".to_owned());
        HttpCall::new(&entry, Origin { folder: Path::new("."), environment: &environment })
    }

    fn asked(text: &str, arguments: &str) -> String {
        let Value::Object(arguments) = loads(arguments).unwrap() else { panic!("an object") };
        match call(text).map(|call| call.ask(&arguments)) {
            Err(why) => why,
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(Ask { method, url, headers, content })) => {
                let headers: Vec<_> =
                    headers.values().map(|value| value.to_str().unwrap()).collect();
                let content = match content {
                    Content::Bytes(bytes, _) => String::from_utf8(bytes).unwrap(),
                    Content::Nothing | Content::Parts { .. } => String::new(),
                };
                format!("{method} {url} [{}] {content}", headers.join(", "))
            }
        }
    }

    #[test]
    fn arguments_fill_a_call() {
        let cases = [
            (
                "url = \"http://h/v1/{id}/x\"\nquery = {q = \"{q}\", n = \"{n}\"}\nheaders = \
                 {Authorization = \"Bearer $KEY\"}",
                r#"{"id": "a/b?c#d", "q": "x y&z"}"#,
                "GET http://h/v1/a%2Fb%3Fc%23d/x?q=x+y%26z [Bearer sesame] ",
            ),
            (
                "url = \"http://h/\"\njson = {a = \"{a}\", b = [\"{b}\", 1, \"x{b}\"], c = {d = true}, k = \
                 \"$KEY\"}",
                r#"{"a": {"p": 1.5}}"#,
                r#"POST http://h/ [] {"a":{"p":1.5},"b":[1,"x"],"c":{"d":true},"k":"sesame"}"#,
            ),
            (
                "url = \"http://h/\"\njson = \"{*}\"",
                r#"{"a": [1]}"#,
                r#"POST http://h/ [] {"a":[1]}"#,
            ),
            (
                "url = \"http://h/\"\nmethod = \"put\"\nform = {a = \"{a}\", b = \"{b}\"}",
                r#"{"a": "1 &2"}"#,
                "PUT http://h/ [] a=1%20%262",
            ),
            (
                "url = \"http://h/\"\nbody = \"say {a}\"",
                r#"{"a": "hi"}"#,
                "POST http://h/ [] say hi",
            ),
            ("url = \"http://h/{a}\"", "{}", "Missing required parameter a"),
            (
                "url = \"http://h/{a}\"",
                r#"{"a": ".."}"#,
                "the parameter a must not be \"..\", which is a step of a path",
            ),
            (
                "url = \"http://{a}/x\"",
                r#"{"a": "evil"}"#,
                "arguments may stand in the address after its host only",
            ),
            (
                "url = \"http://good{a}/\"",
                r#"{"a": ".evil"}"#,
                "arguments may stand in the address after its host only",
            ),
            ("url = \"{a}\"", "{}", "the address must begin with http:// or https://"),
            (
                "url = \"http://h/\"\nheaders = {X = \"{a}\"}",
                "{\"a\": \"b\\nEvil: 1\"}",
                "the header X cannot hold line ends and the like",
            ),
            ("url = \"http://h/$NONE\"", "{}", "the environment variable NONE is not set"),
        ];
        for (text, arguments, wanted) in cases {
            assert_eq!(asked(text, arguments), wanted, "{text}");
        }
    }

    #[test]
    fn its_secrets_are_known_and_not_shown() {
        let call = call("url = \"http://h/\"\nheaders = {A = \"x $KEY\"}").unwrap();
        assert_eq!(call.secrets(), ["sesame"]);
        assert!(!format!("{call:?}").contains("sesame"));
        assert_eq!(call.shown(), "GET h");
    }
}
