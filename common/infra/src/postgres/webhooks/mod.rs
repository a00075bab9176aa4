//! Endpoints, and deliveries of events to them: `endpoints` for those who look after them,
//! `deliveries` for whoever sends. Deliveries are made by triggers, as runs change.

mod deliveries;
mod endpoints;

use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;

use crate::codec::{Codec, read};
use crate::store::StoreError;
use crate::webhooks::{Answer, Delivery, Endpoint, Format, State};

use super::{get, text, time};

/// The columns of an [`Endpoint`].
macro_rules! endpoint_rows {
    ($rest:literal) => {
        concat!(
            "SELECT tenant, id, url, events, is_for_all, description, format, status_names, disabled,
                secrets, created_at, revision, failures, rests_until
            FROM endpoints WHERE ",
            $rest
        )
    };
}

/// The columns of a [`Delivery`], but for the body.
macro_rules! delivery_columns {
    () => {
        "id, endpoint, message, event, subject, seq, noted_at, state, tries, due_at, settled_at,
            tried_at, last_status, last_text, last_error, last_ms"
    };
}

use {delivery_columns, endpoint_rows};

/// An endpoint, of a row that has all columns of one.
fn endpoint(codec: &Codec, row: &PgRow) -> Result<Endpoint, StoreError> {
    let (id, tenant) = (text(row, "id")?, text(row, "tenant")?);
    let format: &str = get(row, "format")?;
    let format = Format::ALL.into_iter().find(|known| known.name() == format);
    let rests_until = get::<i64>(row, "rests_until")?;
    Ok(Endpoint {
        url: text(row, "url")?,
        events: get::<Vec<String>>(row, "events")?.into_iter().map(Name::from).collect(),
        is_for_all: get(row, "is_for_all")?,
        description: text(row, "description")?,
        format: format.ok_or_else(|| StoreError::Later(format!("the format of endpoint {id}")))?,
        status_names: read("names of statuses", get(row, "status_names")?)?,
        disabled: get::<Option<&str>>(row, "disabled")?.map(Name::from),
        // the others are of use without
        secrets: codec.read_endpoint_secrets(&tenant, &id, get(row, "secrets")?),
        created_at: time(get(row, "created_at")?),
        revision: get(row, "revision")?,
        failures: get::<i32>(row, "failures")?.unsigned_abs(),
        rests_until: Some(rests_until).filter(|until| *until > 0).map(time),
        id,
    })
}

/// A delivery, of a row that has all columns of one, without what is sent.
fn delivery(row: &PgRow) -> Result<Delivery, StoreError> {
    let id: i64 = get(row, "id")?;
    let state: &str = get(row, "state")?;
    let state = State::ALL.into_iter().find(|known| known.name() == state);
    Ok(Delivery {
        id,
        endpoint: text(row, "endpoint")?,
        message: text(row, "message")?,
        event: text(row, "event")?,
        subject: text(row, "subject")?,
        seq: get::<i64>(row, "seq")?.unsigned_abs(),
        noted_at: time(get(row, "noted_at")?),
        state: state.ok_or_else(|| StoreError::Later(format!("the state of delivery {id}")))?,
        tries: get::<i32>(row, "tries")?.unsigned_abs(),
        due_at: time(get(row, "due_at")?),
        settled_at: get::<Option<i64>>(row, "settled_at")?.map(time),
        tried_at: get::<Option<i64>>(row, "tried_at")?.map(time),
        last: answer(row)?,
        body: None,
    })
}

fn answer(row: &PgRow) -> Result<Option<Answer>, StoreError> {
    let status = get::<Option<i32>>(row, "last_status")?;
    let error = get::<Option<&str>>(row, "last_error")?.map(Name::from);
    if status.is_none() && error.is_none() {
        return Ok(None);
    }
    Ok(Some(Answer {
        status: status.and_then(|status| u16::try_from(status).ok()),
        text: get::<Option<&str>>(row, "last_text")?.unwrap_or_default().into(),
        error,
        elapsed_ms: get::<Option<i64>>(row, "last_ms")?.unwrap_or_default().unsigned_abs(),
    }))
}
