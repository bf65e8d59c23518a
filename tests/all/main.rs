//! Integration tests: the built binaries, driven by real clients.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken;
mod certificates;
mod clients;
mod command_line;
mod configuration;
mod delivery;
mod filters;
mod http;
mod http_matrix;
mod http_neighbours;
mod http_tokens;
mod kusto;
mod kusto_sdk;
mod kusto_stop;
mod kusto_ways;
mod live_page;
mod memory;
mod monitoring;
mod options;
mod overload;
mod parity;
mod parsers;
mod reload;
mod soak;
mod sockets;
mod structure;
mod tail;
