//! A document's parameters, sorted by what every protocol has a place of its own for.

use serde_json::{Map, Value as Json};

use crate::models::{Ask, Offer};

/// The names by which documents limit an answer.
const MOST: [&str; 4] =
    ["max_tokens", "max_output_tokens", "max_completion_tokens", "max_tokens_to_sample"];

/// What form an answer has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Format {
    /// Any.
    Free,
    /// Some JSON.
    Json,
    /// JSON of a schema.
    Schema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Json,
    },
}

/// A document's parameters.
#[derive(Clone, Debug)]
pub(super) struct Params {
    /// How many tokens an answer may have.
    pub(super) most: Option<u64>,
    /// Texts that end it.
    pub(super) stop: Vec<String>,
    /// What form it has.
    pub(super) format: Format,
    /// All others, as they are.
    pub(super) rest: Map<String, Json>,
}

impl Params {
    /// The parameters of a question: the document's, then the entry's.
    pub(super) fn of(offer: &Offer, ask: &Ask) -> Self {
        let mut rest = Map::new();
        for (name, value) in offer.params.iter().chain(&ask.params) {
            rest.insert(name.to_string(), value.to_json());
        }
        rest.retain(|name, value| {
            !value.is_null() && !offer.drop_params.iter().any(|drop| **drop == **name)
        });
        let mut most = offer.max_output_tokens.map(u64::from);
        for name in MOST {
            if let Some(value) = rest.remove(name) {
                // what Dify reads from a form may be a float
                most = value.as_u64().or_else(|| value.as_f64().and_then(whole)).or(most);
            }
        }
        let format = format(&mut rest, ask);
        let stop = ask.stop.iter().map(ToString::to_string).collect();
        Self { most, stop, format, rest }
    }

    /// Takes a parameter that means something of its own.
    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        self.rest.remove(name)
    }
}

fn whole(number: f64) -> Option<u64> {
    let is_count = number.fract() == 0.0 && (1.0..=1e12).contains(&number);
    is_count.then(|| format!("{number:.0}").parse().ok()).flatten()
}

/// As Dify says it: `response_format` is `text`, `json_object` or `json_schema`, and then the schema
/// is a text in `json_schema`. What is already of a provider's form goes through.
fn format(rest: &mut Map<String, Json>, ask: &Ask) -> Format {
    if let Some(schema) = &ask.schema {
        rest.remove("response_format");
        rest.remove("json_schema");
        return Format::Schema { name: schema.name.to_string(), schema: schema.schema.to_json() };
    }
    let Some(Json::String(wanted)) = rest.get("response_format") else { return Format::Free };
    let wanted = wanted.to_lowercase();
    rest.remove("response_format");
    let given = rest.remove("json_schema");
    match &*wanted {
        "json_schema" => match given.and_then(parsed) {
            Some(schema) => schema,
            None => Format::Json,
        },
        "json_object" | "json" => Format::Json,
        _ => Format::Free,
    }
}

fn parsed(given: Json) -> Option<Format> {
    let given = match given {
        Json::String(text) => serde_json::from_str(&text).ok()?,
        other => other,
    };
    let Json::Object(mut members) = given else { return None };
    match members.remove("schema") {
        Some(schema) => {
            let name = members.get("name").and_then(Json::as_str).unwrap_or("answer");
            Some(Format::Schema { name: name.to_owned(), schema })
        }
        None => Some(Format::Schema { name: "answer".to_owned(), schema: Json::Object(members) }),
    }
}
