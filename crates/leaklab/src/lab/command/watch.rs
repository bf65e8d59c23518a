//! `leaklab watch`: the figures of a process over time, as a capture, drawn in the terminal.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lexopt::prelude::*;

use super::{help, options, show};
use crate::lab::capture::{Header, Line};
use crate::lab::inner::Inner;
use crate::lab::look::{self, Look};
use crate::lab::target::{self, Target};
use crate::lab::{figure, program};

/// Samples that are drawn, and that are kept in memory before they are written.
const DRAWN: usize = 60;
/// How long a command may take until it tells of itself.
const STARTING: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody has ended this program.
const SHORT: Duration = Duration::from_millis(100);
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

struct Given {
    pid: Option<u32>,
    cmd: Option<String>,
    interval: Duration,
    length: Option<Duration>,
    out: Option<PathBuf>,
    inner: Option<String>,
    name: Option<String>,
}

/// Watches until the process ends or the time is over.
pub fn watch(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let mut given = Given {
        pid: None,
        cmd: None,
        interval: Duration::from_secs(1),
        length: None,
        out: None,
        inner: None,
        name: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pid") => given.pid = Some(parser.value()?.parse()?),
            Long("cmd") => given.cmd = Some(parser.value()?.string()?),
            Long("interval") => given.interval = options::duration(&parser.value()?.string()?)?,
            Long("for") => given.length = Some(options::duration(&parser.value()?.string()?)?),
            Long("out") => given.out = Some(parser.value()?.into()),
            Long("inner") => given.inner = Some(parser.value()?.string()?),
            Long("name") => given.name = Some(parser.value()?.string()?),
            other => return help(other),
        }
    }
    target::end_politely();
    let log = std::env::temp_dir().join(format!("leaklab-watch-{}.log", std::process::id()));
    let target = match (&given.cmd, given.pid) {
        (Some(command), None) => Some(Target::start(command, &log, None)?),
        (None, Some(_)) => None,
        _ => return Err("--pid says what to watch, or --cmd what to start".into()),
    };
    let root = target.as_ref().map_or(given.pid, |target| Some(target.pid())).unwrap_or_default();
    let result = watching(&given, root);
    drop(target);
    let _gone = std::fs::remove_file(&log);
    result
}

fn watching(given: &Given, root: u32) -> Result<u8, lexopt::Error> {
    let inner = given.inner.as_ref().map(|url| inner(url, given)).transpose()?;
    let started = Instant::now();
    let mut file = given.out.as_deref().map(create).transpose()?;
    let header = Header {
        version: 1,
        command: given.cmd.clone().unwrap_or_default(),
        url: String::new(),
        budget: given.length.map_or(0.0, |length| length.as_secs_f64()),
        started: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        program: program::of(root),
    };
    append(file.as_mut(), &Line::Header(header))?;
    let mut drawn: Vec<f64> = Vec::with_capacity(DRAWN);
    while given.length.is_none_or(|length| started.elapsed() < length) && !target::interrupted() {
        let Some(look) = look::look_closely(&look::tree(root)) else { break };
        let inside = inner.as_ref().and_then(Inner::read);
        append(file.as_mut(), &Line::Sample { t: started.elapsed().as_secs_f64(), look, inside })?;
        if drawn.len() == DRAWN {
            drawn.remove(0);
        }
        drawn.push(look.rss as f64);
        let told = inner.as_ref().and_then(|inner| Some((inner.name.as_str(), inside?)));
        draw(&drawn, &look, told)?;
        wait(given.interval);
    }
    if drawn.is_empty() {
        return Err(format!("there is no process {root}, or its memory may not be read").into());
    }
    show("\n")?;
    Ok(0)
}

/// What the process tells of itself; one that was started a moment ago is given time to answer.
fn inner(url: &str, given: &Given) -> Result<Inner, String> {
    let started = Instant::now();
    loop {
        match Inner::new(url, given.name.as_deref()) {
            Err(_) if given.cmd.is_some() && started.elapsed() < STARTING && !target::interrupted() => {
                std::thread::sleep(SHORT);
            }
            result => return result,
        }
    }
}

/// Until the next look, or until somebody has ended this program.
fn wait(interval: Duration) {
    let until = Instant::now() + interval;
    while Instant::now() < until && !target::interrupted() {
        std::thread::sleep(SHORT.min(until.saturating_duration_since(Instant::now())));
    }
}

fn create(path: &Path) -> Result<std::fs::File, String> {
    std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn append(file: Option<&mut std::fs::File>, line: &Line) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    let mut text = serde_json::to_string(line).map_err(|error| error.to_string())?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// One line that is drawn anew; without a terminal one line per sample.
fn draw(drawn: &[f64], look: &Look, told: Option<(&str, u64)>) -> Result<(), lexopt::Error> {
    let most = drawn.iter().copied().fold(1.0, f64::max);
    let least = drawn.iter().copied().fold(most, f64::min) * 0.9;
    let level = |rss: &f64| LEVELS[((rss - least) / (most - least).max(1.0) * 7.0).round() as usize];
    let line: String = drawn.iter().map(level).collect();
    let bytes = |value: u64| figure::bytes(value as f64);
    let mut text = format!(
        "{line} rss {} pss {} anon {} huge {} file {} threads {} fds {} sockets {}",
        bytes(look.rss),
        bytes(look.pss),
        bytes(look.anonymous),
        bytes(look.huge),
        bytes(look.file),
        look.threads,
        look.descriptors,
        look.sockets
    );
    if look.cgroup > 0 {
        text.push_str(&format!(" cgroup {}", bytes(look.cgroup)));
    }
    if let Some((name, inside)) = told {
        text.push_str(&format!(" {name} {}", bytes(inside)));
    }
    let terminal = std::io::stdout().is_terminal();
    show(&if terminal { format!("\r\x1b[K{text}") } else { text + "\n" })?;
    std::io::stdout().flush().map_err(|error| error.to_string().into())
}

/// So that a capture of `watch` is what `judge` reads: it has no floors, and nothing is decided on it.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::capture::Capture;

    #[test]
    fn a_watched_process_gives_a_capture_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("capture.jsonl");
        let words =
            ["--cmd", "sleep 20", "--for", "1200ms", "--interval", "1s", "--out", file.to_str().unwrap()];
        assert_eq!(watch(&mut lexopt::Parser::from_args(words)).unwrap(), 0);
        let capture = Capture::read(&file).unwrap();
        let samples = capture.lines.iter().filter(|line| matches!(line, Line::Sample { .. })).count();
        assert!(capture.header().is_some() && samples >= 1);
    }
}
