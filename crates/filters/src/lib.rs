//! The filters: one file each, one line each in [`FILTERS`].

/// Every filter there is.
pub static FILTERS: &[&engine::FilterDef] = &[];
