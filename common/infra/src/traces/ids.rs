//! Ids that follow from a run's, and which runs are traced that nobody asked to trace.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, TraceId};

thread_local! {
    /// What the next span of this thread is known by, where that is not left to chance.
    static NEXT: Cell<Forced> = const { Cell::new(Forced { trace: None, span: None }) };
}

/// Of all numbers, those below are chosen: none as long as nothing is exported.
static CHOSEN_BELOW: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(feature = "service"), expect(dead_code, reason = "what exports reads them"))]
struct Forced {
    trace: Option<TraceId>,
    span: Option<SpanId>,
}

/// Ids are forced on this thread until this is dropped.
#[derive(Debug)]
pub(super) struct Forcing(());

impl Drop for Forcing {
    fn drop(&mut self) {
        NEXT.set(Forced::default());
    }
}

/// The next span that begins on this thread has these ids.
pub(super) fn force(trace: Option<TraceId>, span: Option<SpanId>) -> Forcing {
    NEXT.set(Forced { trace, span });
    Forcing(())
}

#[cfg(feature = "service")]
pub(super) fn forced_trace() -> Option<TraceId> {
    NEXT.get().trace
}

#[cfg(feature = "service")]
pub(super) fn forced_span() -> Option<SpanId> {
    NEXT.get().span
}

/// From now on this share of runs is traced that come in no trace.
#[cfg(feature = "service")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share need not be exact, and the cast saturates"
)]
pub(super) fn choose(share: f64) {
    CHOSEN_BELOW.store((share * u64::MAX as f64) as u64, Ordering::Relaxed);
}

/// Whether a run is traced that came in no trace. It is the same wherever it is asked.
pub(super) fn is_chosen(run: &str) -> bool {
    let below = CHOSEN_BELOW.load(Ordering::Relaxed);
    below == u64::MAX || hash(run, "chosen") < below
}

/// The trace of a run that came in none: the run's own id, where that is a UUID.
pub(super) fn trace_of(run: &str) -> TraceId {
    let hex: String = run.chars().filter(|letter| *letter != '-').collect();
    match TraceId::from_hex(&hex) {
        Ok(trace) if hex.len() == 32 && trace != TraceId::INVALID => trace,
        _ => TraceId::from((u128::from(hash(run, "trace")) << 64) | u128::from(hash(run, "run"))),
    }
}

/// The run's own span.
pub(super) fn span_of(run: &str) -> SpanId {
    SpanId::from(hash(run, "span").max(1))
}

/// The place of what happens for a run, whose place is given.
pub(super) fn below(run: &str, place: &SpanContext) -> SpanContext {
    let (flags, state) = (place.trace_flags(), place.trace_state().clone());
    SpanContext::new(place.trace_id(), span_of(run), flags, true, state)
}

/// FNV-1a with its bits stirred: it need not be safe, but the same everywhere.
fn hash(run: &str, of: &str) -> u64 {
    let bytes = of.bytes().chain(run.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let stirred = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    stirred ^ (stirred >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_called_as_its_run() {
        let run = "019abcde-0000-7000-8000-000000000001";
        assert_eq!(trace_of(run).to_string(), "019abcde000070008000000000000001");
        let other = trace_of("not a uuid").to_string();
        assert_eq!(other, trace_of("not a uuid").to_string());
        assert_ne!(other, trace_of("nor this").to_string());
        // other processes, and other releases, know it by the same
        assert_eq!(span_of("r"), span_of("r"));
        assert_ne!(span_of("r"), span_of("s"));
    }

    #[cfg(feature = "service")]
    #[test]
    fn a_share_of_runs_is_chosen() {
        let count = || (0..10_000).filter(|number| is_chosen(&format!("run-{number}"))).count();
        assert_eq!(count(), 0);
        choose(0.25);
        let some = count();
        assert!((2_300..2_700).contains(&some), "{some}");
        choose(1.0);
        assert_eq!(count(), 10_000);
        choose(0.0);
        assert_eq!(count(), 0);
    }
}
