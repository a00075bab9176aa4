//! What nobody may see: keys, and headers that hold them.

use std::fmt;

use flowmill_engine::value::Name;

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

/// Shorter values are found in ordinary text by chance, and guessed as easily.
#[cfg(any(feature = "tools", feature = "knowledge"))]
const SHORTEST: usize = 4;

/// Looks up a variable of the environment. Nothing here reads the environment by itself.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Name);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<Name>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A secret as a file names it: the text, or variables of the environment that hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// None is needed.
    #[default]
    None,
    /// It is there.
    Given(Secret),
    /// A variable that should hold it is not set.
    Missing(Name),
}

impl Credential {
    /// Reads a text in which `$NAME` and `${NAME}` are variables; one that names none is the secret
    /// itself.
    pub fn read(text: &str, environment: Environment<'_>) -> Self {
        if text.is_empty() {
            return Self::None;
        }
        match fill(text, environment).text {
            Ok(text) => Self::Given(Secret::new(text)),
            Err(name) => Self::Missing(name.into()),
        }
    }

    /// The text itself, if it is there.
    pub fn expose(&self) -> Option<&str> {
        match self {
            Self::Given(secret) => Some(secret.expose()),
            Self::None | Self::Missing(_) => None,
        }
    }
}

/// A text whose variables were filled in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    /// The text, or the name of the first variable that is not set.
    pub(crate) text: Result<String, String>,
    /// The values that came from the environment.
    pub(crate) values: Vec<String>,
}

/// Fills in `$NAME` and `${NAME}`; `$$` is a dollar.
pub(crate) fn fill(text: &str, environment: Environment<'_>) -> Filled {
    let mut filled = String::with_capacity(text.len());
    let mut values = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            filled.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = name_of(rest) else {
            filled.push('$');
            continue;
        };
        rest = after;
        match environment(name).filter(|value| !value.is_empty()) {
            Some(value) => {
                filled.push_str(&value);
                values.push(value);
            }
            None => return Filled { text: Err(name.to_owned()), values },
        }
    }
    filled.push_str(rest);
    Filled { text: Ok(filled), values }
}

/// `NAME` or `{NAME}` at the beginning, and what follows.
fn name_of(text: &str) -> Option<(&str, &str)> {
    let (inner, braced) = text.strip_prefix('{').map_or((text, false), |inner| (inner, true));
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let end = inner.find(|character| !is_part(character)).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    begins_well.then_some((name, rest))
}

/// A text without any of the values.
#[cfg(any(feature = "tools", feature = "knowledge"))]
pub(crate) fn masked<'a>(text: &str, values: impl Iterator<Item = &'a str>) -> String {
    let mut shown = text.to_owned();
    for value in values.filter(|value| value.len() >= SHORTEST) {
        if shown.contains(value) {
            shown = shown.replace(value, MASK);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_text_or_comes_from_the_environment() {
        let look = |name: &str| (name == "KEY").then(|| "hidden".to_owned());
        let read = |text: &str| Credential::read(text, &look);
        assert_eq!(read("$KEY").expose(), Some("hidden"));
        assert_eq!(read("Bearer ${KEY}!").expose(), Some("Bearer hidden!"));
        assert_eq!(read("Bearer $KEY, 5$$").expose(), Some("Bearer hidden, 5$"));
        assert_eq!(read("sk-1$2 ${").expose(), Some("sk-1$2 ${"));
        assert_eq!(read("$OTHER"), Credential::Missing("OTHER".into()));
        assert_eq!(read("a ${OTHER}"), Credential::Missing("OTHER".into()));
        assert_eq!(read(""), Credential::None);
        assert!(!format!("{:?}", read("$KEY")).contains("hidden"));
    }
}
