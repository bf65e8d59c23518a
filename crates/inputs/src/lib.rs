//! The inputs: one file each, one line each in [`INPUTS`].

mod dummy;
mod endpoint;
mod exec;
mod fluentbit_logs;
mod forward;
mod http;
mod json_stream;
mod parsing;
mod payload;
mod random;
mod records;
mod stdin;
mod syslog;
mod tail;
mod tcp;
mod timer;
mod udp;

/// Every input there is.
pub static INPUTS: &[&engine::InputDef] = &[
    &dummy::INPUT,
    &exec::INPUT,
    &fluentbit_logs::INPUT,
    &forward::INPUT,
    &http::INPUT,
    &random::INPUT,
    &stdin::INPUT,
    &syslog::INPUT,
    &tail::INPUT,
    &tcp::INPUT,
    &udp::INPUT,
];
