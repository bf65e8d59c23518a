//! The outputs: one file per plugin, one line each in [`OUTPUTS`].
//!
//! * [`azure_kusto`]: Azure Data Explorer, by queued ingestion.
//! * [`counter`], [`flowcounter`]: how many records there are.
//! * [`exit`]: stops the agent.
//! * [`file`]: files, with rotation.
//! * [`forward`]: Fluent Bit, Fluentd or Weir.
//! * [`http`]: any server that takes a POST.
//! * [`null`]: for measuring, nowhere at all.
//! * [`prometheus_exporter`]: metrics, for Prometheus to look at.
//! * [`stdout`]: standard output.
//! * [`syslog`]: syslog servers.
//! * [`tcp`], [`udp`]: plain connections and datagrams.
//!
//! What they share: [`rows`] turns records into text that is pulled, [`sink`] into text that is pushed, [`template`]
//! fills values of a record into a text, [`payload`] makes it blocks that fit what is set aside,
//! compressed or not, and [`retry_after`] reads when a server wants to be asked again.

pub mod azure_kusto;
pub mod counter;
pub mod exit;
pub mod file;
pub mod flowcounter;
pub mod forward;
pub mod http;
mod link;
pub mod null;
mod payload;
pub mod prometheus_exporter;
mod retry_after;
mod rows;
mod sink;
pub mod stdout;
pub mod syslog;
pub mod tcp;
mod template;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod testing;
pub mod udp;

/// Every output there is.
pub static OUTPUTS: &[&engine::OutputDef] = &[
    &azure_kusto::DEF,
    &counter::DEF,
    &exit::DEF,
    &file::DEF,
    &flowcounter::DEF,
    &forward::DEF,
    &http::DEF,
    &null::DEF,
    &prometheus_exporter::DEF,
    &stdout::DEF,
    &syslog::DEF,
    &tcp::DEF,
    &udp::DEF,
];
