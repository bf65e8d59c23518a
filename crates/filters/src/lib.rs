//! The filters: one file each, one line each in [`FILTERS`].

mod checklist;
mod content_modifier;
mod expect;
mod grep;
mod modify;
mod multiline;
mod nest;
mod number;
mod parser;
mod record_modifier;
mod rewrite_tag;
mod stdout;
mod sysinfo;
mod throttle;
mod type_converter;
mod words;

/// Every filter there is.
pub static FILTERS: &[&engine::FilterDef] = &[
    &checklist::FILTER,
    &expect::FILTER,
    &grep::FILTER,
    &modify::FILTER,
    &multiline::FILTER,
    &nest::FILTER,
    &parser::FILTER,
    &record_modifier::FILTER,
    &rewrite_tag::FILTER,
    &stdout::FILTER,
    &sysinfo::FILTER,
    &throttle::FILTER,
    &type_converter::FILTER,
];

/// What can be a processor beside them.
pub static PROCESSORS: &[&engine::FilterDef] = &[&content_modifier::PROCESSOR];
