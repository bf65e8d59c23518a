//! What flows: records, tags, times and chunks. No input or output, no async.
//!
//! Records at rest are Fluent Bit's own msgpack, `[[time, metadata], body]`, one after the other in the pages
//! of a [`budget::Buf`]. A record that fits a page is never split over two; a larger one spans, and
//! [`Cursor`] reads it as pieces.
//!
//! * [`Writer`] writes records as their values become known (sizes are filled in at the end).
//! * [`Cursor`] reads tokens, over page ends where it must.
//! * [`Window`] is what filters see: a window of decoded records, their values still raw msgpack.
//! * [`Accessor`] finds a value within a record.
//! * [`Chunk`] is records of one tag on their way to the outputs.

mod accessor;
mod chunk;
mod cursor;
pub mod msgpack;
mod sink;
mod tag;
mod time;
mod window;
mod writer;

pub use accessor::{Accessor, Malformed};
pub use chunk::{Chunk, Events, Signal};
pub use cursor::{Corrupt, Cursor, Token};
pub use sink::Sink;
pub use tag::{Pattern, Tag};
pub use time::EventTime;
pub use window::{Entry, Raw, Record, SPARE_ENTRIES, Window};
pub use writer::{Progress, WHOLE_STR, Writer};
