//! The form of a start node.

use flowmill_engine::graph::{Item, lax_bool, lax_integer};
use flowmill_engine::value::{Name, Value};

use super::file::FileRules;

/// What a run takes.
#[derive(Clone, Debug, Default)]
pub struct Form {
    fields: Vec<Field>,
    /// There is none: anything is taken.
    open: bool,
}

/// One declared input.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// Its name for people.
    pub label: Name,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when not given; null is none.
    pub default: Value,
    /// Characters, or files of a list.
    pub max_length: Option<i64>,
    /// What a select offers.
    pub options: Vec<Name>,
    /// Which files are taken.
    pub files: FileRules,
}

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A line of text.
    Text,
    /// Text of any length.
    Paragraph,
    /// One of some texts.
    Select,
    /// A number.
    Number,
    /// Yes or no.
    Checkbox,
    /// An object.
    JsonObject,
    /// A file.
    File,
    /// Files.
    FileList,
    /// What a tool of others makes of a text.
    External,
}

const KINDS: [(FieldKind, &str); 9] = [
    (FieldKind::Text, "text-input"),
    (FieldKind::Paragraph, "paragraph"),
    (FieldKind::Select, "select"),
    (FieldKind::Number, "number"),
    (FieldKind::Checkbox, "checkbox"),
    (FieldKind::JsonObject, "json_object"),
    (FieldKind::File, "file"),
    (FieldKind::FileList, "file-list"),
    (FieldKind::External, "external_data_tool"),
];

impl FieldKind {
    /// The kind of this word of Dify's.
    pub fn named(word: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind)
    }

    /// Dify's word for it.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl Form {
    /// A form that takes anything.
    pub fn open() -> Self {
        Self { fields: Vec::new(), open: true }
    }

    /// The form in a start node's data, which has been found valid.
    pub fn of_start(data: &Item) -> Self {
        let variables = data.get("variables").and_then(Item::as_seq).unwrap_or_default();
        Self { fields: variables.iter().filter_map(field).collect(), open: false }
    }

    /// Its fields in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether it takes anything.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

fn field(item: &Item) -> Option<Field> {
    let word = item.get("type")?.as_str()?;
    let kind = FieldKind::named(word)?;
    let name = item.get("variable")?.as_name()?.clone();
    let label = item.get("label").and_then(Item::as_name).cloned().unwrap_or_else(|| name.clone());
    Some(Field {
        name,
        label,
        kind,
        required: item.get("required").and_then(lax_bool).unwrap_or(false),
        default: item.get("default").map_or(Value::None, Item::to_value),
        max_length: item.get("max_length").and_then(lax_integer),
        options: texts(item, "options"),
        files: FileRules {
            kinds: texts(item, "allowed_file_types"),
            extensions: texts(item, "allowed_file_extensions"),
            methods: texts(item, "allowed_file_upload_methods"),
        },
    })
}

pub(super) fn texts(item: &Item, key: &str) -> Vec<Name> {
    let items = item.get(key).and_then(Item::as_seq).unwrap_or_default();
    items.iter().filter_map(Item::as_name).cloned().collect()
}

impl Field {
    /// What it takes, for people: `select, required, one of a, b`.
    pub fn describe(&self) -> String {
        let mut parts = vec![self.kind.name().to_owned()];
        if self.required {
            parts.push("required".to_owned());
        }
        if let Some(most) = self.max_length.filter(|most| *most > 0) {
            match self.kind {
                FieldKind::Text | FieldKind::Paragraph => {
                    parts.push(format!("at most {most} characters"));
                }
                FieldKind::FileList => parts.push(format!("at most {most} files")),
                _ => {}
            }
        }
        if self.kind == FieldKind::Select {
            let options: Vec<&str> = self.options.iter().map(|option| &**option).collect();
            parts.push(format!("one of {}", options.join(", ")));
        }
        if matches!(self.kind, FieldKind::File | FieldKind::FileList)
            && !self.files.kinds.is_empty()
        {
            parts.push(format!("{} files", self.files.kinds.join(", ")));
        }
        if !self.required && !self.default.is_falsy() {
            parts.push(format!("default {}", self.default.to_python()));
        }
        parts.join(", ")
    }

    /// Whether files of this machine may be given.
    pub fn takes_local_files(&self) -> bool {
        let methods = &self.files.methods;
        matches!(self.kind, FieldKind::File | FieldKind::FileList)
            && (methods.is_empty() || methods.iter().any(|method| &**method == "local_file"))
    }

    /// A value that would be taken, as a command line writes it.
    pub fn example(&self) -> String {
        if !self.default.is_falsy() && self.kind != FieldKind::Select {
            return self.default.to_python();
        }
        match self.kind {
            FieldKind::Text | FieldKind::Paragraph | FieldKind::External => "some text".to_owned(),
            FieldKind::Select => self.options.first().map_or_else(String::new, ToString::to_string),
            FieldKind::Number => "1".to_owned(),
            FieldKind::Checkbox => "true".to_owned(),
            FieldKind::JsonObject => r#"{"key": "value"}"#.to_owned(),
            FieldKind::File | FieldKind::FileList if self.takes_local_files() => {
                "path/to/file".to_owned()
            }
            FieldKind::File => "https://example.com/file".to_owned(),
            FieldKind::FileList => {
                r#"[{"transfer_method": "remote_url", "url": "https://example.com/file"}]"#
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A form of these variables, as JSON, which YAML holds.
    pub(in crate::inputs) fn form(variables: &str) -> Form {
        let text =
            format!("graph: {{nodes: [{{id: a, data: {{type: start, variables: {variables}}}}}]}}");
        let document = flowmill_dsl::document::read(&text).unwrap();
        Form::of_start(&document.graph.nodes[0].data)
    }

    #[test]
    fn a_form_says_what_it_takes() {
        let form = form(
            r#"[{"variable": "a", "label": "A", "type": "text-input", "required": "yes", "max_length": 9},
                {"variable": "b", "label": "B", "type": "select", "options": ["x", "y"], "default": "y"}]"#,
        );
        let texts: Vec<String> = form.fields().iter().map(Field::describe).collect();
        assert_eq!(texts[0], "text-input, required, at most 9 characters");
        assert_eq!(texts[1], "select, one of x, y, default y");
        let examples: Vec<String> = form.fields().iter().map(Field::example).collect();
        assert_eq!(examples, ["some text", "x"]);
    }
}
