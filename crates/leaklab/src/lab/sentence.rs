//! A judgement in one sentence.

use super::figure;
use super::judge::{Factor, Growth, Judgement, Verdict};

/// The verdict, first.
pub fn sentence(judgement: &Judgement) -> String {
    match judgement.growing.first() {
        Some(first) => growth(first),
        None if judgement.verdict == Verdict::Clean => {
            format!("Clean: growth above {} is excluded.", excluded(judgement))
        }
        None => format!(
            "Inconclusive: {}.",
            judgement.evidence.first().map_or("no reason is known", |why| why.as_str())
        ),
    }
}

fn excluded(judgement: &Judgement) -> String {
    let of = |factor: Factor| {
        let row = judgement.factors.iter().find(|row| row.factor == factor)?;
        Some(format!("{} {}", figure::round(row.excluded?), row.unit))
    };
    let found: Vec<String> = [Factor::Requests, Factor::PayloadBytes, Factor::ConnectionsOpened]
        .into_iter()
        .filter_map(of)
        .collect();
    found.join(", ")
}

/// One growth.
pub fn growth(growth: &Growth) -> String {
    let slope = figure::bytes(growth.slope);
    let interval = format!("{} to {}", figure::bytes(growth.interval[0]), figure::bytes(growth.interval[1]));
    match (growth.verdict, growth.factor) {
        (Verdict::Leak, Factor::Requests) => {
            let over = if growth.protocol.is_some() { " over HTTP/2" } else { "" };
            format!("Leak: every request{over} leaves {slope} behind ({interval}).")
        }
        (Verdict::Leak, Factor::PayloadBytes) => format!(
            "Leak: of every byte of payload {:.2} % is kept ({:.2} to {:.2} %).",
            growth.slope * 100.0,
            growth.interval[0] * 100.0,
            growth.interval[1] * 100.0
        ),
        (Verdict::Leak, Factor::ConnectionsOpened) => {
            format!("Leak: every connection that was opened leaves {slope} behind ({interval}).")
        }
        (Verdict::Leak, _) => {
            format!("Leak: memory grows by {slope} per hour without any load ({interval}).")
        }
        (Verdict::Cardinality, _) => {
            format!("Cardinality: every new key takes {slope} for ever ({interval}).")
        }
        (Verdict::PerConnection, Factor::PayloadBytes) => format!(
            "Per connection: each holds {:.2} bytes per byte of the largest request it has sent.",
            growth.slope
        ),
        (Verdict::PerConnection, _) => {
            format!("Per connection: each holds {slope} as long as it is open ({interval}).")
        }
        (Verdict::HighWater, Factor::PayloadBytes) if growth.unit != "bytes" => format!(
            "High water: memory keeps {:.2} bytes for each byte of the largest payload there ever was.",
            growth.slope
        ),
        (Verdict::HighWater, Factor::ConnectionsHeld) => {
            format!("High water: memory keeps {slope} for each of the most connections there ever were.")
        }
        (Verdict::HighWater, _) => format!("High water: {slope} of the peak are never released."),
        (Verdict::Retention, _) => {
            format!("Retention: the allocator keeps {slope} that the program has freed.")
        }
        (Verdict::Clean | Verdict::Inconclusive, _) => String::new(),
    }
}
