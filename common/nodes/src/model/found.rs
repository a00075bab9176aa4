//! Objects in what a model answers: balanced pieces of JSON within other text.

use flowmill_engine::value::{Object, Value, loads};

/// How many characters are looked at in all, again and again included.
const BUDGET: usize = 50_000_000;

/// The first object that can be read and is `right`, and where it begins; None when there is none.
pub(crate) fn object_that(text: &str, right: impl Fn(&Object) -> bool) -> Option<(usize, Object)> {
    let mut budget = BUDGET;
    for (at, _) in text.match_indices(['{', '[']) {
        let Some(piece) = balanced(&text[at..], &mut budget) else { continue };
        if let Ok(Value::Object(members)) = loads(piece)
            && right(&members)
        {
            return Some((at, members.as_ref().clone()));
        }
    }
    None
}

/// The first object that can be read.
pub(crate) fn object(text: &str) -> Option<Object> {
    object_that(text, |_| true).map(|(_, object)| object)
}

/// A text from its opening bracket to the one that closes it. Where brackets cross, what comes before.
fn balanced<'a>(text: &'a str, budget: &mut usize) -> Option<&'a str> {
    let mut open = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        *budget = budget.checked_sub(1)?;
        match byte {
            b'{' | b'[' => open.push(byte),
            b'}' | b']' => {
                let pair = if byte == b'}' { b'{' } else { b'[' };
                if open.pop() != Some(pair) {
                    return Some(&text[..at]);
                }
                if open.is_empty() {
                    return Some(&text[..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        object(text).map(|found| found.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn the_first_object_counts_wherever_it_stands() {
        assert_eq!(names(r#"Sure! {"a": {"b": [1]}} and {"c": 2}"#), Some(vec!["a".into()]));
        assert_eq!(names(r#"[{"a": 1}, {"b": 2}]"#), Some(vec!["a".into()]));
        assert_eq!(names(r#"{broken] {"a": 1}"#), Some(vec!["a".into()]));
        assert_eq!(names("nothing here"), None);
    }

    #[test]
    fn a_text_of_brackets_ends() {
        assert_eq!(names(&"{".repeat(200_000)), None);
    }
}
