//! Keys as their holders have them: the configured one, and those of the store, which read
//! `fm_ID_SECRET`. Neither is kept: of the one a digest, of the others a keyed hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flowmill_engine::value::Name;
use flowmill_infra::tenants::KeyHash;
use flowmill_workflow::digest;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// What keys of the store begin with.
const PREFIX: &str = "fm_";

/// Letters of an id, and which.
const ID: usize = 12;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Bytes of a secret, and letters that stand for them.
const SECRET_BYTES: usize = 32;
const SECRET: usize = 43;

/// Letters of a configured key, at least: a shorter one is guessed.
const KEY_LETTERS: usize = 16;

/// The configured key, of which only a digest is kept.
#[derive(Clone)]
pub struct Key(Name);

impl Key {
    /// The key that callers must know.
    pub fn of(secret: &str) -> Self {
        Self(digest(secret))
    }

    /// Why a text is not to be a key.
    pub fn objection(secret: &str) -> Option<String> {
        if secret.chars().count() < KEY_LETTERS {
            return Some(format!("it needs {KEY_LETTERS} characters at least"));
        }
        let is_odd = |letter: char| !letter.is_ascii_graphic();
        let why = "it has characters that no header can hold, or blanks";
        secret.contains(is_odd).then(|| why.to_owned())
    }

    /// Compares in a time that says nothing of how much is right.
    pub(super) fn is(&self, given: &str) -> bool {
        let given = digest(given);
        let pairs = self.0.bytes().zip(given.bytes());
        pairs.fold(0, |different, (ours, theirs)| different | (ours ^ theirs)) == 0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// What keys of the store are hashed with: who has the database alone can neither use keys nor try
/// which they are. Under another one all keys are others.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// Of this secret, which may be empty.
    pub fn of(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// What is kept of a key.
    pub(in super::super) fn hash(&self, key: &str) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, key.as_bytes()).as_ref());
        KeyHash(hash)
    }

    /// Whether a hash is that of this key; in a time that says nothing of how much is right.
    pub(super) fn has_made(&self, hash: &KeyHash, key: &str) -> bool {
        hmac::verify(&self.0, key.as_bytes(), &hash.0).is_ok()
    }
}

impl Default for Pepper {
    fn default() -> Self {
        Self::of("")
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(***)")
    }
}

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(in super::super) struct NoRandomness;

/// A new key of the store's, and its id.
pub(in super::super) fn generate() -> Result<(Name, String), NoRandomness> {
    let mut id = [0; ID];
    SystemRandom::new().fill(&mut id).map_err(|_| NoRandomness)?;
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let id: Name = id.iter().map(letter).collect::<String>().into();
    let key = another(&id)?;
    Ok((id, key))
}

/// Another key of the store's with this id.
pub(in super::super) fn another(id: &Name) -> Result<String, NoRandomness> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| NoRandomness)?;
    Ok(format!("{PREFIX}{id}_{}", BASE64.encode(secret)))
}

/// The id in a text that has the form of such a key.
pub(super) fn id_of(key: &str) -> Option<Name> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = is_id(id) && secret.len() == SECRET && secret.bytes().all(is_secret);
    fits.then(|| id.into())
}

/// Whether a text has the form of an id.
pub(in super::super) fn is_id(id: &str) -> bool {
    id.len() == ID && id.bytes().all(|byte| LETTERS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_by_its_id_and_known_by_its_hash() {
        let ((id, key), (other_id, other)) = (generate().unwrap(), generate().unwrap());
        assert!(id != other_id && key != other);
        assert_eq!(id_of(&key), Some(id));
        let pepper = Pepper::of("hush");
        let hash = pepper.hash(&key);
        assert!(pepper.has_made(&hash, &key));
        assert!(!pepper.has_made(&hash, &other));
        assert!(!Pepper::of("another").has_made(&hash, &key));
        assert!(!Pepper::default().has_made(&hash, &key));
        assert!(!format!("{pepper:?}{hash:?}").contains("hush"));
    }

    #[test]
    fn what_has_not_the_form_of_a_key_is_asked_for_nowhere() {
        let secret = "A".repeat(SECRET);
        assert!(id_of(&format!("fm_abcdefghi234_{secret}")).is_some());
        for text in [
            String::new(),
            "s3cret".to_owned(),
            format!("fm_abcdefghi234{secret}"),
            format!("fm_abcdefghi23_{secret}"),
            format!("fm_abcdefghi230_{secret}"),
            format!("fm_ABCDEFGHI234_{secret}"),
            format!("fm_abcdefghi234_{secret}A"),
            format!("fm_abcdefghi234_{}", "+".repeat(SECRET)),
            format!("FM_abcdefghi234_{secret}"),
        ] {
            assert_eq!(id_of(&text), None, "{text}");
        }
    }
}
