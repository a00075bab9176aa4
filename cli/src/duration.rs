//! Lengths of time as people write them: `500ms`, `30s`, `5m`, `1h30m`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a length of time; the error is a fragment for clap.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 500ms, 30s, 5m or 1h30m".to_owned();
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number.checked_mul(*milliseconds).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if total == 0 {
        Err("it must be longer than nothing".to_owned())
    } else {
        Ok(Duration::from_millis(total))
    }
}

/// A length of time in a few characters: `0.4 ms`, `12.3 s`, `2 m 05 s`.
pub(crate) fn show(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_micros() < 100 => "<0.1 ms".to_owned(),
        0 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        let millis = |text| parse(text).map(|time| time.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("5m"), Ok(300_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("2d"), Ok(172_800_000));
        for wrong in [
            "",
            "5",
            "m",
            "5 m",
            "-5s",
            "5x",
            "0s",
            "1.5s",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for (millis, shown) in [
            (0, "<0.1 ms"),
            (1, "1.0 ms"),
            (999, "999.0 ms"),
            (1500, "1.5 s"),
            (125_000, "2 m 05 s"),
            (3_700_000, "1 h 01 m"),
        ] {
            assert_eq!(show(Duration::from_millis(millis)), shown);
        }
    }
}
