//! The log: Fluent Bit's line format, to standard error or to `log_file`.
//!
//! A message about an instance begins with its name in brackets, as in `[output:http.0] ...`; that is how an
//! instance has a level of its own and how its repeated messages are held back (`log_suppress_interval`).

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::common::{LogLevel, Service};
use event::EventTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::cli::Options;

/// How much an instance logs.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its level, if it has one of its own.
    pub level: Option<LogLevel>,
    /// How long a message like one before is held back.
    pub suppress: Duration,
}

/// The crates whose messages are written. Libraries speak at their own levels, and may speak of requests and
/// tokens: they are not heard.
const HEARD: &[&str] = &["weir", "engine", "inputs", "filters", "outputs", "net"];

/// Lines written, by level: error, warn, info, debug, trace.
static WRITTEN: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
/// The most that anybody wants to hear, as the number of a level.
static LOUDEST: AtomicUsize = AtomicUsize::new(0);
static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Bytes of a message: what clients and destinations say may be in it.
const LONGEST: usize = 8 << 10;

/// Messages of an instance that are remembered to hold back their like.
const REMEMBERED: usize = 32;

struct State {
    file: Option<File>,
    level: usize,
    levels: HashMap<String, usize>,
    suppress: HashMap<String, Duration>,
    /// When a message of this hash was written last.
    recent: HashMap<u64, Instant>,
    errors: std::collections::VecDeque<String>,
}

/// Errors and warnings that the live page shows.
const LAST_ERRORS: usize = 20;

/// The last errors and warnings, the newest last.
pub fn last_errors() -> Vec<String> {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.as_ref().map(|state| state.errors.iter().cloned().collect()).unwrap_or_default()
}

/// Lines written so far, by level.
pub fn written() -> [(&'static str, u64); 5] {
    let count = |index: usize| WRITTEN[index].load(Ordering::Relaxed);
    ["error", "warn", "info", "debug", "trace"].map(|name| {
        let index = ["error", "warn", "info", "debug", "trace"].iter().position(|other| *other == name);
        (name, count(index.unwrap_or_default()))
    })
}

/// Starts logging, or changes it after a reload.
///
/// # Errors
/// The log file cannot be opened; nothing is changed then.
pub fn start(service: &Service, instances: &[Instance], options: &Options) -> Result<(), String> {
    let file = match &service.log_file {
        None => None,
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            Some(file.map_err(|error| format!("cannot open log_file {path}: {error}"))?)
        }
    };
    let level = level(service.log_level, options);
    let own = |level: LogLevel| if options.quiet { 0 } else { level as usize };
    let levels: HashMap<String, usize> =
        instances.iter().filter_map(|one| Some((one.name.clone(), own(one.level?)))).collect();
    LOUDEST.store(levels.values().copied().chain([level]).max().unwrap_or(level), Ordering::Relaxed);
    let suppress =
        instances.iter().filter(|one| !one.suppress.is_zero()).map(|one| (one.name.clone(), one.suppress));
    let suppress = suppress.collect();
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let errors = state.take().map(|old| old.errors).unwrap_or_default();
    *state = Some(State { file, level, levels, suppress, recent: HashMap::new(), errors });
    drop(state);
    // At a reload there is one already.
    let _already = tracing::subscriber::set_global_default(Log);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// The number of the level: the environment's, else the configured one; `-v` adds, `-q` ends all.
fn level(configured: LogLevel, options: &Options) -> usize {
    if options.quiet {
        return 0;
    }
    let named = std::env::var("FLB_LOG_LEVEL").ok();
    let named = named.and_then(|text| <LogLevel as options::Value>::parse(&text).ok());
    (named.unwrap_or(configured) as usize + usize::from(options.verbose)).min(5)
}

/// 1 for errors to 5 for traces, as [`LogLevel`] counts.
fn number(level: &Level) -> usize {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The receiver of all messages.
struct Log;

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let root = metadata.target().split("::").next().unwrap_or("");
        metadata.is_event()
            && HEARD.contains(&root)
            && number(metadata.level()) <= LOUDEST.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        levels.get(LOUDEST.load(Ordering::Relaxed)).copied()
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = state.as_mut() {
            state.write(event.metadata().level(), &message.0);
        }
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// The text of an event; other fields follow it as `name=value`.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        // What is too long is cut: that is no failure.
        let _ = match field.name() {
            "message" => write!(self, "{value:?}"),
            name => write!(self, " {name}={value:?}"),
        };
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Ok(())
    }
}

impl State {
    fn write(&mut self, level: &Level, message: &str) {
        let number = number(level);
        let instance = instance_of(message);
        let wanted = instance.and_then(|name| self.levels.get(name)).copied().unwrap_or(self.level);
        if number > wanted || instance.is_some_and(|name| self.is_held_back(name, number, message)) {
            return;
        }
        let name = ["error", " warn", " info", "debug", "trace"][number - 1];
        WRITTEN[number - 1].fetch_add(1, Ordering::Relaxed);
        let now = EventTime::now();
        let (year, month, day, hour, minute, second) = now.civil();
        let millisecond = now.nanoseconds / 1_000_000;
        let line = format!(
            "[{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{millisecond:03}] [{name}] {message}\n"
        );
        // Where the log itself cannot be written, nobody can be told.
        let _ = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => std::io::stderr().lock().write_all(line.as_bytes()),
        };
        engine::logs::publish(name.trim_start(), message);
        if number <= 2 {
            if self.errors.len() == LAST_ERRORS {
                self.errors.pop_front();
            }
            self.errors.push_back(line.trim_end().chars().take(400).collect());
        }
    }

    /// Whether a message of the instance that differs in numbers only was written within its interval.
    fn is_held_back(&mut self, instance: &str, level: usize, message: &str) -> bool {
        let Some(interval) = self.suppress.get(instance).copied() else { return false };
        let mut hasher = DefaultHasher::new();
        (instance, level).hash(&mut hasher);
        message.chars().filter(|letter| !letter.is_ascii_digit()).for_each(|letter| letter.hash(&mut hasher));
        let (key, now) = (hasher.finish(), Instant::now());
        if self.recent.get(&key).is_some_and(|last| now.duration_since(*last) < interval) {
            return true;
        }
        if self.recent.len() >= REMEMBERED {
            self.recent.clear();
        }
        self.recent.insert(key, now);
        false
    }
}

/// The instance that a message is about: `http.0` of `[output:http.0] ...` and of `[output:http:http.0] ...`.
fn instance_of(message: &str) -> Option<&str> {
    let (tag, _) = message.strip_prefix('[')?.split_once(']')?;
    let (_, name) = tag.split_once(':')?;
    Some(name.rsplit(':').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_instance_in_brackets() {
        assert_eq!(instance_of("[output:http.0] refused"), Some("http.0"));
        assert_eq!(instance_of("[input:http:web] listening"), Some("web"));
        assert_eq!(instance_of("[engine] stopping"), None);
        assert_eq!(instance_of("no brackets: here"), None);
    }

    #[test]
    fn messages_that_differ_in_numbers_only_are_held_back_for_the_interval() {
        let mut state = State {
            file: None,
            level: 3,
            levels: HashMap::new(),
            suppress: HashMap::from([("http.0".to_owned(), Duration::from_secs(60))]),
            recent: HashMap::new(),
            errors: Default::default(),
        };
        assert!(!state.is_held_back("http.0", 2, "[output:http.0] retry 1 of 5"));
        assert!(state.is_held_back("http.0", 2, "[output:http.0] retry 2 of 5"));
        assert!(!state.is_held_back("http.0", 1, "[output:http.0] retry 2 of 5"), "another level");
        assert!(!state.is_held_back("http.1", 2, "[output:http.1] retry 2 of 5"), "another instance");
    }
}
