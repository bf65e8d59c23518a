//! `leaklab synthetic`: how often the judge is right.

use lexopt::prelude::*;

use super::{help, show};
use crate::lab::synthetic;

/// Prints the confusion table.
pub fn synthetic(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let mut count = 1000;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("count") => count = parser.value()?.parse()?,
            other => return help(other),
        }
    }
    show(&synthetic::table(count))?;
    Ok(0)
}
