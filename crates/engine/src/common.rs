//! The options that every instance of a kind has, and those of the service section.

use std::time::Duration;

use options::{Options, Period, Size, Value};

use crate::select::TagRegex;

/// `[SERVICE]`, `service:`.
#[derive(Debug, Clone, Options)]
pub struct Service {
    /// How often open chunks go to the outputs, in seconds.
    #[option(default = "1", min = "0.001")]
    pub flush: Period,
    /// How long a stop may take until what is left is given up, in seconds; -1 waits for ever.
    #[option(default = "5")]
    pub grace: Grace,
    /// What is logged: off, error, warn, info, debug or trace.
    #[option(default = "info")]
    pub log_level: LogLevel,
    /// The file that log lines are appended to, instead of standard error.
    pub log_file: Option<String>,
    /// Run in the background.
    #[option(default = "off")]
    pub daemon: bool,
    /// A file of parsers; a relative path is looked for in the working directory, then beside the configuration.
    pub parsers_file: Vec<String>,
    /// The most bytes that lines are joined to; 0 for no limit. K, M and G stand for 1,024 and its powers.
    #[option(default = "2MB")]
    pub multiline_buffer_limit: BinarySize,
    /// A file of plugins in shared libraries, which are not available here.
    pub plugins_file: Vec<String>,
    /// A file of stream processor tasks, which are not available here.
    pub streams_file: Vec<String>,
    /// Let SIGHUP and the monitoring API reload the configuration.
    #[option(default = "off")]
    pub hot_reload: bool,
    /// The most resident memory the process may have: a size, or `auto` for 80 % of the container's limit, or
    /// 256M without one.
    #[option(default = "auto")]
    pub memory_limit: MemoryLimit,
    /// Serve the monitoring API.
    #[option(default = "off")]
    pub http_server: bool,
    /// Address of the monitoring API.
    #[option(default = "0.0.0.0")]
    pub http_listen: String,
    /// Port of the monitoring API.
    #[option(default = "2020")]
    pub http_port: u16,
    /// Let /api/v1/health judge by errors and retries.
    #[option(default = "off")]
    pub health_check: bool,
    /// Errors within `hc_period` that make the agent unhealthy when exceeded.
    #[option(default = "5")]
    pub hc_errors_count: u64,
    /// Given-up retries within `hc_period` that make the agent unhealthy when exceeded.
    #[option(default = "5")]
    pub hc_retry_failure_count: u64,
    /// The period that health is judged over, in seconds.
    #[option(default = "60")]
    pub hc_period: Period,
    /// The longest wait between retries, in seconds.
    #[option(name = "scheduler.cap", default = "2000", min = "1")]
    pub scheduler_cap: u64,
    /// The shortest wait before a retry, in seconds.
    #[option(name = "scheduler.base", default = "5", min = "1")]
    pub scheduler_base: u64,
    /// The folder that records are stored in. Without it they are in memory only.
    #[option(name = "storage.path")]
    pub storage_path: Option<String>,
    /// How safe what is stored is: `normal` survives the end of the process however it comes, `full` a power cut.
    #[option(name = "storage.sync", default = "normal")]
    pub storage_sync: Sync,
    /// Write checksums into chunk files.
    #[option(name = "storage.checksum", default = "off")]
    pub storage_checksum: bool,
    /// Stored chunks that are in memory too, at most.
    #[option(name = "storage.max_chunks_up", default = "128", min = "1")]
    pub storage_max_chunks_up: usize,
    /// Memory that stored records are read into, at most.
    #[option(name = "storage.backlog.mem_limit", default = "100M")]
    pub storage_backlog_mem_limit: Size,
    /// Deliver stored records while the agent stops too, as long as `grace` allows; without it they stay for the next
    /// start.
    #[option(name = "storage.backlog.flush_on_shutdown", default = "off")]
    pub storage_flush_on_shutdown: bool,
    /// Delete what is damaged in chunk files, instead of moving it to the rejected records.
    #[option(name = "storage.delete_irrecoverable_chunks", default = "off")]
    pub storage_delete_damaged: bool,
    /// The `storage.type` of inputs that have none.
    #[option(name = "storage.type")]
    pub storage_type: Option<StorageType>,
    /// Let inputs without a `storage.type` have the service's.
    #[option(name = "storage.inherit", default = "off")]
    pub storage_inherit: bool,
    /// Chunk files have the size of their records always; accepted and without effect.
    #[option(name = "storage.trim_files", default = "off")]
    pub storage_trim_files: bool,
    /// Show storage in the monitoring API.
    #[option(name = "storage.metrics", default = "on")]
    pub storage_metrics: bool,
    /// Keep records that an output refuses, or that exceed `retry_limit`, as files.
    #[option(name = "storage.keep.rejected", default = "off")]
    pub storage_keep_rejected: bool,
    /// The folder of those files below `storage.path`.
    #[option(name = "storage.rejected.path", default = "rejected")]
    pub storage_rejected_path: String,
    /// The most that those files may take.
    #[option(name = "storage.rejected.limit")]
    pub storage_rejected_limit: Option<Size>,
    /// Write characters outside ASCII as \uXXXX in every JSON that leaves.
    #[option(name = "json.escape_unicode", default = "on")]
    pub escape_unicode: bool,
}

/// The options of every input.
#[derive(Debug, Options)]
pub struct InputCommon {
    /// The plugin.
    #[option(required)]
    pub name: String,
    /// The tag of the records; the instance's name if not set.
    pub tag: Option<String>,
    /// The instance's name in logs and metrics.
    pub alias: Option<String>,
    /// What this instance logs, instead of the service's level.
    pub log_level: Option<LogLevel>,
    /// The time within which a message like one before is not logged again, in seconds; 0 logs all.
    #[option(default = "0")]
    pub log_suppress_interval: Period,
    /// Off: no output gets the records; they are counted as unrouted.
    #[option(default = "on")]
    pub routable: bool,
    /// Run the input in a thread of its own.
    #[option(default = "off")]
    pub threaded: bool,
    /// The most memory that records of this input may hold; 0 for no limit but the process's.
    #[option(default = "0")]
    pub mem_buf_limit: Size,
    /// Where records are until they are delivered: `memory`; `filesystem` (below `storage.path`, in memory as far as
    /// there is room); `memrb` (in memory, where the oldest make room for new ones within `mem_buf_limit`).
    #[option(name = "storage.type")]
    pub storage_type: Option<StorageType>,
    /// Refuse records while `storage.max_chunks_up` chunks are in memory, instead of having them on the disk only.
    #[option(name = "storage.pause_on_chunks_overlimit", default = "off")]
    pub storage_pause: bool,
    /// When the sender is told that records were taken: `buffered` (they are in memory), `stored` (they survive a
    /// restart; with `storage.sync full` a power cut) or `delivered` (every output that takes them has accepted
    /// them). Without it what `storage.type` gives: buffered in memory, stored on the filesystem.
    pub acknowledge: Option<Acknowledge>,
    /// How long `acknowledge delivered` waits before the sender is told that it is not known.
    #[option(default = "30s", min = "1")]
    pub acknowledge_timeout: Period,
}

/// Where records are until they are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, options::Choice)]
pub enum StorageType {
    /// In memory.
    Memory,
    /// On the disk.
    Filesystem,
    /// In memory, where the oldest make room for new ones.
    Memrb,
}

/// How safe what is stored is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, options::Choice)]
pub enum Sync {
    /// Over the end of the process.
    Normal,
    /// Over a power cut.
    Full,
}

/// How far records must have come when their sender is told that they were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, options::Choice)]
pub enum Acknowledge {
    /// In memory.
    Buffered,
    /// On the disk.
    Stored,
    /// With every output that takes them.
    Delivered,
}

/// The options of every filter.
#[derive(Debug, Options)]
pub struct FilterCommon {
    /// The plugin.
    #[option(required)]
    pub name: String,
    /// The tags the filter applies to; `*` stands for any run of characters.
    #[option(name = "match")]
    pub pattern: Option<String>,
    /// The tags it applies to as a regular expression that matches their start, instead of `match`.
    pub match_regex: Option<TagRegex>,
    /// Off: the filter is there and does nothing.
    #[option(default = "on")]
    pub active: bool,
    /// The instance's name in logs and metrics.
    pub alias: Option<String>,
    /// What this instance logs, instead of the service's level.
    pub log_level: Option<LogLevel>,
    /// The time within which a message like one before is not logged again, in seconds; 0 logs all.
    #[option(default = "0")]
    pub log_suppress_interval: Period,
}

/// The options of every output.
#[derive(Debug, Options)]
pub struct OutputCommon {
    /// The plugin.
    #[option(required)]
    pub name: String,
    /// The tags the output takes; `*` stands for any run of characters.
    #[option(name = "match")]
    pub pattern: Option<String>,
    /// The tags it takes as a regular expression that matches their start, instead of `match`.
    pub match_regex: Option<TagRegex>,
    /// The instance's name in logs and metrics.
    pub alias: Option<String>,
    /// What this instance logs, instead of the service's level.
    pub log_level: Option<LogLevel>,
    /// The time within which a message like one before is not logged again, in seconds; 0 logs all.
    #[option(default = "0")]
    pub log_suppress_interval: Period,
    /// Threads that flush; 0 for the core thread. Without it as many as the plugin wants.
    #[option(max = "64")]
    pub workers: Option<usize>,
    /// The most bytes on the disk that wait for this output: the oldest are dropped beyond it; off for no limit.
    #[option(name = "storage.total_limit_size")]
    pub storage_total_limit: Option<TotalLimit>,
    /// How often a batch is retried before it is dropped: a number, no_limits or no_retries. Without it a batch
    /// is retried for as long as memory allows.
    pub retry_limit: Option<RetryLimit>,
    /// What happens when memory is full: block (the inputs of this output wait or refuse) or drop_oldest (what
    /// waits longest for this output is dropped and counted).
    #[option(default = "block")]
    pub when_full: WhenFull,
}

/// What happens to what waits for an output when memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, options::Choice)]
pub enum WhenFull {
    /// It stays, and inputs wait or refuse.
    Block,
    /// The oldest is dropped and counted.
    #[choice(name = "drop_oldest")]
    DropOldest,
}

/// How long a stop may take; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub Option<Duration>);

impl Value for Grace {
    const KIND: options::Kind = options::Kind::Period;

    fn parse(text: &str) -> Result<Grace, options::Invalid> {
        if text == "-1" {
            return Ok(Grace(None));
        }
        Period::parse(text).map(|period| Grace(Some(period.0)))
    }
}

/// A number of bytes whose units are powers of 1,024, as only one option of Fluent Bit has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinarySize(pub usize);

impl Value for BinarySize {
    const KIND: options::Kind = options::Kind::Size;

    fn parse(text: &str) -> Result<BinarySize, options::Invalid> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale: usize = match unit.trim().to_ascii_lowercase().as_str() {
            "" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => return Err(options::Invalid::not(text, "a size").hint("write for example 2M")),
        };
        let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(scale));
        bytes.map(BinarySize).ok_or_else(|| options::Invalid::not(text, "a size"))
    }
}

/// The log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, options::Choice)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What was lost or cannot go on.
    Error,
    /// What needs attention.
    #[choice(alias = "warning")]
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Everything.
    Trace,
}

/// The memory limit as it stands in the configuration; `None` is `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit(pub Option<u64>);

impl Value for MemoryLimit {
    const KIND: options::Kind = options::Kind::Size;

    fn parse(text: &str) -> Result<MemoryLimit, options::Invalid> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(MemoryLimit(None));
        }
        Size::parse(text).map(|size| MemoryLimit(Some(size.0)))
    }
}

/// The most bytes on the disk that wait for an output; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotalLimit(pub Option<u64>);

impl Value for TotalLimit {
    const KIND: options::Kind = options::Kind::Size;

    fn parse(text: &str) -> Result<TotalLimit, options::Invalid> {
        if ["off", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(TotalLimit(None));
        }
        Size::parse(text).map(|size| TotalLimit((size.0 > 0).then_some(size.0)))
    }
}

/// How often a batch is retried; `None` is without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimit(pub Option<u32>);

impl Value for RetryLimit {
    const KIND: options::Kind = options::Kind::Text;

    fn parse(text: &str) -> Result<RetryLimit, options::Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "no_limits" | "false" | "off" => Ok(RetryLimit(None)),
            "no_retries" => Ok(RetryLimit(Some(0))),
            _ => match text.parse() {
                Ok(limit) => Ok(RetryLimit(Some(limit))),
                Err(_) => Err(options::Invalid::not(text, "a number, no_limits or no_retries")),
            },
        }
    }
}
