//! What is answered to whom.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::asked::Asked;

/// Rules, and what holds for all calls. As JSON it is what `--script` reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The first that fits counts.
    pub rules: Vec<Rule>,
    /// The key that is wanted; None: any.
    pub key: Option<String>,
    /// Calls beyond so many at the same time are refused as too many.
    pub most_at_once: Option<usize>,
    /// Calls beyond so many in a second are refused as too many.
    pub most_a_second: Option<usize>,
    /// How long each answer takes that says nothing else.
    pub delay_ms: u64,
}

impl Script {
    /// A script of rules.
    pub fn of(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect(), ..Self::default() }
    }
}

/// When to answer what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// To whom.
    pub when: When,
    /// How often; None: always.
    pub times: Option<usize>,
    /// For how long after it was first needed; None: always.
    pub for_ms: Option<u64>,
    /// What.
    pub answer: Answer,
}

impl Rule {
    /// A rule for everybody.
    pub fn always(answer: Answer) -> Self {
        Self { answer, ..Self::default() }
    }

    /// A rule for the first so many calls.
    pub fn times(times: usize, answer: Answer) -> Self {
        Self { times: Some(times), answer, ..Self::default() }
    }

    /// The same for some calls only.
    #[must_use]
    pub fn when(self, when: When) -> Self {
        Self { when, ..self }
    }
}

/// Which calls a rule is for; what is None fits all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The model.
    pub model: Option<String>,
    /// A part of what the user said last.
    pub says: Option<String>,
    /// A part of anything in the messages.
    pub holds: Option<String>,
    /// A tool that is offered.
    pub tool: Option<String>,
    /// Whether a tool has answered already.
    pub answered: Option<bool>,
}

impl When {
    /// Calls of a model.
    pub fn model(name: &str) -> Self {
        Self { model: Some(name.to_owned()), ..Self::default() }
    }

    /// Calls in which the user last said something with this in it.
    pub fn says(part: &str) -> Self {
        Self { says: Some(part.to_owned()), ..Self::default() }
    }

    pub(crate) fn fits(&self, asked: &Asked) -> bool {
        let Self { model, says, holds, tool, answered } = self;
        model.as_ref().is_none_or(|model| *model == asked.model)
            && says.as_ref().is_none_or(|part| asked.last_said.contains(part))
            && holds.as_ref().is_none_or(|part| asked.body.to_string().contains(part))
            && tool.as_ref().is_none_or(|tool| asked.tools.iter().any(|(name, _)| name == tool))
            && answered.is_none_or(|answered| answered == asked.has_tool_answer)
    }
}

/// A tool call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    /// The tool.
    pub name: String,
    /// Its arguments, as text: they need not be JSON.
    pub arguments: String,
}

/// What is answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// The text; None and no calls: the usual answer.
    pub text: Option<String>,
    /// JSON as the text.
    pub json: Option<Json>,
    /// The thoughts before it.
    pub thoughts: String,
    /// Tool calls.
    pub calls: Vec<ScriptedCall>,
    /// Tokens read and written; None: by the length of both.
    pub usage: Option<(u64, u64)>,
    /// Why it ended, in the protocol's word; None: as usual.
    pub finish_reason: Option<String>,
    /// A status that is no success.
    pub status: Option<u16>,
    /// After how many seconds to come back, as the provider says it.
    pub retry_after: Option<String>,
    /// The provider's word for what went wrong.
    pub code: Option<String>,
    /// The body as it is, whatever the protocol says.
    pub raw: Option<String>,
    /// After how many pieces of a stream the connection breaks; of a whole answer it breaks in the
    /// middle.
    pub cut_after: Option<usize>,
    /// A piece of a stream that is an error, after so many others.
    pub error_after: Option<usize>,
    /// How long before the answer begins.
    pub delay_ms: u64,
    /// How long between two pieces.
    pub piece_delay_ms: u64,
}

impl Answer {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..Self::default() }
    }

    /// A tool call.
    pub fn call(name: &str, arguments: &str) -> Self {
        let call = ScriptedCall { name: name.to_owned(), arguments: arguments.to_owned() };
        Self { calls: vec![call], ..Self::default() }
    }

    /// A status that is no success.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Too many calls; come back after some seconds.
    pub fn too_many(seconds: &str) -> Self {
        Self { retry_after: Some(seconds.to_owned()), ..Self::status(429) }
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        (self.delay_ms > 0).then(|| Duration::from_millis(self.delay_ms))
    }
}
