//! A value that fits a JSON schema, the same one always.

use serde_json::{Map, Value as Json};

/// How deep schemas are followed that refer to themselves.
const DEPTH: usize = 8;

/// A value that fits.
pub(crate) fn sample(schema: &Json) -> Json {
    of(schema, schema, "text", DEPTH)
}

fn of(schema: &Json, root: &Json, name: &str, depth: usize) -> Json {
    if depth == 0 {
        return Json::Null;
    }
    let deeper = |schema: &Json| of(schema, root, name, depth - 1);
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        return root.pointer(pointer).map_or(Json::Null, deeper);
    }
    for member in ["const", "default"] {
        if let Some(value) = schema.get(member) {
            return value.clone();
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    for member in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[member].as_array().and_then(|all| all.first()) {
            return deeper(first);
        }
    }
    let kind = match &schema["type"] {
        Json::Array(kinds) => kinds.first().and_then(Json::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("integer") => schema.get("minimum").cloned().unwrap_or(Json::from(1)),
        Some("number") => schema.get("minimum").cloned().unwrap_or(Json::from(1.5)),
        Some("boolean") => Json::Bool(true),
        Some("array") => Json::Array(vec![deeper(&schema["items"])]),
        Some("null") => Json::Null,
        Some("object") | None if schema.get("properties").is_some() || kind.is_some() => {
            let members = schema["properties"].as_object().into_iter().flatten();
            let member = |(name, schema): (&String, &Json)| {
                (name.clone(), of(schema, root, name, depth - 1))
            };
            Json::Object(members.map(member).collect::<Map<_, _>>())
        }
        Some(_) | None => Json::from(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn samples_fit_their_schemas() {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer", "minimum": 3},
            "kind": {"enum": ["a", "b"]}, "tags": {"type": "array", "items": {"type": "boolean"}},
            "inner": {"$ref": "#/$defs/inner"}}, "$defs": {"inner": {"type": "null"}}});
        let wanted = json!({"city": "city", "days": 3, "kind": "a", "tags": [true], "inner": null});
        assert_eq!(sample(&schema), wanted);
        assert_eq!(sample(&json!({"type": "object"})), json!({}));
        let endless = json!({"anyOf": [{"$ref": "#"}]});
        assert_eq!(sample(&endless), Json::Null);
    }
}
