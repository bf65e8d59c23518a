//! Sockets: the listener and HTTP server that inputs use, the client that outputs use.

pub mod client;
pub mod listener;
mod pem;
pub mod server;
