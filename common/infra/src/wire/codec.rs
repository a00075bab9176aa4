//! Plain structs as bytes and back: the one file that knows bincode.
//!
//! The format does not describe itself, so only plain fields may travel: no maps of unknown
//! content, no tagged or untagged enums, nothing flattened, skipped or defaulted. A change is a
//! new struct under a new version. bincode is no longer maintained; whoever replaces it replaces
//! this file, and the golden files say whether the bytes are still the same.

use std::fmt;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes that a message's body may have, so that no length in it makes a reader reserve
/// more. A broker holds messages in memory: what is this large belongs into a store.
pub(super) const MOST: usize = 16 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MOST>> =
    bincode::config::standard().with_limit::<MOST>();

/// Appends a body.
pub(super) fn encode(body: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), String> {
    let written = bincode::serde::encode_to_vec(body, CONFIG).map_err(|error| error.to_string())?;
    bytes.extend(written);
    Ok(())
}

/// Reads a body that takes all the bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (body, read) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|error| error.to_string())?;
    match bytes.len() - read {
        0 => Ok(body),
        left => Err(format!("{left} bytes are left over")),
    }
}

/// JSON inside a message. It is taken in one piece, not byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonBytes(pub(super) Vec<u8>);

impl Serialize for JsonBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for JsonBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = JsonBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<JsonBytes, E> {
        Ok(JsonBytes(bytes.to_owned()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<JsonBytes, E> {
        Ok(JsonBytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<JsonBytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = all.next_element()? {
            bytes.push(byte);
        }
        Ok(JsonBytes(bytes))
    }
}
