//! The engine: what happens to records between an input and the outputs, the same for every plugin.
//!
//! Read in the order of a record: [`emit`] (the only door in), [`pass`] (filters), [`store`] (open chunks in
//! the lane), [`route`] (which outputs), [`dispatch`] (batches to the outputs), [`retry`] (what became of
//! them). [`pipeline`] builds all of it from a configuration and runs it; [`plugin`] has the contracts.

pub mod batch;
pub mod common;
mod condition;
mod direct;
pub mod dispatch;
pub mod emit;
pub mod families;
mod held;
pub mod lane;
pub mod limits;
pub mod logs;
pub mod metrics;
mod muffled;
pub mod parsers;
pub mod pass;
pub mod pipeline;
pub mod plugin;
mod processors;
pub mod receipt;
pub mod registry;
pub mod retry;
pub mod route;
pub mod select;
mod storage;
pub mod store;

pub use batch::{Batch, Part};
pub use condition::Condition;
pub use emit::{Emitter, Refused};
pub use lane::{Ending, Stop};
pub use metrics::{Counters, Figure, Reason};
pub use plugin::{
    Drive, Emitting, Filter, FilterDef, Input, InputDef, InputNeeds, Local, Outcome, Output, OutputDef,
    OutputLane, Setup,
};
pub use receipt::{Fate, Receipt};
