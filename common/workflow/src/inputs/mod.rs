//! A run's inputs against the form that the workflow's start node declares, checked as Dify checks
//! them where requests come in (spec/nodes.md §2.1). The engine itself checks nothing of it.

mod file;
mod form;
mod given;
mod uploads;

use flowmill_engine::value::{Name, Value, loads, python_float, python_int, str_repr};
use indexmap::IndexMap;

pub use file::{FileRules, extension_of, kind_of, of_address, of_mapping};
pub use form::{Field, FieldKind, Form};
pub use given::GivenFiles;
pub use uploads::{Uploads, gives_files};

/// What was given for a run.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Values of any type.
    pub values: Vec<(Name, Value)>,
    /// Text, read by the declared type; it wins.
    pub texts: Vec<(Name, Name)>,
    /// Files that came with the rest; they win over both.
    pub files: GivenFiles,
}

/// Inputs that a run can begin with.
#[derive(Debug, Default)]
pub struct Accepted {
    /// One for each declared input, null where nothing was given.
    pub inputs: Vec<(Name, Value)>,
    /// Names that the form does not know; their values are dropped, as Dify does.
    pub undeclared: Vec<Name>,
}

/// What is wrong with one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The input.
    pub name: Name,
    /// Why, in Dify's words where it has some; a whole sentence that names the input.
    pub message: String,
}

/// A value as given, before its field is asked.
enum Raw {
    Value(Value),
    Text(Name),
    Files(Vec<Value>),
}

/// Checks what was given; every rejection is reported.
///
/// # Errors
/// The rejections, in the form's order.
pub fn check(form: &Form, given: &Given) -> Result<Accepted, Vec<Rejection>> {
    let mut raw: IndexMap<Name, Raw> = IndexMap::new();
    for (name, value) in &given.values {
        raw.insert(name.clone(), Raw::Value(value.clone()));
    }
    for (name, text) in &given.texts {
        raw.insert(name.clone(), Raw::Text(text.clone()));
    }
    for name in given.files.names() {
        let files = given.files.of(&name);
        raw.insert(name, Raw::Files(files));
    }
    raw.shift_remove(SYSTEM_FILES);
    if form.is_open() {
        let open = |(name, raw)| match raw {
            Raw::Value(value) => (name, value),
            Raw::Text(text) => (name, open_text(&text)),
            Raw::Files(files) => (name, alone_or_list(files)),
        };
        return Ok(Accepted {
            inputs: raw.into_iter().map(open).collect(),
            undeclared: Vec::new(),
        });
    }
    let mut accepted = Accepted::default();
    let mut rejections = Vec::new();
    for field in form.fields() {
        let value = match raw.shift_remove(&field.name) {
            None => Ok(Value::None),
            Some(Raw::Value(value)) => Ok(value),
            Some(Raw::Text(text)) => field.kind.read_text(&field.name, &text),
            Some(Raw::Files(files)) => field.take(files),
        };
        let name = &field.name;
        let checked = value
            .and_then(|value| field.check(value, &given.files))
            .map_err(|message| Rejection { name: name.clone(), message });
        match checked {
            Ok(value) => accepted.inputs.push((name.clone(), without_nul(value))),
            Err(rejection) => rejections.push(rejection),
        }
    }
    accepted.undeclared = raw.into_keys().collect();
    if rejections.is_empty() { Ok(accepted) } else { Err(rejections) }
}

/// The files of the chat itself: no input, [`Uploads`] says what is taken.
pub const SYSTEM_FILES: &str = "sys.files";

fn alone_or_list(mut files: Vec<Value>) -> Value {
    match files.len() {
        1 => files.remove(0),
        _ => Value::array(files),
    }
}

/// What text on a command line stands for where no form is declared, as for a trigger: lists and
/// objects are read, everything else is text.
pub fn open_text(text: &Name) -> Value {
    match loads(text) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
        _ => Value::Str(text.clone()),
    }
}

fn without_nul(value: Value) -> Value {
    match value {
        Value::Str(text) if text.contains('\0') => Value::from(text.replace('\0', "")),
        other => other,
    }
}

impl FieldKind {
    /// What text on a command line stands for, as the value of an input.
    ///
    /// # Errors
    /// Why it stands for nothing: a whole sentence that names the input.
    pub fn read_text(self, name: &str, text: &Name) -> Result<Value, String> {
        match self {
            Self::Text
            | Self::Paragraph
            | Self::Select
            | Self::Number
            | Self::Checkbox
            | Self::External => Ok(Value::Str(text.clone())),
            Self::JsonObject | Self::File | Self::FileList if text.trim().is_empty() => {
                Ok(Value::None)
            }
            Self::File if is_address(text) => Ok(file::of_address(text)),
            Self::FileList if is_address(text) => Ok(Value::array(vec![file::of_address(text)])),
            Self::JsonObject | Self::File | Self::FileList => {
                loads(text).map_err(|error| format!("{name} in input form must be JSON: {error}"))
            }
        }
    }
}

impl Field {
    /// Files given on a command line.
    fn take(&self, files: Vec<Value>) -> Result<Value, String> {
        let name = &self.name;
        match self.kind {
            FieldKind::FileList => Ok(Value::array(files)),
            FieldKind::File if files.len() == 1 => Ok(alone_or_list(files)),
            FieldKind::File => Err(format!("{name} in input form takes one file")),
            kind => Err(format!("{name} in input form takes no file: it is a {}", kind.name())),
        }
    }

    /// Dify's rules for one field.
    fn check(&self, given: Value, files: &GivenFiles) -> Result<Value, String> {
        let name = &self.name;
        let value = match given {
            Value::None if self.required => {
                return Err(format!("{name} is required in input form"));
            }
            Value::None => self.default.clone(),
            value => value,
        };
        if matches!(value, Value::None) {
            return Ok(Value::None);
        }
        let named = |message: String| format!("{name}: {message}");
        match self.kind {
            FieldKind::Text | FieldKind::Paragraph => self.check_text(value),
            FieldKind::Select => self.check_option(value),
            FieldKind::Number => self.number(value),
            FieldKind::Checkbox => plain(name, checkbox(value)),
            FieldKind::External => plain(name, value),
            FieldKind::JsonObject => match value {
                value @ Value::Object(_) => Ok(value),
                value if value.is_falsy() => Ok(value),
                _ => Err(format!("{name} in input form must be a dict")),
            },
            FieldKind::File => self.file(files.find(value).map_err(named)?),
            FieldKind::FileList => self.files(files.find(value).map_err(named)?),
        }
    }

    fn string(&self, value: Value) -> Result<Name, String> {
        match value {
            Value::Str(text) => Ok(text),
            _ => Err(format!(
                "(type '{}') {} in input form must be a string",
                self.kind.name(),
                self.name
            )),
        }
    }

    fn check_text(&self, value: Value) -> Result<Value, String> {
        let text = self.string(value)?;
        match self.most() {
            Some(most) if text.chars().count() > most => {
                Err(format!("{} in input form must be less than {most} characters", self.name))
            }
            _ => Ok(Value::Str(text)),
        }
    }

    fn check_option(&self, value: Value) -> Result<Value, String> {
        let text = self.string(value)?;
        if self.options.contains(&text) {
            return Ok(Value::Str(text));
        }
        let options: Vec<String> = self.options.iter().map(|option| str_repr(option)).collect();
        let options = options.join(", ");
        Err(format!("{} in input form must be one of the following: [{options}]", self.name))
    }

    fn number(&self, value: Value) -> Result<Value, String> {
        let text = match value {
            value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_)) => return Ok(value),
            Value::Str(text) => text,
            other => {
                let found = other.type_name();
                return Err(format!("{} in input form must be a number, not {found}", self.name));
            }
        };
        if text.trim().is_empty() {
            return Ok(Value::None);
        }
        let number = if text.contains('.') {
            python_float(&text).map(Value::Float)
        } else {
            python_int(&text).map(Value::Int)
        };
        number.ok_or_else(|| format!("{} in input form must be a valid number", self.name))
    }

    fn file(&self, value: Value) -> Result<Value, String> {
        match value {
            Value::Str(text) if text.is_empty() && !self.required => Ok(Value::None),
            Value::File(_) | Value::Object(_) => self.file_of(&value),
            _ => Err(format!("{} in input form must be a file", self.name)),
        }
    }

    fn files(&self, value: Value) -> Result<Value, String> {
        let name = &self.name;
        let items = match value {
            Value::Str(text) if text.is_empty() && !self.required => return Ok(Value::None),
            Value::Array(items) => items,
            _ => return Err(format!("{name} in input form must be a list of files")),
        };
        if !items.iter().all(|item| matches!(item, Value::Object(_) | Value::File(_))) {
            return Err(format!("{name} in input form must be a list of files"));
        }
        if let Some(most) = self.most().filter(|most| items.len() > *most) {
            return Err(format!("{name} in input form must be less than {most} files"));
        }
        let files = items.iter().map(|item| self.file_of(item));
        Ok(Value::array(files.collect::<Result<_, _>>()?))
    }

    fn file_of(&self, given: &Value) -> Result<Value, String> {
        let file = match given {
            Value::File(file) => self.files.check_file(file).map(|()| given.clone()),
            mapping => file::of_mapping(mapping, &self.files),
        };
        file.map_err(|message| format!("{}: {message}", self.name))
    }

    /// The most characters or files, if there is a limit.
    fn most(&self) -> Option<usize> {
        let most = self.max_length.filter(|most| *most != 0)?;
        // a negative limit lets nothing pass but the empty text does not reach it either
        Some(usize::try_from(most).unwrap_or(0))
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn checkbox(value: Value) -> Value {
    let known = match &value {
        Value::Str(text) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        },
        Value::Int(_) | Value::Float(_) => {
            [true, false].into_iter().find(|flag| value.py_eq(&Value::Bool(*flag)))
        }
        _ => None,
    };
    known.map_or(value, Value::Bool)
}

/// Objects are for files and `json_object` only; a list of them too.
fn plain(name: &Name, value: Value) -> Result<Value, String> {
    let is_mapping = match &value {
        Value::Object(_) => true,
        Value::Array(items) => {
            !items.is_empty() && items.iter().all(|item| matches!(item, Value::Object(_)))
        }
        _ => false,
    };
    if is_mapping { Err(format!("{name} in input form must not be an object")) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::form::tests::form;
    use super::*;

    fn value(json: &str) -> Value {
        loads(json).unwrap()
    }

    /// Checks one field, given as text (`k=v`) or as JSON.
    fn one(field: &str, text: Option<&str>, json: Option<&str>) -> Result<Value, String> {
        let form = form(&format!("[{{\"variable\": \"x\", \"label\": \"X\", {field}}}]"));
        let given = Given {
            values: json.iter().map(|json| ("x".into(), value(json))).collect(),
            texts: text.iter().map(|text| ("x".into(), Name::from(*text))).collect(),
            ..Given::default()
        };
        match check(&form, &given) {
            Ok(accepted) => Ok(accepted.inputs[0].1.clone()),
            Err(rejections) => Err(rejections[0].message.clone()),
        }
    }

    fn text(field: &str, text: &str) -> Result<Value, String> {
        one(field, Some(text), None)
    }

    fn json(field: &str, json: &str) -> Result<Value, String> {
        one(field, None, Some(json))
    }

    #[test]
    fn absent_inputs_take_their_default_and_it_is_checked() {
        let number = r#""type": "number", "default": "4""#;
        assert_eq!(one(number, None, None), Ok(Value::int(4)));
        assert_eq!(json(number, "null"), Ok(Value::int(4)));
        let required = r#""type": "number", "default": 4, "required": true"#;
        assert_eq!(one(required, None, None), Err("x is required in input form".into()));
        assert_eq!(one(r#""type": "paragraph""#, None, None), Ok(Value::None));
        let select = r#""type": "select", "options": ["a", "b'"], "default": """#;
        let message = r#"x in input form must be one of the following: ['a', "b'"]"#;
        assert_eq!(one(select, None, None), Err(message.into()));
        assert_eq!(text(select, "a"), Ok("a".into()));
    }

    #[test]
    fn text_is_text_and_no_longer_than_allowed() {
        let field = r#""type": "text-input", "max_length": 3"#;
        assert_eq!(
            text(field, "\u{1f916}\u{1f916}\u{1f916}"),
            Ok("\u{1f916}\u{1f916}\u{1f916}".into())
        );
        assert_eq!(
            text(field, "abcd"),
            Err("x in input form must be less than 3 characters".into())
        );
        let message = "(type 'text-input') x in input form must be a string";
        assert_eq!(json(field, "5"), Err(message.into()));
        assert_eq!(text(field, "a\0b"), Ok("ab".into()));
        assert_eq!(text(r#""type": "paragraph", "max_length": 0"#, "abcd"), Ok("abcd".into()));
    }

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        let field = r#""type": "number""#;
        assert_eq!(text(field, " 7 "), Ok(Value::int(7)));
        assert_eq!(text(field, "7.0"), Ok(Value::Float(7.0)));
        assert_eq!(text(field, " "), Ok(Value::None));
        assert_eq!(json(field, "true"), Ok(Value::Bool(true)));
        for wrong in ["1e5", "seven", "1.2.3"] {
            assert_eq!(text(field, wrong), Err("x in input form must be a valid number".into()));
        }
        assert!(json(field, "[1]").unwrap_err().contains("must be a number, not"));
    }

    #[test]
    fn checkboxes_know_their_words() {
        let field = r#""type": "checkbox""#;
        for (given, flag) in [(" YES ", true), ("1", true), ("off", false), ("False", false)] {
            assert_eq!(text(field, given), Ok(Value::Bool(flag)));
        }
        assert_eq!(json(field, "1.0"), Ok(Value::Bool(true)));
        assert_eq!(json(field, "2"), Ok(Value::int(2)));
        assert_eq!(text(field, "perhaps"), Ok("perhaps".into()));
        assert!(json(field, "{}").is_err() && json(field, "[{}]").is_err());
    }

    #[test]
    fn objects_are_objects() {
        let field = r#""type": "json_object""#;
        assert_eq!(text(field, r#"{"a": 1}"#), Ok(value(r#"{"a": 1}"#)));
        assert_eq!(text(field, ""), Ok(Value::None));
        assert_eq!(json(field, "[]"), Ok(value("[]")));
        assert_eq!(json(field, "[1]"), Err("x in input form must be a dict".into()));
        assert!(text(field, "{a}").unwrap_err().starts_with("x in input form must be JSON: "));
    }

    #[test]
    fn files_come_as_mappings_or_addresses() {
        let field = r#""type": "file", "allowed_file_types": ["image"],
            "allowed_file_upload_methods": ["remote_url"]"#;
        let Ok(Value::File(file)) = text(field, "https://example.com/a/b.PNG?x=1") else {
            panic!()
        };
        assert_eq!((&*file.kind, file.filename.as_deref()), ("image", Some("b.PNG")));
        assert_eq!(file.extension.as_deref(), Some(".png"));
        assert_eq!(json(field, "\"\""), Ok(Value::None));
        assert_eq!(json(field, "5"), Err("x in input form must be a file".into()));
        assert!(text(field, "https://example.com/a.pdf").unwrap_err().contains("document"));
        let list = r#""type": "file-list", "max_length": 1"#;
        let Ok(Value::Array(files)) = text(list, "https://example.com/a.pdf") else { panic!() };
        assert_eq!(files.len(), 1);
        let message = "x in input form must be less than 1 files";
        assert_eq!(json(list, "[{}, {}]"), Err(message.into()));
        assert_eq!(json(list, "[1]"), Err("x in input form must be a list of files".into()));
    }

    #[test]
    fn all_rejections_are_listed_and_undeclared_inputs_dropped() {
        let form = form(
            r#"[{"variable": "a", "label": "A", "type": "number", "required": true},
                {"variable": "b", "label": "B", "type": "text-input", "max_length": 1}]"#,
        );
        let texts = |pairs: &[(&str, &str)]| Given {
            texts: pairs.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect(),
            values: vec![("a".into(), Value::from("zz"))],
            ..Given::default()
        };
        let rejected = check(&form, &texts(&[("b", "xx")])).unwrap_err();
        let names: Vec<&str> = rejected.iter().map(|rejection| &*rejection.name).collect();
        assert_eq!(names, ["a", "b"]);
        let accepted = check(&form, &texts(&[("c", "1"), ("a", "3")])).unwrap();
        assert_eq!(accepted.inputs, [("a".into(), Value::int(3)), ("b".into(), Value::None)]);
        assert_eq!(accepted.undeclared, [Name::from("c")]);
    }

    #[test]
    fn triggers_take_anything() {
        let given = Given {
            texts: vec![("a".into(), "{\"b\": 1}".into()), ("n".into(), "5".into())],
            ..Given::default()
        };
        let accepted = check(&Form::open(), &given).unwrap();
        assert_eq!(accepted.inputs[0].1, value("{\"b\": 1}"));
        assert_eq!(accepted.inputs[1].1, Value::from("5"));
    }
}
