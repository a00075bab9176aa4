//! What came of a step, as a value that is kept.

use std::time::Duration;

use flowmill_engine::value::{Name, Object, Value};
use flowmill_services::models::{Price, Reply, ToolCall, Usage};

/// An answer of a model, without what it made besides text.
pub(super) fn of_reply(reply: &Reply) -> Value {
    let Reply { text, thoughts, tool_calls, usage, .. } = reply;
    let call = |call: &ToolCall| {
        let ToolCall { id, name, arguments } = call;
        let parts = [id, name, arguments].map(|part| Value::Str(part.clone()));
        Value::array(parts.into())
    };
    Value::object([
        ("text".into(), Value::from(text.as_str())),
        ("thoughts".into(), Value::from(thoughts.as_str())),
        ("calls".into(), Value::array(tool_calls.iter().map(call).collect())),
        ("usage".into(), of_usage(usage)),
    ])
}

fn of_usage(usage: &Usage) -> Value {
    let Usage { prompt_tokens, completion_tokens, price, latency, .. } = usage;
    let number = |number: u64| Value::int(i64::try_from(number).unwrap_or(i64::MAX));
    let milliseconds = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let mut members: Vec<(Name, Value)> = vec![
        ("prompt".into(), number(*prompt_tokens)),
        ("completion".into(), number(*completion_tokens)),
        ("latency_ms".into(), number(milliseconds)),
    ];
    if let Some(price) = price {
        let texts = [&price.prompt_unit, &price.completion_unit, &price.unit, &price.currency];
        let texts = texts.map(|text| Value::Str(text.clone()));
        members.push(("price".into(), Value::array(texts.into())));
        members.push(("prompt_price".into(), number(price.prompt)));
        members.push(("completion_price".into(), number(price.completion)));
    }
    Value::object(members)
}

/// The answer again.
pub(super) fn to_reply(kept: &Value) -> Reply {
    let Value::Object(members) = kept else { return Reply::default() };
    let text = |name: &str| text_of(members.get(name)).to_string();
    let call = |call: &Value| match call {
        Value::Array(parts) => match &parts[..] {
            [id, name, arguments] => Some(ToolCall {
                id: text_of(Some(id)),
                name: text_of(Some(name)),
                arguments: text_of(Some(arguments)),
            }),
            _ => None,
        },
        _ => None,
    };
    let calls = match members.get("calls") {
        Some(Value::Array(calls)) => calls.iter().filter_map(call).collect(),
        _ => Vec::new(),
    };
    let usage = match members.get("usage") {
        Some(Value::Object(usage)) => to_usage(usage),
        _ => Usage::default(),
    };
    Reply {
        text: text("text"),
        thoughts: text("thoughts"),
        tool_calls: calls,
        usage,
        ..Reply::default()
    }
}

fn to_usage(members: &Object) -> Usage {
    let number = |name: &str| match members.get(name) {
        Some(Value::Int(number)) => number.to_i64().and_then(|n| u64::try_from(n).ok()),
        _ => None,
    };
    let price = match members.get("price") {
        Some(Value::Array(texts)) => match &texts[..] {
            [prompt_unit, completion_unit, unit, currency] => Some(Price {
                prompt_unit: text_of(Some(prompt_unit)),
                completion_unit: text_of(Some(completion_unit)),
                unit: text_of(Some(unit)),
                prompt: number("prompt_price").unwrap_or(0),
                completion: number("completion_price").unwrap_or(0),
                currency: text_of(Some(currency)),
            }),
            _ => None,
        },
        _ => None,
    };
    Usage {
        prompt_tokens: number("prompt").unwrap_or(0),
        completion_tokens: number("completion").unwrap_or(0),
        price,
        latency: Duration::from_millis(number("latency_ms").unwrap_or(0)),
        first_piece: None,
    }
}

fn text_of(value: Option<&Value>) -> Name {
    match value {
        Some(Value::Str(text)) => text.clone(),
        _ => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let price = Price {
            prompt_unit: "1".into(),
            completion_unit: "2".into(),
            unit: "0.001".into(),
            prompt: 3,
            completion: 4,
            currency: "EUR".into(),
        };
        let usage = Usage {
            prompt_tokens: 5,
            completion_tokens: 6,
            price: Some(price),
            latency: Duration::from_millis(7),
            first_piece: None,
        };
        let call = ToolCall { id: "1".into(), name: "t".into(), arguments: "{}".into() };
        let reply = Reply {
            text: "a".to_owned(),
            thoughts: "b".to_owned(),
            tool_calls: vec![call],
            usage,
            ..Reply::default()
        };
        assert_eq!(to_reply(&of_reply(&reply)), reply);
        assert_eq!(to_reply(&Value::None), Reply::default());
    }
}
