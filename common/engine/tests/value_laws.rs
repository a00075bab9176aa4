//! What holds for all values and all texts.

use flowmill_engine::template::{Piece, Template};
use flowmill_engine::value::{
    Integer, Style, Value, decode, dumps, dumps_strict, float_repr, loads, python_float,
    python_int, str_repr,
};
use flowmill_engine::variables::{Selector, Variable, Variables};
use proptest::collection::vec;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::int),
        "-?[1-9][0-9]{18,40}"
            .prop_map(|text| Integer::parse(&text).map_or(Value::None, Value::Int)),
        any::<f64>().prop_map(|float| Value::Float(if float.is_nan() { f64::NAN } else { float })),
        "\\PC*|[\\x00-\\x7f]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let members = vec(("\\$?[a-z\"é]{0,3}", inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::array),
            members.prop_map(|members| {
                Value::object(members.into_iter().map(|(key, value)| (key.into(), value)))
            }),
        ]
    })
}

/// Text in which references are likely, whole or damaged.
fn template_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{#".to_owned()),
        Just("#}}".to_owned()),
        Just("{{#n.x#}}".to_owned()),
        Just("n.x".to_owned()),
        "[a-z0-9_.#{}é -]{0,6}",
        "[a-z0-9]{45,55}",
        "(\\.[a-z]{1,2}){1,12}",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn json_reads_back(value in value()) {
        for style in [Style::Line, Style::Ascii, Style::Indented, Style::Compact] {
            prop_assert_eq!(loads(&dumps(&value, style)).unwrap(), value.clone());
        }
        let finite = dumps(&value, Style::Finite);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&finite).is_ok());
        if let Ok(strict) = dumps_strict(&value) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&strict).is_ok());
        }
        prop_assert!(dumps(&value, Style::Ascii).is_ascii());
    }

    #[test]
    fn facts_read_back(value in value()) {
        let text = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(decode::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn equality_of_content_implies_python_s(value in value()) {
        let nan = dumps(&value, Style::Line).contains("NaN");
        let copy = loads(&dumps(&value, Style::Line)).unwrap();
        prop_assert!(nan || value.py_eq(&copy));
    }

    #[test]
    fn floats_read_back(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        let read = python_float(&float_repr(float)).unwrap();
        prop_assert!(read.to_bits() == float.to_bits() || read.is_nan() && float.is_nan());
    }

    #[test]
    fn integers_read_back(text in "-?[1-9][0-9]{0,60}") {
        prop_assert_eq!(python_int(&format!(" {text}\n")).unwrap().to_string(), text);
    }

    #[test]
    fn no_text_is_too_odd(
        text in any::<String>(),
        json in "[\\[\\]{}\",:\\\\ua0-9.eE+tn \n-]{0,24}",
    ) {
        let _ = (loads(&text), loads(&json), python_int(&text), python_float(&text));
        let _ = decode::<Value>(json.as_bytes());
        let shown = str_repr(&text);
        prop_assert!(shown.starts_with(['\'', '"']) && !shown.contains('\n'));
    }

    #[test]
    fn pieces_give_the_text_back(text in template_text()) {
        let template = Template::parse(&text);
        let written = |piece: &Piece| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::Reference(selector) => {
                let parts: Vec<&str> = selector.parts().iter().map(|part| &**part).collect();
                format!("{{{{#{}#}}}}", parts.join("."))
            }
        };
        prop_assert_eq!(template.pieces().iter().map(written).collect::<String>(), text);
    }

    #[test]
    fn what_is_read_is_declared(text in template_text()) {
        let template = Template::parse(&text);
        let mut held = Variables::default();
        held.set(&"n".into(), &"x".into(), Variable::infer(Value::from("held")));
        let mut reduced = Variables::default();
        for selector in template.references() {
            if let Some((node, name)) = selector.variable()
                && let Some(variable) = held.variable(node, name)
            {
                reduced.set(node, name, variable.clone());
            }
        }
        prop_assert_eq!(template.render_text(&held), template.render_text(&reduced));
    }

    #[test]
    fn selectors_are_read_like_templates(parts in vec("[a-c]", 1..4)) {
        let mut held = Variables::default();
        let inner = Value::object([("c".into(), Value::from("deep"))]);
        held.set(&"a".into(), &"b".into(), Variable::infer(inner));
        let path = parts.join(".");
        let selector = Selector::from_dotted(&path);
        let want = held.get(selector.parts());
        let template = Template::parse(&path);
        let got = template.pieces().first().and_then(|piece| piece.lookup(&held));
        prop_assert_eq!(got.map(std::borrow::Cow::into_owned), want);
    }
}
