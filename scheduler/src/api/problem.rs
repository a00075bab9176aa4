//! What a caller is told who does not get what was asked for: RFC 9457, with codes that stay.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flowmill_engine::graph::{Problems, Severity};
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_infra::store::StoreError;
use flowmill_workflow::LoadError;
use flowmill_workflow::inputs::Rejection;

use super::json::{number, object, text};

/// After how many seconds whoever asked too early may ask again.
const AGAIN_S: &str = "2";

/// What went wrong, for programs. Each has a row in `docs/api.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No bearer key, another one, or one that is of no more use.
    Unauthorized,
    /// The time of the key is over.
    KeyExpired,
    /// The key was revoked.
    KeyRevoked,
    /// The key asks too often.
    TooManyRequests,
    /// The key does not allow it, or is another tenant's.
    Forbidden,
    /// A web page of another origin asks.
    CrossOrigin,
    /// Canned answers stand in for nodes, which this deployment does not allow.
    MocksRefused,
    /// There is no such endpoint.
    EndpointNotFound,
    /// There is no such delivery.
    DeliveryNotFound,
    /// Nothing is sent to the endpoint.
    EndpointDisabled,
    /// Somebody else changed the endpoint meanwhile.
    EndpointChanged,
    /// There are too many endpoints.
    TooManyEndpoints,
    /// The deployment has no key that seals secrets.
    KeyMissing,
    /// Submissions may not name this address.
    WebhookRefused,
    /// There is no such tenant.
    TenantNotFound,
    /// There is such a tenant already.
    TenantExists,
    /// Something goes on for the tenant, or it is always there.
    TenantNeeded,
    /// There are too many tenants.
    TooManyTenants,
    /// There is no such key.
    KeyNotFound,
    /// The tenant has too many keys.
    TooManyKeys,
    /// The key was revoked or has expired, and gets no other secret.
    KeyEnded,
    /// There is no such path.
    NotFound,
    /// There is no such workflow.
    WorkflowNotFound,
    /// There is no such run.
    RunNotFound,
    /// The run has no such payload.
    PayloadNotFound,
    /// The payload holds a secret.
    PayloadHidden,
    /// There is no such file.
    FileNotFound,
    /// The range lies beyond the end of what is there.
    RangeNotSatisfiable,
    /// There is no such dead letter.
    LetterNotFound,
    /// There is no such conversation.
    ConversationNotFound,
    /// There is no such batch.
    BatchNotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The body did not come in time.
    Timeout,
    /// The run has ended.
    RunEnded,
    /// The batch is in a state in which that cannot be.
    BatchConflict,
    /// The dead letter was decided on before.
    LetterSettled,
    /// The dead letter cannot go back to where it came from.
    NotReplayable,
    /// The run has not ended.
    RunNotEnded,
    /// The document is not as it was where that matters.
    DocumentChanged,
    /// The run cannot be run again like this.
    InvalidRerun,
    /// The run is not paused and not about to be.
    RunNotPaused,
    /// There is no such form.
    FormNotFound,
    /// Somebody else was first.
    FormAnswered,
    /// The form was not answered in time.
    FormExpired,
    /// The pass around the form ended without it.
    FormClosed,
    /// The answer does not fit the form.
    InvalidAnswer,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON, or not text.
    InvalidBody,
    /// A message says that it is something else than a submission in JSON.
    UnsupportedType,
    /// A member, parameter or header is unknown or has a wrong value.
    InvalidRequest,
    /// The document does not run.
    InvalidDocument,
    /// The inputs are not those that the start node asks for.
    InvalidInputs,
    /// The mocks cannot be read.
    InvalidMocks,
    /// Something else was submitted under this key.
    IdempotencyKeyReused,
    /// Something is broken here.
    Internal,
    /// The store cannot be reached.
    Unavailable,
    /// The process cannot do its work at present.
    NotReady,
}

impl Code {
    /// All there are.
    pub const ALL: [Self; 57] = [
        Self::Unauthorized,
        Self::KeyExpired,
        Self::KeyRevoked,
        Self::TooManyRequests,
        Self::Forbidden,
        Self::CrossOrigin,
        Self::MocksRefused,
        Self::EndpointNotFound,
        Self::DeliveryNotFound,
        Self::EndpointDisabled,
        Self::EndpointChanged,
        Self::TooManyEndpoints,
        Self::KeyMissing,
        Self::WebhookRefused,
        Self::TenantNotFound,
        Self::TenantExists,
        Self::TenantNeeded,
        Self::TooManyTenants,
        Self::KeyNotFound,
        Self::TooManyKeys,
        Self::KeyEnded,
        Self::NotFound,
        Self::WorkflowNotFound,
        Self::RunNotFound,
        Self::PayloadNotFound,
        Self::PayloadHidden,
        Self::FileNotFound,
        Self::RangeNotSatisfiable,
        Self::LetterNotFound,
        Self::ConversationNotFound,
        Self::BatchNotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::RunEnded,
        Self::BatchConflict,
        Self::LetterSettled,
        Self::NotReplayable,
        Self::RunNotEnded,
        Self::DocumentChanged,
        Self::InvalidRerun,
        Self::RunNotPaused,
        Self::FormNotFound,
        Self::FormAnswered,
        Self::FormExpired,
        Self::FormClosed,
        Self::InvalidAnswer,
        Self::TooLarge,
        Self::InvalidBody,
        Self::UnsupportedType,
        Self::InvalidRequest,
        Self::InvalidDocument,
        Self::InvalidInputs,
        Self::InvalidMocks,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::Unavailable,
        Self::NotReady,
    ];

    /// Its word, and the status that it comes with.
    fn known_by(self) -> (&'static str, StatusCode) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED),
            Self::KeyExpired => ("key_expired", S::UNAUTHORIZED),
            Self::KeyRevoked => ("key_revoked", S::UNAUTHORIZED),
            Self::TooManyRequests => ("too_many_requests", S::TOO_MANY_REQUESTS),
            Self::Forbidden => ("forbidden", S::FORBIDDEN),
            Self::CrossOrigin => ("cross_origin", S::FORBIDDEN),
            Self::MocksRefused => ("mocks_refused", S::FORBIDDEN),
            Self::EndpointNotFound => ("endpoint_not_found", S::NOT_FOUND),
            Self::DeliveryNotFound => ("delivery_not_found", S::NOT_FOUND),
            Self::EndpointDisabled => ("endpoint_disabled", S::CONFLICT),
            Self::EndpointChanged => ("endpoint_changed", S::CONFLICT),
            Self::TooManyEndpoints => ("too_many_endpoints", S::CONFLICT),
            Self::KeyMissing => ("key_missing", S::CONFLICT),
            Self::WebhookRefused => ("webhook_refused", S::FORBIDDEN),
            Self::TenantNotFound => ("tenant_not_found", S::NOT_FOUND),
            Self::TenantExists => ("tenant_exists", S::CONFLICT),
            Self::TenantNeeded => ("tenant_needed", S::CONFLICT),
            Self::TooManyTenants => ("too_many_tenants", S::CONFLICT),
            Self::KeyNotFound => ("key_not_found", S::NOT_FOUND),
            Self::TooManyKeys => ("too_many_keys", S::CONFLICT),
            Self::KeyEnded => ("key_ended", S::CONFLICT),
            Self::NotFound => ("not_found", S::NOT_FOUND),
            Self::WorkflowNotFound => ("workflow_not_found", S::NOT_FOUND),
            Self::RunNotFound => ("run_not_found", S::NOT_FOUND),
            Self::PayloadNotFound => ("payload_not_found", S::NOT_FOUND),
            Self::PayloadHidden => ("payload_hidden", S::FORBIDDEN),
            Self::FileNotFound => ("file_not_found", S::NOT_FOUND),
            Self::RangeNotSatisfiable => ("range_not_satisfiable", S::RANGE_NOT_SATISFIABLE),
            Self::LetterNotFound => ("letter_not_found", S::NOT_FOUND),
            Self::ConversationNotFound => ("conversation_not_found", S::NOT_FOUND),
            Self::BatchNotFound => ("batch_not_found", S::NOT_FOUND),
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED),
            Self::Timeout => ("timeout", S::REQUEST_TIMEOUT),
            Self::RunEnded => ("run_ended", S::CONFLICT),
            Self::BatchConflict => ("batch_conflict", S::CONFLICT),
            Self::LetterSettled => ("letter_settled", S::CONFLICT),
            Self::NotReplayable => ("not_replayable", S::CONFLICT),
            Self::RunNotEnded => ("run_not_ended", S::CONFLICT),
            Self::DocumentChanged => ("document_changed", S::CONFLICT),
            Self::InvalidRerun => ("invalid_rerun", S::UNPROCESSABLE_ENTITY),
            Self::RunNotPaused => ("run_not_paused", S::CONFLICT),
            Self::FormNotFound => ("form_not_found", S::NOT_FOUND),
            Self::FormAnswered => ("form_answered", S::CONFLICT),
            Self::FormExpired => ("form_expired", S::CONFLICT),
            Self::FormClosed => ("form_closed", S::CONFLICT),
            Self::InvalidAnswer => ("invalid_answer", S::UNPROCESSABLE_ENTITY),
            Self::TooLarge => ("too_large", S::PAYLOAD_TOO_LARGE),
            Self::InvalidBody => ("invalid_body", S::BAD_REQUEST),
            Self::UnsupportedType => ("unsupported_type", S::UNSUPPORTED_MEDIA_TYPE),
            Self::InvalidRequest => ("invalid_request", S::UNPROCESSABLE_ENTITY),
            Self::InvalidDocument => ("invalid_document", S::UNPROCESSABLE_ENTITY),
            Self::InvalidInputs => ("invalid_inputs", S::UNPROCESSABLE_ENTITY),
            Self::InvalidMocks => ("invalid_mocks", S::UNPROCESSABLE_ENTITY),
            Self::IdempotencyKeyReused => ("idempotency_key_reused", S::UNPROCESSABLE_ENTITY),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR),
            Self::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE),
            Self::NotReady => ("not_ready", S::SERVICE_UNAVAILABLE),
        }
    }

    /// What it says in general.
    fn title(self) -> &'static str {
        match self {
            Self::Unauthorized => "the key is missing, wrong or of no more use",
            Self::KeyExpired => "the time of the key is over",
            Self::KeyRevoked => "the key was revoked",
            Self::TooManyRequests => "the key asks too often",
            Self::Forbidden => "the key does not allow it",
            Self::CrossOrigin => "pages of other origins may not ask",
            Self::MocksRefused => "mocks are not allowed here",
            Self::EndpointNotFound => "there is no such endpoint",
            Self::DeliveryNotFound => "there is no such delivery",
            Self::EndpointDisabled => "nothing is sent to the endpoint",
            Self::EndpointChanged => "somebody else changed the endpoint",
            Self::TooManyEndpoints => "there are too many endpoints",
            Self::KeyMissing => "secrets cannot be kept here",
            Self::WebhookRefused => "submissions may not name this address",
            Self::TenantNotFound => "there is no such tenant",
            Self::TenantExists => "there is such a tenant already",
            Self::TenantNeeded => "the tenant cannot be removed",
            Self::TooManyTenants => "there are too many tenants",
            Self::KeyNotFound => "there is no such key",
            Self::TooManyKeys => "the tenant has too many keys",
            Self::KeyEnded => "the key is of no more use",
            Self::NotFound => "there is no such path",
            Self::WorkflowNotFound => "there is no such workflow",
            Self::RunNotFound => "there is no such run",
            Self::PayloadNotFound => "there is no such payload",
            Self::PayloadHidden => "the payload is not shown",
            Self::FileNotFound => "there is no such file",
            Self::RangeNotSatisfiable => "the range is beyond the end",
            Self::LetterNotFound => "there is no such dead letter",
            Self::ConversationNotFound => "there is no such conversation",
            Self::BatchNotFound => "there is no such batch",
            Self::MethodNotAllowed => "the path has no such method",
            Self::Timeout => "the body did not come in time",
            Self::RunEnded => "the run has ended",
            Self::BatchConflict => "the batch is in a state in which that cannot be",
            Self::LetterSettled => "the dead letter was decided on before",
            Self::NotReplayable => "the dead letter cannot go back",
            Self::RunNotEnded => "the run has not ended",
            Self::DocumentChanged => "the document has changed in what is kept",
            Self::InvalidRerun => "the run cannot be run again like this",
            Self::RunNotPaused => "the run is not paused",
            Self::FormNotFound => "there is no such form",
            Self::FormAnswered => "the form is answered already",
            Self::FormExpired => "the time to answer is over",
            Self::FormClosed => "nobody waits for the answer any more",
            Self::InvalidAnswer => "the answer does not fit the form",
            Self::TooLarge => "the body is too large",
            Self::InvalidBody => "the body cannot be read",
            Self::UnsupportedType => "such messages are not understood",
            Self::InvalidRequest => "the request is wrong",
            Self::InvalidDocument => "the document does not run",
            Self::InvalidInputs => "the inputs were rejected",
            Self::InvalidMocks => "the mocks cannot be read",
            Self::IdempotencyKeyReused => "something else was submitted under this key",
            Self::Internal => "something is broken here",
            Self::Unavailable => "it cannot be done at present",
            Self::NotReady => "the process is not ready",
        }
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        self.known_by().0
    }

    /// The status that it comes with.
    pub fn status(self) -> StatusCode {
        self.known_by().1
    }
}

/// An answer that says what went wrong.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    /// Further members.
    more: Vec<(&'static str, Value)>,
    /// After how many seconds it may be asked again, where that is known.
    again_s: Option<u64>,
}

impl Problem {
    /// With what it is in this case, a fragment.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), more: Vec::new(), again_s: None }
    }

    /// The same with one more member.
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.push((name, value));
        self
    }

    /// Whoever asks may ask again after this time.
    pub(super) fn too_often(wait: Duration) -> Self {
        let again = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let detail = format!("this key may ask again in {again} s");
        Self { again_s: Some(again), ..Self::new(Code::TooManyRequests, detail) }
    }

    /// A wrong member, parameter or header.
    pub(super) fn request(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// There is no workflow of this name or digest.
    pub(super) fn no_workflow(named: &str) -> Self {
        let detail = format!("no workflow has the name or the digest {named:?}");
        Self::new(Code::WorkflowNotFound, detail)
    }

    /// There is no endpoint of this id.
    pub(super) fn no_endpoint(id: &str) -> Self {
        Self::new(Code::EndpointNotFound, format!("there is no endpoint {id:?}"))
    }

    /// There is no tenant of this name.
    pub(super) fn no_tenant(tenant: &str) -> Self {
        Self::new(Code::TenantNotFound, format!("there is no tenant {tenant:?}"))
    }

    /// There is no run of this id.
    pub(super) fn no_run(run: &str) -> Self {
        Self::new(Code::RunNotFound, format!("there is no run {run:?}"))
    }

    /// What is wrong with a document.
    pub(super) fn document(problems: &Problems) -> Self {
        let is_error = |severity| severity == Severity::Error;
        let errors = problems.iter().filter(|problem| is_error(problem.severity)).count();
        Self::new(Code::InvalidDocument, format!("the document has {errors} errors"))
            .with("problems", document_problems(problems))
    }

    /// Inputs that were rejected.
    pub(super) fn inputs(rejections: &[Rejection]) -> Self {
        let messages: Vec<&str> =
            rejections.iter().map(|rejection| rejection.message.as_str()).collect();
        let problems = rejections.iter().map(|rejection| {
            object([
                ("input", Value::Str(rejection.name.clone())),
                ("message", Value::from(rejection.message.as_str())),
            ])
        });
        Self::new(Code::InvalidInputs, messages.join("; "))
            .with("problems", Value::array(problems.collect()))
    }
}

/// Problems of a document, as they are listed.
pub(super) fn document_problems(problems: &Problems) -> Value {
    let list = problems.iter().map(|problem| {
        let severity = match problem.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let line = (problem.line > 0).then(|| number(u64::from(problem.line)));
        object([
            ("severity", severity.into()),
            ("code", problem.code.into()),
            ("node", text(problem.node.as_ref())),
            ("title", text(problem.title.as_ref())),
            ("field", problem.field.as_deref().map_or(Value::None, Value::from)),
            ("line", line.unwrap_or_default()),
            ("message", problem.message.as_str().into()),
            ("hint", problem.hint.as_deref().map_or(Value::None, Value::from)),
        ])
    });
    Value::array(list.collect())
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Fenced { .. }
            | StoreError::Conflict { .. } => {
                tracing::warn!(%error, "a request is refused for now");
                Self::new(Code::Unavailable, "the store cannot be reached; try again")
            }
            StoreError::Later(why) => {
                tracing::warn!(error = why, "a request is left to a later release");
                let advice = "ask a scheduler of that release";
                Self::new(Code::Unavailable, format!("a later release is needed: {why}; {advice}"))
            }
            StoreError::Corrupt(_) | StoreError::Sealed(_) => {
                tracing::error!(%error, "a request failed");
                Self::new(Code::Internal, "the store refused it; the log says why")
            }
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(why) => {
                tracing::warn!(error = why, "a request is refused for now");
                Self::new(Code::Unavailable, "the store cannot be reached; try again")
            }
            LoadError::Bad(why) => Self::new(Code::InvalidDocument, why),
        }
    }
}

impl Problem {
    /// What went wrong, for programs.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// What it is in this case, for people.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// As JSON, as RFC 9457 has it.
    pub(super) fn written(self) -> String {
        let ((word, status), title) = (self.code.known_by(), self.code.title());
        let kind = format!("urn:flowmill:problem:{word}");
        let mut members: Vec<(Name, Value)> = vec![
            ("type".into(), Value::from(kind)),
            ("title".into(), title.into()),
            ("status".into(), number(u64::from(status.as_u16()))),
            ("code".into(), word.into()),
            ("detail".into(), Value::from(self.detail)),
        ];
        members.extend(self.more.into_iter().map(|(name, value)| (name.into(), value)));
        dumps(&Value::object(members), Style::Finite)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { code, again_s, .. } = self;
        let mut response = Response::new(Body::from(self.written()));
        *response.status_mut() = code.status();
        // for whoever notes what came of it
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match code {
            Code::Unauthorized | Code::KeyExpired | Code::KeyRevoked => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Code::Unavailable | Code::NotReady => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(AGAIN_S));
            }
            _ => {}
        }
        if let Some(again) = again_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(again));
        }
        response
    }
}
