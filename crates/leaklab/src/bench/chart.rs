//! Bar charts as SVG.

use std::fmt::Write;

use super::table::number;

const WIDTH: f64 = 820.0;
/// Where bars begin and how long the longest is.
const LEFT: f64 = 150.0;
const LENGTH: f64 = 560.0;
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;
const TOP: f64 = 74.0;
const COLORS: [&str; 5] = ["#1f6feb", "#d9822b", "#6b7785", "#2a9d6f", "#a14fb8"];

/// Bars of one scenario: a value for each agent, in the order of the legend; None leaves a bar out.
pub struct Group {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// A chart with a bar for each agent in each group.
pub fn bars(title: &str, note: &str, agents: &[String], groups: &[Group]) -> String {
    let count: usize = groups.iter().map(|group| group.values.iter().flatten().count()).sum();
    let height = TOP + count as f64 * BAR + groups.len() as f64 * GAP + 12.0;
    let longest =
        groups.iter().flat_map(|group| group.values.iter().flatten()).fold(0.0, |a, b| f64::max(a, *b));
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#1c2128\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\" font-weight=\"bold\">{}</text>\n\
         <text x=\"804\" y=\"26\" text-anchor=\"end\" fill=\"#57606a\">{}</text>\n",
        escape(title),
        escape(note)
    );
    legend(&mut svg, agents);
    let mut y = TOP;
    for Group { name, values } in groups {
        let tall = values.iter().flatten().count() as f64 * BAR;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + tall / 2.0 + 4.5,
            escape(name)
        );
        for (index, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            bar(&mut svg, y, COLORS[index % COLORS.len()], *value, longest);
            y += BAR;
        }
        y += GAP;
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{}\" x2=\"{LEFT}\" y2=\"{}\" stroke=\"#8c959f\"/>",
        TOP - 6.0,
        y - GAP + 6.0
    );
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, agents: &[String]) {
    let mut x = LEFT;
    for (index, agent) in agents.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"43\" width=\"12\" height=\"12\" fill=\"{color}\"/><text x=\"{}\" y=\"54\">{}</text>",
            x + 18.0,
            escape(agent)
        );
        x += 48.0 + agent.chars().count() as f64 * 7.5;
    }
}

fn bar(svg: &mut String, y: f64, color: &str, value: f64, longest: f64) {
    let length = if longest > 0.0 { (value / longest * LENGTH).max(1.0) } else { 1.0 };
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{color}\"/>\
         <text x=\"{:.1}\" y=\"{}\" font-size=\"12\">{}</text>",
        BAR - 2.0,
        LEFT + length + 6.0,
        y + 11.5,
        number(value)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_the_whole_length_and_all_have_their_value() {
        let group =
            |name: &str, values: [Option<f64>; 2]| Group { name: name.to_owned(), values: values.into() };
        let groups = [group("a<b", [Some(50.0), Some(100.0)]), group("c", [Some(0.0), None])];
        let agents = ["weir".to_owned(), "x & y".to_owned()];
        let svg = bars("MB per CPU-second", "more is better", &agents, &groups);
        assert!(svg.contains("width=\"560.0\"") && svg.contains("width=\"280.0\""), "{svg}");
        assert!(svg.contains(">50.0</text>") && svg.contains(">100</text>"), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("x &amp; y"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 3);
    }
}
