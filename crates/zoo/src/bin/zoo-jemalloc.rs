//! The zoo with jemalloc.

use std::process::ExitCode;

#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed pages are never given back: retention is the allocator's own, and what the lab asks of it must be seen.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static HEAP_OPTIONS: &[u8; 35] = b"dirty_decay_ms:-1,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    zoo::main()
}
