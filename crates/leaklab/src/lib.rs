//! The leak lab: payloads, load and figures, from outside of the process that is looked at.
//!
//! * [`payload`]: bodies as they come from real services, the same for the same seed.
//! * [`client`]: a blocking HTTP/1.1 client, small enough not to be the bottleneck.
//! * [`process`]: what the kernel knows of a process' memory.

pub mod client;
pub mod payload;
pub mod process;
