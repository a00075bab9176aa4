//! What `POST /api/v1/runs` takes: every member is known, and of its type.

use axum::http::HeaderMap;
use flowmill_engine::fact::{Dispatch, Options};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_infra::traces::trace_id;
use flowmill_workflow::inputs::{Given, GivenFiles};

use super::json::Members;
use super::problem::Problem;

/// What a caller asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// A name, or a digest.
    pub(super) workflow: Name,
    /// The inputs.
    pub(super) given: Given,
    /// What a chat's user says.
    pub(super) query: Option<Name>,
    /// Who that is.
    pub(super) user: Option<Name>,
    /// Values of `sys.*` in place of the usual ones.
    pub(super) system: Object,
    /// The conversation that it goes on with.
    pub(super) conversation_id: Option<Name>,
    /// Values of conversation variables in place of the conversation's, or the document's.
    pub(super) conversation: Object,
    /// Limits and deadlines.
    pub(super) options: Options,
    /// Canned answers, as text.
    pub(super) mocks: Option<Name>,
    /// What it brings of its own.
    pub(super) own: Own,
}

/// What a submitter attaches to a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// An object, as JSON.
    pub(super) metadata: Option<Name>,
    /// Who hears of the run.
    pub(super) webhook: Option<Webhook>,
    /// The place in a trace.
    pub(super) traceparent: Option<Name>,
}

/// Who hears of a run, beside those who hear of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Webhook {
    /// The endpoint of this id.
    Endpoint(Name),
    /// Whoever has this address.
    Url(Name),
}

/// Bytes of metadata, as compact JSON.
const METADATA: usize = 16 << 10;

impl Own {
    /// Takes it from the members of a body.
    pub(super) fn read(members: &mut Members) -> Result<Self, Problem> {
        let metadata = members.mapping("metadata")?.map(Value::object);
        // a store keeps no NUL; in JSON it is written otherwise
        let metadata = metadata.map(|metadata| Name::from(dumps(&metadata, Style::Finite)));
        if let Some(bytes) = metadata.as_ref().map(|text| text.len()).filter(|len| *len > METADATA)
        {
            let detail = format!("metadata has {bytes} bytes; at most {METADATA} are kept");
            return Err(Problem::request(detail));
        }
        let mut asked = members.object("webhook", "webhook.")?;
        let webhook = match (asked.text("endpoint")?, asked.text("url")?) {
            (None, None) => None,
            (Some(id), None) => Some(Webhook::Endpoint(id)),
            (None, Some(url)) => Some(Webhook::Url(url)),
            (Some(_), Some(_)) => {
                return Err(Problem::request("webhook: say either endpoint or url"));
            }
        };
        asked.done()?;
        let traceparent = members.text("traceparent")?;
        if traceparent.as_deref().is_some_and(|text| trace_id(text).is_none()) {
            return Err(members.wrong("traceparent", "as W3C's Trace Context has it"));
        }
        Ok(Self { metadata, webhook, traceparent })
    }

    /// The same with the place in a trace that a header tells, if the body tells none. What cannot be
    /// read is not there, as the specification has it.
    pub(super) fn with_header(mut self, headers: &HeaderMap) -> Self {
        let header = headers.get("traceparent").and_then(|header| header.to_str().ok());
        let header = header.filter(|text| trace_id(text).is_some()).map(Name::from);
        self.traceparent = self.traceparent.or(header);
        self
    }
}

impl Request {
    /// Reads a body.
    pub(super) fn read(body: &str) -> Result<Self, Problem> {
        let mut members = Members::read(body)?;
        let workflow = members.text("workflow")?.ok_or_else(|| {
            Problem::request("workflow is missing: the name or the digest of a pushed document")
        })?;
        let inputs = members.mapping("inputs")?.unwrap_or_default();
        let given = Given {
            values: inputs.into_iter().collect(),
            texts: Vec::new(),
            // those that were uploaded are looked for later
            files: GivenFiles::default(),
        };
        let request = Self {
            workflow,
            given,
            query: members.text("query")?,
            user: members.text("user")?,
            system: members.mapping("system")?.unwrap_or_default(),
            conversation_id: members.text("conversation_id")?.filter(|id| !id.is_empty()),
            conversation: members.mapping("conversation")?.unwrap_or_default(),
            options: options(members.object("options", "options.")?)?,
            mocks: members.take("mocks").map(|mocks| dumps(&mocks, Style::Compact).into()),
            own: Own::read(&mut members)?,
        };
        members.done()?;
        Ok(request)
    }
}

/// Limits and deadlines, as members say.
pub(super) fn options(mut members: Members) -> Result<Options, Problem> {
    let mut options = match members.text("limits")?.as_deref() {
        None => Options::default(),
        Some("dify") => Options { dify_sizes: true, ..Options::dify() },
        Some(_) => return Err(members.wrong("limits", "\"dify\"")),
    };
    options.dispatch = match members.text("dispatch")?.as_deref() {
        None | Some("default") => Dispatch::Fragments,
        Some("fused") => Dispatch::Fused,
        Some("hop") => Dispatch::Each,
        Some(_) => return Err(members.wrong("dispatch", "\"default\", \"fused\" or \"hop\"")),
    };
    let mut time = |name| {
        let text = members.text(name)?;
        let time = text.map(|text| parse_duration(&text)).transpose();
        time.map_err(|why| members.wrong(name, &format!("a length of time: {why}")))
            .map(|time| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    };
    let (deadline, task_timeout) = (time("deadline")?, time("task_timeout")?);
    options.deadline_ms = deadline.or(options.deadline_ms);
    options.task_timeout_ms = task_timeout.unwrap_or(options.task_timeout_ms);
    members.done()?;
    Ok(options)
}
