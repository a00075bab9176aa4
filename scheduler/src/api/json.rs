//! Bodies as JSON: read strictly, so that nothing a caller writes is overlooked, and written.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Object, Style, Value, dumps, loads};

use super::problem::{Code, Problem};

/// An answer with a value.
#[derive(Debug)]
pub(super) struct Answer(pub(super) StatusCode, pub(super) Value);

impl Answer {
    /// With status 200.
    pub(super) fn ok(value: Value) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(dumps(&self.1, Style::Finite)));
        *response.status_mut() = self.0;
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// An object of these members.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::object(members.into_iter().map(|(name, value)| (name.into(), value)))
}

/// A text, or null.
pub(super) fn text(text: Option<&Name>) -> Value {
    text.map_or(Value::None, |text| Value::Str(text.clone()))
}

/// A number of something.
pub(super) fn number(number: u64) -> Value {
    Value::int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A point in time, or null.
pub(super) fn time(time: Option<Time>) -> Value {
    time.map_or(Value::None, |time| Value::from(time.rfc3339()))
}

/// The milliseconds from one point in time to another, with three decimals.
#[expect(clippy::cast_precision_loss, reason = "exact for the next two hundred years")]
pub(super) fn millis(from: Time, to: Time) -> Value {
    Value::Float(to.since(from).as_micros() as f64 / 1000.0)
}

/// The members of an object that a caller sent. Each is taken once; what is left over in the end
/// is an error.
#[derive(Debug)]
pub(super) struct Members {
    /// Where the object stands, for messages: empty, or `options.`.
    place: &'static str,
    members: Object,
}

impl Members {
    /// Reads a body, which must be an object.
    pub(super) fn read(body: &str) -> Result<Self, Problem> {
        let value = loads(body)
            .map_err(|error| Problem::new(Code::InvalidBody, format!("not JSON: {error}")))?;
        let Value::Object(members) = value else {
            let message = format!("it must be a JSON object, not {}", value.type_name());
            return Err(Problem::new(Code::InvalidBody, message));
        };
        Ok(Self { place: "", members: members.as_ref().clone() })
    }

    /// Texts that came by name otherwise than in a body.
    pub(super) fn of_texts<'a>(texts: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let members = texts.into_iter().map(|(name, text)| (name.into(), Value::from(text)));
        Self { place: "", members: members.collect() }
    }

    /// An object among the members; empty when it is missing or null. `place` is its name with a
    /// dot.
    pub(super) fn object(&mut self, name: &str, place: &'static str) -> Result<Self, Problem> {
        let members = self.mapping(name)?.unwrap_or_default();
        Ok(Self { place, members })
    }

    /// An object that is taken as it is.
    pub(super) fn mapping(&mut self, name: &str) -> Result<Option<Object>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members.as_ref().clone())),
            Some(other) => Err(self.wrong(name, &format!("an object, not {}", other.type_name()))),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<Name>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, &format!("a string, not {}", other.type_name()))),
        }
    }

    /// Whether something is so; missing, it is not.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => {
                Err(self.wrong(name, &format!("true or false, not {}", other.type_name())))
            }
        }
    }

    /// A value; null counts as missing.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name).filter(|value| *value != Value::None)
    }

    /// What is said of a member that must be something else.
    pub(super) fn wrong(&self, name: &str, must_be: &str) -> Problem {
        Problem::request(format!("{}{name} must be {must_be}", self.place))
    }

    /// All members have been taken.
    pub(super) fn done(self) -> Result<(), Problem> {
        let unknown: Vec<String> =
            self.members.keys().map(|name| format!("{}{name}", self.place)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown = unknown.join(", ");
        Err(Problem::request(format!("unknown members: {unknown}")))
    }
}
