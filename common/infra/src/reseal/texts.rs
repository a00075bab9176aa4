//! Sealed texts among others, and where a step begins.

use std::collections::BTreeMap;

use flowmill_engine::value::Name;

use super::Step;
use crate::seal::{Keys, SealError, is_of_sealed};
use crate::store::StoreError;

/// What a sealed text of the form that is known begins with.
pub(super) const SEALED: &str = "flowmill-sealed:1:";

impl Step {
    pub(crate) fn add(&mut self, found: &Found) {
        for (key, count) in &found.sealed {
            *self.sealed.entry(key.clone()).or_default() += count;
        }
        self.resealed += found.resealed;
        self.unreadable += found.unreadable;
    }
}

/// What was found in a text.
#[derive(Debug, Default)]
pub(crate) struct Found {
    sealed: BTreeMap<Name, u64>,
    resealed: u64,
    unreadable: u64,
    /// The text with all of it sealed by the present key, if that is another text.
    pub(crate) text: Option<String>,
}

/// Looks for sealed texts in a text about something.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn found(
    keys: &Keys,
    about: &str,
    text: &str,
    changes: bool,
) -> Result<Found, SealError> {
    let mut found = Found::default();
    let present = keys.sealing();
    let mut rest = text;
    let mut out = String::new();
    while let Some(at) = rest.find(SEALED) {
        let (before, from) = rest.split_at(at);
        let (sealed, after) = from.split_at(length(from));
        let key = sealed[SEALED.len()..].split(':').next().unwrap_or_default();
        out.push_str(before);
        let mut holds = key;
        let again = if changes && present != Some(key) {
            match keys.open(about, sealed) {
                Ok(plain) => Some(keys.seal(about, &plain)?),
                Err(SealError::NoRandomness) => return Err(SealError::NoRandomness),
                Err(_) => {
                    found.unreadable += 1;
                    None
                }
            }
        } else {
            None
        };
        if again.is_some() {
            found.resealed += 1;
            holds = present.unwrap_or_default();
        }
        *found.sealed.entry(holds.into()).or_default() += 1;
        out.push_str(again.as_deref().unwrap_or(sealed));
        rest = after;
    }
    out.push_str(rest);
    found.text = (found.resealed > 0).then_some(out);
    Ok(found)
}

/// Bytes of the sealed text that a text begins with.
fn length(text: &str) -> usize {
    let rest = text.bytes().skip(SEALED.len());
    SEALED.len() + rest.take_while(|byte| is_of_sealed(*byte)).count()
}

/// Where a step begins: a table, and the key of the row before.
pub(crate) fn place(from: Option<&Name>) -> Result<(usize, Vec<String>), StoreError> {
    let Some(from) = from else { return Ok((0, Vec::new())) };
    let odd = || StoreError::Corrupt(format!("{from:?} is nothing that a step gave"));
    serde_json::from_str(from).map_err(|_| odd())
}

/// The same as a text.
pub(crate) fn written(table: usize, key: &[String]) -> Option<Name> {
    // texts can always be written
    serde_json::to_string(&(table, key)).ok().map(Name::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (Keys, Keys) {
        let key = |digit: &str| Keys::parse(&digit.repeat(64)).unwrap();
        (key("a"), key("a").and(key("b")))
    }

    #[test]
    fn all_that_a_key_of_before_sealed_is_sealed_anew_and_nothing_else_changes() {
        let (before, after) = keys();
        let [one, two] = ["first", "second"].map(|plain| before.seal("run/1", plain).unwrap());
        let text = format!(r#"[{{"a":"{one}"}},"plain","{two}","{one}"]"#);
        let new = found(&after, "run/1", &text, true).unwrap();
        assert_eq!((new.resealed, new.unreadable), (3, 0));
        assert_eq!(
            new.sealed.keys().map(|key| &**key).collect::<Vec<_>>(),
            [after.sealing().unwrap()]
        );
        let new = new.text.unwrap();
        let values: Vec<serde_json::Value> = serde_json::from_str(&new).unwrap();
        let open = |value: &serde_json::Value| {
            let sealed = value.as_str().unwrap();
            assert!(before.open("run/1", sealed).is_err(), "the key of before opens it");
            after.open("run/1", sealed).unwrap().into_owned()
        };
        assert_eq!((open(&values[0]["a"]), open(&values[2])), ("first".into(), "second".into()));
        assert_eq!(values[1], "plain");
        let again = found(&after, "run/1", &new, true).unwrap();
        assert!(again.resealed == 0 && again.text.is_none());
    }

    #[test]
    fn what_cannot_be_opened_stays_and_is_counted() {
        let (before, after) = keys();
        let sealed = before.seal("run/1", "x").unwrap();
        let text = format!(r#"["{sealed}","flowmill-sealed:1:what people write"]"#);
        let new = found(&after, "run/2", &text, true).unwrap();
        assert_eq!((new.resealed, new.unreadable, new.text), (0, 2, None));
        let look = found(&after, "run/1", &text, false).unwrap();
        assert_eq!((look.resealed, look.unreadable, look.text), (0, 0, None));
        assert_eq!(look.sealed[&Name::from(before.sealing().unwrap())], 1);
    }

    #[test]
    fn a_place_is_what_was_written() {
        let key = vec!["a\"b".to_owned(), "2".to_owned()];
        let text = written(3, &key);
        assert_eq!(place(text.as_ref()).unwrap(), (3, key));
        assert_eq!(place(None).unwrap(), (0, Vec::new()));
        assert!(place(Some(&"nonsense".into())).is_err());
    }
}
