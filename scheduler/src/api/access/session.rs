//! A request's part of what all handlers share: the same, with whose it is.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use flowmill_engine::value::Name;

use super::super::problem::{Code, Problem};
use super::Caller;

/// What handlers share, for a tenant: whoever works with it sees nothing of others.
#[derive(Debug)]
pub(in super::super) struct Session<A> {
    shared: Arc<A>,
    /// Whose it is.
    pub(in super::super) tenant: Name,
    /// Who wants something, for notes of that.
    pub(in super::super) actor: Name,
}

impl<A> Session<A> {
    /// One that no request began.
    pub(in super::super) fn of(shared: Arc<A>, tenant: Name, actor: &str) -> Self {
        Self { shared, tenant, actor: actor.into() }
    }
}

impl<A> Clone for Session<A> {
    fn clone(&self) -> Self {
        let Self { shared, tenant, actor } = self;
        Self { shared: shared.clone(), tenant: tenant.clone(), actor: actor.clone() }
    }
}

impl<A> Deref for Session<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.shared
    }
}

impl<A: Send + Sync + 'static> FromRequestParts<Arc<A>> for Session<A> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<A>) -> Result<Self, Problem> {
        let Caller { tenant, actor, .. } = caller(parts)?;
        Ok(Self { shared: shared.clone(), tenant, actor })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(parts)
    }
}

/// Who asks, as it was found on the way in.
fn caller(parts: &Parts) -> Result<Caller, Problem> {
    let unknown = || Problem::new(Code::Internal, "nobody found out who asks");
    parts.extensions.get::<Caller>().cloned().ok_or_else(unknown)
}
