//! Tools of Dify that need nobody: plain computations, and a page of the web.

mod json_path;
mod json_process;
mod strftime;
mod time;
mod webscraper;

use flowmill_engine::value::{Name, Object, Value};
use flowmill_services::tools::{
    Description, Form, Parameter, ParameterKind, ToolError, ToolErrorKind, Wanted,
};

use crate::context::NodeContext;

/// A tool that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    CurrentTime,
    TimezoneConversion,
    LocaltimeToTimestamp,
    TimestampToLocaltime,
    Weekday,
    JsonParse,
    JsonInsert,
    JsonDelete,
    JsonReplace,
    Webscraper,
}

/// A provider by its old name, its tools by theirs.
const TOOLS: [(&str, &str, Builtin); 10] = [
    ("time", "current_time", Builtin::CurrentTime),
    ("time", "timezone_conversion", Builtin::TimezoneConversion),
    ("time", "localtime_to_timestamp", Builtin::LocaltimeToTimestamp),
    ("time", "timestamp_to_localtime", Builtin::TimestampToLocaltime),
    ("time", "weekday", Builtin::Weekday),
    ("json_process", "parse", Builtin::JsonParse),
    ("json_process", "json_insert", Builtin::JsonInsert),
    ("json_process", "json_delete", Builtin::JsonDelete),
    ("json_process", "json_replace", Builtin::JsonReplace),
    ("webscraper", "webscraper", Builtin::Webscraper),
];

/// What plugins of Dify itself are called.
const PUBLISHER: &str = "langgenius";

/// All of them, as provider and tool.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TOOLS.iter().map(|(provider, tool, _)| (*provider, *tool))
}

/// The built-in tool that a document means: `time`, or `langgenius/time/time`.
pub(super) fn find(wanted: &Wanted) -> Option<Builtin> {
    if !matches!(&*wanted.provider_type, "builtin" | "plugin" | "") {
        return None;
    }
    let is_of = |provider: &str| {
        let id = &*wanted.provider_id;
        let mut parts = id.split('/');
        let is_new = parts.next() == Some(PUBLISHER)
            && parts.next() == Some(provider)
            && parts.next() == Some(provider)
            && parts.next().is_none();
        id == provider || is_new
    };
    let found = TOOLS.iter().find(|(provider, tool, _)| *wanted.tool == **tool && is_of(provider));
    found.map(|(_, _, builtin)| *builtin)
}

impl Builtin {
    /// What it takes, as in Dify.
    pub(super) fn describe(self) -> Description {
        let (about, parameters) = match self {
            Self::CurrentTime
            | Self::TimezoneConversion
            | Self::LocaltimeToTimestamp
            | Self::TimestampToLocaltime
            | Self::Weekday => time::describe(self),
            Self::JsonParse | Self::JsonInsert | Self::JsonDelete | Self::JsonReplace => {
                json_process::describe(self)
            }
            Self::Webscraper => webscraper::describe(),
        };
        Description { about: about.into(), parameters, takes_others: false }
    }

    /// What it says.
    ///
    /// # Errors
    /// Where Dify fails as well.
    pub(super) async fn call(
        self,
        arguments: &Object,
        context: &NodeContext,
    ) -> Result<String, ToolError> {
        let given = Given(arguments);
        match self {
            Self::CurrentTime => Ok(time::current_time(given)),
            Self::TimezoneConversion => time::timezone_conversion(given),
            Self::LocaltimeToTimestamp => time::localtime_to_timestamp(given),
            Self::TimestampToLocaltime => time::timestamp_to_localtime(given),
            Self::Weekday => time::weekday(given),
            Self::JsonParse => Ok(json_process::parse(given)),
            Self::JsonInsert => Ok(json_process::insert(given)),
            Self::JsonDelete => Ok(json_process::delete(given)),
            Self::JsonReplace => Ok(json_process::replace(given)),
            Self::Webscraper => webscraper::scrape(given, context).await,
        }
    }
}

/// What a tool was given.
#[derive(Clone, Copy, Debug)]
struct Given<'a>(&'a Object);

impl Given<'_> {
    fn value(self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Text; empty where there is none.
    fn text(self, name: &str) -> Name {
        match self.value(name) {
            Value::Str(text) => text,
            Value::None => "".into(),
            other => other.to_python().into(),
        }
    }

    /// Text, or what it is where there is none.
    fn text_or(self, name: &str, otherwise: &str) -> Name {
        let is_there = self.0.get(name).is_some_and(|value| *value != Value::None);
        if is_there { self.text(name) } else { otherwise.into() }
    }

    /// Whether something is wanted; `False` as a choice of two is no.
    fn flag(self, name: &str, otherwise: bool) -> bool {
        match self.value(name) {
            Value::None => otherwise,
            Value::Str(text) => !matches!(&*text.to_lowercase(), "" | "false" | "no" | "0"),
            other => !other.is_falsy(),
        }
    }
}

fn taken(name: &str, kind: ParameterKind, form: Form, about: &str) -> Parameter {
    Parameter { name: name.into(), kind, form, about: about.into(), ..Parameter::default() }
}

/// What a tool is for, and what it takes.
type Told = (&'static str, Vec<Parameter>);

/// How parameters are written.
trait Written {
    fn must(self) -> Self;
    fn or(self, default: impl Into<Value>) -> Self;
    fn one_of(self, options: &[&str]) -> Self;
}

impl Written for Parameter {
    fn must(self) -> Self {
        Self { required: true, ..self }
    }

    fn or(self, default: impl Into<Value>) -> Self {
        Self { default: Some(default.into()), ..self }
    }

    fn one_of(self, options: &[&str]) -> Self {
        Self { options: options.iter().map(|option| (*option).into()).collect(), ..self }
    }
}

/// A tool's own refusal.
fn refused(message: impl Into<Name>) -> ToolError {
    ToolError::new(ToolErrorKind::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_names_are_found() {
        let wanted = |id: &str, tool: &str| Wanted {
            provider_type: "builtin".into(),
            provider_id: id.into(),
            tool: tool.into(),
            ..Wanted::default()
        };
        let cases = [
            ("time", "weekday", Some(Builtin::Weekday)),
            ("langgenius/time/time", "weekday", Some(Builtin::Weekday)),
            ("langgenius/json_process/json_process", "parse", Some(Builtin::JsonParse)),
            ("somebody/time/time", "weekday", None),
            ("langgenius/time/other", "weekday", None),
            ("time", "parse", None),
        ];
        for (id, tool, found) in cases {
            assert_eq!(find(&wanted(id, tool)), found, "{id} {tool}");
        }
        let custom = Wanted { provider_type: "api".into(), ..wanted("time", "weekday") };
        assert_eq!(find(&custom), None);
    }
}
