//! Tables, for the terminal and for a page.

use super::sample::{Entry, Sample};
use super::scenario::GROWING;
use super::summary::{Comparison, METRICS, Metric, Spread, median, of};

/// Rows of text under a header. Names lean left and figures right.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// How many columns, from the left, lean left.
    names: usize,
}

/// Scenario and agent.
const NAMES: usize = 2;

impl Table {
    fn new(header: &[&str]) -> Table {
        Table {
            header: header.iter().map(|word| (*word).to_owned()).collect(),
            rows: Vec::new(),
            names: NAMES,
        }
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
                    if column < self.names { ("", padding) } else { (padding.as_str(), String::new()) };
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
        let rule = (0..self.header.len()).map(|column| if column < self.names { "---|" } else { "---:|" });
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

/// The median of every figure, by scenario and agent. Scenarios about connections have their own table.
pub fn figures(entries: &[Entry]) -> Table {
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
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "smaller by",
        "delivered",
        "load core",
        "answers",
    ]);
    for (entry, agent) in rows(entries) {
        let rounds = of(&entry.samples, agent);
        if rounds.iter().any(|sample| sample.is_about_rates()) {
            table.rows.push(row(&entry.scenario, agent, &rounds));
        }
    }
    table
}

/// Every agent of every scenario.
fn rows(entries: &[Entry]) -> impl Iterator<Item = (&Entry, &str)> {
    entries.iter().flat_map(|entry| entry.run.agents.iter().map(move |(agent, _)| (entry, agent.as_str())))
}

/// The memory of open connections; None where it was not measured.
pub fn connections(entries: &[Entry]) -> Option<Table> {
    let mut header = vec!["scenario".to_owned(), "agent".to_owned()];
    header.extend(GROWING.iter().map(|count| format!("MB with {}", number_of(*count as u64))));
    header.extend(["KiB/connection", "peak MB", "answers"].map(str::to_owned));
    let mut table = Table { header, rows: Vec::new(), names: NAMES };
    for (entry, agent) in rows(entries) {
        let rounds = of(&entry.samples, agent);
        if rounds.is_empty() || rounds.iter().any(|sample| sample.is_about_rates()) {
            continue;
        }
        let mut row = vec![entry.scenario.clone(), agent.to_owned()];
        for count in GROWING {
            row.push(some(median(&rounds, |sample| sample.with_connections(*count as u64) / 1e6)));
        }
        row.push(some(median(&rounds, Sample::bytes_per_connection) / 1024.0));
        row.push(number(median(&rounds, |sample| sample.rss_peak as f64 / 1e6)));
        row.push(answers(&rounds));
        table.rows.push(row);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// What was left out of the scenarios, and why; None when nothing was.
pub fn left_out(entries: &[Entry]) -> Option<Table> {
    let mut found: Vec<(&str, String, Vec<&str>)> = Vec::new();
    for Entry { scenario, skipped, failures, .. } in entries {
        let skipped = skipped.iter().map(|skipped| (&skipped.agent, skipped.reason.clone()));
        let failures = failures
            .iter()
            .map(|failure| (&failure.agent, format!("in round {}: {}", failure.round, failure.reason)));
        for (agent, reason) in skipped.chain(failures) {
            match found.iter_mut().find(|(known, why, _)| known == agent && *why == reason) {
                Some((.., scenarios)) => scenarios.push(scenario),
                None => found.push((agent, reason, vec![scenario])),
            }
        }
    }
    let mut table = Table { names: 3, ..Table::new(&["agent", "scenarios", "why there are no figures"]) };
    for (agent, reason, scenarios) in found {
        let all = entries.len() > 1 && scenarios.len() == entries.len();
        let scenarios = if all { "all".to_owned() } else { scenarios.join(", ") };
        table.rows.push(vec![agent.to_owned(), scenarios, reason]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn row(scenario: &str, agent: &str, rounds: &[&Sample]) -> Vec<String> {
    let of = |value: fn(&Sample) -> f64| median(rounds, value);
    let mb = |value: fn(&Sample) -> f64| number(median(rounds, value) / 1e6);
    vec![
        scenario.to_owned(),
        agent.to_owned(),
        number(of(Sample::mb_per_second)),
        number(of(Sample::records_per_second)),
        number(of(Sample::mb_per_cpu)),
        number(of(Sample::requests_per_cpu)),
        mb(|sample| sample.rss_peak as f64),
        mb(|sample| sample.rss_final as f64),
        some(of(Sample::rested) / 1e6),
        number(of(|sample| sample.latency_ms.p50)),
        number(of(|sample| sample.latency_ms.p90)),
        number(of(|sample| sample.latency_ms.p99)),
        number(of(|sample| sample.latency_ms.max)),
        some(of(Sample::compression)),
        format!("{} %", number(of(Sample::delivered_share) * 100.0)),
        format!("{:.0} %", of(|sample| sample.load_cpu) * 100.0),
        answers(rounds),
    ]
}

/// A figure that not every scenario has.
fn some(value: f64) -> String {
    if value > 0.0 { number(value) } else { "-".to_owned() }
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
    let is_there = |metric: &&Metric| comparisons.iter().any(|found| found.metric.name == metric.name);
    let metrics: Vec<&Metric> = METRICS.iter().filter(is_there).collect();
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
    group(&format!("{value:.digits$}"))
}

/// A count.
pub fn number_of(count: u64) -> String {
    group(&count.to_string())
}

/// Commas between groups of three digits in front of the point.
fn group(plain: &str) -> String {
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
    use super::super::sample::{Failure, Skipped};
    use super::super::summary::{compare, tests::entries};
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
        let table = figures(&entries());
        assert_eq!(table.rows.len(), 6);
        let text = table.text();
        assert!(text.lines().nth(1).unwrap().starts_with("small     weir "), "{text}");
        assert!(text.contains("201: 30, 503: 3"), "{text}");
        assert_eq!(table.markdown().lines().count(), 8);
        assert!(connections(&entries()).is_none() && left_out(&entries()).is_none());
    }

    #[test]
    fn connections_have_a_table_of_their_own() {
        let mut entries = entries();
        for sample in &mut entries[0].samples {
            (sample.held, sample.rss_rested) = (1_000, Some(10_000_000 + 1_000 * 2_048));
        }
        for sample in &mut entries[1].samples {
            sample.growth = vec![(1, 7_000_000), (10_000, 90_000_000)];
        }
        assert!(figures(&entries).rows.is_empty());
        let text = connections(&entries).unwrap().text();
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert!(line("small").contains(" 2.00 "), "{text}");
        assert!(line("trigger").contains("7.00") && line("trigger").contains("90.0"), "{text}");
    }

    #[test]
    fn what_has_no_figures_has_a_reason() {
        let mut entries = entries();
        entries[1].skipped =
            vec![Skipped { agent: "weir".to_owned(), reason: "has no such option".to_owned() }];
        let (scenario, agent) = ("small".to_owned(), "vector".to_owned());
        entries[0].failures = vec![Failure { scenario, agent, round: 2, reason: "it is gone".to_owned() }];
        let absent = Skipped { agent: "other".to_owned(), reason: "is not there".to_owned() };
        entries.iter_mut().for_each(|entry| entry.skipped.push(absent.clone()));
        let text = left_out(&entries).unwrap().text();
        let words: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for expected in [
            "weir trigger has no such option",
            "vector small in round 2: it is gone",
            "other all is not there",
        ] {
            assert!(words.iter().any(|line| line == expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn ratios_show_their_spread() {
        let text = ratios(&compare(&entries())).text();
        let line =
            text.lines().find(|line| line.starts_with("small") && line.contains("fluent-bit")).unwrap();
        assert!(line.contains("2.67 (2.00 to 6.00)") && line.ends_with('3'), "{text}");
        assert!(!text.contains("per connection"), "{text}");
        assert_eq!(spread(Spread { median: 0.0123, low: 0.01, high: 0.5 }), "0.012 (0.010 to 0.500)");
    }
}
