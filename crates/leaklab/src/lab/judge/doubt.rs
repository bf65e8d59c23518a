//! Whether enough was done for a clean verdict: a run on a machine that is busy with other things, or on a slow
//! server, sends too little to show a leak, and not having seen one then says nothing.

use super::{Factor, Row};
use crate::lab::capture::{Capture, Line};
use crate::lab::drive::Counts;
use crate::lab::figure;
use crate::lab::plan::Margins;

/// Growth must be excluded above so many times its margin.
pub const MARGINS: f64 = 64.0;

/// Why nothing may be called clean, if so.
pub fn doubt(factors: &[Row], capture: &Capture, margins: &Margins) -> Option<String> {
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
    let requests = factors.iter().find(|row| row.factor == Factor::Requests && row.protocol.is_none());
    if requests.is_some_and(|row| !row.measured)
        && factors.iter().all(|row| row.factor == Factor::Time || !row.measured)
    {
        return Some("hardly any request was answered".to_owned());
    }
    let wide = factors
        .iter()
        .find(|row| row.excluded.is_some_and(|excluded| excluded > MARGINS * row.factor.margin(margins)))?;
    let over = if wide.protocol.is_some() { " over HTTP/2" } else { "" };
    Some(format!(
        "too little could be done to exclude growth below {} {}{over}: give it a larger --budget, or a machine that has nothing else to do",
        figure::round(wide.excluded?),
        wide.unit,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let margins = Margins::default();
        let fine = [row(Factor::Requests, 9.0), row(Factor::Time, 9e6)];
        let capture = Capture::default();
        assert_eq!(doubt(&fine, &capture, &margins), None);
        let wide = [row(Factor::Requests, 9.0), row(Factor::ConnectionsOpened, 90e3)];
        assert!(
            doubt(&wide, &capture, &margins).unwrap().contains("90"),
            "{:?}",
            doubt(&wide, &capture, &margins)
        );
        let cut = Capture { lines: vec![Line::Missing { t: 1.0, text: "no time".to_owned() }] };
        assert_eq!(doubt(&fine, &cut, &margins), Some("no time".to_owned()));
        let mut none = row(Factor::Requests, 0.0);
        (none.measured, none.excluded) = (false, None);
        assert!(doubt(&[none, row(Factor::Time, 9e6)], &capture, &margins).is_some());
    }
}
