//! Integration tests: the built binaries, driven by real clients.

mod configuration;
mod http;
mod kusto;
mod memory;
mod monitoring;
mod structure;
