//! What an agent says of itself: records in, records out.

use std::io;
use std::time::Duration;

use super::agent::Kind;
use super::running::local;
use crate::client::Connection;

/// Records an agent counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub taken: u64,
    pub delivered: u64,
}

/// Asks an agent.
pub fn ask(kind: Kind, port: u16) -> io::Result<Counted> {
    let path = if kind == Kind::Vector { "/metrics" } else { "/api/v1/metrics/prometheus" };
    let mut connection = Connection::open(local(port), Duration::from_secs(10))?;
    let (status, body) = connection.get(path)?;
    if status != 200 {
        return Err(io::Error::other(format!("{path} answers {status}")));
    }
    Ok(read(kind, &String::from_utf8_lossy(&body)))
}

fn read(kind: Kind, text: &str) -> Counted {
    match kind {
        Kind::Weir | Kind::FluentBit => Counted {
            taken: sum(text, "fluentbit_input_records_total", ""),
            delivered: sum(text, "fluentbit_output_proc_records_total", ""),
        },
        Kind::Vector => Counted {
            taken: sum(text, "vector_component_received_events_total", "component_id=\"in\""),
            delivered: sum(text, "vector_component_sent_events_total", "component_id=\"out\""),
        },
    }
}

/// The sum of a family's values in Prometheus' text format, of those whose labels contain a text.
fn sum(text: &str, family: &str, label: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        let (labels, values) =
            rest.strip_prefix('{').map_or(Some(("", rest)), |rest| rest.rsplit_once('}'))?;
        // A time may follow the value.
        let value = values.split_whitespace().next()?.parse::<f64>().ok()?;
        labels.contains(label).then_some(value as u64)
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_with_and_without_labels_and_times() {
        let text = "# HELP fluentbit_input_records_total Number\n# TYPE fluentbit_input_records_total counter\n\
                    fluentbit_input_records_total{name=\"http.0\"} 12 1795468500000\n\
                    fluentbit_input_records_total{name=\"dum}my.0\"} 3\n\
                    fluentbit_output_proc_records_total{name=\"null.0\"} 7 1\nfluentbit_uptime 5\n";
        assert_eq!(read(Kind::FluentBit, text), Counted { taken: 15, delivered: 7 });
        assert_eq!(sum(text, "fluentbit_uptime", ""), 5);
    }

    #[test]
    fn vectors_components_are_told_apart() {
        let text = "vector_component_received_events_total{component_id=\"in\",component_kind=\"source\"} 9 1\n\
                    vector_component_received_events_total{component_id=\"out\"} 8 1\n\
                    vector_component_sent_events_total{component_id=\"out\"} 8 1\n";
        assert_eq!(read(Kind::Vector, text), Counted { taken: 9, delivered: 8 });
    }
}
