//! Staircases: how much of a factor there was, and the memory that came with it, with the fitted line.

use std::fmt::Write;

use super::chart::{Plot, Size};
use super::escape;
use crate::lab::figure;
use crate::lab::judge::{Factor, Row};

const SIZE: Size = Size { width: 360.0, height: 230.0, class: "stairs" };

/// What is counted on the horizontal axis.
fn amount(row: &Row) -> &'static str {
    match row.factor {
        Factor::Requests if row.protocol.is_some() => "requests over HTTP/2",
        Factor::Requests => "requests",
        Factor::PayloadBytes => "payload",
        Factor::ConnectionsOpened => "connections opened",
        Factor::ConnectionsHeld => "connections held",
        Factor::DistinctKeys => "distinct keys",
        Factor::Time => "seconds of blocks",
        Factor::None => "",
    }
}

fn tick(row: &Row, value: f64) -> String {
    match row.factor {
        Factor::PayloadBytes => figure::bytes(value).replace(".0 ", " "),
        _ if value >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        _ => format!("{value:.0}"),
    }
}

/// One drawing for each factor that was measured. None: there is nothing to draw.
pub fn stairs(row: &Row) -> Option<String> {
    let most_x = row.staircase.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    if !row.measured || row.staircase.len() < 2 || most_x <= 0.0 {
        return None;
    }
    let per_unit = if row.factor == Factor::Time { row.slope / 3600.0 } else { row.slope };
    let ends = [0.0, per_unit * most_x];
    let all = || row.staircase.iter().map(|(_, y)| *y).chain(ends);
    let (low, high) = (all().fold(0.0, f64::min), all().fold(0.0, f64::max));
    // A range of less than this is the noise of counting pages, and must not look like a mountain.
    let high = high.max(low + (256 << 10) as f64);
    let plot = Plot::new(SIZE, (0.0, most_x * 1.02), (low - (high - low) * 0.05, high + (high - low) * 0.08));
    let mut svg = plot.open(amount(row), amount(row), &|value| tick(row, value));
    let _ = writeln!(
        svg,
        "<line class=\"{}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        if row.grows { "fit grows" } else { "fit" },
        plot.x(0.0),
        plot.y(0.0),
        plot.x(most_x),
        plot.y(per_unit * most_x)
    );
    for (x, y) in &row.staircase {
        let _ = writeln!(
            svg,
            "<circle class=\"step\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.4\"/>",
            plot.x(*x),
            plot.y(*y)
        );
    }
    svg.push_str("</svg>");
    let slope = format!("{} {}", figure::round(row.slope), row.unit);
    let word = if row.grows { "<b class=\"bad\">grows</b>" } else { "<b class=\"good\">does not grow</b>" };
    let excluded = row.excluded.map_or(String::new(), |most| {
        format!("; above {} {} is excluded", figure::round(most), escape(&row.unit))
    });
    let caption = if row.grows { slope } else { format!("{slope}{excluded}") };
    Some(format!(
        "<figure>{svg}<figcaption>{} {word}: {}</figcaption></figure>\n",
        amount(row),
        escape(&caption)
    ))
}
