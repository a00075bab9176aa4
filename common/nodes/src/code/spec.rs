//! A code node's data.

use flowmill_engine::graph::{Content, Fields, Item};
use flowmill_engine::value::Name;

use super::inputs::Input;
use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

/// Outputs may be declared within each other to this depth. The results themselves may only
/// be nested 5 deep (spec/nodes.md §4.1).
const MAX_NESTING: usize = 64;

const LANGUAGES: &[&str] = &["python3", "javascript"];

const OUTPUT_TYPES: &[&str] = &[
    "string",
    "number",
    "object",
    "boolean",
    "array[string]",
    "array[number]",
    "array[object]",
    "array[boolean]",
];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("code_language", FieldKind::Word(LANGUAGES), REQUIRED, "the language"),
    field("code", FieldKind::Text, REQUIRED, "the code, with a function `main`"),
    field(
        "variables",
        FieldKind::List,
        REQUIRED,
        "the inputs of main: keyword arguments in Python, one object in JavaScript",
    ),
    field("variables[].variable", FieldKind::Text, REQUIRED, "the input's name"),
    field("variables[].value_selector", FieldKind::Selector, REQUIRED, "where it is read"),
    field("outputs", FieldKind::Mapping, REQUIRED, "what main returns: names to {type, children}"),
    field("outputs.<name>.type", FieldKind::Word(OUTPUT_TYPES), REQUIRED, "the output's type"),
    field(
        "outputs.<name>.children",
        FieldKind::Mapping,
        "null",
        "the members of an object or of each object of an array, all of them; null: any",
    ),
    field("dependencies", FieldKind::List, "null", "packages by name and version; not installed"),
];

pub(super) const EXAMPLE: &str = r#"{
    "code_language": "python3",
    "code": "def main(arg1: str, arg2: str):\n    return {\"result\": arg1 + arg2}\n",
    "variables": [
        {"variable": "arg1", "value_selector": ["start", "a"]},
        {"variable": "arg2", "value_selector": ["start", "b"]}],
    "outputs": {"result": {"type": "string", "children": null}}
}"#;

/// What a code node runs and what it promises.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) language: Language,
    pub(super) code: Name,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Schema,
}

/// `code_language`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    JavaScript,
}

/// Declared members in the order of the document.
pub(super) type Schema = Vec<(Name, Output)>;

/// What one output must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    String,
    Number,
    Boolean,
    /// With the members it must have, if they are declared.
    Object(Option<Schema>),
    ArrayString,
    ArrayNumber,
    ArrayBoolean,
    /// With the members each element must have, if they are declared.
    ArrayObject(Option<Schema>),
}

impl Spec {
    /// Reads the data of a node.
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let language = match fields.one_of("code_language", LANGUAGES) {
            "javascript" => Language::JavaScript,
            _ => Language::Python,
        };
        // Nothing is installed for them, but what is there must be readable.
        fields.list_opt("dependencies", |entry| {
            entry.text("name");
            entry.text("version");
        });
        Self {
            language,
            code: fields.text("code"),
            inputs: fields.list("variables", |entry| Input {
                name: entry.text("variable"),
                selector: entry.selector("value_selector"),
            }),
            outputs: fields
                .mapping("outputs", |outputs| schema(outputs, MAX_NESTING))
                .unwrap_or_default(),
        }
    }
}

fn schema(fields: &mut Fields<'_>, nesting: usize) -> Schema {
    let members = fields.item().as_map().unwrap_or_default();
    members.iter().filter_map(|(key, item)| member(fields, key, item, nesting)).collect()
}

fn member(
    fields: &mut Fields<'_>,
    key: &Item,
    item: &Item,
    nesting: usize,
) -> Option<(Name, Output)> {
    let Content::Str(name) = &key.content else {
        fields.error("", format!("an output's name must be text, not {}", key.type_name()));
        return None;
    };
    let output = fields.mapping_of(name, item, |fields| output(fields, nesting))?;
    Some((name.clone(), output))
}

fn output(fields: &mut Fields<'_>, nesting: usize) -> Output {
    let kind = fields.one_of("type", OUTPUT_TYPES);
    let children = match nesting {
        0 if fields.given("children").is_some() => {
            fields.error("children", "are nested too deeply");
            None
        }
        0 => None,
        _ => fields.mapping_opt("children", |children| schema(children, nesting - 1)),
    };
    match kind {
        "number" => Output::Number,
        "object" => Output::Object(children),
        "boolean" => Output::Boolean,
        "array[string]" => Output::ArrayString,
        "array[number]" => Output::ArrayNumber,
        "array[object]" => Output::ArrayObject(children),
        "array[boolean]" => Output::ArrayBoolean,
        _ => Output::String,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use flowmill_engine::graph::Problems;

    use super::*;

    /// Data written as JSON.
    pub(in crate::code) fn item(json: &serde_json::Value) -> Item {
        use serde_json::Value as Json;
        let content = match json {
            Json::Null => Content::Null,
            Json::Bool(value) => Content::Bool(*value),
            Json::Number(value) => Content::Int(value.as_i64().unwrap().into()),
            Json::String(text) => Content::Str(text.as_str().into()),
            Json::Array(items) => Content::Seq(items.iter().map(item).collect()),
            Json::Object(members) => Content::Map(
                members
                    .iter()
                    .map(|(key, value)| (item(&key.as_str().into()), item(value)))
                    .collect(),
            ),
        };
        Item { line: 1, content }
    }

    fn check(data: &serde_json::Value) -> (Spec, Vec<String>) {
        let mut problems = Problems::new();
        let (data, id) = (item(data), "c".into());
        let spec = Spec::read(&mut Fields::new(&data, &id, "", &mut problems));
        let fields = problems.iter().map(|problem| problem.field.clone().unwrap_or_default());
        (spec, fields.collect())
    }

    #[test]
    fn reads_nested_outputs() {
        let (spec, problems) = check(&serde_json::json!({
            "code_language": "javascript", "code": "x", "dependencies": [],
            "variables": [{"variable": "a", "value_selector": ["n", "v"]}],
            "outputs": {
                "o": {"type": "object", "children": {"p": {"type": "array[boolean]"}}},
                "q": {"type": "object", "children": null},
                "s": {"type": "string", "children": {}},
            },
        }));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(spec.language, Language::JavaScript);
        assert_eq!(spec.inputs.len(), 1);
        let children = vec![("p".into(), Output::ArrayBoolean)];
        let expected: Schema = vec![
            ("o".into(), Output::Object(Some(children))),
            ("q".into(), Output::Object(None)),
            ("s".into(), Output::String),
        ];
        assert_eq!(spec.outputs, expected);
    }

    #[test]
    fn what_must_be_there_must_be_there() {
        let (_, problems) = check(&serde_json::json!({}));
        assert_eq!(problems, ["code_language", "code", "variables", "outputs"]);
    }

    #[test]
    fn refuses_what_the_reference_refuses() {
        for kind in ["array[any]", "file", "any", "array[file]", "integer", "secret", "String"] {
            let (_, problems) = check(&serde_json::json!({
                "code_language": "python3", "code": "", "variables": [],
                "outputs": {"y": {"type": kind}},
            }));
            assert_eq!(problems, ["outputs.y.type"], "{kind}");
        }
        let (_, problems) = check(&serde_json::json!({
            "code_language": "jinja2", "code": null, "variables": [{"variable": "a"}],
            "outputs": {"y": {"type": "string", "children": {"z": {}}}},
            "dependencies": [{"name": "x"}],
        }));
        assert_eq!(
            problems,
            [
                "code_language",
                "dependencies[0].version",
                "code",
                "variables[0].value_selector",
                "outputs.y.children.z.type"
            ]
        );
    }

    #[test]
    fn declarations_are_nested_within_bounds() {
        let mut outputs = serde_json::json!({"y": {"type": "object"}});
        for _ in 0..200 {
            outputs = serde_json::json!({"y": {"type": "object", "children": outputs}});
        }
        let (_, problems) = check(&serde_json::json!({
            "code_language": "python3", "code": "", "variables": [], "outputs": outputs,
        }));
        assert_eq!(problems.len(), 1);
    }
}
