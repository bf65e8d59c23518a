//! The outputs: one file per plugin, one line each in [`OUTPUTS`].
//!
//! * [`azure_kusto`]: Azure Data Explorer, by queued ingestion.
//! * [`http`]: any server that takes a POST.
//! * [`null`]: for measuring, nowhere at all.
//! * [`stdout`]: standard output.
//!
//! What they share: [`rows`] turns records into text, [`payload`] makes it blocks that fit what is set aside,
//! compressed or not, and [`retry_after`] reads when a server wants to be asked again.

pub mod azure_kusto;
pub mod http;
pub mod null;
mod payload;
mod retry_after;
mod rows;
pub mod stdout;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod testing;

/// Every output there is.
pub static OUTPUTS: &[&engine::OutputDef] = &[&azure_kusto::DEF, &http::DEF, &null::DEF, &stdout::DEF];
