//! Bytes to events and events to bytes. Pure functions over slices: no input or output, no waiting.
//!
//! * [`json::Transcoder`] turns JSON text into records as it arrives.
//! * [`json::Printer`] turns msgpack values into JSON text, block by block.
//! * [`form::Transcoder`] turns a form into a record as it arrives.
//! * [`inflate::Decoder`] decompresses bodies as they arrive.
//! * [`gzip::Encoder`] compresses into leased pages.
//! * [`multiline::Multiline`] joins lines or records that belong together.
//! * [`parser::Parser`] turns a line of text into the entries of a record.
//! * [`ruby::RubyRegex`] is a regular expression in Ruby's syntax.
//! * [`metrics`] reads and writes metrics, as msgpack and as text.
//! * [`stdout::RecordLine`] writes records as Fluent Bit's stdout prints them.
//!
//! Everything here can stop at any byte and go on later: when the input is used up, when the output has no
//! room, or when the memory budget has none. What a half-done conversion holds meanwhile does not depend on
//! the size of the body.

mod block;
mod deflate;
pub mod form;
pub mod gzip;
pub mod inflate;
pub mod json;
pub mod metrics;
pub mod multiline;
pub mod parser;
pub mod ruby;
pub mod stdout;
pub mod template;

pub use block::Block;
