//! Metrics to text.

use std::fmt::Write;

use event::EventTime;

use super::{Family, Kind, Sample, Value};

/// Appends the lines that Fluent Bit's stdout and file print.
pub fn text(families: &[Family], out: &mut String) {
    for family in families {
        for sample in &family.samples {
            let seconds = (sample.time / 1_000_000_000) as u32;
            let nanoseconds = sample.time % 1_000_000_000;
            let (year, month, day, hour, minute, second) = EventTime { seconds, nanoseconds: 0 }.civil();
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z {}",
                family.full_name()
            );
            labels(&pairs(family, sample), out);
            match &sample.value {
                Value::Number(value) => drop(write!(out, " = {value}")),
                Value::Counts { buckets, sum, count } => {
                    out.push_str(" = { buckets = { ");
                    for (at, bucket) in buckets.iter().enumerate() {
                        let _ = match family.bounds.get(at) {
                            Some(bound) => write!(out, "{bound}={bucket}, "),
                            None => write!(out, "+Inf={bucket} "),
                        };
                    }
                    let _ = write!(out, "}}, sum={}, count={count} }}", six_digits(*sum));
                }
            }
            out.push('\n');
        }
    }
}

/// Appends the text format of Prometheus, version 0.0.4, with `added` before the labels of each sample and, if
/// asked for, its time.
pub fn prometheus(families: &[Family], added: &[(String, String)], times: bool, out: &mut String) {
    for family in families {
        let name = family.full_name();
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Untyped => "untyped",
        };
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for sample in &family.samples {
            let own: Vec<(&str, &str)> =
                added.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let all = [own, pairs(family, sample)].concat();
            let time = if times { format!(" {}", sample.time / 1_000_000) } else { String::new() };
            let mut line = |ending: &str, bound: Option<&str>, value: &dyn std::fmt::Display| {
                let _ = write!(out, "{name}{ending}");
                let first: Vec<(&str, &str)> = bound.map(|bound| ("le", bound)).into_iter().collect();
                labels(&[first, all.clone()].concat(), out);
                let _ = writeln!(out, " {value}{time}");
            };
            match &sample.value {
                Value::Number(value) => line("", None, value),
                Value::Counts { buckets, sum, count } => {
                    for (at, bucket) in buckets.iter().enumerate() {
                        let bound =
                            family.bounds.get(at).map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
                        line("_bucket", Some(&bound), bucket);
                    }
                    line("_sum", None, sum);
                    line("_count", None, count);
                }
            }
        }
    }
}

fn pairs<'a>(family: &'a Family, sample: &'a Sample) -> Vec<(&'a str, &'a str)> {
    let pairs = family.labels.iter().zip(&sample.labels).filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn labels(pairs: &[(&str, &str)], out: &mut String) {
    for (at, (name, value)) in pairs.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{}{name}=\"{value}\"", if at == 0 { '{' } else { ',' });
    }
    if !pairs.is_empty() {
        out.push('}');
    }
}

/// A number with six digits that count, as C's `%g` has it within the sizes that sums have.
fn six_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if (-5..6).contains(&magnitude) {
        let text = format!("{value:.*}", (5 - magnitude).max(0) as usize);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        let text = format!("{value:.5e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let exponent: i32 = exponent.parse().unwrap_or(0);
        format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}
