//! What an agent says of itself: records in, records out.

use std::io;
use std::time::{Duration, Instant};

use super::agent::Kind;
use super::running::local;
use crate::client::Connection;

/// Records an agent counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub taken: u64,
    pub delivered: u64,
}

/// How long an agent may have no counts yet: Fluent Bit answers 404 until the second after its first records.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks an agent, again while it has no counts.
pub fn ask(kind: Kind, port: u16) -> io::Result<Counted> {
    let path = if kind == Kind::Vector { "/metrics" } else { "/api/v1/metrics/prometheus" };
    let started = Instant::now();
    loop {
        let mut connection = Connection::open(local(port), Duration::from_secs(10))?;
        let (status, body) = connection.get(path)?;
        match status {
            200 => return Ok(read(kind, &String::from_utf8_lossy(&body))),
            404 if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
            status => return Err(io::Error::other(format!("{path} answers {status}"))),
        }
    }
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
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_agent_that_has_counted_nothing_yet_is_asked_again() {
        let listener = TcpListener::bind(local(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let agent = std::thread::spawn(move || {
            for answer in [
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\nfluentbit_input_records_total{} 12\n",
                "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
            ] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(ask(Kind::FluentBit, port).unwrap(), Counted { taken: 12, delivered: 0 });
        assert!(ask(Kind::FluentBit, port).unwrap_err().to_string().contains("answers 500"));
        agent.join().unwrap();
    }

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
