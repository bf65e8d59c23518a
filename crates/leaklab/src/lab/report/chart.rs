//! Memory over time, with the phases marked, as SVG.

use std::fmt::Write;

use super::{escape, ticks};
use crate::lab::capture::{Capture, Kind, Line};
use crate::lab::experiment;
use crate::lab::figure;

/// A drawing's size; one is made for wide and one for narrow screens.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// In pixels.
    pub width: f64,
    /// In pixels.
    pub height: f64,
    /// The class that shows it.
    pub class: &'static str,
}

/// For wide screens.
pub const WIDE: Size = Size { width: 960.0, height: 340.0, class: "wide" };
/// For narrow screens.
pub const NARROW: Size = Size { width: 360.0, height: 300.0, class: "narrow" };

const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// A plot: from figures to pixels.
pub struct Plot {
    /// Its size.
    pub size: Size,
    x: (f64, f64),
    y: (f64, f64),
}

impl Plot {
    /// A plot of these ranges.
    pub fn new(size: Size, x: (f64, f64), y: (f64, f64)) -> Plot {
        let widen = |(low, high): (f64, f64)| if high - low < 1e-9 { (low, low + 1.0) } else { (low, high) };
        Plot { size, x: widen(x), y: widen(y) }
    }

    /// A place on the horizontal axis.
    pub fn x(&self, value: f64) -> f64 {
        let share = (value - self.x.0) / (self.x.1 - self.x.0);
        LEFT + share * (self.size.width - LEFT - RIGHT)
    }

    /// A place on the vertical axis.
    pub fn y(&self, value: f64) -> f64 {
        let share = (value - self.y.0) / (self.y.1 - self.y.0);
        self.size.height - BOTTOM - share * (self.size.height - TOP - BOTTOM)
    }

    /// Opens the drawing and draws its axes.
    pub fn open(&self, label: &str, below: &str, x_text: &dyn Fn(f64) -> String) -> String {
        let Size { width, height, class } = self.size;
        let mut svg = format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escape(label)
        );
        for value in byte_ticks(self.y.0, self.y.1, 4.0) {
            let y = self.y(value);
            // Writing to a String cannot fail.
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                width - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                figure::bytes(value).replace(".0 ", " ")
            );
        }
        let bottom = height - BOTTOM;
        for value in ticks(self.x.0, self.x.1, if width > 500.0 { 8.0 } else { 3.0 }) {
            let x = self.x(value);
            let _ = writeln!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                x_text(value)
            );
        }
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom}\" y2=\"{bottom}\"/><text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            width - RIGHT,
            f64::midpoint(LEFT, width - RIGHT),
            height - 8.0,
            escape(below)
        );
        svg
    }
}

/// Steps of bytes are round in powers of two.
fn byte_ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let raw = (high - low).max(1.0) / count;
    let step = 2_f64.powf(raw.log2().ceil());
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|index| index as f64 * step).collect()
}

/// The class of a phase's band; blocks of the same kind have the same colour.
fn class(name: &str) -> &'static str {
    let kinds = [
        (Kind::Requests, "k0"),
        (Kind::Payload, "k1"),
        (Kind::Connections, "k2"),
        (Kind::Keys, "k3"),
        (Kind::Held, "k4"),
        (Kind::Streams, "k5"),
        (Kind::Rest, "k6"),
        (Kind::Size, "k7"),
    ];
    kinds.iter().find(|(kind, _)| experiment::name(*kind) == name).map_or("k6", |(_, class)| class)
}

/// The drawing. None: nothing was sampled.
pub fn memory(capture: &Capture, size: Size) -> Option<String> {
    let samples: Vec<(f64, f64, f64)> = capture
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Sample { t, look, .. } => Some((*t, look.rss as f64, look.anonymous as f64)),
            _ => None,
        })
        .collect();
    let end = samples.last()?.0;
    let most = samples.iter().map(|(_, rss, _)| *rss).fold(0.0, f64::max);
    let plot = Plot::new(size, (0.0, end), (0.0, most * 1.06));
    let mut svg = plot.open("resident memory over time", "seconds", &|value| format!("{value:.0}"));
    bands(&mut svg, &plot, capture, end);
    let line = |pick: &dyn Fn(&(f64, f64, f64)) -> f64| {
        let points: Vec<String> = samples
            .iter()
            .map(|sample| format!("{:.1},{:.1}", plot.x(sample.0), plot.y(pick(sample))))
            .collect();
        points.join(" ")
    };
    let _ = writeln!(svg, "<polyline class=\"rss\" points=\"{}\"/>", line(&|sample| sample.1));
    let _ = writeln!(svg, "<polyline class=\"anonymous\" points=\"{}\"/>", line(&|sample| sample.2));
    for floor in capture.floors() {
        let (x, y) = (plot.x(floor.t), plot.y(floor.anonymous as f64));
        let text =
            format!("{}: {} at rest", experiment::name(floor.kind), figure::bytes(floor.anonymous as f64));
        let _ = writeln!(
            svg,
            "<circle class=\"floor\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"><title>{text}</title></circle>"
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Coloured bands, from where a phase begins to where the next does.
fn bands(svg: &mut String, plot: &Plot, capture: &Capture, end: f64) {
    let phases: Vec<(f64, &str)> = capture
        .lines
        .iter()
        .filter_map(
            |line| if let Line::Phase { t, name, .. } = line { Some((*t, name.as_str())) } else { None },
        )
        .collect();
    for (index, (t, name)) in phases.iter().enumerate() {
        let until = phases.get(index + 1).map_or(end, |(next, _)| *next);
        let (left, right) = (plot.x(*t), plot.x(until));
        let _ = writeln!(
            svg,
            "<rect class=\"band {}\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            class(name),
            (right - left).max(0.5),
            plot.size.height - TOP - BOTTOM,
            escape(name)
        );
    }
}

/// What the colours mean, as far as they are there.
pub fn legend(capture: &Capture) -> String {
    let mut names: Vec<&str> = Vec::new();
    for line in &capture.lines {
        if let Line::Phase { name, .. } = line
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    let mut html = String::from(
        "<p class=\"legend\"><span><i class=\"line rss-key\"></i>resident</span><span><i class=\"line anonymous-key\"></i>judged (without files)</span><span><i class=\"dot\"></i>at rest</span>",
    );
    for name in names {
        let _ = write!(html, "<span><i class=\"box {}\"></i>{}</span>", class(name), escape(name));
    }
    html.push_str("</p>\n");
    html
}
