//! Why a template has no native result.

use std::borrow::Cow;

/// Why rendering ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Jinja2 raises this exception too.
    Raised {
        /// The exception's type, e.g. `UndefinedError`.
        kind: Cow<'static, str>,
        /// Its text.
        message: String,
    },
    /// The template or its values use something whose exact result only the real Jinja2 gives.
    Refused(Cow<'static, str>),
}

/// Result of anything a template does.
pub(super) type R<T> = Result<T, Box<Fail>>;

/// Ends with an exception of Jinja2 or Python.
pub(super) fn raise<T>(kind: &'static str, message: impl Into<String>) -> R<T> {
    Err(Box::new(Fail::Raised { kind: kind.into(), message: message.into() }))
}

/// Ends with a `TypeError`.
pub(super) fn type_error<T>(message: impl Into<String>) -> R<T> {
    raise("TypeError", message)
}

/// Ends because only the real Jinja2 knows the exact answer.
pub(super) fn refuse<T>(construct: impl Into<Cow<'static, str>>) -> R<T> {
    Err(Box::new(Fail::Refused(construct.into())))
}
