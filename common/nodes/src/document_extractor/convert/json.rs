//! JSON, written anew as Python writes it with two blanks of indentation.

use flowmill_engine::value::{Style, dumps, loads};

use super::ConvertError;
use super::decode::marked;

pub(super) fn convert(bytes: &[u8]) -> Result<String, ConvertError> {
    let text = marked(bytes);
    let value = if text.starts_with('\u{feff}') {
        Err("Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)".to_owned())
    } else {
        loads(&text).map_err(|error| error.to_string())
    };
    match value {
        Ok(value) => Ok(dumps(&value, Style::Indented)),
        Err(why) => {
            Err(ConvertError::Failed(format!("Failed to decode or parse JSON file: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_order_are_kept() {
        let text = convert(br#"{"b":[1.0,1e400,"\u00e9"],"a":1,"b2":{}, "a":2}"#).unwrap();
        let expected = "{\n  \"b\": [\n    1.0,\n    Infinity,\n    \"é\"\n  ],\n  \"a\": 2,\n  \
                        \"b2\": {}\n}";
        assert_eq!(text, expected);
        assert_eq!(convert(b"NaN").unwrap(), "NaN");
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
            let error = convert(bytes).unwrap_err().to_string();
            assert_eq!(error, format!("Failed to decode or parse JSON file: {why}"));
        }
        let deep = "[".repeat(100_000);
        assert!(convert(deep.as_bytes()).is_err());
    }
}
