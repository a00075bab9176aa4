//! A length of time such as `30s`, as a text. For `#[serde(with = "period")]`.

use std::fmt::Write as _;
use std::time::Duration;

use flowmill_engine::time::parse_duration;
use serde::{Deserialize as _, Deserializer, Serializer, de};

/// The units in which it is written, and their milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

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
    serializer.serialize_str(&text(*time))
}

fn text(time: Duration) -> String {
    let mut rest = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, milliseconds) in UNITS {
        let number = rest / milliseconds;
        rest %= milliseconds;
        if number > 0 {
            // writing to a text cannot fail
            let _ = write!(text, "{number}{unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for written in ["1ms", "10s", "2m", "1h30m", "1d1h1m1s1ms"] {
            assert_eq!(text(parse_duration(written).unwrap()), written);
        }
        assert_eq!(text(Duration::from_mins(2)), "2m");
    }
}
