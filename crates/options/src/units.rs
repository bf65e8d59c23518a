//! Values with a unit: sizes and periods.

use std::time::Duration;

use crate::value::{Invalid, Kind, Value};

/// A number of bytes. Units are decimal as in Fluent Bit: `4M` is 4,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Value for Size {
    const KIND: Kind = Kind::Size;

    fn parse(text: &str) -> Result<Self, Invalid> {
        if text.eq_ignore_ascii_case("false") {
            return Ok(Self(0));
        }
        let invalid = || Invalid::not(text, "a size");
        let (number, unit) = split_unit(text);
        let scale: u64 = match unit.to_ascii_lowercase().as_str() {
            "" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "kib" | "mib" | "gib" => {
                let short = unit[..1].to_ascii_uppercase();
                return Err(invalid().hint(format!("units are decimal, write {short} ({short}B)")));
            }
            _ => return Err(invalid().hint("write a number of bytes, with K, M or G for 1000, 10^6 or 10^9")),
        };
        let bytes = scaled(number, scale).ok_or_else(invalid)?;
        u64::try_from(bytes).map(Self).map_err(|_| Invalid::new(format!("{text} is too large for a size")))
    }
}

/// A span of time. A bare number is seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// The span as the standard library knows it.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// True for `0`, which many options use for "no limit".
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl Value for Period {
    const KIND: Kind = Kind::Period;

    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::not(text, "a time");
        let (number, unit) = split_unit(text);
        let seconds: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "ms" => return Err(invalid().hint(milliseconds(number))),
            _ => return Err(invalid().hint("units are s, m, h and d; a bare number is seconds")),
        };
        let nanos = scaled(number, seconds * NANOS).ok_or_else(invalid)?;
        if nanos > MAX_PERIOD_NANOS {
            return Err(Invalid::new(format!("{text} is too long for a time")));
        }
        // The bound above keeps both halves within their types.
        let whole = u64::try_from(nanos / u128::from(NANOS)).map_err(|_| invalid())?;
        let rest = u32::try_from(nanos % u128::from(NANOS)).map_err(|_| invalid())?;
        Ok(Self(Duration::new(whole, rest)))
    }
}

const NANOS: u64 = 1_000_000_000;

/// A century: beyond it, adding a period to the clock could overflow.
const MAX_PERIOD_NANOS: u128 = 100 * 365 * 86_400 * NANOS as u128;

/// `500ms` would be read by Fluent Bit as 500 seconds; say how to write what was meant.
fn milliseconds(number: &str) -> String {
    match number.parse::<u64>() {
        Ok(millis) => format!("write {} (seconds)", Duration::from_millis(millis).as_secs_f64()),
        Err(_) => "units are s, m, h and d; a bare number is seconds".to_owned(),
    }
}

/// Splits `1.5MB` into its number and its unit.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `number * scale` for a decimal number, rounded down; exact, because sizes are compared and summed.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let dangling = number.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling || whole.len() > 25 || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let scale = u128::from(scale);
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let divisor = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(parts * scale / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_decimal_units() {
        for (text, bytes) in [
            ("4M", 4_000_000),
            ("512K", 512_000),
            ("512kb", 512_000),
            ("1.5g", 1_500_000_000),
            ("1 MB", 1_000_000),
            ("32768", 32_768),
            ("False", 0),
            ("0", 0),
            ("1.0005", 1),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn a_size_that_would_be_misread_is_refused_with_advice() {
        let refused = Size::parse("4MiB").unwrap_err();
        assert_eq!(refused.what, "\"4MiB\" is not a size");
        assert_eq!(refused.hint.as_deref(), Some("units are decimal, write M (MB)"));
        for text in ["", "M", "-1", ".5M", "5.", "1.2.3", "10 potatoes", "true", "0x10", "４K"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        assert_eq!(Size::parse("99999999999G").unwrap_err().what, "99999999999G is too large for a size");
    }

    #[test]
    fn periods_are_seconds_unless_they_say_otherwise() {
        for (text, millis) in [
            ("5", 5_000),
            ("0.5", 500),
            ("10s", 10_000),
            ("1m", 60_000),
            ("2H", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(Period::parse(text), Ok(Period(Duration::from_millis(millis))), "{text}");
        }
        assert!(Period::parse("0").unwrap().is_zero());
    }

    #[test]
    fn a_period_that_would_be_misread_is_refused_with_advice() {
        assert_eq!(Period::parse("5ms").unwrap_err().hint.as_deref(), Some("write 0.005 (seconds)"));
        for text in ["", "s", "-1", "5 weeks", "1h30m", "99999d99"] {
            assert!(Period::parse(text).is_err(), "{text}");
        }
        assert_eq!(Period::parse("36600d").unwrap_err().what, "36600d is too long for a time");
    }
}
