//! Spans on their way to an OTLP endpoint, beside everything else: nothing waits for it, and what it cannot
//! take is lost.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanId, SpanKind, TraceContextExt as _, TraceId, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider,
    ShouldSample,
};
use serde::{Deserialize, Serialize};

use super::ids;
use crate::config::{Address, Problems, Secret};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long what is left may take when the program ends.
const LAST: Duration = Duration::from_secs(3);

/// The section `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Otlp {
    /// Where spans go, by OTLP over HTTP; empty: nowhere.
    pub endpoint: Address,
    /// The share of runs that are traced though nobody asked for it, 0 to 1.
    pub sample: f64,
    /// Headers of requests: `name=value`, with commas between them.
    pub headers: Secret,
}

impl Otlp {
    /// Notes what is wrong with it.
    pub fn check(&self, problems: &mut Problems<'_>) {
        if !self.endpoint.is_empty() && !self.endpoint.has_scheme(&["http", "https"]) {
            problems.add("otlp.endpoint", "it looks like http://collector:4318");
        }
        if !(0.0..=1.0).contains(&self.sample) {
            problems.add("otlp.sample", "a share of runs, from 0 to 1");
        }
        if self.pairs().is_none() {
            problems.add("otlp.headers", "they look like name=value,other=value");
        }
    }

    fn pairs(&self) -> Option<HashMap<String, String>> {
        let parts = self.headers.expose().split(',').map(str::trim).filter(|part| !part.is_empty());
        let pair = |part: &str| {
            let (name, value) = part.split_once('=')?;
            (!name.is_empty()).then(|| (name.trim().to_owned(), value.trim().to_owned()))
        };
        parts.map(pair).collect()
    }

    /// Begins to export what this process does, once in a process; None when nothing is to be exported. It
    /// must not be called on a runtime.
    ///
    /// # Errors
    /// When nothing can ever be sent there.
    pub(crate) fn start(&self, program: &'static str) -> Result<Option<Tracing>, String> {
        if self.endpoint.is_empty() {
            return Ok(None);
        }
        // it is there already if somebody else needed it first
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = self.endpoint.expose().trim_end_matches('/');
        // as OTLP has it: the place of traces is below the endpoint
        let address = format!("{}/v1/traces", address.trim_end_matches("/v1/traces"));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(address)
            .with_timeout(PATIENCE)
            .with_headers(self.pairs().unwrap_or_default())
            .build()
            .map_err(|error| format!("otlp.endpoint cannot be used: {error}"))?;
        let details = [KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
        let resource =
            Resource::builder().with_service_name(program).with_attributes(details).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Decided)
            .with_id_generator(Ids::default())
            .with_resource(resource)
            .build();
        global::set_tracer_provider(provider.clone());
        ids::choose(self.sample);
        Ok(Some(Tracing(provider)))
    }
}

/// What exports spans.
#[derive(Clone, Debug)]
pub struct Tracing(SdkTracerProvider);

impl Tracing {
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer(super::SCOPE)
    }

    /// Sends what is left.
    pub(crate) fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// What was decided where a run was taken in holds everywhere; nothing begins a trace by itself.
#[derive(Clone, Debug)]
struct Decided;

impl ShouldSample for Decided {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let place = parent.map(|parent| parent.span().span_context().clone());
        let place = place.filter(opentelemetry::trace::SpanContext::is_valid);
        let is_traced = match &place {
            Some(place) => place.is_sampled(),
            None => ids::forced_trace().is_some(),
        };
        let decision =
            if is_traced { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        let trace_state = place.map(|place| place.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

/// Ids by chance, but for those that follow from a run's.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        ids::forced_trace().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        ids::forced_span().unwrap_or_else(|| self.0.new_span_id())
    }
}
