//! The lab: what a process' memory grows with, shown from outside.
//!
//! `experiment` starts the target (`target`), finds out what it is (`probe`, `program`), loads it (`drive` over
//! `wire`, with bodies from `body`) as a plan says (`plan`), while `observe` looks at it (`look`); all of that is a
//! `capture`. `judge` decides from the floors of a capture by `statistics`; `finding` says what it may be; `report`
//! shows it. `synthetic` makes captures whose truth is known.

pub mod body;
pub mod capture;
pub mod command;
pub mod document;
pub mod drive;
pub mod elf;
pub mod experiment;
pub mod figure;
pub mod finding;
pub mod http1;
pub mod http2;
pub mod inner;
pub mod inside;
pub mod judge;
pub mod look;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod program;
pub mod report;
pub mod sentence;
pub mod statistics;
pub mod synthetic;
pub mod target;
pub mod v8;
pub mod wire;
pub mod zoo;
