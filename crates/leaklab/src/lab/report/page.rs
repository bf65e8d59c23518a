//! The report as one HTML page: no scripts, no fonts, nothing from elsewhere.

use std::fmt::Write;

use super::chart::{self, NARROW, WIDE};
use super::{escape, stairs};
use crate::lab::capture::Capture;
use crate::lab::document::Document;
use crate::lab::figure;
use crate::lab::finding;
use crate::lab::judge::{Row, Verdict};
use crate::lab::sentence;
use crate::lab::wire::Protocol;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(document: &Document, capture: &Capture) -> String {
    let judgement = &document.judgement;
    let tone = match judgement.verdict {
        Verdict::Clean => "clean",
        Verdict::Inconclusive => "unclear",
        _ => "grows",
    };
    let (word, rest) = document.sentence.split_once(':').unwrap_or((&document.sentence, ""));
    let command = document.header.as_ref().map_or("", |header| header.command.as_str());
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{} - leaklab</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header class=\"{tone}\">\n<p class=\"brand\">leaklab</p>\n\
         <h1><b>{}.</b> {}</h1>\n<p class=\"command\"><code>{}</code></p>\n</header>\n",
        escape(&document.sentence),
        escape(word),
        escape(&capitals(rest.trim())),
        escape(command)
    );
    also(&mut html, document);
    over_time(&mut html, capture);
    staircases(&mut html, document);
    table(&mut html, document);
    findings(&mut html, document);
    evidence(&mut html, document, capture);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn capitals(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn also(html: &mut String, document: &Document) {
    let others: Vec<String> = document.judgement.growing.iter().skip(1).map(sentence::growth).collect();
    if others.is_empty() {
        return;
    }
    html.push_str("<section>\n<h2>Also</h2>\n<ul>\n");
    for other in others {
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<li>{}</li>", escape(&other));
    }
    html.push_str("</ul>\n</section>\n");
}

fn over_time(html: &mut String, capture: &Capture) {
    let drawings: Vec<String> =
        [WIDE, NARROW].into_iter().filter_map(|size| chart::memory(capture, size)).collect();
    if drawings.is_empty() {
        return;
    }
    let legend = chart::legend(capture);
    let _ = write!(html, "<section>\n<h2>Memory over time</h2>\n{}{legend}</section>\n", drawings.concat());
}

fn staircases(html: &mut String, document: &Document) {
    let mut rows: Vec<&Row> = document.judgement.factors.iter().collect();
    rows.sort_by_key(|row| !row.grows);
    let drawings: Vec<String> = rows.into_iter().filter_map(stairs::stairs).collect();
    if drawings.is_empty() {
        return;
    }
    let _ = write!(
        html,
        "<section>\n<h2>One factor at a time</h2>\n<p>Each dot is memory at rest behind a block that moved this factor; \
         the line is the slope that was fitted (Theil-Sen).</p>\n<div class=\"figures\">\n{}</div>\n</section>\n",
        drawings.concat()
    );
}

fn table(html: &mut String, document: &Document) {
    if document.judgement.factors.is_empty() {
        return;
    }
    html.push_str(
        "<section>\n<h2>Every factor</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>factor</th><th>slope</th>\
         <th>interval</th><th>unit</th><th></th></tr></thead>\n<tbody>\n",
    );
    for row in &document.judgement.factors {
        let over = row.protocol.as_ref().map_or(String::new(), |protocol| format!(" ({protocol})"));
        let name = format!("{}{over}", row.factor.name());
        if !row.measured {
            let _ = writeln!(
                html,
                "<tr><th>{}</th><td colspan=\"4\" class=\"dim\">not measured</td></tr>",
                escape(&name)
            );
            continue;
        }
        let word =
            if row.grows { "<b class=\"bad\">grows</b>" } else { "<span class=\"good\">no growth</span>" };
        let _ = writeln!(
            html,
            "<tr><th>{}</th><td class=\"number\">{}</td><td class=\"number\">{} to {}</td><td>{}</td><td>{word}</td></tr>",
            escape(&name),
            figure::round(row.slope),
            figure::round(row.interval[0]),
            figure::round(row.interval[1]),
            escape(&row.unit)
        );
    }
    html.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn findings(html: &mut String, document: &Document) {
    let all = finding::all(&document.judgement);
    if all.is_empty() {
        return;
    }
    html.push_str("<section>\n<h2>What it may be</h2>\n");
    for finding in all {
        let _ = write!(
            html,
            "<h3>{}</h3>\n<p>{}</p>\n<p class=\"look\">Look at</p>\n<ul>\n",
            escape(finding.title),
            escape(finding.pattern)
        );
        for place in finding.look_at {
            let _ = writeln!(html, "<li>{}</li>", escape(place));
        }
        html.push_str("</ul>\n");
    }
    html.push_str("</section>\n");
}

fn evidence(html: &mut String, document: &Document, capture: &Capture) {
    html.push_str("<section>\n<h2>How it was measured</h2>\n<ul>\n");
    for line in &document.judgement.evidence {
        let _ = writeln!(html, "<li>{}</li>", escape(line));
    }
    html.push_str("</ul>\n<dl>\n");
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    };
    if let Some(header) = &document.header {
        fact("load to", header.url.clone());
        fact("program", format!("{}, allocator {}", header.program.runtime, header.program.allocator));
        let asked = if header.program.asked.is_empty() { "nothing" } else { &header.program.asked };
        fact("asked before memory is read", asked.to_owned());
        fact("time", format!("{:.0} s of {:.0} s", document.seconds, header.budget));
    }
    if let Some(server) = &document.server {
        let protocol = match (server.protocol, server.streams) {
            (Protocol::Http1, false) => "HTTP/1.1",
            (Protocol::Http1, true) => "HTTP/1.1 and HTTP/2",
            (Protocol::Http2, _) => "HTTP/2",
        };
        let alive = if server.keeps_alive { "keeps connections open" } else { "closes behind each answer" };
        let many =
            if server.concurrent { "several connections at a time" } else { "one connection at a time" };
        fact("server", format!("{protocol}, {alive}, {many}"));
    }
    if let Some(last) = capture.floors().last() {
        let counts = last.counts;
        fact(
            "load in all",
            format!(
                "{} requests, {}, {} connections, {} keys",
                counts.requests,
                figure::bytes(counts.payload_bytes as f64),
                counts.connections_opened,
                counts.distinct_keys
            ),
        );
    }
    html.push_str("</dl>\n</section>\n");
}
