//! Reading a document: its operations, with what they refer to put in place.

use std::collections::BTreeMap;

use reqwest::{Method, Url};
use serde_json::{Map, Value as Json};

use super::operation::{Body, Operation, Place, Taken};

/// References within references are followed so far; a schema may contain itself.
const DEEPEST: usize = 8;

/// So many values describe what one operation takes; what goes beyond is taken as it comes.
const MOST_VALUES: usize = 20_000;

/// The methods that an operation may have, as documents write them.
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// An `OpenAPI` document.
#[derive(Debug)]
pub(super) struct Document {
    root: Json,
}

impl Document {
    /// Reads JSON or YAML.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let root = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?
        } else {
            let reading = flowmill_yaml::load(text, &flowmill_yaml::Budget::default());
            let reading = reading.map_err(|problem| format!("is no YAML: {problem}"))?;
            reading.root.to_value().to_json()
        };
        let root: Json = root;
        let version = root.get("openapi").map(|version| match version {
            Json::String(version) => version.clone(),
            other => other.to_string(),
        });
        match version {
            Some(version) if version.starts_with('3') => Ok(Self { root }),
            Some(version) => Err(format!("is OpenAPI {version}; 3.0 and 3.1 are known")),
            None if root.get("swagger").is_some() => {
                Err("is Swagger 2; convert it to OpenAPI 3 first".to_owned())
            }
            None => Err("does not say openapi: 3.x".to_owned()),
        }
    }

    /// Its operations by their ids; one without an id has the one that Dify gives it.
    pub(super) fn operations(
        &self,
        address: Option<&Url>,
    ) -> Result<BTreeMap<String, Operation>, String> {
        let paths = self.root.get("paths").and_then(Json::as_object);
        let paths = paths.ok_or_else(|| "has no paths".to_owned())?;
        let mut found = BTreeMap::new();
        for (path, item) in paths {
            let item = self.target(item);
            for method in METHODS {
                let Some(operation) = item.get(method).filter(|operation| operation.is_object())
                else {
                    continue;
                };
                let id = match operation.get("operationId").and_then(Json::as_str) {
                    Some(id) => id.to_owned(),
                    None => id_for(path, method),
                };
                let server = [operation, item, &self.root]
                    .into_iter()
                    .find_map(|holder| server(holder, address));
                let mut left = MOST_VALUES;
                let mut whole = |holder: &Json, key| {
                    holder.get(key).map_or(Json::Null, |value| self.inline(value, 0, &mut left))
                };
                let parameters = [whole(operation, "parameters"), whole(item, "parameters")];
                let sent = whole(operation, "requestBody");
                let read = Operation {
                    id: id.clone(),
                    method: Method::from_bytes(method.to_uppercase().as_bytes())
                        .map_err(|error| error.to_string())?,
                    path: path.clone(),
                    server,
                    about: about(operation),
                    taken: taken(&parameters),
                    body: body(&sent)?,
                };
                found.insert(id, read);
            }
        }
        Ok(found)
    }

    /// What a value is, or what it refers to.
    fn target<'a>(&'a self, value: &'a Json) -> &'a Json {
        let target = value.get("$ref").and_then(Json::as_str);
        let found = target.and_then(|target| self.root.pointer(target.strip_prefix('#')?));
        found.unwrap_or(value)
    }

    /// A value with what its references name in their place.
    fn inline(&self, value: &Json, depth: usize, left: &mut usize) -> Json {
        if *left == 0 {
            return Json::Object(Map::new());
        }
        *left -= 1;
        match value {
            Json::Object(members) if members.get("$ref").is_some_and(Json::is_string) => {
                let found = self.target(value);
                // it contains itself, or lies elsewhere: anything goes
                if depth == DEEPEST || std::ptr::eq(found, value) {
                    return Json::Object(Map::new());
                }
                self.inline(found, depth + 1, left)
            }
            Json::Object(members) => {
                let members = members.iter();
                members
                    .map(|(name, value)| (name.clone(), self.inline(value, depth, left)))
                    .collect()
            }
            Json::Array(items) => items.iter().map(|item| self.inline(item, depth, left)).collect(),
            other => other.clone(),
        }
    }
}

/// The first server of a document, a path or an operation.
fn server(holder: &Json, address: Option<&Url>) -> Option<String> {
    let server = holder.get("servers")?.as_array()?.first()?;
    let mut url = server.get("url")?.as_str()?.to_owned();
    let variables = server.get("variables").and_then(Json::as_object);
    for (name, variable) in variables.into_iter().flatten() {
        let default = variable.get("default").and_then(Json::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    match address {
        Some(address) => address.join(&url).ok().map(String::from),
        None => url.contains("://").then_some(url),
    }
}

/// As Dify names an operation without an id: what is left of the path, and the method.
fn id_for(path: &str, method: &str) -> String {
    let is_kept =
        |character: &char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let kept: String = path.chars().filter(is_kept).collect();
    format!("{kept}_{method}")
}

fn about(operation: &Json) -> String {
    let text =
        |key: &str| operation.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
    text("summary").or_else(|| text("description")).unwrap_or_default().to_owned()
}

/// What an operation takes besides its body; its own go before its path's.
fn taken(lists: &[Json]) -> Vec<Taken> {
    let mut all: Vec<Taken> = Vec::new();
    for list in lists {
        for parameter in list.as_array().into_iter().flatten() {
            let Some(read) = Taken::read(parameter) else { continue };
            if !all.iter().any(|held| held.name == read.name && held.place == read.place) {
                all.push(read);
            }
        }
    }
    all
}

fn body(sent: &Json) -> Result<Option<Body>, String> {
    // as in Dify the first kind of content counts
    let content = sent.get("content").and_then(Json::as_object);
    let Some((media_type, content)) = content.and_then(|content| content.iter().next()) else {
        return Ok(None);
    };
    let schema = content.get("schema").cloned().unwrap_or(Json::Null);
    Body::read(media_type, &merged(schema)).map(Some)
}

/// A schema with the parts of its `allOf` in one.
fn merged(schema: Json) -> Json {
    let Json::Object(mut members) = schema else { return schema };
    let Some(Json::Array(parts)) = members.remove("allOf") else { return Json::Object(members) };
    for part in parts {
        let Json::Object(part) = merged(part) else { continue };
        for (name, value) in part {
            match (members.get_mut(&name), value) {
                (Some(Json::Object(held)), Json::Object(more)) => held.extend(more),
                (Some(Json::Array(held)), Json::Array(more)) => held.extend(more),
                (Some(_), _) => {}
                (None, value) => {
                    members.insert(name, value);
                }
            }
        }
    }
    Json::Object(members)
}

impl Taken {
    fn read(parameter: &Json) -> Option<Self> {
        let text = |key: &str| parameter.get(key).and_then(Json::as_str);
        let place = match text("in")? {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            "cookie" => Place::Cookie,
            _ => return None,
        };
        let schema = parameter.get("schema").cloned().unwrap_or(Json::Null);
        let is = |key: &str| parameter.get(key).and_then(Json::as_bool);
        Some(Self {
            name: text("name")?.to_owned(),
            place,
            required: is("required").unwrap_or(place == Place::Path),
            about: text("description").unwrap_or_default().to_owned(),
            schema,
            is_apart: is("explode").unwrap_or(true),
        })
    }
}
