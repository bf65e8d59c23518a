//! The inputs: one file each, one line each in [`INPUTS`].

mod cpu;
mod dummy;
mod endpoint;
mod exec;
mod fluentbit_logs;
mod fluentbit_metrics;
mod forward;
mod http;
mod json_stream;
mod mem;
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
    &cpu::INPUT,
    &dummy::INPUT,
    &exec::INPUT,
    &fluentbit_logs::INPUT,
    &fluentbit_metrics::INPUT,
    &forward::INPUT,
    &http::INPUT,
    &mem::INPUT,
    &random::INPUT,
    &stdin::INPUT,
    &syslog::INPUT,
    &tail::INPUT,
    &tcp::INPUT,
    &udp::INPUT,
];
