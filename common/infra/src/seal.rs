//! Secrets, sealed before they are stored or sent.
//!
//! A sealed text says how it was sealed and with which key:
//! `flowmill-sealed:1:<key id>:<base64 of nonce and ciphertext>`. Of several keys the last one
//! seals and each opens what it sealed, so that a key can be replaced while old texts last. What a
//! text is about (a run, a document) is bound into it: it opens in no other place.
//!
//! Version 1: the key of a text is HKDF-SHA256 of the master key and what the text is about, so
//! that no key seals many texts; with it AES-256-GCM under a random nonce.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use flowmill_engine::error::NodeError;
use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Success;
use flowmill_engine::run::Start;
use flowmill_engine::secrets::{
    has_secrets, secrets_among, secrets_mut, secrets_of_outcome, secrets_of_start,
};
use flowmill_engine::value::{Name, Value, decode};
use flowmill_engine::variables::{Variable, Variables};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The environment variable that programs take keys from.
pub const VARIABLE: &str = "FLOWMILL_SECRET_KEY";

/// What a sealed text begins with, and its version.
const SEALED: &str = "flowmill-sealed:1:";

/// What a sealed text begins with, whatever its version.
const ANY_SEALED: &str = "flowmill-sealed:";

/// Whether a text is sealed, or looks like it.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(ANY_SEALED)
}

/// The text of these bytes, if they are a value that was sealed: a text of JSON that is sealed, and
/// nothing else. Whether it opens is not asked.
#[cfg(feature = "payloads")]
pub(crate) fn sealed_value(bytes: &[u8]) -> Option<&str> {
    let text = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let rest = text.strip_prefix(ANY_SEALED.as_bytes())?;
    if !rest.iter().copied().all(is_of_sealed) {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// Whether a byte may stand in a sealed text, after what it begins with.
#[cfg(feature = "payloads")]
pub(crate) fn is_of_sealed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/:".contains(&byte)
}

/// Bytes of a master key.
const KEY_BYTES: usize = 32;

/// Bytes of a key's id.
const ID_BYTES: usize = 8;

/// What fixes the use of a master key.
const LABEL: &[u8] = b"flowmill seal 1";

/// Why a text could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key at all.
    #[error("there is no key to seal it with")]
    NoKeys,
    /// The key that sealed it is not there.
    #[error("it was sealed with key {key}, and there is {known}")]
    NoSuchKey {
        /// The key's id.
        key: String,
        /// What there is.
        known: String,
    },
    /// It was changed, or belongs to something else.
    #[error("it was changed after it was sealed, or sealed for something else")]
    Changed,
    /// It was sealed by a later release.
    #[error("it was sealed by a later release of flowmill")]
    Later,
    /// The machine gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl SealError {
    /// What to do about it where keys come from a configuration, to be added to the error.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoKeys => "; set secrets.key",
            Self::NoSuchKey { .. } => {
                "; add the key it was sealed with to secrets.old_keys, or in a folder to its file \
                 secret.key"
            }
            Self::Changed | Self::Later | Self::NoRandomness => "",
        }
    }
}

/// Why keys could not be read. What was read is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "key {number} is neither {} hexadecimal digits nor {KEY_BYTES} bytes as base64",
    2 * KEY_BYTES
)]
pub struct KeyError {
    /// Which of them, counted from 1.
    pub number: usize,
}

/// Keys; the last one seals.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: String,
    master: Prk,
}

/// Ids only.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Keys {
    /// Reads keys of 64 hexadecimal digits, or of 32 bytes as base64 (43 letters, whichever
    /// alphabet, with or without padding), with blanks, lines or commas between them.
    ///
    /// # Errors
    /// [`KeyError`] names the first that is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let words = text.split(|letter: char| letter.is_whitespace() || letter == ',');
        let words = words.filter(|word| !word.is_empty());
        let key = |(number, word)| read_key(word).map(Key::of).ok_or(KeyError { number });
        (1..).zip(words).map(key).collect::<Result<_, _>>().map(Self)
    }

    /// A new key, as [`Keys::parse`] reads it.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<String, SealError> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
        Ok(to_hex(&bytes))
    }

    /// The key that seals, and older ones that open what they sealed, each as [`Keys::parse`]
    /// reads it.
    ///
    /// # Errors
    /// [`KeyError`] names the first that is none; the one that seals is number 1.
    pub fn rotated<'a>(
        key: &'a str,
        old: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, KeyError> {
        let read = |(number, text)| match Self::parse(text) {
            Ok(keys) if keys.0.len() == 1 => Ok(keys),
            Ok(_) | Err(_) => Err(KeyError { number }),
        };
        let key = read((1, key))?;
        let old = (2..).zip(old).map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(old.into_iter().chain([key]).fold(Self::default(), Self::and))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of the key that seals.
    pub fn sealing(&self) -> Option<&str> {
        self.0.last().map(|key| &*key.id)
    }

    /// These keys, and then others: the last one of those seals.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Seals a text about something.
    ///
    /// # Errors
    /// [`SealError`] when there is no key or no randomness.
    pub fn seal(&self, about: &str, plain: &str) -> Result<String, SealError> {
        let key = self.0.last().ok_or(SealError::NoKeys)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let mut text = plain.as_bytes().to_vec();
        let cipher = key.cipher(about)?;
        let aad = Aad::from(about.as_bytes());
        let sealed = Nonce::assume_unique_for_key(nonce);
        let sealed = cipher.seal_in_place_append_tag(sealed, aad, &mut text);
        sealed.map_err(|_| SealError::Changed)?;
        let bytes = [&nonce[..], &text].concat();
        Ok(format!("{SEALED}{}:{}", key.id, BASE64.encode(bytes)))
    }

    /// Opens a text about something; one that is not sealed is what it is.
    ///
    /// # Errors
    /// [`SealError`] when the key is not there or the text was changed.
    pub fn open<'a>(&self, about: &str, text: &'a str) -> Result<Cow<'a, str>, SealError> {
        if !is_sealed(text) {
            return Ok(Cow::Borrowed(text));
        }
        let rest = text.strip_prefix(SEALED).ok_or(SealError::Later)?;
        let (id, body) = rest.split_once(':').ok_or(SealError::Changed)?;
        let key = self.0.iter().rev().find(|key| key.id == id);
        let key = key.ok_or_else(|| self.lacks(id))?;
        let mut bytes = BASE64.decode(body).map_err(|_| SealError::Changed)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Changed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Changed)?;
        let cipher = key.cipher(about)?;
        let plain = cipher.open_in_place(nonce, Aad::from(about.as_bytes()), sealed);
        let plain = plain.map_err(|_| SealError::Changed)?;
        let plain = String::from_utf8(plain.to_vec()).map_err(|_| SealError::Changed)?;
        Ok(Cow::Owned(plain))
    }

    fn lacks(&self, id: &str) -> SealError {
        let ids: Vec<&str> = self.0.iter().map(|key| &*key.id).collect();
        let known = match &*ids {
            [] => "no key".to_owned(),
            [one] => format!("only key {one}"),
            several => format!("only the keys {}", several.join(", ")),
        };
        SealError::NoSuchKey { key: id.to_owned(), known }
    }

    /// A run's facts with their secret variables sealed.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::seal`].
    pub fn seal_facts<'a>(
        &self,
        run: &str,
        facts: &'a [Fact],
    ) -> Result<Cow<'a, [Fact]>, SealError> {
        let mut facts = Cow::Borrowed(facts);
        for index in 0..facts.len() {
            if facts.get(index).is_some_and(|fact| has_secrets(&fact.event))
                && let Some(fact) = facts.to_mut().get_mut(index)
            {
                for variable in secrets_mut(&mut fact.event) {
                    self.seal_variable(run, variable)?;
                }
            }
        }
        Ok(facts)
    }

    /// Opens the secret variables of a run's facts.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::open`].
    pub fn open_facts(&self, run: &str, facts: &mut [Fact]) -> Result<(), SealError> {
        let mut variables = facts.iter_mut().flat_map(|fact| secrets_mut(&mut fact.event));
        variables.try_for_each(|variable| self.open_variable(run, variable))
    }

    /// What a run begins with, with its secret variables sealed.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::seal`].
    pub fn seal_start(&self, start: &mut Start) -> Result<(), SealError> {
        let run = start.run.clone();
        secrets_of_start(start).try_for_each(|variable| self.seal_variable(&run, variable))
    }

    /// Opens the secret variables of what a run begins with.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::open`].
    pub fn open_start(&self, start: &mut Start) -> Result<(), SealError> {
        let run = start.run.clone();
        secrets_of_start(start).try_for_each(|variable| self.open_variable(&run, variable))
    }

    /// Seals the secret variables of what became of a run's node.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::seal`].
    pub fn seal_outcome(
        &self,
        run: &str,
        outcome: &mut Result<Success, NodeError>,
    ) -> Result<(), SealError> {
        secrets_of_outcome(outcome).try_for_each(|variable| self.seal_variable(run, variable))
    }

    /// Opens the secret variables of what became of a run's node.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::open`].
    pub fn open_outcome(
        &self,
        run: &str,
        outcome: &mut Result<Success, NodeError>,
    ) -> Result<(), SealError> {
        secrets_of_outcome(outcome).try_for_each(|variable| self.open_variable(run, variable))
    }

    /// Seals the secret ones among a run's variables.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::seal`].
    pub fn seal_variables(&self, run: &str, variables: &mut Variables) -> Result<(), SealError> {
        for (node, name, mut variable) in secrets_among(variables) {
            self.seal_variable(run, &mut variable)?;
            variables.set(&node, &name, variable);
        }
        Ok(())
    }

    /// Opens the secret ones among a run's variables.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::open`].
    pub fn open_variables(&self, run: &str, variables: &mut Variables) -> Result<(), SealError> {
        for (node, name, mut variable) in secrets_among(variables) {
            self.open_variable(run, &mut variable)?;
            variables.set(&node, &name, variable);
        }
        Ok(())
    }

    /// Seals one variable of a run, whatever its value is.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::seal`].
    pub fn seal_variable(&self, run: &str, variable: &mut Variable) -> Result<(), SealError> {
        // every value can be written
        let plain = serde_json::to_string(variable.value()).map_err(|_| SealError::Changed)?;
        let sealed = self.seal(&about_run(run), &plain)?;
        variable.datum = Value::from(sealed).into();
        Ok(())
    }

    /// Opens one variable of a run.
    ///
    /// # Errors
    /// [`SealError`] as in [`Keys::open`].
    pub fn open_variable(&self, run: &str, variable: &mut Variable) -> Result<(), SealError> {
        let Value::Str(sealed) = variable.value() else { return Ok(()) };
        let Cow::Owned(plain) = self.open(&about_run(run), sealed)? else { return Ok(()) };
        let value: Value = decode(plain.as_bytes()).map_err(|_| SealError::Changed)?;
        variable.datum = value.into();
        Ok(())
    }
}

/// What a run's secrets are sealed for.
fn about_run(run: &str) -> Name {
    format!("run/{run}").into()
}

impl Key {
    fn of(bytes: [u8; KEY_BYTES]) -> Self {
        let master = Salt::new(HKDF_SHA256, LABEL).extract(&bytes);
        let id = to_hex(&expand::<ID_BYTES>(&master, b"id"));
        Self { id, master }
    }

    fn cipher(&self, about: &str) -> Result<LessSafeKey, SealError> {
        let bytes =
            expand::<KEY_BYTES>(&self.master, [b"key/", about.as_bytes()].concat().as_slice());
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Changed)?;
        Ok(LessSafeKey::new(key))
    }
}

/// A length that HKDF is asked for.
struct Length(usize);

impl ring::hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(master: &Prk, about: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let info = [about];
    // a few bytes can always be had
    let filled = master.expand(&info, Length(N)).and_then(|okm| okm.fill(&mut bytes));
    debug_assert!(filled.is_ok());
    bytes
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // writing to text cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    from_hex(text).or_else(|| {
        let text = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
        BASE64.decode(text).ok()?.try_into().ok()
    })
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::Kind;

    use super::*;

    fn key(digit: &str) -> Keys {
        Keys::parse(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_and_unchanged() {
        let keys = key("a");
        let sealed = keys.seal("run/1", "tops3cret").unwrap();
        assert!(sealed.starts_with(SEALED) && !sealed.contains("tops3cret"), "{sealed}");
        assert_ne!(sealed, keys.seal("run/1", "tops3cret").unwrap(), "equal texts show");
        assert_eq!(keys.open("run/1", &sealed).unwrap(), "tops3cret");
        assert_eq!(keys.open("run/1", "not sealed").unwrap(), "not sealed");
        assert_eq!(keys.open("run/2", &sealed), Err(SealError::Changed));
        let (most, last) = sealed.split_at(sealed.len() - 1);
        let changed = format!("{most}{}", if last == "A" { "B" } else { "A" });
        assert_eq!(keys.open("run/1", &changed), Err(SealError::Changed));
        let later = sealed.replacen(":1:", ":2:", 1);
        assert_eq!(keys.open("run/1", &later), Err(SealError::Later));
        let other = key("b").open("run/1", &sealed).unwrap_err().to_string();
        assert!(other.contains("sealed with key ") && other.contains("only key "), "{other}");
        assert_eq!(Keys::default().seal("run/1", "x"), Err(SealError::NoKeys));
    }

    #[test]
    fn the_last_key_seals_and_each_opens() {
        let (old, new) = (key("a"), key("b"));
        let both = old.clone().and(new.clone());
        let before = old.seal("d", "x").unwrap();
        assert_eq!(both.open("d", &before).unwrap(), "x");
        let after = both.seal("d", "y").unwrap();
        assert_eq!(new.open("d", &after).unwrap(), "y");
        assert!(matches!(old.open("d", &after), Err(SealError::NoSuchKey { .. })));
    }

    #[test]
    fn keys_are_read_and_never_shown() {
        let text = format!("{},\n{}", "0".repeat(64), Keys::generate().unwrap());
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.0.len(), 2);
        assert!(!format!("{keys:?}").contains(&"0".repeat(64)));
        let wrong = format!("{} {}", "0".repeat(64), "x".repeat(64));
        assert_eq!(Keys::parse(&wrong).unwrap_err(), KeyError { number: 2 });
        assert!(Keys::parse(" \n").unwrap().is_empty());
    }

    #[test]
    fn a_key_may_be_base64_and_the_new_one_seals() {
        let bytes = [0xfb; KEY_BYTES];
        let (hex, base64) = ("fb".repeat(KEY_BYTES), BASE64.encode(bytes));
        let url_safe = base64.replace('+', "-").replace('/', "_") + "=";
        assert!(base64.contains(['+', '/']), "{base64}");
        let sealed = Keys::parse(&hex).unwrap().seal("r", "x").unwrap();
        for text in [base64, url_safe] {
            assert_eq!(Keys::parse(&text).unwrap().open("r", &sealed).unwrap(), "x");
        }
        let new = "a".repeat(64);
        let both = Keys::rotated(&new, [&*hex]).unwrap();
        assert_eq!(both.open("r", &sealed).unwrap(), "x");
        assert!(key("a").open("r", &both.seal("r", "y").unwrap()).is_ok());
        let number = |key: &str, old: &str| Keys::rotated(key, [old]).unwrap_err().number;
        assert_eq!((number("", &hex), number(&new, "short")), (1, 2));
    }

    #[test]
    fn any_value_of_a_variable_is_sealed() {
        let mut held = Variables::default();
        held.set(&"env".into(), &"k".into(), Variable::typed(Kind::Secret, "x".into()));
        // where it was taken from stays known
        let mut taken = held.take(&["env".into(), "k".into()]).unwrap();
        let before = taken.clone();
        key("a").seal_variable("r", &mut taken).unwrap();
        key("a").open_variable("r", &mut taken).unwrap();
        assert_eq!(taken, before);
        for value in [Value::None, Value::int(7), "flowmill-sealed:1:x:y".into()] {
            let variable = Variable::typed(Kind::Secret, value);
            let mut sealed = variable.clone();
            key("a").seal_variable("r", &mut sealed).unwrap();
            assert_ne!(sealed, variable);
            key("a").open_variable("r", &mut sealed).unwrap();
            assert_eq!(sealed, variable);
        }
    }
}
