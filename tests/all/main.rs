//! Integration tests: the built binaries, driven by real clients.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod configuration;
mod http;
mod http_matrix;
mod http_neighbours;
mod http_tokens;
mod kusto;
mod kusto_sdk;
mod kusto_ways;
mod memory;
mod monitoring;
mod overload;
mod soak;
mod sockets;
mod structure;
