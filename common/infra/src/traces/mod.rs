//! What became of a run, as one trace: taken in, sent, executed, answered, told. Spans go to an OTLP endpoint;
//! without one all of this costs nothing and passes on what others began.
//!
//! Whether a run is traced is decided once, where it is taken in, and stands in its options as W3C's
//! `traceparent`: the span that took it in. The run's own span is made when the run ends, by whoever owns it
//! then; its id follows from the run's, so that everybody can name it as a parent before there is one.

mod context;
#[cfg(feature = "service")]
mod export;
mod ids;

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowmill_engine::fact::Status;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status as SpanStatus, TraceContextExt as _,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};

use crate::message::Task;

use context::{parse, written};

#[cfg(feature = "service")]
pub use export::{Otlp, Tracing};

/// Whose spans they are.
const SCOPE: &str = "flowmill";

/// The target of spans that begin what is exported; so is all that lies below one of them.
#[cfg(feature = "service")]
pub(crate) const TRACED: &str = "flowmill::traced";

/// What makes spans. It is looked for once: whoever exports has begun before the first span.
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// What carries messages.
const SYSTEM: &str = "rabbitmq";

/// A span that was begun; it ends when this is dropped.
#[derive(Debug)]
pub struct Begun(BoxedSpan);

/// What a run's own span tells of it.
#[derive(Clone, Debug)]
pub struct RunSpan {
    /// The run.
    pub run: Name,
    /// Its place in a trace, as its options have it.
    pub trace: Name,
    /// The digest of its document.
    pub workflow: Name,
    /// When it began.
    pub began: Time,
    /// When it ended.
    pub ended: Time,
    /// How.
    pub status: Status,
    /// What failed it, for people.
    pub error: Option<Name>,
}

/// Begins the trace of a run that is taken in, or goes on with the one it was submitted in: the place that the
/// run has in it, and the span of taking it in. None when the run is not traced.
pub fn taken_in(run: &str, given: Option<&str>) -> Option<(Name, Begun)> {
    let parent = match given {
        Some(given) => Some(parse(given)?).filter(SpanContext::is_sampled),
        None if ids::is_chosen(run) => None,
        None => return None,
    };
    if given.is_some() && parent.is_none() {
        return None;
    }
    let builder = builder("submit run", SpanKind::Server, [run_id(run)]);
    let span = if let Some(parent) = parent {
        begin(builder, parent)
    } else {
        let _forced = ids::force(Some(ids::trace_of(run)), None);
        tracer().build_with_context(builder, &Context::new())
    };
    let own = span.span_context();
    // a process that exports nothing leaves the run in the span it came from
    let place = if own.is_valid() && own.is_sampled() { written(own) } else { given?.to_owned() };
    Some((place.into(), Begun(span)))
}

/// The place in a trace of what happens for a run: right below the run's own span.
pub fn within(run: &str, trace: &str) -> Option<Name> {
    let place = parse(trace)?;
    let below = ids::below(run, &place);
    Some(written(&below).into())
}

/// Begins the span of a task that is published, which is from now on the task's place in the trace.
pub fn published(task: &mut Task) -> Option<Begun> {
    let place = parse(task.trace.as_deref()?)?;
    let Queue { name, send, .. } = Queue::of(task.class);
    let details = [
        run_id(&task.run),
        KeyValue::new("flowmill.node.id", task.task.node.to_string()),
        KeyValue::new("flowmill.attempt", i64::from(task.attempt)),
        KeyValue::new("messaging.system", SYSTEM),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", name),
    ];
    let span = begin(builder(send, SpanKind::Producer, details), place);
    if span.span_context().is_sampled() {
        task.trace = Some(written(span.span_context()).into());
    }
    Some(Begun(span))
}

/// Begins the span of telling an endpoint of a run; also what its request says of it.
pub fn told(run: &str, trace: &str, event: &str) -> Option<(Name, Begun)> {
    let below = ids::below(run, &parse(trace)?);
    let details = [run_id(run), KeyValue::new("flowmill.event", event.to_owned())];
    let span = begin(builder("deliver webhook", SpanKind::Client, details), below.clone());
    let own = span.span_context();
    let place = if own.is_sampled() { written(own) } else { written(&below) };
    Some((place.into(), Begun(span)))
}

/// Makes the span of a run that has ended.
pub fn ended(run: &RunSpan) {
    let Some(place) = parse(&run.trace) else { return };
    let details = [
        run_id(&run.run),
        KeyValue::new("flowmill.workflow", run.workflow.to_string()),
        KeyValue::new("flowmill.status", run.status.name()),
    ];
    let builder = builder("run", SpanKind::Internal, details).with_start_time(point(run.began));
    let mut span = {
        let _forced = ids::force(None, Some(ids::span_of(&run.run)));
        begin(builder, place)
    };
    if let Some(error) = &run.error {
        span.set_status(SpanStatus::error(error.to_string()));
    }
    span.end_with_timestamp(point(run.ended));
}

impl Begun {
    /// Notes that what the span is of failed.
    pub fn failed(&mut self, why: &str) {
        self.0.set_status(SpanStatus::error(why.to_owned()));
    }
}

/// The span of a task in a worker's hands, for whoever works on it to be in: what is logged meanwhile says what it
/// belongs to, and what is traced lies below it.
pub fn processed(task: &Task) -> tracing::Span {
    let attempt = i64::from(task.attempt);
    #[cfg(feature = "service")]
    if let Some((trace, place)) = task.trace.as_deref().and_then(|text| Some((text, parse(text)?)))
    {
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;

        let Queue { name, process, .. } = Queue::of(task.class);
        // all at once: what is added to a span later is written anew for the log
        let span = tracing::info_span!(
            target: TRACED,
            "task",
            otel.name = process,
            otel.kind = "consumer",
            messaging.system = SYSTEM,
            messaging.operation.type = "process",
            messaging.destination.name = name,
            run.id = &*task.run,
            node.id = &*task.task.node,
            attempt,
            trace.id = trace.split('-').nth(1),
        );
        // it is refused where spans are only logged
        let _ = span.set_parent(Context::new().with_remote_span_context(place));
        return span;
    }
    tracing::info_span!("task", run.id = &*task.run, node.id = &*task.task.node, attempt)
}

/// Where tasks of a class wait, whatever the installation calls it, and what is done with it.
struct Queue {
    name: &'static str,
    send: &'static str,
    #[cfg_attr(not(feature = "service"), expect(dead_code, reason = "what exports reads it"))]
    process: &'static str,
}

impl Queue {
    fn of(class: TaskClass) -> Self {
        macro_rules! queue {
            ($name:literal) => {
                Self {
                    name: concat!("tasks.", $name),
                    send: concat!("send tasks.", $name),
                    process: concat!("process tasks.", $name),
                }
            };
        }
        match class {
            TaskClass::Light => queue!("light"),
            TaskClass::Code => queue!("code"),
            TaskClass::Http => queue!("http"),
            TaskClass::Llm => queue!("llm"),
        }
    }
}

fn tracer() -> &'static BoxedTracer {
    TRACER.get_or_init(|| global::tracer(SCOPE))
}

fn begin(builder: SpanBuilder, below: SpanContext) -> BoxedSpan {
    tracer().build_with_context(builder, &Context::new().with_remote_span_context(below))
}

/// The trace that a place is in, in the form that logs show. None when it is none.
pub fn trace_id(trace: &str) -> Option<&str> {
    parse(trace)?;
    trace.split('-').nth(1)
}

fn builder<const N: usize>(
    name: impl Into<std::borrow::Cow<'static, str>>,
    kind: SpanKind,
    details: [KeyValue; N],
) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind).with_attributes(details)
}

fn run_id(run: &str) -> KeyValue {
    KeyValue::new("flowmill.run.id", run.to_owned())
}

fn point(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_called_as_their_classes() {
        for class in TaskClass::ALL {
            let Queue { name, send, process } = Queue::of(class);
            assert_eq!(name, format!("tasks.{}", class.name()));
            assert_eq!((send, process), (&*format!("send {name}"), &*format!("process {name}")));
        }
    }
}
