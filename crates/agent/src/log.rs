//! The log: Fluent Bit's line format, to standard error or to `log_file`.

use std::fmt;
use std::fs::File;
use std::sync::Mutex;

use engine::common::{LogLevel, Service};
use event::EventTime;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::Options;

/// Starts logging.
///
/// # Errors
/// The log file cannot be opened.
pub fn start(service: &Service, options: &Options) -> Result<(), String> {
    let level = level(service.log_level, options);
    let builder = tracing_subscriber::fmt().with_max_level(level).event_format(Line);
    match &service.log_file {
        None => builder.with_writer(std::io::stderr).init(),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            let file = file.map_err(|error| format!("cannot open log_file {path}: {error}"))?;
            builder.with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}

fn level(configured: LogLevel, options: &Options) -> LevelFilter {
    let order = [
        LevelFilter::OFF,
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];
    if options.quiet {
        return LevelFilter::OFF;
    }
    order[(configured as usize + usize::from(options.verbose)).min(order.len() - 1)]
}

/// The crates whose messages are written.
const HEARD: &[&str] = &["weir", "engine", "inputs", "filters", "outputs", "net"];

/// `[2026/11/23 20:35:46] [ info] message`
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // Libraries speak at their own levels, and may speak of requests and tokens: they are not heard.
        let root = metadata.target().split("::").next().unwrap_or("");
        if !HEARD.contains(&root) {
            return Ok(());
        }
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => " warn",
            Level::INFO => " info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let (year, month, day, hour, minute, second) = EventTime::now().civil();
        write!(out, "[{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}] [{level}] ")?;
        context.format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}
