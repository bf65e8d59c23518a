//! Every bound that is not an option, in one place, with the reason for its size.

use std::time::Duration;

/// Sealed chunks on their way from the lanes to the core. Each holds leased pages, so the ledger bounds their
/// bytes; this bounds their number.
pub const SEALED_QUEUE: usize = 256;

/// A chunk is sealed when it holds this many bytes: Fluent Bit's size, so that destinations see the same.
pub const CHUNK_BYTES: usize = 2_048_000;

/// Open chunks of one lane, one per tag. The oldest is sealed when another tag comes.
pub const OPEN_CHUNKS: usize = 512;

/// Bytes of a tag. Longer ones are cut by the inputs that make them from data.
pub const TAG_BYTES: usize = 1024;

/// Tags whose routes are remembered. All are forgotten when one more comes: working them out again is cheap.
pub const ROUTE_CACHE: usize = 1024;

/// Bytes of a tag that is remembered: with [`ROUTE_CACHE`] of them the memory is at most 350 KB.
pub const ROUTE_CACHE_TAG: usize = 256;

/// The least that `mem_buf_limit` may be, in pages: a chunk, a request and what each of them grows by.
pub const LEAST_PAGES: usize = 4;

/// Batches handed to an output's lanes and answers on their way back. Never more than an output's concurrency.
pub const FLUSH_QUEUE: usize = 64;

/// Records that filters see at a time, and the entries these may have in all. What a window holds beside the
/// pages is proportional to the entries (64 bytes each).
pub const WINDOW_RECORDS: usize = 64;

/// Bytes of records in a window, but for its last record: filters may make copies of them.
pub const WINDOW_BYTES: usize = 512 << 10;

/// See [`WINDOW_RECORDS`].
pub const WINDOW_ENTRIES: usize = 4096;

/// Tags that the records of one request were sent under by filters and that are gathered before they go on. Each
/// holds a page at least.
pub const EMITTED_TAGS: usize = 16;

/// Bytes of records that the processors of an output go through at a time.
pub const PROCESSED_SLICE: usize = 256 << 10;

/// How often filters that hold records back are asked at most.
pub const SHORTEST_TICK: Duration = Duration::from_millis(50);

/// The part of the budget that several inputs have set aside, in equal parts: no dead output takes it from them.
pub const OWN_PART: usize = 4;

/// How often free pages that nobody used go back to the kernel.
pub const LEDGER_TICK: Duration = Duration::from_millis(100);

/// How often open chunks are sealed while memory is short.
pub const FLUSH_EARLY: Duration = Duration::from_millis(250);

/// A state of the whole agent is said again after this time at the earliest.
pub const SAID_AGAIN: Duration = Duration::from_secs(10);

/// The first and the longest wait before a held batch is tried again.
pub const HOLD_FIRST: Duration = Duration::from_secs(10);
/// See [`HOLD_FIRST`].
pub const HOLD_LONGEST: Duration = Duration::from_secs(300);

/// A flush that takes longer is given up and tried again. Outputs have shorter limits of their own for every
/// step; this one is for what they forgot.
pub const FLUSH_LONGEST: Duration = Duration::from_secs(900);

/// What lanes of outputs get when the time that a stop may take is over, to say what they leave undone.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// The first and the longest wait before an input or output that failed is started again.
pub const RESTART_FIRST: Duration = Duration::from_secs(1);
/// See [`RESTART_FIRST`].
pub const RESTART_LONGEST: Duration = Duration::from_secs(60);

/// Appends on their way to the disk. Each holds leased pages, so the ledger bounds their bytes.
pub const APPEND_QUEUE: usize = 256;

/// Appends that are written together, and synced once.
pub const APPEND_GROUP: usize = 255;

/// What the core asks of the disk, and what it is told.
pub const DISK_QUEUE: usize = 64;

/// Open chunks on the disk, over all inputs: one per input and tag. The oldest is sealed when another comes.
pub const OPEN_STORED: usize = 4096;

/// Chunks on the disk that the core knows by name. More wait there until these are fewer.
pub const KNOWN_STORED: usize = 2048;

/// Files that are looked for at a time, and bytes of them.
pub const LOOK_FILES: usize = 64;
/// See [`LOOK_FILES`].
pub const LOOK_BYTES: u64 = 16 << 20;

/// What is set aside to read chunks into, so that a full agent can still deliver what is on the disk.
pub const LOAD_BYTES: usize = 4 << 20;

/// How long the end of the agent waits for the disk.
pub const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// A message about dropped records comes at most so often; it counts what it did not say.
pub const SAY_EVERY: Duration = Duration::from_secs(10);

/// Folders of inputs that are known by number. Each reload numbers its inputs anew.
pub const KNOWN_FOLDERS: usize = 4096;
