//! Lengths of time for people.

use std::time::Duration;

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
    fn times_are_shown() {
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
