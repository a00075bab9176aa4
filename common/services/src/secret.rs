//! What nobody may see: keys, and headers that hold them.

use std::fmt;

use flowmill_engine::value::Name;

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
        f.write_str("***")
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
    /// Reads `$NAME`, and `${NAME}` anywhere in a text; what has neither is the secret itself.
    pub fn read(text: &str, environment: Environment<'_>) -> Self {
        if text.is_empty() {
            return Self::None;
        }
        let look = |name: &str| environment(name).filter(|value| !value.is_empty());
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some(name) = text.strip_prefix('$').filter(|name| is_name(name)) {
            return match look(name) {
                Some(value) => Self::Given(Secret::new(value)),
                None => Self::Missing(name.into()),
            };
        }
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            whole.push_str(before);
            let Some((name, tail)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
                whole.push_str("${");
                rest = after;
                continue;
            };
            let Some(value) = look(name) else { return Self::Missing(name.into()) };
            whole.push_str(&value);
            rest = tail;
        }
        whole.push_str(rest);
        Self::Given(Secret::new(whole))
    }

    /// The text itself, if it is there.
    pub fn expose(&self) -> Option<&str> {
        match self {
            Self::Given(secret) => Some(secret.expose()),
            Self::None | Self::Missing(_) => None,
        }
    }
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
        assert_eq!(read("sk-1$2 ${").expose(), Some("sk-1$2 ${"));
        assert_eq!(read("$OTHER"), Credential::Missing("OTHER".into()));
        assert_eq!(read("a ${OTHER}"), Credential::Missing("OTHER".into()));
        assert_eq!(read(""), Credential::None);
        assert!(!format!("{:?}", read("$KEY")).contains("hidden"));
    }
}
