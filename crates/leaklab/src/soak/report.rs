//! What came of a scenario, and the table of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// A scenario that has run.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub scenario: &'static str,
    /// The limit, in bytes.
    pub limit: u64,
    /// How long it was played, in seconds.
    pub seconds: u64,
    /// The most that was ever resident.
    pub peak: u64,
    /// Resident beyond the static part and the ledger, when most was resident at a look.
    pub difference: i64,
    /// The most that came to the heap between two looks, beyond what was booked and set aside, and the most that it
    /// held.
    pub beyond: u64,
    /// See [`Row::beyond`].
    pub heap: u64,
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

    fn cells(&self) -> [String; HEAD.len()] {
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
            self.seconds.to_string(),
            format!("{:.2}", self.peak as f64 / MB),
            format!("{:+.2}", self.difference as f64 / MB),
            format!("{:.2}", self.beyond as f64 / MB),
            format!("{:.2}", self.heap as f64 / MB),
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

const HEAD: [&str; 14] = [
    "scenario",
    "limit",
    "s",
    "VmHWM, MB",
    "beyond the ledger, MB",
    "between two looks, MB",
    "heap, MB",
    "rest before / after, MB",
    "TCP, MB",
    "polite client",
    "taken before the first 503, MB",
    "records taken / arrived",
    "goodput",
    "",
];

/// The cells of a row.
type Cells = Vec<String>;

/// All of them as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let rows: Vec<Cells> = rows.iter().map(|row| row.cells().to_vec()).collect();
    markdown(&rows)
}

fn markdown(rows: &[Cells]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", HEAD.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(HEAD.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// The rows of a table in Markdown that has these columns.
fn rows(table: &str) -> Vec<Cells> {
    let cells = |line: &str| -> Option<Cells> {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(line.split(" | ").map(str::to_owned).collect())
    };
    let mut rows: Vec<Cells> = table.lines().filter_map(cells).collect();
    rows.retain(|row| row.len() == HEAD.len() && row[0] != HEAD[0]);
    rows
}

/// Puts rows into the table of a page, in place of those of the same scenario and limit. `order`: the scenarios in
/// the order of the table; what is none of them goes.
///
/// # Errors
/// The page cannot be read or written, or has no place for it.
pub fn write(page: &Path, new: &[Row], order: &[&str]) -> Result<(), String> {
    const PLACE: [&str; 2] = ["<!-- soak -->\n", "<!-- /soak -->"];
    let fail = |error: std::io::Error| format!("{}: {error}", page.display());
    let text = String::from_utf8_lossy(&std::fs::read(page).map_err(fail)?).into_owned();
    let around =
        text.split_once(PLACE[0]).and_then(|(before, rest)| Some((before, rest.split_once(PLACE[1])?)));
    let (before, (old, after)) =
        around.ok_or_else(|| format!("{} has no place for the table", page.display()))?;
    let mut all: BTreeMap<(usize, u64), Cells> = BTreeMap::new();
    for row in rows(old).into_iter().chain(new.iter().map(|row| row.cells().to_vec())) {
        let limit = row[1].trim_end_matches('M').parse().unwrap_or(0);
        if let Some(place) = order.iter().position(|name| *name == row[0]) {
            all.insert((place, limit), row);
        }
    }
    let table = markdown(&all.into_values().collect::<Vec<_>>());
    std::fs::write(page, [before, PLACE[0], &table, PLACE[1], after].concat()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_the_place_of_their_own_and_the_others_stay() {
        let page = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(page.path(), "a\n<!-- soak -->\nold\n<!-- /soak -->\nb\n").unwrap();
        let row = |scenario, limit, peak| Row { scenario, limit, peak, seconds: 9, ..Row::default() };
        let order = ["drip", "crowd"];
        let first = [row("crowd", 32_000_000, 1), row("drip", 256_000_000, 2), row("gone", 1, 3)];
        write(page.path(), &first, &order).unwrap();
        let second = [row("crowd", 32_000_000, 31_000_000), row("drip", 32_000_000, 30_000_000)];
        write(page.path(), &second, &order).unwrap();
        let text = String::from_utf8(std::fs::read(page.path()).unwrap()).unwrap();
        assert!(text.starts_with("a\n<!-- soak -->\n| scenario") && text.ends_with("<!-- /soak -->\nb\n"));
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in {text}"));
        assert!(at("| drip | 32M | 9 | 30.00 |") < at("| drip | 256M | 9 | 0.00 |"));
        assert!(at("| drip | 256M |") < at("| crowd | 32M | 9 | 31.00 |"));
        assert_eq!((text.matches("| crowd |").count(), text.contains("gone")), (1, false));
    }
}
