//! Sockets: the listener and HTTP server that inputs use, the client that outputs use.

pub mod client;
pub mod datagram;
pub mod jwt;
pub mod listener;
mod pem;
pub mod server;
