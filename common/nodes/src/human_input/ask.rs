//! What is asked, and how an answer is read.

use std::borrow::Cow;

use flowmill_engine::error::NodeError;
use flowmill_engine::form::{Asks, Entry, EntryKind, Files, Form};
use flowmill_engine::plan::{Outputs, Success};
use flowmill_engine::value::{File, Kind, Name, Value};
use flowmill_engine::variables::{Selector, Variable, Variables};

use super::spec::{CUSTOM, FormSpec, InputKind, MAX_SLOT};

/// The handle of a form that nobody answered in time.
const TIMEOUT: &str = "__timeout";

impl Asks for FormSpec {
    fn ask(&self, variables: &Variables) -> Result<Form, NodeError> {
        let entry = |input: &super::spec::Input| {
            let found = input.source.as_ref().map(|source| found(source, variables));
            let kind = match &input.kind {
                InputKind::Paragraph(default) => EntryKind::Paragraph {
                    default: match found {
                        Some(value) => value.map(|value| text_of(&value)).transpose()?,
                        None => default.clone(),
                    },
                },
                InputKind::Select(options) => EntryKind::Select {
                    options: match found {
                        Some(Some(Value::Array(items))) => {
                            items.iter().map(text_of).collect::<Result<_, _>>()?
                        }
                        Some(_) => Vec::new(),
                        None => options.clone(),
                    },
                },
                InputKind::File(files) => EntryKind::File(files.clone()),
                InputKind::FileList(files) => EntryKind::FileList(files.clone()),
            };
            Ok(Entry { name: input.name.clone(), kind, source: input.source.clone() })
        };
        Ok(Form {
            content: self.content.render_markdown(variables)?,
            entries: self.inputs.iter().map(entry).collect::<Result<_, NodeError>>()?,
            actions: self.actions.clone(),
            wait_ms: self.wait_ms,
            webapp: self.webapp,
        })
    }

    fn answer(
        &self,
        form: &Form,
        action: &str,
        values: &[(Name, Value)],
    ) -> Result<Success, String> {
        let chosen = form.actions.iter().find(|known| &*known.id == action);
        let chosen = chosen.ok_or_else(|| invalid_action(action))?;
        let value = |entry: &Entry| {
            values.iter().rfind(|(name, _)| *name == entry.name).map(|(_, value)| value)
        };
        let missing: Vec<&str> = form
            .entries
            .iter()
            .filter(|entry| value(entry).is_none())
            .map(|entry| &*entry.name)
            .collect();
        if !missing.is_empty() {
            return Err(format!("Missing required inputs: {}", missing.join(", ")));
        }
        let mut outputs = Outputs::new();
        for entry in &form.entries {
            let Some(value) = value(entry) else { continue };
            outputs.push((entry.name.clone(), taken(entry, value)?));
        }
        let content = rendered(&form.content, form, &outputs);
        outputs.extend(about(&chosen.id, &chosen.title, content));
        Ok(Success { outputs, handle: Some(chosen.id.clone()), ..Success::default() })
    }

    fn nobody(&self, form: &Form) -> Success {
        let content = rendered(&form.content, form, &Outputs::new());
        let outputs = about(&"".into(), &"".into(), content).collect();
        Success { outputs, handle: Some(TIMEOUT.into()), ..Success::default() }
    }

    fn check(&self, action: &str, entries: &[Name]) -> Result<(), String> {
        if !self.actions.iter().any(|known| &*known.id == action) {
            let ids: Vec<&str> = self.actions.iter().map(|action| &*action.id).collect();
            return Err(format!("{} (one of {})", invalid_action(action), ids.join(", ")));
        }
        let known = |name: &Name| self.inputs.iter().any(|input| input.name == *name);
        match entries.iter().find(|name| !known(name)) {
            Some(name) if self.inputs.is_empty() => {
                Err(format!("the form has no inputs, so no {name:?}"))
            }
            Some(name) => {
                let names: Vec<&str> = self.inputs.iter().map(|input| &*input.name).collect();
                Err(format!("the form has no input {name:?} (it has {})", names.join(", ")))
            }
            None => Ok(()),
        }
    }
}

fn invalid_action(action: &str) -> String {
    format!("Invalid action: {action}")
}

fn found(source: &Selector, variables: &Variables) -> Option<Value> {
    let found = variables.get(source.parts()).map(|found| found.value().clone());
    found.filter(|value| !matches!(value, Value::None))
}

fn text_of(value: &Value) -> Result<Name, NodeError> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        value => Ok(Variable::infer(value.clone()).to_text()?.into()),
    }
}

/// What the node says about the choice.
fn about(id: &Name, title: &Name, content: String) -> impl Iterator<Item = (Name, Variable)> {
    let texts = [
        ("__action_id", id.clone()),
        ("__action_value", title.clone()),
        ("__rendered_content", content.into()),
    ];
    texts.into_iter().map(|(name, text)| (name.into(), Variable::infer(Value::Str(text))))
}

/// A value as an entry takes it.
fn taken(entry: &Entry, value: &Value) -> Result<Variable, String> {
    let name = &entry.name;
    match (&entry.kind, value) {
        (EntryKind::Paragraph { .. }, Value::Str(_)) => Ok(Variable::infer(value.clone())),
        (EntryKind::Select { options }, Value::Str(text)) if options.contains(text) => {
            Ok(Variable::infer(value.clone()))
        }
        (EntryKind::Select { options }, Value::Str(_)) => {
            Err(format!("Invalid value for {name}: must be one of {}", options.join(", ")))
        }
        (EntryKind::Paragraph { .. } | EntryKind::Select { .. }, other) => {
            Err(format!("Invalid value for {name}: must be text, not {}", other.type_name()))
        }
        (EntryKind::File(files), Value::File(file)) => {
            allowed(files, file).map_err(|why| format!("Invalid value for {name}: {why}"))?;
            Ok(Variable::typed(Kind::File, value.clone()))
        }
        (EntryKind::FileList(files), Value::Array(items)) => {
            if files.most > 0 && items.len() as u64 > files.most {
                return Err(format!("Invalid value for {name}: at most {} files", files.most));
            }
            for item in items.iter() {
                let Value::File(file) = item else {
                    return Err(format!("Invalid value for {name}: must be a list of files"));
                };
                allowed(files, file).map_err(|why| format!("Invalid value for {name}: {why}"))?;
            }
            Ok(Variable::typed(Kind::ArrayFile, value.clone()))
        }
        (EntryKind::File(_), _) => Err(format!("Invalid value for {name}: must be a file")),
        (EntryKind::FileList(_), _) => {
            Err(format!("Invalid value for {name}: must be a list of files"))
        }
    }
}

/// Whether a file may be given; the error is a fragment.
fn allowed(files: &Files, file: &File) -> Result<(), String> {
    let plain = |extension: &str| extension.trim_start_matches('.').to_lowercase();
    let extension = file.extension.as_deref().map(plain).unwrap_or_default();
    let listed = files.extensions.iter().any(|known| plain(known) == extension);
    let custom = files.kinds.iter().any(|kind| &**kind == CUSTOM);
    let taken = files.kinds.is_empty() || files.kinds.contains(&file.kind) || custom && listed;
    if !taken {
        return Err(format!("{} files are not taken, only {}", file.kind, files.kinds.join(", ")));
    }
    if &*file.kind == CUSTOM && !files.extensions.is_empty() && !listed {
        return Err(format!("the extension must be one of {}", files.extensions.join(", ")));
    }
    if !files.methods.is_empty() && !files.methods.contains(&file.transfer_method) {
        let methods = files.methods.join(", ");
        return Err(format!("files must come by {methods}, not {}", file.transfer_method));
    }
    Ok(())
}

/// The text with what was entered in the slots of the form's entries; without an entry a slot is
/// empty. One pass: what was entered is not looked at again.
fn rendered(content: &str, form: &Form, outputs: &Outputs) -> String {
    const OPENS: &str = "{{#$output.";
    const CLOSES: &str = "#}}";
    let mut out = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.find(OPENS) {
        let (before, slot) = rest.split_at(at);
        out.push_str(before);
        let inner = &slot[OPENS.len()..];
        let length = inner.bytes().take_while(|byte| is_word(*byte)).count();
        let (name, after) = inner.split_at(length);
        let is_slot = (1..=MAX_SLOT).contains(&length)
            && !name.starts_with(|letter: char| letter.is_ascii_digit())
            && after.starts_with(CLOSES)
            && form.entries.iter().any(|entry| &*entry.name == name);
        if is_slot {
            let entered = outputs.iter().find(|(key, _)| &**key == name);
            out.push_str(&entered.map_or(Cow::Borrowed(""), |(_, held)| shown(held.value())));
            rest = &after[CLOSES.len()..];
        } else {
            out.push_str(OPENS);
            rest = inner;
        }
    }
    out.push_str(rest);
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Str(text) => Cow::Borrowed(text),
        Value::File(_) => Cow::Borrowed("[file]"),
        Value::Array(items) => Cow::Owned(format!("[{} files]", items.len())),
        other => Cow::Owned(other.to_python()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flowmill_engine::form::Action;
    use flowmill_engine::graph::{Mode, Problem};
    use flowmill_engine::plan::{Behaviour, Source};
    use flowmill_engine::value::loads;

    use super::*;

    fn value(json: &str) -> Value {
        loads(json).unwrap()
    }

    fn compiled(data: &str) -> Result<Arc<dyn Asks>, Vec<Problem>> {
        let data = crate::fixtures::item(&value(data));
        let source = Source {
            id: &"ask".into(),
            kind: "human-input",
            title: "Ask",
            data: &data,
            mode: Mode::Workflow,
            strict: false,
            dify_sizes: false,
        };
        let mut problems = Vec::new();
        match crate::registry::compile(&source, &mut problems) {
            Some((compiled, _)) => match compiled.behaviour {
                Behaviour::Pause(Some(asks)) => Ok(asks),
                other => panic!("{other:?}"),
            },
            None => Err(problems),
        }
    }

    const DATA: &str = r#"{
        "form_content": "Is {{#s.what#}} right?\n{{#$output.note#}} {{#$output.how#}} {{#$output.other#}}",
        "inputs": [
            {"type": "paragraph", "output_variable_name": "note",
             "default": {"type": "variable", "selector": ["s", "what"], "value": ""}},
            {"type": "select", "output_variable_name": "how",
             "option_source": {"type": "variable", "selector": ["s", "list"], "value": []}}
        ],
        "user_actions": [{"id": "yes", "title": "Go on"}, {"id": "no", "title": "Stop", "button_style": "ghost"}],
        "timeout": 2, "timeout_unit": "day",
        "delivery_methods": [{"type": "webapp"}]
    }"#;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        for (name, json) in [("what", r#""it""#), ("list", r#"["a", 2]"#)] {
            variables.set(&"s".into(), &name.into(), Variable::infer(value(json)));
        }
        variables
    }

    fn values(json: &str) -> Vec<(Name, Value)> {
        match value(json) {
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn json(value: &Value) -> serde_json::Value {
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn a_form_is_rendered_and_its_defaults_and_options_are_resolved() {
        let form = compiled(DATA).unwrap().ask(&variables()).unwrap();
        assert!(form.content.starts_with("Is it right?\n{{#$output.note#}} {{#$output.how#}}"));
        assert_eq!((form.wait_ms, form.webapp), (2 * 24 * 3600 * 1000, true));
        let style = Action { id: "no".into(), title: "Stop".into(), style: "ghost".into() };
        assert_eq!(form.actions[1], style);
        let inputs = json(&form.inputs());
        assert_eq!(inputs[0]["default"]["value"], "it");
        assert_eq!(inputs[0]["default"]["selector"][1], "what");
        assert_eq!(inputs[1]["option_source"]["value"], serde_json::json!(["a", "2"]));
        assert_eq!(json(&form.resolved_defaults()), serde_json::json!({"note": "it"}));
        let none = compiled(DATA).unwrap().ask(&Variables::default()).unwrap();
        assert_eq!(none.entries[0].kind, EntryKind::Paragraph { default: None });
        assert_eq!(none.entries[1].kind, EntryKind::Select { options: vec![] });
    }

    #[test]
    fn an_answer_becomes_outputs_in_order() {
        let asks = compiled(DATA).unwrap();
        let form = asks.ask(&variables()).unwrap();
        let given = values(r#"{"how": "2", "note": "{{#$output.how#}}", "more": 1}"#);
        let success = asks.answer(&form, "yes", &given).unwrap();
        assert_eq!(success.handle.as_deref(), Some("yes"));
        let outputs: Vec<(&str, String)> = success
            .outputs
            .iter()
            .map(|(name, held)| (&**name, held.value().to_python()))
            .collect();
        let content = "Is it right?\n{{#$output.how#}} 2 {{#$output.other#}}";
        let wanted = [
            ("note", "{{#$output.how#}}"),
            ("how", "2"),
            ("__action_id", "yes"),
            ("__action_value", "Go on"),
            ("__rendered_content", content),
        ];
        assert_eq!(outputs, wanted.map(|(name, text)| (name, text.to_owned())));
    }

    #[test]
    fn nobody_enters_nothing() {
        let asks = compiled(DATA).unwrap();
        let success = asks.nobody(&asks.ask(&variables()).unwrap());
        assert_eq!(success.handle.as_deref(), Some("__timeout"));
        let names: Vec<&str> = success.outputs.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["__action_id", "__action_value", "__rendered_content"]);
        assert_eq!(success.outputs[0].1.value(), &Value::from(""));
        let content = "Is it right?\n  {{#$output.other#}}";
        assert_eq!(success.outputs[2].1.value(), &Value::from(content));
    }

    #[test]
    fn wrong_answers_are_refused_in_difys_words() {
        let asks = compiled(DATA).unwrap();
        let form = asks.ask(&variables()).unwrap();
        let refusal = |action, json| asks.answer(&form, action, &values(json)).unwrap_err();
        assert_eq!(refusal("maybe", "{}"), "Invalid action: maybe");
        assert_eq!(refusal("yes", "{}"), "Missing required inputs: note, how");
        assert_eq!(refusal("yes", r#"{"note": ""}"#), "Missing required inputs: how");
        let wrong = refusal("yes", r#"{"note": "", "how": "b"}"#);
        assert_eq!(wrong, "Invalid value for how: must be one of a, 2");
        assert!(refusal("yes", r#"{"note": 1, "how": "a"}"#).contains("must be text"));
        assert!(asks.check("yes", &["how".into()]).is_ok());
        assert!(asks.check("yes", &["who".into()]).unwrap_err().contains("note, how"));
        assert!(asks.check("never", &[]).unwrap_err().contains("yes, no"));
    }

    #[test]
    fn files_are_taken_by_type_and_number() {
        let data = r#"{"inputs": [
            {"type": "file", "output_variable_name": "one", "allowed_file_types": ["image"]},
            {"type": "file-list", "output_variable_name": "some", "number_limits": 2,
             "allowed_file_types": ["custom"], "allowed_file_extensions": [".LOG"],
             "allowed_file_upload_methods": ["remote_url"]}],
            "form_content": "{{#$output.one#}} {{#$output.some#}}",
            "user_actions": [{"id": "ok", "title": "OK"}]}"#;
        let asks = compiled(data).unwrap();
        let form = asks.ask(&Variables::default()).unwrap();
        let file = |kind: &str, extension: &str, method: &str| {
            Value::File(Arc::new(File {
                kind: kind.into(),
                extension: Some(extension.into()),
                transfer_method: method.into(),
                ..File::default()
            }))
        };
        let image = file("image", ".png", "local_file");
        let log = file("document", ".log", "remote_url");
        let answer = |one: &Value, some: Vec<Value>| {
            let given = [("one".into(), one.clone()), ("some".into(), Value::array(some))];
            asks.answer(&form, "ok", &given)
        };
        let success = answer(&image, vec![log.clone(), log.clone()]).unwrap();
        assert_eq!(success.outputs[0].1.kind, Kind::File);
        assert_eq!(success.outputs[1].1.kind, Kind::ArrayFile);
        let content = success.outputs.last().unwrap().1.value().to_python();
        assert_eq!(content, "[file] [2 files]");
        let wrong = |one: &Value, some| answer(one, some).unwrap_err();
        assert!(wrong(&log, vec![]).contains("document files are not taken"));
        assert!(wrong(&image, vec![log.clone(), log.clone(), log.clone()]).contains("at most 2"));
        assert!(wrong(&image, vec![file("custom", ".txt", "remote_url")]).contains("extension"));
        assert!(wrong(&image, vec![file("custom", ".log", "local_file")]).contains("remote_url"));
        assert!(wrong(&"x".into(), vec![]).contains("must be a file"));
    }

    #[test]
    fn what_cannot_be_a_form_is_refused() {
        for wrong in [
            r#"{"inputs": [{"type": "paragraph", "output_variable_name": "a", "default": {"type": "variable", "selector": ["x"]}}]}"#,
            r#"{"inputs": [{"type": "file", "output_variable_name": "a", "allowed_file_types": ["custom"]}]}"#,
            r#"{"inputs": [{"type": "paragraph", "output_variable_name": "a"}, {"type": "select", "output_variable_name": "a"}]}"#,
            r#"{"user_actions": [{"id": "1a", "title": "x"}]}"#,
        ] {
            assert!(compiled(wrong).is_err(), "{wrong}");
        }
    }
}
