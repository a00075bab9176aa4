//! What `POST /api/v1/runs` takes: every member is known, and of its type.

use flowmill_engine::fact::{Dispatch, Options};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Object, Style, dumps};
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
            files: GivenFiles::new("nothing is uploaded here; name it by remote_url"),
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
