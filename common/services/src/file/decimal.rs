//! Amounts as people write them, computed with exactly.

use std::fmt;

use flowmill_engine::value::Name;

/// How many of it are one: amounts of money are counted in ten-millionths, as Dify does.
pub const PARTS: u32 = 10_000_000;

/// Ten-millionths as people write them: `0.5` and not `0.5000000`.
pub fn amount(parts: u64) -> String {
    let (whole, part) = (parts / u64::from(PARTS), parts % u64::from(PARTS));
    let text = format!("{whole}.{part:07}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A decimal that is not negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    text: Name,
    digits: u64,
    /// How many of the digits stand after the point.
    scale: u32,
}

impl Decimal {
    /// Reads `12`, `0.15`, `.5`; no sign and no exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let all: String = [whole, part].concat();
        let digits = all.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || all.is_empty() || part.len() > 12 {
            return None;
        }
        let scale = u32::try_from(part.len()).ok()?;
        Some(Self { text: text.into(), digits: all.parse().ok()?, scale })
    }

    /// As it was written.
    pub fn text(&self) -> &Name {
        &self.text
    }

    /// So many times this and a unit, in ten-millionths, rounded to the nearest.
    pub fn times(&self, count: u64, unit: &Self) -> u64 {
        let product = u128::from(self.digits)
            .saturating_mul(u128::from(unit.digits))
            .saturating_mul(u128::from(count))
            .saturating_mul(u128::from(PARTS));
        let divisor = 10_u128.saturating_pow(self.scale + unit.scale);
        let rounded = product.saturating_add(divisor / 2) / divisor;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }

    /// This in ten-millionths.
    pub fn parts(&self) -> u64 {
        self.times(1, &Self { text: "1".into(), digits: 1, scale: 0 })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_without_needless_digits() {
        assert_eq!(amount(50_000_000), "5");
        assert_eq!(amount(5_000_001), "0.5000001");
        assert_eq!(amount(0), "0");
    }

    #[test]
    fn a_price_of_tokens_is_exact() {
        let (million, price) = (Decimal::parse("0.000001"), Decimal::parse("2.50"));
        let (million, price) = (million.unwrap(), price.unwrap());
        // 1000 tokens at 2.50 a million: 0.0025
        assert_eq!(price.times(1000, &million), 25_000);
        assert_eq!(price.times(1, &million), 25);
        // 0.15 a million for one token: 0.00000015, which rounds up
        assert_eq!(Decimal::parse("0.15").unwrap().times(1, &million), 2);
        assert_eq!(Decimal::parse("12").unwrap().parts(), 120_000_000);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "-1", "1e3", "1.2.3", "a", "0.0000000000001"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }
}
