//! An operation, and what it takes.

use std::collections::BTreeSet;

use flowmill_engine::value::{Name, Value};
use reqwest::Method;
use serde_json::Value as Json;

use super::super::Description;
use super::super::parameter::{Form, Parameter, ParameterKind};

/// What a body that is no object is called among the parameters.
pub(super) const WHOLE_BODY: &str = "body";

/// An operation of a document.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) server: Option<String>,
    pub(super) about: String,
    pub(super) taken: Vec<Taken>,
    pub(super) body: Option<Body>,
}

/// Something that an operation takes besides its body.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) about: String,
    pub(super) schema: Json,
    /// Whether each element of a list stands for itself.
    pub(super) is_apart: bool,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) encoding: Encoding,
    /// Its members; None where it is no object.
    pub(super) members: Option<Vec<Member>>,
    /// The schema of the whole.
    pub(super) schema: Json,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Form,
    Parts,
    Text,
}

/// A member of what is sent.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) schema: Json,
}

impl Body {
    pub(super) fn read(media_type: &str, schema: &Json) -> Result<Self, String> {
        let plain = media_type.split(';').next().unwrap_or_default().trim();
        let encoding = match plain {
            "application/x-www-form-urlencoded" => Encoding::Form,
            "multipart/form-data" => Encoding::Parts,
            "application/json" | "*/*" => Encoding::Json,
            other if other.ends_with("+json") => Encoding::Json,
            other if other.starts_with("text/") => Encoding::Text,
            other => {
                return Err(format!("has an operation that takes {other}, which is not known"));
            }
        };
        let required: BTreeSet<&str> = match schema.get("required") {
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            _ => BTreeSet::new(),
        };
        let members = schema.get("properties").and_then(Json::as_object).map(|properties| {
            let member = |(name, schema): (&String, &Json)| Member {
                name: name.clone(),
                required: required.contains(name.as_str()),
                schema: schema.clone(),
            };
            properties.iter().map(member).collect()
        });
        Ok(Self { encoding, members, schema: schema.clone() })
    }
}

impl Operation {
    /// What models and nodes see of it.
    pub(super) fn description(&self) -> Description {
        let taken = self
            .taken
            .iter()
            .map(|taken| parameter(&taken.name, &taken.about, taken.required, &taken.schema));
        let sent = match &self.body {
            None => Vec::new(),
            Some(Body { members: Some(members), .. }) => members
                .iter()
                .map(|member| parameter(&member.name, "", member.required, &member.schema))
                .collect(),
            Some(body) => vec![parameter(WHOLE_BODY, "", false, &body.schema)],
        };
        let mut parameters: Vec<Parameter> = taken.collect();
        for parameter in sent {
            if !parameters.iter().any(|held| held.name == parameter.name) {
                parameters.push(parameter);
            }
        }
        let about: Name = if self.about.is_empty() {
            self.id.as_str().into()
        } else {
            self.about.as_str().into()
        };
        Description { about, parameters, takes_others: false }
    }
}

fn parameter(name: &str, about: &str, required: bool, schema: &Json) -> Parameter {
    let said = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    let options = schema.get("enum").and_then(Json::as_array);
    let options = options.into_iter().flatten().filter_map(Json::as_str).map(Into::into);
    Parameter {
        name: name.into(),
        kind: ParameterKind::of_schema(schema),
        form: Form::Llm,
        required,
        about: if about.is_empty() { said.into() } else { about.into() },
        default: schema.get("default").cloned().map(Value::from_json),
        options: options.collect(),
        schema: schema.is_object().then(|| Value::from_json(schema.clone())),
    }
}
