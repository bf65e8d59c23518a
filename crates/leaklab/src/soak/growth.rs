//! The leak lab as the judge: an hour of misuse shows what memory reaches, and not what it grows with.
//!
//! The agent is taken through the lab's experiment with the same limit, and holds where the verdict is clean: growth
//! with requests, payload, connections, keys or time is excluded above what the note says.

use std::time::Duration;

use super::agent::{Setting, free_port};
use super::report::Row;
use crate::lab::body::Payload;
use crate::lab::capture::{Capture, Line};
use crate::lab::command::measure;
use crate::lab::judge::Verdict;
use crate::lab::plan::Plan;

/// Its name on the command line.
pub const NAME: &str = "growth";
/// The least time for a verdict.
const LEAST: Duration = Duration::from_secs(60);
/// Longer than the flush interval, so that memory is read when everything is delivered.
const REST: f64 = 1.3;

/// Runs the lab on an agent.
///
/// # Errors
/// The system's: no port, no file.
pub fn run(setting: &Setting) -> Result<Row, String> {
    let port = free_port()?;
    let folder = std::env::temp_dir().join(format!("weir-soak-{}-{port}", std::process::id()));
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let config = folder.join("weir.yaml");
    let text = format!(
        "service: {{flush: 1, memory_limit: {}}}\npipeline:\n  inputs:\n    - {{name: http, listen: 127.0.0.1, port: {port}}}\n  \
         outputs:\n    - {{name: 'null', match: '*'}}\n",
        setting.limit
    );
    std::fs::write(&config, text).map_err(fail)?;
    let command = format!("exec '{}' -c '{}'", setting.weir.display(), config.display());
    let url = format!("http://127.0.0.1:{port}/growth");
    let plan = Plan { rest: REST, ..Plan::default() };
    let budget = setting.time.unwrap_or(LEAST).max(LEAST);
    let (document, capture) = measure(command, url, Payload::default(), plan, budget, &folder.join("log"));
    let _gone = std::fs::remove_dir_all(&folder);
    let peak = peak(&capture);
    let mut row = Row {
        scenario: NAME,
        limit: setting.limit,
        seconds: budget.as_secs(),
        peak,
        floor: floors(&capture),
        ..Row::default()
    };
    if document.judgement.verdict == Verdict::Clean {
        row.note = document.sentence;
    } else {
        row.failures.push(document.sentence);
    }
    if peak > setting.limit {
        row.failures.push(format!("{} bytes above the limit", peak - setting.limit));
    }
    Ok(row)
}

/// The most resident at a look.
fn peak(capture: &Capture) -> u64 {
    let resident = capture.lines.iter().filter_map(|line| match line {
        Line::Sample { look, .. } => Some(look.rss),
        _ => None,
    });
    resident.max().unwrap_or(0)
}

/// Resident at rest, behind the warm-up and at the end.
fn floors(capture: &Capture) -> (u64, u64) {
    let floors = capture.floors();
    let warm = floors.iter().find(|floor| floor.cycle > 0);
    (warm.map_or(0, |floor| floor.rss), floors.last().map_or(0, |floor| floor.rss))
}
