//! The report for the terminal.

use std::fmt::Write;

use crate::lab::capture::{Capture, Line};
use crate::lab::document::Document;
use crate::lab::figure;
use crate::lab::finding;
use crate::lab::sentence;

/// Blocks of a line of memory, from low to high.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WIDTH: usize = 72;

/// The report.
pub fn text(document: &Document, capture: &Capture) -> String {
    let judgement = &document.judgement;
    let mut text = format!("{}\n\n", document.sentence);
    // Writing to a String cannot fail.
    if let Some(line) = memory(capture) {
        let _ = writeln!(text, "{line}\n");
    }
    for also in judgement.growing.iter().skip(1) {
        let _ = writeln!(text, "Also. {}", sentence::growth(also));
    }
    if !judgement.factors.is_empty() {
        let _ = writeln!(text, "{:<22} {:>12}  {:>25}  unit", "factor", "slope", "interval");
        for row in &judgement.factors {
            let name = row
                .protocol
                .as_ref()
                .map_or(row.factor.name().to_owned(), |over| format!("{} ({over})", row.factor.name()));
            if !row.measured {
                let _ = writeln!(text, "{name:<22} {:>12}", "not measured");
                continue;
            }
            let interval =
                format!("{} to {}", figure::round(row.interval[0]), figure::round(row.interval[1]));
            let mark = if row.grows { "GROWS" } else { "" };
            let _ = writeln!(
                text,
                "{name:<22} {:>12}  {interval:>25}  {:<24} {mark}",
                figure::round(row.slope),
                row.unit
            );
        }
        text.push('\n');
    }
    for line in &judgement.evidence {
        let _ = writeln!(text, "- {line}");
    }
    for finding in finding::all(judgement) {
        let _ = writeln!(text, "\n{}\n  {}", finding.title, finding.pattern);
        for place in finding.look_at {
            let _ = writeln!(text, "  * {place}");
        }
    }
    text
}

/// Memory over time in one line.
fn memory(capture: &Capture) -> Option<String> {
    let samples: Vec<(f64, f64)> = capture
        .lines
        .iter()
        .filter_map(
            |line| if let Line::Sample { t, look, .. } = line { Some((*t, look.rss as f64)) } else { None },
        )
        .collect();
    let (first, last) = (samples.first()?.0, samples.last()?.0);
    let most = samples.iter().map(|(_, rss)| *rss).fold(0.0, f64::max);
    let mut columns = vec![0.0_f64; WIDTH];
    for (t, rss) in &samples {
        let column = ((t - first) / (last - first).max(1e-9) * (WIDTH - 1) as f64) as usize;
        columns[column] = columns[column].max(*rss);
    }
    let line: String = columns
        .iter()
        .map(|rss| LEVELS[((rss / most.max(1.0)) * (LEVELS.len() - 1) as f64).round() as usize])
        .collect();
    Some(format!("RSS {line} {:.0} s, at most {}", last - first, figure::bytes(most)))
}
