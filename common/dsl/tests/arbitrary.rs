//! No text makes the reader panic, and what is read is well formed.

use flowmill_dsl::document::read;
use flowmill_dsl::yaml::{Budget, load};
use flowmill_engine::graph::{Content, Item};
use proptest::prelude::*;

const SEED: &str = r#"app: {mode: advanced-chat, name: "Ech\u00f6 \U0001F600"}
kind: app
version: 0.6.0
workflow:
  conversation_variables:
  - &v {name: c, value: [1, 0x1f, 12:30, 1.5e+3, 2001-01-01, ~, yes]}
  - <<: *v
    name: 'it''s'
  graph:
    edges:
    - {id: e, source: a, target: b, sourceHandle: "true"}
    nodes:
    - data:
        type: start
        text: |-
          line

            more
        folded: >+
          a
          b

      id: a
    - ? id
      : b
      data: !!map {type: answer, answer: "{{#a.x#}} \
        on"}   # note
"#;

/// Pieces of YAML, so that random text gets past the first character.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z0-9 .:_-]{0,8}",
        proptest::sample::select(vec![
            "\n",
            "\n  ",
            "- ",
            ": ",
            "? ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "#",
            " #",
            "|\n",
            ">-\n ",
            "'",
            "\"",
            "\\",
            "\\u",
            "&a ",
            "*a",
            "!!int ",
            "!x",
            "<<: ",
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "\t",
            "\r\n",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "a: ",
            "graph: ",
            "nodes:\n",
            "workflow:\n",
            "data: ",
            "0x",
            "1:30",
            ".inf",
            "=",
            "~",
        ])
        .prop_map(str::to_owned),
    ]
}

#[test]
fn the_document_that_is_changed_is_sound() {
    let document = read(SEED).unwrap();
    assert_eq!((document.graph.nodes.len(), document.graph.edges.len()), (2, 1));
    assert!(document.warnings.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_text_does_not_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn a_changed_document_does_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, piece()), 1..6),
    ) {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, removed, added) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, added.chars());
        }
        check(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn text_in_quotes_comes_back(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).unwrap().replace('\u{7f}', "\\x7f");
        let printable = |c: char| !matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}'..='\u{ffff}');
        prop_assume!(quoted.chars().all(printable));
        let reading = load(&format!("a: {quoted}"), &Budget::default()).unwrap();
        prop_assert_eq!(reading.root.get("a").unwrap().as_str(), Some(text.as_str()));
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let _ = read(text);
    let lines =
        text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
    let last = u32::try_from(lines.count() + 1).unwrap_or(u32::MAX);
    match load(text, &Budget::default()) {
        Ok(reading) => check_lines(&reading.root, last),
        Err(problem) => {
            prop_assert!(problem.line >= 1 && problem.line <= last, "{problem:?}");
            prop_assert!(!problem.message.is_empty());
            Ok(())
        }
    }
}

fn check_lines(item: &Item, last: u32) -> Result<(), TestCaseError> {
    prop_assert!(item.line >= 1 && item.line <= last, "line {} of {last}", item.line);
    match &item.content {
        Content::Seq(items) => items.iter().try_for_each(|item| check_lines(item, last)),
        Content::Map(members) => members.iter().try_for_each(|(key, value)| {
            check_lines(key, last)?;
            check_lines(value, last)
        }),
        _ => Ok(()),
    }
}
