//! Numbers at the start of texts, and floats as texts, as C reads and writes them.

/// The integer that a text starts with, behind blanks. One that is too large is the largest there is.
pub fn int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    let size = magnitude(digits, 10)?;
    Some(match negative {
        true => 0_i64.checked_sub_unsigned(size).unwrap_or(i64::MIN),
        false => i64::try_from(size).unwrap_or(i64::MAX),
    })
}

/// The unsigned integer that a text starts with, behind blanks and, in base 16, `0x`.
pub fn uint(text: &[u8], base: u32) -> Option<u64> {
    let (negative, digits) = sign(text);
    let prefixed = digits.get(..2).is_some_and(|start| base == 16 && start.eq_ignore_ascii_case(b"0x"));
    let size = magnitude(if prefixed { &digits[2..] } else { digits }, base)?;
    Some(if negative { size.wrapping_neg() } else { size })
}

/// The number that a text starts with, behind blanks.
pub fn float(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii_start();
    let number = |c: &u8| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-');
    let mut end = text.iter().take_while(|c| number(c)).count();
    // The longest start that is a number: "1e" is 1, "1-2" is 1.
    while end > 0 {
        if let Ok(Ok(number)) = std::str::from_utf8(&text[..end]).map(str::parse) {
            return Some(number);
        }
        end -= 1;
    }
    None
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.trim_ascii_start() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

fn magnitude(digits: &[u8], base: u32) -> Option<u64> {
    let digits = digits.iter().map_while(|c| char::from(*c).to_digit(base));
    digits.fold(None, |size: Option<u64>, digit| {
        let size = size.unwrap_or(0).saturating_mul(u64::from(base));
        Some(size.saturating_add(u64::from(digit)))
    })
}

/// A float with one decimal if it is whole, else with up to so many digits.
pub fn float_text(number: f64, digits: usize) -> String {
    if number == number.trunc() && number.abs() < i64::MAX as f64 {
        format!("{number:.1}")
    } else {
        general(number, digits)
    }
}

/// A float as `%.Ng` of C writes it.
pub fn general(number: f64, digits: usize) -> String {
    if !number.is_finite() {
        return format!("{number}").to_lowercase();
    }
    let scientific = format!("{number:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..digits as i32).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        return trimmed(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_from_the_start_of_a_text() {
        for (text, expected) in
            [("12", Some(12)), (" -7x", Some(-7)), ("+3.9", Some(3)), ("x", None), ("", None), ("-", None)]
        {
            assert_eq!(int(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(
            (int(b"99999999999999999999"), int(b"-99999999999999999999")),
            (Some(i64::MAX), Some(i64::MIN))
        );
        assert_eq!(
            (uint(b"0xFFg", 16), uint(b"ff", 16), uint(b"18446744073709551615", 10)),
            (Some(255), Some(255), Some(u64::MAX))
        );
        for (text, expected) in [
            ("1.5", Some(1.5)),
            (" 2e3x", Some(2000.0)),
            ("1e", Some(1.0)),
            ("1-2", Some(1.0)),
            (".5", Some(0.5)),
            ("e", None),
        ] {
            assert_eq!(float(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_float_is_written_as_c_does() {
        for (number, expected) in [
            (1.0, "1.0"),
            (-3.0, "-3.0"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (0.1 + 0.2, "0.3"),
            (1e-7, "1e-07"),
            (1.234_567_890_123_456_7, "1.234567890123457"),
            (123_456.789, "123456.789"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(float_text(number, 16), expected);
        }
        assert_eq!(general(0.1, 17), "0.10000000000000001");
        assert_eq!(general(100.0, 17), "100");
    }
}
