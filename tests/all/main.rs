//! Integration tests: the built binaries, driven by real clients.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configuration;
mod http;
mod kusto;
mod kusto_sdk;
mod kusto_ways;
mod memory;
mod monitoring;
mod overload;
mod structure;
