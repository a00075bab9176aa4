//! The tools that an agent has (spec/nodes.md §5.5, `array[tools]`).

use flowmill_engine::error::NodeError;
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Object, Value, loads};
use flowmill_engine::variables::{Selector, Variables};
use flowmill_services::models::ToolSpec;
use flowmill_services::tools::{Description, Wanted};

use super::{invoke_failed, schemas};
use crate::context::NodeContext;
use crate::shared::rendered;
use crate::tool::toolbox;

/// The tools, in the document's order.
#[derive(Debug, Default)]
pub(super) struct Offer {
    tools: Vec<Offered>,
}

/// A tool that the model may use.
#[derive(Debug)]
pub(super) struct Offered {
    /// As the model sees it.
    pub(super) spec: ToolSpec,
    pub(super) wanted: Wanted,
    pub(super) description: Description,
    /// What the document decides and the model does not see.
    pub(super) fixed: Object,
    /// What people call its provider.
    pub(super) label: Name,
}

impl Offer {
    /// Reads the parameter `tools`, and asks what each tool is.
    pub(super) async fn read(
        tools: &Value,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Self, NodeError> {
        let Value::Array(tools) = tools else { return Ok(Self::default()) };
        let mut offer = Self::default();
        for tool in tools.iter() {
            let Value::Object(tool) = tool else { continue };
            if tool.get("enabled").is_some_and(Value::is_falsy) {
                continue;
            }
            let offered = offered(tool, variables, context).await?;
            // of equal names the last counts
            offer.tools.retain(|held| held.spec.name != offered.spec.name);
            offer.tools.push(offered);
        }
        Ok(offer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// The tools as models see them.
    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        self.tools.iter().map(|tool| tool.spec.clone()).collect()
    }

    /// The tool of a name.
    pub(super) fn find(&self, name: &str) -> Option<&Offered> {
        self.tools.iter().find(|tool| &*tool.spec.name == name)
    }

    /// All names, for a model that made one up.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.tools.iter().map(|tool| &*tool.spec.name).collect();
        names.join(", ")
    }
}

async fn offered(
    tool: &Object,
    variables: &Variables,
    context: &NodeContext,
) -> Result<Offered, NodeError> {
    let text = |name: &str| match tool.get(name) {
        Some(Value::Str(text)) => text.clone(),
        _ => "".into(),
    };
    let provider = text("provider_name");
    let wanted = Wanted {
        provider_type: match &*text("type") {
            "" => text("provider_type"),
            _ => text("type"),
        },
        provider_id: provider.clone(),
        provider_name: match &*text("provider_show_name") {
            "" => provider.clone(),
            _ => text("provider_show_name"),
        },
        tool: text("tool_name"),
        credential: Some(text("credential_id")).filter(|id| !id.is_empty()),
    };
    let description = toolbox::describe(&wanted, context).await;
    let description = description.map_err(|error| {
        let failed = invoke_failed(&*error.message);
        failed.with_class(error.kind.class())
    })?;
    let description = schemas::completed(description, tool);
    let mut fixed = Object::new();
    if let Some(Value::Object(settings)) = tool.get("settings") {
        for (name, setting) in settings.iter() {
            let value = match setting {
                Value::Object(setting) if setting.contains_key("value") => &setting["value"],
                other => other,
            };
            if !value.is_falsy() || matches!(value, Value::Bool(_)) {
                fixed.insert(name.clone(), value.clone());
            }
        }
    }
    if let Some(Value::Object(parameters)) = tool.get("parameters") {
        for (name, parameter) in parameters.iter() {
            if let Some(value) = decided(parameter, variables)? {
                fixed.insert(name.clone(), value);
            }
        }
    }
    let about = match tool.get("extra") {
        Some(Value::Object(extra)) => match extra.get("description") {
            Some(Value::Str(text)) if !text.is_empty() => text.clone(),
            _ => description.about.clone(),
        },
        _ => description.about.clone(),
    };
    let spec = ToolSpec {
        name: wanted.tool.clone(),
        description: about,
        parameters: without(&description.schema(), &fixed),
    };
    let label = wanted.provider().into();
    Ok(Offered { spec, wanted, description, fixed, label })
}

/// What the document says a parameter is; None when the model says it. `{auto: 1}` is the model's,
/// `{auto: 0, value}` the document's; in old documents a value stands there itself.
fn decided(parameter: &Value, variables: &Variables) -> Result<Option<Value>, NodeError> {
    let Value::Object(members) = parameter else {
        let is_set = !parameter.is_falsy() || matches!(parameter, Value::Bool(_) | Value::Int(_));
        return Ok(is_set.then(|| parameter.clone()));
    };
    let Some(auto) = members.get("auto") else { return Ok(Some(parameter.clone())) };
    if !auto.is_falsy() {
        return Ok(None);
    }
    let given = match members.get("value") {
        Some(Value::Object(value)) if value.contains_key("value") => value,
        Some(Value::None) | None => return Ok(None),
        Some(value) => return Ok(Some(value.clone())),
    };
    let value = &given["value"];
    match (given.get("type").and_then(Value::as_str), value) {
        (Some("variable"), Value::Array(parts)) => {
            let parts = parts.iter().filter_map(Value::as_str).map(Name::from);
            let selector = Selector::new(parts);
            match variables.get(selector.parts()) {
                Some(found) => Ok(Some(found.value().clone())),
                None => Err(NodeError::escaped(format!("Variable {selector} does not exist"))),
            }
        }
        (_, Value::Str(text)) => Ok(Some(Value::Str(rendered(&Template::parse(text), variables)?))),
        (_, Value::None) => Ok(None),
        (_, value) => Ok(Some(value.clone())),
    }
}

/// A schema without the properties that are decided.
fn without(schema: &Value, fixed: &Object) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let member = |(name, value): (&Name, &Value)| {
        let value = match (&**name, value) {
            ("properties", Value::Object(properties)) => {
                let left = properties.iter().filter(|(name, _)| !fixed.contains_key(*name));
                Value::object(left.map(|(name, value)| (name.clone(), value.clone())))
            }
            ("required", Value::Array(names)) => {
                let is_left =
                    |name: &&Value| name.as_str().is_none_or(|name| !fixed.contains_key(name));
                Value::array(names.iter().filter(is_left).cloned().collect())
            }
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    };
    Value::object(members.iter().map(member))
}

impl Offered {
    /// The arguments of a call: the model's and the document's, which win, each of its kind.
    ///
    /// # Errors
    /// What is wrong with them, for the model to read.
    pub(super) fn arguments(&self, given: &str) -> Result<Object, String> {
        let given = match given.trim() {
            "" => Value::object([]),
            text => loads(text).map_err(|error| format!("the arguments are no JSON: {error}"))?,
        };
        let Value::Object(given) = given else {
            return Err("the arguments must be one JSON object".to_owned());
        };
        let mut arguments = Object::new();
        for (name, value) in given.iter().filter(|(name, _)| !self.fixed.contains_key(*name)) {
            let known = self.description.parameter(name);
            if known.is_some() || self.description.takes_others {
                arguments.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.fixed {
            arguments.insert(name.clone(), value.clone());
        }
        for (name, value) in &mut arguments {
            let Some(parameter) = self.description.parameter(name) else { continue };
            let cast = parameter.kind.cast(std::mem::take(value));
            *value = cast.map_err(|error| format!("the argument {name} is wrong: {error}"))?;
        }
        for parameter in &self.description.parameters {
            let held = arguments.get(&parameter.name);
            if held.is_some_and(|value| !matches!(value, Value::None)) {
                continue;
            }
            match &parameter.default {
                Some(default) => {
                    arguments.insert(parameter.name.clone(), default.clone());
                }
                None if parameter.required => {
                    return Err(format!("the argument {} is missing", parameter.name));
                }
                None => {}
            }
        }
        Ok(arguments)
    }
}
