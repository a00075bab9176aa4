//! A length of time such as `30s`, as a text. For `#[serde(with = "period")]`.

use std::time::Duration;

use flowmill_engine::time::{duration_text, parse_duration};
use serde::{Deserialize as _, Deserializer, Serializer, de};

/// Reads a length of time.
///
/// # Errors
/// When it is none.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Writes what [`deserialize`] reads, in whole milliseconds.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*time))
}

/// A length of time that may be missing: an empty text. For `#[serde(with = "period::optional")]`.
pub mod optional {
    use super::{Deserializer, Duration, Serializer, duration_text, parse_duration};
    use serde::{Deserialize as _, de};

    /// Reads a length of time, or that there is none.
    ///
    /// # Errors
    /// When it is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let given = String::deserialize(deserializer)?;
        if given.is_empty() {
            return Ok(None);
        }
        parse_duration(&given).map(Some).map_err(de::Error::custom)
    }

    /// Writes what [`deserialize`] reads.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.map(duration_text).unwrap_or_default())
    }
}
