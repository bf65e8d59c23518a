//! The filters: one file each, one line each in [`FILTERS`].

mod grep;
mod modify;
mod multiline;
mod parser;

/// Every filter there is.
pub static FILTERS: &[&engine::FilterDef] =
    &[&grep::FILTER, &modify::FILTER, &multiline::FILTER, &parser::FILTER];

/// What can be a processor beside them.
pub static PROCESSORS: &[&engine::FilterDef] = &[];
