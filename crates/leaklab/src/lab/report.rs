//! The report: a text for the terminal, and one HTML page that needs nothing else.

mod chart;
mod page;
mod stairs;
mod text;

pub use page::page;
pub use text::text;

/// Text inside of HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Steps of an axis: about `count` of them, at 1, 2 or 5 of a power of ten (of two for bytes).
fn ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let span = (high - low).max(1e-9);
    let raw = span / count;
    let power = 10_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_steps() {
        assert_eq!(ticks(0.0, 10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 61.0, 4.0), [20.0, 40.0, 60.0]);
        assert_eq!(escape("<a href=\"b\">&"), "&lt;a href=&quot;b&quot;&gt;&amp;");
    }
}
