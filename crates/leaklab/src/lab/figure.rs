//! Figures as people read them.

/// A number with about three digits.
pub fn round(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 {
        return "any".to_owned();
    }
    if size >= 100_000.0 {
        return bytes(value).trim_end_matches('B').trim_end().to_owned();
    }
    match size {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        size if size < 1e-9 => "0".to_owned(),
        // Two digits behind the zeros.
        size => format!("{value:.0$}", (-size.log10()).ceil() as usize + 1),
    }
}

/// Bytes with their unit.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.abs() >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(bytes(837_632.0), "818 KiB");
        assert_eq!(bytes(-1536.0), "-1.5 KiB");
        assert_eq!(round(2.71921), "2.72");
        assert_eq!(round(0.001234), "0.0012");
        assert_eq!(round(-0.000_003_4), "-0.0000034");
        assert_eq!(round(1e-12), "0");
        assert_eq!(round(f64::INFINITY), "any");
    }
}
