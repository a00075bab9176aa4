//! JSON, written anew as Python writes it with two blanks of indentation.

use flowmill_engine::value::{Style, Value, dumps, loads};

use super::decode::marked;
use super::{ConvertError, Limits};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, ConvertError> {
    if bytes.len() > limits.text_bytes {
        return Err(ConvertError::TooLarge { what: "bytes", limit: limits.text_bytes });
    }
    let text = marked(bytes);
    let value = if text.starts_with('\u{feff}') {
        Err("Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)".to_owned())
    } else {
        loads(&text).map_err(|error| error.to_string())
    };
    match value {
        // indentation can make much of little
        Ok(value) if blanks(&value, 0) > limits.text_bytes => {
            Err(ConvertError::TooLarge { what: "bytes of text", limit: limits.text_bytes })
        }
        Ok(value) => Ok(dumps(&value, Style::Indented)),
        Err(why) => {
            Err(ConvertError::Failed(format!("Failed to decode or parse JSON file: {why}")))
        }
    }
}

/// How much indentation a value takes.
fn blanks(value: &Value, depth: usize) -> usize {
    let line = (depth + 1).saturating_mul(2);
    let add = |sum: usize, value| sum.saturating_add(line).saturating_add(blanks(value, depth + 1));
    match value {
        Value::Array(items) => items.iter().fold(0, add),
        Value::Object(members) => members.values().fold(0, add),
        Value::None
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Str(_)
        | Value::File(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_order_are_kept() {
        let text =
            convert(br#"{"b":[1.0,1e400,"\u00e9"],"a":1,"b2":{}, "a":2}"#, &Limits::default())
                .unwrap();
        let expected = "{\n  \"b\": [\n    1.0,\n    Infinity,\n    \"é\"\n  ],\n  \"a\": 2,\n  \
                        \"b2\": {}\n}";
        assert_eq!(text, expected);
        assert_eq!(convert(b"NaN", &Limits::default()).unwrap(), "NaN");
    }

    #[test]
    fn faults_are_told_as_python_tells_them() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "Expecting value: line 1 column 1 (char 0)"),
            (
                b"{bad",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            (
                b"\xef\xbb\xbf{}",
                "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
            ),
        ];
        for (bytes, why) in cases {
            let error = convert(bytes, &Limits::default()).unwrap_err().to_string();
            assert_eq!(error, format!("Failed to decode or parse JSON file: {why}"));
        }
        let wide = format!("{}{}{}", "[".repeat(200), "1,".repeat(100_000), "]".repeat(200));
        let wide = wide.replace(",]", "]");
        assert!(matches!(
            convert(wide.as_bytes(), &Limits::default()),
            Err(ConvertError::TooLarge { .. })
        ));
        let deep = "[".repeat(100_000);
        assert!(convert(deep.as_bytes(), &Limits::default()).is_err());
    }
}
