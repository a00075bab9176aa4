//! `completion_params`: what a node says to its model beside the prompt (spec/nodes.md §5.1).

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::{Fields, Item};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Value, loads};
use flowmill_engine::variables::{Selector, Variables};

use crate::shared::rendered;

/// The most characters of a text that was put together from variables.
const MAX_CHARS: usize = 1024;

/// The parameter that is no parameter: texts that end the answer.
const STOP: &str = "stop";

/// What goes with every call of a node's model.
#[derive(Debug, Default)]
pub(crate) struct Params {
    params: Vec<(Name, Param)>,
    /// Texts that end the answer.
    pub(crate) stop: Vec<Name>,
}

#[derive(Debug)]
enum Param {
    Fixed(Value),
    /// Text with references; what it gives may be a number or a boolean.
    Template(Template),
}

impl Params {
    /// Reads `completion_params`; absent is empty, null is an error.
    pub(super) fn read(fields: &mut Fields<'_>, key: &str) -> Self {
        if fields.get(key).is_none() {
            return Self::default();
        }
        let read = fields.mapping(key, |fields| {
            let members = fields.item().as_map().unwrap_or_default();
            let mut read = Self::default();
            for (name, item) in members {
                match name.as_str() {
                    Some(STOP) => read.stop = texts(item),
                    Some(name) => read.params.push((name.into(), Param::read(item))),
                    None => fields.error("", "names of parameters must be text"),
                }
            }
            read
        });
        read.unwrap_or_default()
    }

    /// What they read.
    pub(crate) fn reads(&self) -> impl Iterator<Item = Selector> + '_ {
        let templates = self.params.iter().filter_map(|(_, param)| match param {
            Param::Template(template) => Some(template),
            Param::Fixed(_) => None,
        });
        templates.flat_map(Template::references)
    }

    /// Their values.
    pub(crate) fn values(&self, variables: &Variables) -> Result<Vec<(Name, Value)>, NodeError> {
        let value = |(name, param): &(Name, Param)| Ok((name.clone(), param.value(variables)?));
        self.params.iter().map(value).collect()
    }
}

impl Param {
    fn read(item: &Item) -> Self {
        let template = item.as_str().map(Template::parse).filter(|template| !template.is_plain());
        template.map_or_else(|| Self::Fixed(item.to_value()), Self::Template)
    }

    fn value(&self, variables: &Variables) -> Result<Value, NodeError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Template(template) => Ok(restored(&rendered(template, variables)?)),
        }
    }
}

/// A number or a boolean that became text on its way through a template is one again.
fn restored(text: &str) -> Value {
    let cut: String = text.chars().take(MAX_CHARS).collect();
    match loads(cut.trim()) {
        Ok(value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_))) => value,
        _ => Value::from(cut),
    }
}

fn texts(item: &Item) -> Vec<Name> {
    match item.as_seq() {
        Some(items) => items.iter().filter_map(Item::as_name).cloned().collect(),
        None => item.as_name().cloned().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::{Kind, Name};
    use flowmill_engine::variables::Variable;

    use super::*;
    use crate::fixtures::item;

    fn read(params: &str) -> Params {
        let data = loads(&format!("{{\"completion_params\": {params}}}")).unwrap();
        let (data, id) = (item(&data), Name::from("n"));
        let mut problems = Vec::new();
        let mut fields = Fields::new(&data, &id, "t", &mut problems);
        let params = Params::read(&mut fields, "completion_params");
        assert_eq!(problems, []);
        params
    }

    #[test]
    fn stop_is_taken_out_and_numbers_come_back_from_text() {
        let params = read(
            r#"{"temperature": 0.5, "stop": ["END", "."], "top_p": "{{#a.b#}}",
                "seed": "{{#a.c#}}", "format": "{{#a.d#}}!"}"#,
        );
        assert_eq!(params.stop, ["END".into(), ".".into()]);
        let mut variables = Variables::default();
        let (a, text) = (Name::from("a"), |text: &str| Value::from(text));
        for (name, value) in [("b", text("0.7")), ("c", text("true")), ("d", text("json"))] {
            variables.set(&a, &name.into(), Variable::typed(Kind::String, value));
        }
        let values = params.values(&variables).unwrap();
        let expected = [
            ("temperature", Value::Float(0.5)),
            ("top_p", Value::Float(0.7)),
            ("seed", Value::Bool(true)),
            ("format", text("json!")),
        ];
        assert_eq!(values, expected.map(|(name, value)| (name.into(), value)));
        assert_eq!(params.reads().count(), 3);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(restored(&"9".repeat(2000)).as_str(), None);
        let cut = restored(&"x".repeat(2000));
        assert_eq!(cut.as_str().map(str::len), Some(MAX_CHARS));
    }
}
