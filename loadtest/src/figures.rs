//! Numbers, and how they are written.

use serde_json::{Value, json};

/// Times in milliseconds, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn new(mut millis: Vec<f64>) -> Self {
        millis.sort_unstable_by(f64::total_cmp);
        Self(millis)
    }

    /// The time that so many hundredths of them do not exceed; 0 of none.
    pub(crate) fn percentile(&self, hundredths: usize) -> f64 {
        let place = (self.0.len() * hundredths).div_ceil(100).max(1) - 1;
        self.0.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "p50": self.percentile(50),
            "p95": self.percentile(95),
            "p99": self.percentile(99),
            "max": self.percentile(100),
        })
    }
}

/// Milliseconds since 1970 of a time as the API writes it: `2026-11-26T01:27:52.123Z`.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let millis = part(20, 23)?;
    // years begin in March, so that the day which some of them lack is their last
    let year = year - u64::from(month <= 2);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leaps + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

/// A finite number.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A count to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The same of a length.
pub(crate) fn length(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}

/// A number as a table shows it: three figures that count, thousands apart.
pub(crate) fn show(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => {
            let digits = format!("{number:.0}");
            let mut shown = String::new();
            for (index, digit) in digits.chars().enumerate() {
                let left = digits.len() - index;
                if index > 0 && left.is_multiple_of(3) && !shown.ends_with('-') {
                    shown.push(',');
                }
                shown.push(digit);
            }
            shown
        }
        size if size >= 9.995 => format!("{number:.1}"),
        size if size >= 0.9995 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::time::Time;

    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for days in [0, 58, 59, 60, 364, 365, 11_016, 11_017, 19_782, 19_783, 20_783, 30_000] {
            let millis_of_day = days * 997 % 86_400_000;
            let at = days * 86_400_000 + millis_of_day;
            assert_eq!(millis(&Time(at * 1000).rfc3339()), Some(at));
        }
        assert_eq!(millis("2026-11-26"), None);
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times::new((1..=200).rev().map(float).collect()).json();
        let found = ["p50", "p95", "p99", "max"].map(|name| times[name].as_f64());
        assert_eq!(found, [100.0, 190.0, 198.0, 200.0].map(Some));
        assert_eq!(Times::new(vec![7.0]).json()["p50"], 7.0);
        assert_eq!(Times::default().json()["max"], 0.0);
    }

    #[test]
    fn numbers_have_three_figures() {
        let shown = [0.0, 0.0123, 1.0, 12.345, 123.4, 1234.5, 1_234_567.0, -1234.0].map(show);
        let want = ["0", "0.012", "1.00", "12.3", "123", "1,234", "1,234,567", "-1,234"];
        assert_eq!(shown, want);
    }
}
