//! Whether weir keeps its memory limit, whatever clients and destinations do: what `cargo x soak` runs.
//!
//! Each scenario starts an agent with a limit, misbehaves for a while, and then looks: the most that was ever
//! resident (VmHWM) is within the limit; every record that was answered 2xx has arrived; the ledger is empty; memory
//! is back. Refusing everything is no way to pass: a polite client sends one record a second on a connection of its
//! own all the while and counts its answers.
//!
//! In the order of the modules: [`scenario`] (what is done), [`clients`] and [`hostile`] (who does it),
//! [`agent`] (who it is done to), [`report`] (what came of it). The last,
//! [`growth`], asks the leak lab what memory grows with.

pub mod agent;
pub mod clients;
pub mod growth;
pub mod hostile;
pub mod report;
pub mod scenario;

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use agent::Setting;
use report::Row;

const HELP: &str = "\
Usage: leaklab soak [SCENARIO ...] [--limit 32M,64M,256M] [--seconds N] [--weir FILE] [--page FILE]

Without a scenario all of them run. Each takes the time that it is meant for, 20 s to 5 minutes, or N seconds, and what
it takes to drain. With --page the rows are written into the table of that file, between the lines <!-- soak --> and
<!-- /soak -->, in place of those of the same scenarios and limits.

Scenarios: ";

/// Runs the command line behind `soak`. The exit code is an error's when a scenario did not hold.
///
/// # Errors
/// What is wrong with the options, or which scenarios failed.
pub fn command(parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
    let mut names = Vec::new();
    let mut limits = vec![32, 64, 256];
    let mut seconds = None;
    let mut weir = PathBuf::from("weir");
    let mut page = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Value(name) => names.push(name.string()?),
            Long("limit") => limits = megabytes(&parser.value()?.string()?)?,
            Long("seconds") => seconds = Some(Duration::from_secs(parser.value()?.parse()?)),
            Long("weir") => weir = parser.value()?.into(),
            Long("page") => page = Some(PathBuf::from(parser.value()?)),
            Short('h') | Long("help") => {
                println!("{HELP}{}", scenario::names().join(", "));
                return Ok(());
            }
            other => return Err(other.unexpected()),
        }
    }
    crate::process::allow_descriptors().map_err(|error| error.to_string())?;
    let mut show = |row: &Row| {
        println!("{}", row.line());
        // Each as it comes: a run of all of them is long.
        page.as_ref()
            .map_or(Ok(()), |page| report::write(page, std::slice::from_ref(row), &scenario::names()))
    };
    let rows = run(&names, &limits, seconds, &weir, &mut show)?;
    println!("\n{}", report::table(&rows));
    let failed: Vec<String> = rows.iter().filter(|row| !row.failures.is_empty()).map(Row::label).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("did not hold: {}", failed.join(", ")).into()) }
}

fn megabytes(text: &str) -> Result<Vec<u64>, String> {
    let one = |part: &str| {
        let number = part.strip_suffix(['M', 'm']).and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| format!("--limit {part}: a number of megabytes, as 64M"))
    };
    text.split(',').map(one).collect()
}

/// Runs scenarios by name, or all of them, with each limit in megabytes, for `time` or the time that each is meant
/// for. Each is shown as it ends.
///
/// # Errors
/// A name that is none, or an agent that does not start.
pub fn run(
    names: &[String],
    limits: &[u64],
    time: Option<Duration>,
    weir: &std::path::Path,
    show: &mut dyn FnMut(&Row) -> Result<(), String>,
) -> Result<Vec<Row>, String> {
    let known = scenario::names();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no scenario \"{unknown}\"; there are {}", known.join(", ")));
    }
    let mut rows = Vec::new();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);
    for limit in limits {
        let setting = Setting { weir: weir.to_owned(), limit: *limit * 1_000_000, time };
        for scenario in scenario::ALL {
            if chosen(scenario.name) && *limit >= scenario.least_limit {
                rows.push(scenario::run(scenario, &setting)?);
                rows.last().map_or(Ok(()), &mut *show)?;
            }
        }
        if chosen(growth::NAME) {
            rows.push(growth::run(&setting)?);
            rows.last().map_or(Ok(()), &mut *show)?;
        }
    }
    Ok(rows)
}
