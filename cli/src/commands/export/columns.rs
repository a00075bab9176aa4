//! The columns of an export: the same names with the same types in the same order in each line, so
//! that whoever reads the first knows them all. What is nested is JSON in a text.

use flowmill_engine::time::Time;
use flowmill_engine::value::{Object, Style, Value, dumps};

use crate::server::object;

/// A run as a line; `inputs` are what it began with, if that was asked for.
pub(super) fn run(tenant: &str, run: &Object, inputs: Option<Value>) -> String {
    let workflow: Object = object(run, "workflow").into_iter().collect();
    let batch: Object = object(run, "batch").into_iter().collect();
    let elapsed = float(run, "elapsed_ms");
    let has_ended = run.get("finished_at").is_some_and(|at| *at != Value::None);
    line([
        ("run", said(run, "id")),
        ("tenant", tenant.into()),
        ("workflow", said(&workflow, "id")),
        ("name", said(&workflow, "name")),
        ("status", said(run, "status")),
        ("reason", said(run, "reason")),
        ("error", said(run, "error")),
        ("accepted_at", said(run, "accepted_at")),
        ("started_at", said(run, "started_at")),
        ("finished_at", said(run, "finished_at")),
        ("elapsed_ms", if has_ended { elapsed } else { Value::None }),
        ("steps", whole(run, "steps")),
        ("exceptions", whole(run, "exceptions_count")),
        ("batch", said(&batch, "id")),
        ("line", whole(&batch, "line")),
        ("custom_id", said(&batch, "custom_id")),
        ("rerun_of", said(run, "rerun_of")),
        ("parent", said(run, "parent")),
        ("conversation", said(run, "conversation_id")),
        ("metadata", json(run.get("metadata"))),
        ("inputs", json(inputs.as_ref())),
        ("outputs", json(run.get("outputs"))),
        ("partial_outputs", json(run.get("partial_outputs"))),
        ("links", json(run.get("outputs_by_reference"))),
        ("errors", json(run.get("errors"))),
    ])
}

/// What happened in a run, as a line.
pub(super) fn event(tenant: &str, run: &str, event: &Object) -> String {
    let data: Object = object(event, "data").into_iter().collect();
    let at = seconds(&data, "finished_at").or_else(|| seconds(&data, "created_at"));
    let elapsed = match float(&data, "elapsed_time") {
        Value::Float(seconds) => Value::Float(seconds * 1000.0),
        _ => Value::None,
    };
    line([
        ("run", run.into()),
        ("tenant", tenant.into()),
        ("event_id", said(event, "event_id")),
        ("event", said(event, "event")),
        ("at", at.map_or(Value::None, |at| Value::from(at.rfc3339()))),
        ("node", said(&data, "node_id")),
        ("node_type", said(&data, "node_type")),
        ("title", said(&data, "title")),
        ("status", said(&data, "status")),
        ("error", said(&data, "error")),
        ("elapsed_ms", elapsed),
        ("data", json(event.get("data"))),
    ])
}

fn line<const N: usize>(columns: [(&str, Value); N]) -> String {
    let columns = columns.into_iter().map(|(name, value)| (name.into(), value));
    let mut line = dumps(&Value::object(columns), Style::Finite);
    line.push('\n');
    line
}

/// A text; null when it is missing or something else.
fn said(of: &Object, name: &str) -> Value {
    match of.get(name) {
        Some(Value::Str(text)) => Value::Str(text.clone()),
        _ => Value::None,
    }
}

fn whole(of: &Object, name: &str) -> Value {
    match of.get(name) {
        Some(Value::Int(number)) => Value::Int(number.clone()),
        _ => Value::None,
    }
}

/// A number with a point, also where it is a whole one.
fn float(of: &Object, name: &str) -> Value {
    match of.get(name) {
        Some(Value::Float(number)) => Value::Float(*number),
        Some(Value::Int(number)) => Value::Float(number.to_f64()),
        _ => Value::None,
    }
}

/// A point in time that is told in seconds.
fn seconds(of: &Object, name: &str) -> Option<Time> {
    match of.get(name)? {
        Value::Int(seconds) => {
            let seconds = u64::try_from(seconds.to_i64()?).ok()?;
            Some(Time(seconds.checked_mul(1_000_000)?))
        }
        _ => None,
    }
}

/// A value as JSON in a text; null when there is none.
fn json(value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::None) => Value::None,
        Some(value) => Value::from(dumps(value, Style::Finite)),
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::loads;

    use super::*;
    use crate::server::text;

    fn members(json: &str) -> Object {
        match loads(json).unwrap() {
            Value::Object(members) => members.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    fn names(line: &str) -> Vec<String> {
        members(line.trim_end()).keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_run_is_a_flat_line() {
        let ended = members(
            r#"{"id": "r1", "status": "succeeded", "workflow": {"id": "5f", "name": "Hello"},
                "accepted_at": "2026-11-26T01:00:00.000Z", "started_at": "2026-11-26T01:00:00.100Z",
                "finished_at": "2026-11-26T01:00:01.100Z", "elapsed_ms": 1000, "in_flight": 0,
                "wake_at": null, "conversation_id": null, "rerun_of": null, "parent": null,
                "batch": {"id": "b", "line": 7, "custom_id": "c7"}, "metadata": {"by": "me"},
                "reason": null, "error": null, "outputs": {"says": "hi\n\"you\""}, "errors": [],
                "exceptions_count": 0, "steps": 4}"#,
        );
        let inputs = loads(r#"{"who": "Ada"}"#).unwrap();
        assert_eq!(
            run("default", &ended, Some(inputs)),
            concat!(
                r#"{"run":"r1","tenant":"default","workflow":"5f","name":"Hello","status":"succeeded","#,
                r#""reason":null,"error":null,"accepted_at":"2026-11-26T01:00:00.000Z","#,
                r#""started_at":"2026-11-26T01:00:00.100Z","finished_at":"2026-11-26T01:00:01.100Z","#,
                r#""elapsed_ms":1000.0,"steps":4,"exceptions":0,"batch":"b","line":7,"custom_id":"c7","#,
                r#""rerun_of":null,"parent":null,"conversation":null,"metadata":"{\"by\":\"me\"}","#,
                r#""inputs":"{\"who\":\"Ada\"}","outputs":"{\"says\":\"hi\\n\\\"you\\\"\"}","#,
                r#""partial_outputs":null,"links":null,"errors":"[]"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn columns_are_there_whatever_is_known() {
        let queued =
            members(r#"{"id": "r2", "status": "queued", "finished_at": null, "elapsed_ms": 12.5}"#);
        let line = run("default", &queued, None);
        assert_eq!(names(&line), names(&run("t", &members("{}"), None)));
        // one that goes on has not taken its time yet
        assert!(line.contains(r#""elapsed_ms":null"#), "{line}");
    }

    #[test]
    fn all_columns_are_explained() {
        let page = include_str!("../../../../docs/export.md");
        let explained = |of: &str| -> Vec<String> {
            let (_, part) = page.split_once(of).unwrap();
            let rows = part.lines().skip_while(|line| !line.starts_with("|---"));
            let rows = rows.skip(1).take_while(|line| line.starts_with("| `"));
            rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
        };
        let nothing = Object::default();
        assert_eq!(explained("## The columns of a run"), names(&run("t", &nothing, None)));
        assert_eq!(explained("## The columns of an event"), names(&event("t", "r", &nothing)));
        // the types for DuckDB are in the same order
        let types = page.split_once("columns={").unwrap().1.split_once("})").unwrap().0;
        let typed: Vec<&str> =
            types.split(',').filter_map(|column| column.trim().split(':').next()).collect();
        assert_eq!(typed, names(&run("t", &nothing, None)));
    }

    #[test]
    fn an_event_is_a_flat_line() {
        let finished = members(
            r#"{"event": "node_finished", "workflow_run_id": "r1", "event_id": "4.0",
                "data": {"id": "a@it[3]", "node_id": "a", "node_type": "code", "title": "A",
                    "created_at": 951782400, "finished_at": 951782401, "status": "succeeded",
                    "elapsed_time": 0.25, "outputs": {"x": 1}}}"#,
        );
        let line = event("default", "r1", &finished);
        let told = members(line.trim_end());
        assert_eq!(text(&told, "at"), "2000-02-29T00:00:01.000Z");
        assert_eq!(told.get("elapsed_ms"), Some(&Value::Float(250.0)));
        assert_eq!((text(&told, "node"), text(&told, "event_id")), ("a", "4.0"));
        assert!(text(&told, "data").contains(r#""id":"a@it[3]""#), "{line}");
        // text that was shown while it was written has no id and no time
        let shown = members(r#"{"event": "text_chunk", "data": {"text": "Hi"}}"#);
        let shown = event("default", "r1", &shown);
        assert!(shown.contains(r#""event_id":null,"event":"text_chunk","at":null"#), "{shown}");
    }
}
