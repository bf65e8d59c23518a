//! Weir and its peers, measured side by side in one run: what `cargo x bench` does.
//!
//! In the order of the modules: `options` (the command line), `scenario` (what is measured), `agent` (who is
//! measured), `config` (each agent's configuration for a scenario), `network` (what it finds at addresses that cannot
//! be configured), `running` (starting one on its core),
//! `destination` (where agents deliver to), `metrics` (what an agent says of itself), `subject` (an
//! agent that runs), `measure` (one round), `rounds` (all of them), `sample` and `history` (what is kept), `summary` (medians and ratios), `table`, `chart` and
//! `page` (how it is shown), `machine` (on what).

mod agent;
mod chart;
mod config;
mod destination;
mod history;
mod machine;
mod measure;
mod metrics;
mod network;
mod options;
mod page;
mod rounds;
mod running;
mod sample;
mod scenario;
mod subject;
mod summary;
mod table;

pub use options::command;
