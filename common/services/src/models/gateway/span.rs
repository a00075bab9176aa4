//! The span of one call of a model, in the words of OpenTelemetry's conventions for generative AI. What is asked and
//! answered stands in none.

use tracing::{Span, field};

use super::super::config::Kind;
use super::super::{ModelError, Offer, Usage};
use super::Call;

/// Begins it, below whatever asks.
pub(super) fn span(offer: &Offer, call: &Call<'_>) -> Span {
    let model = &*offer.name;
    tracing::info_span!(
        "model",
        otel.name = %format_args!("{} {model}", call.operation),
        otel.kind = "client",
        otel.status_code = field::Empty,
        gen_ai.operation.name = call.operation,
        gen_ai.provider.name = known_as(offer),
        gen_ai.request.model = model,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        flowmill.provider = &*offer.provider.name,
        error.r#type = field::Empty,
    )
}

/// Notes what came of it.
pub(super) fn note<T>(span: &Span, answer: &Result<(T, Usage), ModelError>) {
    match answer {
        Ok((_, usage)) => {
            // exporters know signed numbers only
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            span.record("gen_ai.usage.input_tokens", number(usage.prompt_tokens));
            span.record("gen_ai.usage.output_tokens", number(usage.completion_tokens));
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.kind.dify_name());
        }
    }
}

/// What the conventions call those who speak its protocol.
fn known_as(offer: &Offer) -> &'static str {
    match offer.provider.kind {
        Kind::OpenAi => "openai",
        Kind::Azure => "azure.ai.openai",
        Kind::Anthropic => "anthropic",
        Kind::Gemini => "gcp.gemini",
    }
}
