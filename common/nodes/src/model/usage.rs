//! `usage`: what a model's call took, as an output (spec/nodes.md §5.1).

use std::time::Duration;

use flowmill_engine::value::{Name, Value};
use flowmill_services::models::Usage;

/// How many ten-millionths a whole is.
const SCALE: u64 = 10_000_000;

/// The output. Prices are decimals, written as text.
pub(crate) fn usage(usage: &Usage) -> Value {
    let Usage { prompt_tokens, completion_tokens, price, latency, first_piece } = usage;
    let count = |tokens: u64| Value::int(i64::try_from(tokens).unwrap_or(i64::MAX));
    let text = |text: &str| Value::from(text);
    let none: Name = "0".into();
    let unit = price.as_ref().map_or(&none, |price| &price.unit);
    let (prompt_unit, completion_unit) = match price {
        Some(price) => (&price.prompt_unit, &price.completion_unit),
        None => (&none, &none),
    };
    let (prompt, completion) =
        price.as_ref().map_or((0, 0), |price| (price.prompt, price.completion));
    let amount = |amount: u64| match price {
        Some(_) => Value::from(decimal(amount)),
        None => Value::from("0"),
    };
    let currency = price.as_ref().map_or("USD", |price| &*price.currency);
    let generating = first_piece.map(|first| latency.saturating_sub(first));
    Value::object([
        ("prompt_tokens".into(), count(*prompt_tokens)),
        ("prompt_unit_price".into(), text(prompt_unit)),
        ("prompt_price_unit".into(), text(unit)),
        ("prompt_price".into(), amount(prompt)),
        ("completion_tokens".into(), count(*completion_tokens)),
        ("completion_unit_price".into(), text(completion_unit)),
        ("completion_price_unit".into(), text(unit)),
        ("completion_price".into(), amount(completion)),
        ("total_tokens".into(), count(prompt_tokens + completion_tokens)),
        ("total_price".into(), amount(prompt + completion)),
        ("currency".into(), text(currency)),
        ("latency".into(), seconds(*latency)),
        ("time_to_first_token".into(), first_piece.map_or(Value::None, seconds)),
        ("time_to_generate".into(), generating.map_or(Value::None, seconds)),
    ])
}

/// Ten-millionths as a decimal.
fn decimal(amount: u64) -> String {
    format!("{}.{:07}", amount / SCALE, amount % SCALE)
}

/// Seconds to three places.
fn seconds(time: Duration) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a call are few")]
    let milliseconds = time.as_millis() as f64;
    Value::Float(milliseconds / 1000.0)
}

#[cfg(test)]
mod tests {
    use flowmill_services::models::Price;

    use super::*;

    #[test]
    fn prices_are_text_and_times_are_seconds() {
        let took = Usage {
            prompt_tokens: 12,
            completion_tokens: 5,
            price: Some(Price {
                prompt_unit: "2.5".into(),
                completion_unit: "10".into(),
                unit: "0.000001".into(),
                prompt: 300,
                completion: 500,
                currency: "USD".into(),
            }),
            latency: Duration::from_millis(1500),
            first_piece: Some(Duration::from_millis(250)),
        };
        let shown = usage(&took).to_json();
        assert_eq!(shown["total_price"], "0.0000800");
        assert_eq!(shown["prompt_unit_price"], "2.5");
        assert_eq!(shown["total_tokens"], 17);
        assert_eq!(shown["latency"], 1.5);
        assert_eq!(shown["time_to_generate"], 1.25);
        let unknown = usage(&Usage::default()).to_json();
        assert_eq!((&unknown["total_price"], &unknown["currency"]), (&"0".into(), &"USD".into()));
        assert!(unknown["time_to_first_token"].is_null());
    }
}
