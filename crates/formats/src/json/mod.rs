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
pub use decode::{Step, Transcoder};
pub use error::{Error, Reason};
pub use print::{Printer, Progress, Style};
