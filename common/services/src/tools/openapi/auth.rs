//! How it is proven who calls.

use base64::Engine as _;

use super::super::ToolError;
use super::super::config::AuthEntry;
use super::super::http::header;
use super::super::secret::Secret;
use super::super::web::Ask;
use super::exposed;

/// A proof, and where it goes.
#[derive(Debug)]
pub(super) enum Auth {
    Nothing,
    Bearer(Secret),
    Header(String, Secret),
    Query(String, Secret),
    Basic(Secret, Secret),
}

impl Auth {
    pub(super) fn new(
        entry: Option<&AuthEntry>,
        fill: &impl Fn(&str) -> Secret,
    ) -> Result<Self, String> {
        let Some(entry) = entry else { return Ok(Self::Nothing) };
        let AuthEntry { bearer, header, query, value, user, password } = entry;
        match (bearer, header, query, value, user, password) {
            (Some(token), None, None, None, None, None) => Ok(Self::Bearer(fill(token))),
            (None, Some(name), None, Some(value), None, None) => {
                Ok(Self::Header(name.clone(), fill(value)))
            }
            (None, None, Some(name), Some(value), None, None) => {
                Ok(Self::Query(name.clone(), fill(value)))
            }
            (None, None, None, None, Some(user), Some(password)) => {
                Ok(Self::Basic(fill(user), fill(password)))
            }
            _ => Err("auth is one of {bearer}, {header, value}, {query, value} and {user, \
                      password}"
                .to_owned()),
        }
    }

    /// All that may be secret in it.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Secret> {
        let texts = match self {
            Self::Nothing => [None, None],
            Self::Bearer(text) | Self::Header(_, text) | Self::Query(_, text) => [Some(text), None],
            Self::Basic(user, password) => [Some(user), Some(password)],
        };
        texts.into_iter().flatten()
    }

    /// Puts the proof into a request.
    pub(super) fn put(&self, request: &mut Ask) -> Result<(), ToolError> {
        let (name, value) = match self {
            Self::Nothing => return Ok(()),
            Self::Query(name, value) => {
                request.url.query_pairs_mut().append_pair(name, exposed(value)?);
                return Ok(());
            }
            Self::Bearer(token) => ("Authorization", format!("Bearer {}", exposed(token)?)),
            Self::Header(name, value) => (&**name, exposed(value)?.to_owned()),
            Self::Basic(user, password) => {
                let both = format!("{}:{}", exposed(user)?, exposed(password)?);
                let both = base64::engine::general_purpose::STANDARD.encode(both);
                ("Authorization", format!("Basic {both}"))
            }
        };
        let (name, mut value) = header(name, &value)?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
        Ok(())
    }
}
