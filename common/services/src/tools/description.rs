//! What is known of a tool before it is called.

use flowmill_engine::value::{Name, Object, Value};

use super::Wanted;
use super::parameter::{CastError, Form, Parameter};
use super::pattern::is_id;

/// What a tool is and takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// What it does, for models and for people; possibly nothing.
    pub about: Name,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// Whether it takes what is not among its parameters as well.
    pub takes_others: bool,
}

impl Description {
    /// The parameter of a name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| &*parameter.name == name)
    }

    /// Arguments cast to what their parameters hold; others stay as they are.
    ///
    /// # Errors
    /// [`CastError`] for the first that cannot be cast.
    pub fn cast(&self, arguments: Object) -> Result<Object, CastError> {
        let cast = |(name, value): (Name, Value)| {
            let value = match self.parameter(&name) {
                Some(parameter) => parameter.kind.cast(value)?,
                None => value,
            };
            Ok((name, value))
        };
        arguments.into_iter().map(cast).collect()
    }

    /// A JSON schema of what a model may fill in: an object's.
    pub fn schema(&self) -> Value {
        let filled = || self.parameters.iter().filter(|parameter| parameter.form == Form::Llm);
        let properties = filled().map(|parameter| (parameter.name.clone(), parameter.schema()));
        let required = filled().filter(|parameter| parameter.required);
        let required = required.map(|parameter| Value::Str(parameter.name.clone())).collect();
        Value::object([
            ("type".into(), Value::from("object")),
            ("properties".into(), Value::object(properties)),
            ("required".into(), Value::array(required)),
        ])
    }
}

impl Wanted {
    /// The provider as people know it.
    pub fn provider(&self) -> &str {
        let by_name = !self.provider_name.is_empty()
            && (self.provider_id.is_empty() || is_id(&self.provider_id));
        if by_name { &self.provider_name } else { &self.provider_id }
    }
}

/// The lines that would bind a tool, for people to fill in.
pub fn suggestion(wanted: &Wanted) -> String {
    let quoted = |text: &str| format!("{text:?}");
    let (provider, tool) = (quoted(wanted.provider()), quoted(&wanted.tool));
    match &*wanted.provider_type {
        "mcp" => format!(
            "[[tools]]\nprovider = {provider}\n[tools.mcp]\nurl = \"https://HOST/mcp\"   # or: command = \
             [\"PROGRAM\", \"ARGUMENT\"]\n"
        ),
        "api" => format!(
            "[[tools]]\nprovider = {provider}\n[tools.openapi]\nschema = \"FILE.yaml\"   # its \
             operationId {tool} is called\n"
        ),
        "workflow" => format!(
            "[[tools]]\nprovider = {provider}\ntool = {tool}\nworkflow = {tool}   # the name of a \
             pushed workflow; `flowmill run` looks for its file beside this one\n"
        ),
        _ => format!(
            "[[tools]]\nprovider = {provider}\ntool = {tool}\n[tools.http]\nmethod = \"POST\"\nurl = \
             \"https://HOST/PATH\"\njson = \"{{*}}\"   # all its parameters as one object\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::{Style, dumps};

    use super::super::parameter::ParameterKind;
    use super::*;

    #[test]
    fn a_model_sees_what_it_may_fill_in() {
        let parameter = |name: &str, form, required| Parameter {
            name: name.into(),
            kind: ParameterKind::Number,
            form,
            required,
            about: "how many".into(),
            ..Parameter::default()
        };
        let description = Description {
            parameters: vec![
                parameter("a", Form::Llm, true),
                parameter("b", Form::Form, true),
                parameter("c", Form::Llm, false),
            ],
            ..Description::default()
        };
        assert_eq!(
            dumps(&description.schema(), Style::Line),
            r#"{"type": "object", "properties": {"a": {"type": "number", "description": "how many"}, "c": {"type": "number", "description": "how many"}}, "required": ["a"]}"#
        );
    }

    #[test]
    fn what_is_suggested_binds_the_tool() {
        for provider_type in ["mcp", "api", "builtin", "workflow"] {
            let wanted = Wanted {
                provider_type: provider_type.into(),
                provider_id: "8aa68883-b92b-411e-bf08-afb1b6f174fc".into(),
                provider_name: "My \"tool\"".into(),
                tool: "open".into(),
                credential: None,
            };
            let bindings = super::super::Bindings::parse(&suggestion(&wanted)).unwrap();
            assert!(bindings.tools[0].answers(&wanted), "{}", suggestion(&wanted));
        }
    }
}
