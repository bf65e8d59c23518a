//! The leak lab: payloads, load and figures, from outside of the process that is looked at.
//!
//! * [`payload`]: bodies as they come from real services, the same for the same seed.
//! * [`client`]: a blocking HTTP/1.1 client, small enough not to be the bottleneck.
//! * [`lab`]: experiments on a process, and what its memory grows with (`leaklab run` and others).
//! * [`load`]: many connections from one thread; answers, latency and rates (`leaklab load`).
//! * [`bench`]: weir and its peers measured side by side (`cargo x bench`).
//! * [`soak`]: whether weir keeps its memory limit, whatever is done to it (`cargo x soak`).
//! * [`process`]: what the kernel knows of a process' memory and time.
//! * [`sink`]: a server that agents deliver to.
//! * [`message`]: where an HTTP message ends.
//! * [`histogram`]: how long things took.

pub mod bench;
pub mod client;
pub mod histogram;
pub mod lab;
pub mod load;
pub mod message;
pub mod payload;
pub mod process;
pub mod sink;
pub mod soak;
