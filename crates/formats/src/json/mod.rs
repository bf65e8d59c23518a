//! JSON: text to records and values to text.

mod date;
mod decimal;
mod decode;
mod error;
mod number;
mod print;
mod scan;
mod string;
mod text;

pub use date::{DateFormat, iso_millis};
pub(crate) use decode::line;
pub use decode::{Step, Transcoder};
pub use error::{Error, Reason};
pub(crate) use number::{signed, unsigned};
pub use print::{Printer, Progress, Style};
