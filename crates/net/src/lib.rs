//! Sockets: the listener and HTTP server that inputs use, the client that outputs use.

pub mod body;
pub mod client;
pub mod http1;
pub mod jwt;
pub mod listener;
