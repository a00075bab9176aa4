//! Conditions on documents as people write them: `year>=2020`, `author contains Ada`.

use anyhow::anyhow;
use flowmill_services::knowledge::{Condition, Filter, Operator};

use super::add::scalar;

/// Signs, the longer ones first.
const SIGNS: [(&str, &str); 9] = [
    (">=", "≥"),
    ("<=", "≤"),
    ("!=", "≠"),
    ("≥", "≥"),
    ("≤", "≤"),
    ("≠", "≠"),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
];

/// Words between blanks, the longer ones first.
const WORDS: [&str; 7] =
    ["not contains", "start with", "end with", "contains", "not in", "is not", "in"];

/// All of these conditions; None where there are none.
pub(super) fn read(texts: &[String]) -> anyhow::Result<Option<Filter>> {
    let conditions = texts.iter().map(|text| {
        condition(text).ok_or_else(|| {
            anyhow!(
                "--filter {text}: write it as year>=2020, author=Ada, or with a word: 'author contains \
                 Ada', 'author in Ada,Bob', 'author empty'"
            )
        })
    });
    let conditions = conditions.collect::<anyhow::Result<Vec<_>>>()?;
    Ok((!conditions.is_empty()).then_some(Filter { all: true, conditions }))
}

fn condition(text: &str) -> Option<Condition> {
    let text = text.trim();
    for word in ["not empty", "empty"] {
        if let Some(field) = text.strip_suffix(word).and_then(|rest| rest.strip_suffix(' ')) {
            return made(field, word, None);
        }
    }
    let sign = SIGNS.iter().filter_map(|(sign, word)| Some((text.find(sign)?, *sign, *word)));
    // of signs at one place the longer
    let sign = sign.min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())));
    let word = WORDS.iter().filter_map(|word| Some((text.find(&format!(" {word} "))?, *word)));
    let word = word.min_by_key(|(at, word)| (*at, std::cmp::Reverse(word.len())));
    match (sign, word) {
        (Some((at, sign, word)), found) if found.is_none_or(|(other, _)| at < other) => {
            made(&text[..at], word, Some(&text[at + sign.len()..]))
        }
        (_, Some((at, word))) => made(&text[..at], word, Some(&text[at + word.len() + 2..])),
        (_, None) => None,
    }
}

fn made(field: &str, word: &str, value: Option<&str>) -> Option<Condition> {
    let field = field.trim();
    let operator = Operator::of(word)?;
    let value = value.map(|value| scalar(value.trim()));
    (!field.is_empty()).then(|| Condition { field: field.into(), operator, value })
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::Value;

    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written() {
        let cases: &[(&str, &str, Operator, Option<Value>)] = &[
            ("year>=2020", "year", Operator::AtLeast, Some(Value::int(2020))),
            ("year < 2020.5", "year", Operator::Less, Some(Value::Float(2020.5))),
            ("author=Ada in love", "author", Operator::Is, Some("Ada in love".into())),
            ("author != Bob", "author", Operator::IsNot, Some("Bob".into())),
            ("title contains a=b", "title", Operator::Contains, Some("a=b".into())),
            ("title not contains x", "title", Operator::NotContains, Some("x".into())),
            ("author in Ada,Bob", "author", Operator::In, Some("Ada,Bob".into())),
            ("author not empty", "author", Operator::NotEmpty, None),
            ("author empty", "author", Operator::Empty, None),
        ];
        for (text, field, operator, value) in cases {
            let filter = read(&[(*text).to_owned()]).unwrap().unwrap();
            let field = (*field).into();
            let expected = Condition { field, operator: *operator, value: value.clone() };
            assert_eq!(filter.conditions, [expected], "{text}");
        }
        assert_eq!(read(&[]).unwrap(), None);
        for wrong in ["year", "=2020", "", "author likes Bob"] {
            assert!(read(&[wrong.to_owned()]).unwrap_err().to_string().contains("year>=2020"));
        }
    }
}
