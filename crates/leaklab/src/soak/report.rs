//! What came of a scenario, and the table of them.

use std::fmt::Write;
use std::path::Path;

/// A scenario that has run.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub scenario: &'static str,
    /// The limit, in bytes.
    pub limit: u64,
    /// The most that was ever resident.
    pub peak: u64,
    /// Resident beyond the static part and the ledger, when most was resident at a look.
    pub difference: i64,
    /// Resident before the load, and when it was over.
    pub floor: (u64, u64),
    /// The most that the kernel held for its sockets.
    pub sockets: u64,
    /// Answers, as text.
    pub answers: String,
    /// Percent of the polite client's requests that were answered well and in time.
    pub pleased: Option<f64>,
    /// Bytes taken before the first 503, and the budget.
    pub before_refusal: Option<(u64, u64)>,
    /// Records taken, and those that arrived.
    pub records: (u64, u64),
    /// Percent of what a destination would have taken, where that is the question.
    pub goodput: Option<f64>,
    /// Anything else worth saying.
    pub note: String,
    /// What did not hold.
    pub failures: Vec<String>,
}

const MB: f64 = 1e6;

impl Row {
    /// Scenario and limit.
    pub fn label(&self) -> String {
        format!("{} at {}M", self.scenario, self.limit / 1_000_000)
    }

    /// One line for the terminal.
    pub fn line(&self) -> String {
        let holds = if self.note.is_empty() { "holds".to_owned() } else { format!("holds ({})", self.note) };
        let verdict = if self.failures.is_empty() { holds } else { self.failures.join("; ") };
        let pleased = self.pleased.map_or_else(String::new, |share| format!(", polite {share:.0} %"));
        let goodput = self.goodput.map_or_else(String::new, |share| format!(", goodput {share:.0} %"));
        format!(
            "{}: peak {:.2} MB, beyond the ledger {:+.2}, taken {} arrived {}{pleased}{goodput}, answers {}: {verdict}",
            self.label(),
            self.peak as f64 / MB,
            self.difference as f64 / MB,
            self.records.0,
            self.records.1,
            self.answers
        )
    }

    fn cells(&self) -> [String; 11] {
        let percent =
            |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{share:.0} %"));
        let refusal = self.before_refusal.map_or_else(
            || "none".to_owned(),
            |(bytes, budget)| {
                let share = bytes as f64 / budget.max(1) as f64 * 100.0;
                format!("{:.1} ({share:.0} % of the budget)", bytes as f64 / MB)
            },
        );
        [
            self.scenario.to_owned(),
            format!("{}M", self.limit / 1_000_000),
            format!("{:.2}", self.peak as f64 / MB),
            format!("{:+.2}", self.difference as f64 / MB),
            format!("{:.1} / {:.1}", self.floor.0 as f64 / MB, self.floor.1 as f64 / MB),
            format!("{:.1}", self.sockets as f64 / MB),
            percent(self.pleased),
            refusal,
            format!("{} / {}", self.records.0, self.records.1),
            percent(self.goodput),
            if self.failures.is_empty() {
                self.note.clone()
            } else {
                format!("**{}**", self.failures.join("; "))
            },
        ]
    }
}

const HEAD: [&str; 11] = [
    "scenario",
    "limit",
    "VmHWM, MB",
    "beyond the ledger, MB",
    "rest before / after, MB",
    "TCP, MB",
    "polite client",
    "taken before the first 503, MB",
    "records taken / arrived",
    "goodput",
    "",
];

/// All of them as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", HEAD.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(HEAD.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.cells().join(" | "));
    }
    text
}

/// Puts the table into a page, in place of the one that is there.
///
/// # Errors
/// The page cannot be read or written, or has no place for it.
pub fn write(page: &Path, table: &str) -> Result<(), String> {
    const PLACE: [&str; 2] = ["<!-- soak -->\n", "<!-- /soak -->"];
    let fail = |error: std::io::Error| format!("{}: {error}", page.display());
    let text = String::from_utf8_lossy(&std::fs::read(page).map_err(fail)?).into_owned();
    let around =
        text.split_once(PLACE[0]).and_then(|(before, rest)| Some((before, rest.split_once(PLACE[1])?.1)));
    let (before, after) = around.ok_or_else(|| format!("{} has no place for the table", page.display()))?;
    std::fs::write(page, [before, PLACE[0], table, PLACE[1], after].concat()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let page = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(page.path(), "a\n<!-- soak -->\nold\n<!-- /soak -->\nb\n").unwrap();
        let row = Row { scenario: "drip", limit: 32_000_000, peak: 31_000_000, ..Row::default() };
        write(page.path(), &table(&[row])).unwrap();
        let text = String::from_utf8(std::fs::read(page.path()).unwrap()).unwrap();
        assert!(text.starts_with("a\n<!-- soak -->\n| scenario") && text.ends_with("<!-- /soak -->\nb\n"));
        assert!(text.contains("| drip | 32M | 31.00 |") && !text.contains("old"));
    }
}
