//! Tables, for the terminal and for a page.

use super::sample::{Run, Sample};
use super::summary::{Comparison, METRICS, Metric, Spread, median, of};

/// Rows of text under a header. The first two columns are names and lean left.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

const NAMES: usize = 2;

impl Table {
    fn new(header: &[&str]) -> Table {
        Table { header: header.iter().map(|word| (*word).to_owned()).collect(), rows: Vec::new() }
    }

    /// Aligned columns.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut text = String::new();
        for row in lines() {
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.chars().count());
                let (before, behind) =
                    if column < NAMES { ("", padding) } else { (padding.as_str(), String::new()) };
                text.push_str(before);
                text.push_str(cell);
                text.push_str(&behind);
                text.push_str("  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    /// Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = (0..self.header.len()).map(|column| if column < NAMES { "---|" } else { "---:|" });
        let mut text = line(&self.header);
        text.push('|');
        text.extend(rule);
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(row));
        }
        text
    }
}

/// The median of every figure, by scenario and agent.
pub fn figures(samples: &[Sample], run: &Run) -> Table {
    let mut table = Table::new(&[
        "scenario",
        "agent",
        "MB/s",
        "records/s",
        "MB/CPU-s",
        "req/CPU-s",
        "peak MB",
        "end MB",
        "rested MB",
        "KiB/conn",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "delivered",
        "load core",
        "answers",
    ]);
    for scenario in &run.scenarios {
        for (agent, _) in &run.agents {
            let rounds = of(samples, scenario, agent);
            if !rounds.is_empty() {
                table.rows.push(row(scenario, agent, &rounds));
            }
        }
    }
    table
}

fn row(scenario: &str, agent: &str, rounds: &[&Sample]) -> Vec<String> {
    let of = |value: fn(&Sample) -> f64| median(rounds, value);
    let mb = |value: fn(&Sample) -> f64| number(median(rounds, value) / 1e6);
    let held = rounds.iter().any(|sample| sample.held > 0);
    let per_connection =
        if held { number(of(Sample::bytes_per_connection) / 1024.0) } else { "-".to_owned() };
    vec![
        scenario.to_owned(),
        agent.to_owned(),
        number(of(Sample::mb_per_second)),
        number(of(Sample::records_per_second)),
        number(of(Sample::mb_per_cpu)),
        number(of(Sample::requests_per_cpu)),
        mb(|sample| sample.rss_peak as f64),
        mb(|sample| sample.rss_final as f64),
        mb(|sample| sample.rss_rested as f64),
        per_connection,
        number(of(|sample| sample.latency_ms.p50)),
        number(of(|sample| sample.latency_ms.p90)),
        number(of(|sample| sample.latency_ms.p99)),
        number(of(|sample| sample.latency_ms.max)),
        format!("{} %", number(of(Sample::delivered_share) * 100.0)),
        format!("{:.0} %", of(|sample| sample.load_cpu) * 100.0),
        answers(rounds),
    ]
}

/// Answers by status and requests without one, of all rounds together.
fn answers(rounds: &[&Sample]) -> String {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for sample in rounds {
        for (name, count) in sample.answers.iter().chain(&sample.failures) {
            *sums.entry(name).or_default() += count;
        }
    }
    let words: Vec<String> = sums.into_iter().map(|(name, count)| format!("{name}: {count}")).collect();
    words.join(", ")
}

/// Weir to its peers: the median of the rounds, and the lowest and highest.
pub fn ratios(comparisons: &[Comparison]) -> Table {
    let held = comparisons.iter().any(|found| found.metric.held);
    let metrics: Vec<&Metric> = METRICS.iter().filter(|metric| held || !metric.held).collect();
    let names = metrics.iter().map(|metric| metric.name);
    let header: Vec<&str> = ["scenario", "weir to"].into_iter().chain(names).chain(["rounds"]).collect();
    let mut table = Table::new(&header);
    for group in comparisons.chunk_by(|a, b| (&a.scenario, &a.peer) == (&b.scenario, &b.peer)) {
        let cell = |metric: &&Metric| {
            let found = group.iter().find(|found| found.metric.name == metric.name);
            found.map_or_else(|| "-".to_owned(), |found| spread(found.ratio))
        };
        let mut row = vec![group[0].scenario.clone(), group[0].peer.clone()];
        row.extend(metrics.iter().map(cell));
        row.push(group.iter().map(|found| found.rounds).max().unwrap_or(0).to_string());
        table.rows.push(row);
    }
    table
}

/// A ratio and how far its rounds lie apart.
pub fn spread(Spread { median, low, high }: Spread) -> String {
    let digits = if median < 0.095 { 3 } else { 2 };
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// Three digits of a figure, or all in front of the point.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::super::summary::{compare, tests::run};
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let cases =
            [(0.0, "0.00"), (1.234, "1.23"), (-12.34, "-12.3"), (999.4, "999"), (1_234_567.0, "1,234,567")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn every_agent_has_a_row_in_every_scenario() {
        let (run, samples) = run();
        let table = figures(&samples, &run);
        assert_eq!(table.rows.len(), 6);
        let text = table.text();
        assert!(text.lines().nth(1).unwrap().starts_with("small     weir "), "{text}");
        assert!(text.contains("201: 30, 503: 3"), "{text}");
        assert_eq!(table.markdown().lines().count(), 8);
    }

    #[test]
    fn ratios_show_their_spread() {
        let (run, samples) = run();
        let text = ratios(&compare(&run, &samples)).text();
        let line =
            text.lines().find(|line| line.starts_with("small") && line.contains("fluent-bit")).unwrap();
        assert!(line.contains("2.67 (2.00 to 6.00)") && line.ends_with('3'), "{text}");
        assert!(!text.contains("per connection"), "{text}");
        assert_eq!(spread(Spread { median: 0.0123, low: 0.01, high: 0.5 }), "0.012 (0.010 to 0.500)");
    }
}
