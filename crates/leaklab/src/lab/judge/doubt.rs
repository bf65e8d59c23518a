//! Whether enough was done for a clean verdict: a run on a machine that is busy with other things, or on a slow
//! server, sends too little to show a leak, and not having seen one then says nothing.

use super::{Factor, Row};
use crate::lab::capture::{Capture, Kind, Line};
use crate::lab::drive::Counts;
use crate::lab::figure;
use crate::lab::plan::Margins;

/// So much must have been done that growth of so many times the margin would have been named.
const NAMED: f64 = 64.0;
/// Growth must be excluded above so many times the margin, whatever the noise.
pub const EXCLUDED: f64 = 256.0;
const REMEDY: &str = "give it a larger --budget, or a machine that has nothing else to do";

/// Why nothing may be called clean, if so. `least` bytes in the whole run are taken for no growth.
pub fn doubt(factors: &[Row], capture: &Capture, margins: &Margins, least: f64) -> Option<String> {
    let cut = capture.lines.iter().find_map(|line| match line {
        Line::Missing { text, .. } => Some(text.clone()),
        _ => None,
    });
    if cut.is_some() {
        return cut;
    }
    let counts = capture.floors().last().map(|floor| floor.counts).unwrap_or_default();
    if (counts.refused + counts.failed) * 2 > counts.requests {
        let Counts { requests, refused, failed, .. } = counts;
        return Some(format!("of {requests} requests {refused} were refused, and {failed} had no answer"));
    }
    let few = factors.iter().find(|row| !row.measured && was_tried(row, capture));
    if let Some(row) = few {
        let name = row.factor.name();
        return Some(format!("too little was done to judge {name}: {REMEDY}"));
    }
    factors.iter().filter(|row| row.measured).find_map(|row| {
        let margin = row.factor.margin(margins);
        let excluded = row.excluded.filter(|excluded| *excluded > EXCLUDED * margin);
        let hidden = excluded.or(hidden(row, least).filter(|hidden| *hidden > NAMED * margin))?;
        let over = if row.protocol.is_some() { " over HTTP/2" } else { "" };
        let hidden = figure::round(hidden);
        Some(format!("too little was done to see growth below {hidden} {}{over}: {REMEDY}", row.unit))
    })
}

/// The growth that a run could not have named, because so little was done.
fn hidden(row: &Row, least: f64) -> Option<f64> {
    let amount = row.staircase.last().map(|(amount, _)| *amount).filter(|amount| *amount > 0.0)?;
    match row.factor {
        Factor::ConnectionsHeld => None,
        Factor::Time => Some(least / amount * 3600.0),
        _ => Some(least / amount),
    }
}

/// Whether there were blocks of a factor's own behind the warm-up.
fn was_tried(row: &Row, capture: &Capture) -> bool {
    let kind = match row.factor {
        Factor::Requests if row.protocol.is_some() => Kind::Streams,
        Factor::Requests => Kind::Requests,
        Factor::PayloadBytes => Kind::Payload,
        Factor::ConnectionsOpened => Kind::Connections,
        Factor::DistinctKeys => Kind::Keys,
        _ => return false,
    };
    capture.floors().iter().any(|floor| floor.cycle > 0 && floor.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::synthetic;

    fn row(factor: Factor, excluded: f64) -> Row {
        Row {
            factor,
            protocol: None,
            measured: true,
            grows: false,
            slope: 0.0,
            unit: factor.unit().to_owned(),
            interval: [0.0, excluded],
            excluded: Some(excluded),
            staircase: Vec::new(),
        }
    }

    #[test]
    fn a_run_that_excludes_little_or_was_cut_short_is_not_clean() {
        let doubt = |rows: &[Row], capture: &Capture| doubt(rows, capture, &Margins::default(), 400e3);
        let fine = [row(Factor::Requests, 9.0), row(Factor::Time, 9e6)];
        let capture = Capture::default();
        assert_eq!(doubt(&fine, &capture), None);
        let wide = [row(Factor::Requests, 9.0), row(Factor::ConnectionsOpened, 90e3)];
        assert!(doubt(&wide, &capture).unwrap().contains("per connection"));
        // 400 kB over 300 requests would not have been named.
        let few = Row { staircase: vec![(0.0, 0.0), (300.0, 100.0)], ..row(Factor::Requests, 9.0) };
        assert!(doubt(&[few], &capture).unwrap().contains("1333 bytes per request"));
        let cut = Capture { lines: vec![Line::Missing { t: 1.0, text: "no time".to_owned() }] };
        assert_eq!(doubt(&fine, &cut), Some("no time".to_owned()));
        let none = Row { measured: false, excluded: None, ..row(Factor::Requests, 0.0) };
        let tried = synthetic::capture(synthetic::Class::Clean, 1);
        assert!(doubt(&[none, row(Factor::Time, 9e6)], &tried).unwrap().contains("requests"));
    }
}
