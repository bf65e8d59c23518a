//! The outputs: one file per plugin, one line each in [`OUTPUTS`].

pub mod null;
mod rows;
pub mod stdout;

/// Every output there is.
pub static OUTPUTS: &[&engine::OutputDef] = &[&null::DEF, &stdout::DEF];
