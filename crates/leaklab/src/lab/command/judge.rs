//! `leaklab judge`: decides again on a capture.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::{help, show};
use crate::lab::capture::{Capture, Line};
use crate::lab::document::Document;
use crate::lab::plan::Margins;
use crate::lab::report;

/// Decides, prints, and returns the exit status.
pub fn judge(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let (mut file, mut page, mut json) = (None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("report") => page = Some(PathBuf::from(parser.value()?)),
            Long("json") => json = true,
            other => return help(other),
        }
    }
    let capture = Capture::read(&file.ok_or("which capture?")?)?;
    let judgement = crate::lab::judge::judge(&capture, &Margins::default());
    let seconds = capture.lines.iter().rev().find_map(|line| match line {
        Line::Sample { t, .. } => Some(*t),
        _ => None,
    });
    let document = Document::new(&capture, judgement, seconds.unwrap_or(0.0));
    if let Some(page) = page {
        let text = report::page(&document, &capture);
        std::fs::write(&page, text).map_err(|error| format!("{}: {error}", page.display()))?;
    }
    if json {
        show(&(serde_json::to_string(&document).map_err(|error| error.to_string())? + "\n"))?;
    } else {
        show(&report::text(&document, &capture))?;
    }
    Ok(document.code())
}
