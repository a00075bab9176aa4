//! Texts of a services file that name variables of the environment: `Bearer $KEY`.

use std::fmt;

use crate::secret::{self, Environment, Filled};

/// A text whose variables were filled in. What it says is nobody's to see.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Result<String, String>, Vec<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(secret::MASK)
    }
}

impl Secret {
    /// Fills in variables. One that is not set is told when the text is needed, so that one missing
    /// key breaks one tool.
    pub(super) fn fill(text: &str, environment: Environment<'_>) -> Self {
        let Filled { text, values } = secret::fill(text, environment);
        Self(text, values)
    }

    /// A text as it is.
    #[cfg(feature = "mcp")]
    pub(super) fn plain(text: String) -> Self {
        Self(Ok(text), Vec::new())
    }

    /// The text, or the name of the variable that is not set.
    pub(super) fn expose(&self) -> Result<&str, &str> {
        match &self.0 {
            Ok(text) => Ok(text),
            Err(name) => Err(name),
        }
    }

    /// The values that came from the environment.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.1.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::masked;

    fn environment(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("k3y-of-mine".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_and_never_shown() {
        let cases = [
            ("Bearer $KEY", Ok("Bearer k3y-of-mine")),
            ("${KEY}x$KEY.", Ok("k3y-of-minexk3y-of-mine.")),
            ("5$ $$KEY ${KEY", Ok("5$ $KEY ${KEY")),
            ("$NONE", Err("NONE")),
            ("$EMPTY", Err("EMPTY")),
        ];
        for (text, wanted) in cases {
            let secret = Secret::fill(text, &environment);
            assert_eq!(secret.expose(), wanted, "{text}");
            assert_eq!(format!("{secret:?}"), "***");
        }
        let secret = Secret::fill("Bearer $KEY", &environment);
        assert_eq!(masked("no k3y-of-mine here", secret.values()), "no *** here");
    }
}
