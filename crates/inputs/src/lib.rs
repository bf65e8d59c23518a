//! The inputs: one file each, one line each in [`INPUTS`].

mod dummy;
mod http;

/// Every input there is.
pub static INPUTS: &[&engine::InputDef] = &[&dummy::INPUT, &http::INPUT];
