//! Points in time for people: `2026-11-26 01:27:52 UTC`.

use flowmill_engine::time::Time;

/// A point in time, to the second.
pub(crate) fn show(time: Time) -> String {
    let shown = time.rfc3339();
    let (date, clock) = shown.split_once('T').unwrap_or_default();
    format!("{date} {} UTC", clock.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(show(Time(951_782_400_999_999)), "2000-02-29 00:00:00 UTC");
    }
}
