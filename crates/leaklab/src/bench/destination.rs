//! What agents deliver to.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::measure::Place;
use super::running::Running;
use super::scenario::Route;
use crate::process;
use crate::sink::{Pace, Sink};

/// The longest record of ingestions that is read.
const RECORDS: u64 = 64 << 20;

/// A destination that runs, where a route has one.
#[derive(Default)]
pub struct Destination {
    sink: Option<Sink>,
    kusto: Option<(Running, PathBuf)>,
    /// What kusto-local says of itself.
    pub settings: HashMap<String, String>,
}

impl Destination {
    /// Starts what a route leads to.
    pub fn start(route: Route, place: &Place) -> Result<Destination, String> {
        let mut destination = Destination::default();
        if let Route::Http(rate) = route {
            let pace = rate.map(|rate| Pace { rate, catch_up: Duration::ZERO });
            destination.sink = Some(Sink::start(pace).map_err(|error| error.to_string())?);
        }
        if route == Route::Kusto {
            let folder = place.folder.join("kusto");
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            let mut command = Command::new(&place.kusto_local);
            command.arg("--dir").arg(&folder).args(["--database", "bench", "--table", "Logs"]);
            if let Some(network) = place.network {
                // Fluent Bit cuts longer signatures.
                command.arg("--imds").arg(network.metadata_service.to_string()).arg("--short-sas");
            }
            let mut kusto = Running::start(command.stdout(Stdio::piped()), place.load_core)?;
            destination.settings = kusto.settings().map_err(|error| format!("kusto-local: {error}"))?;
            destination.settings.insert("table".to_owned(), "Logs".to_owned());
            destination.kusto = Some((kusto, folder));
        }
        Ok(destination)
    }

    /// Where the HTTP server listens; 0 where there is none.
    pub fn port(&self) -> u16 {
        self.sink.as_ref().map_or(0, Sink::port)
    }

    /// The processor time of a destination that is a process of its own.
    pub fn cpu(&self) -> f64 {
        self.kusto.as_ref().and_then(|(kusto, _)| process::cpu(kusto.pid()).ok()).unwrap_or(0.0)
    }

    /// Whether it was used, which an agent's own count does not prove.
    pub fn was_reached(&self) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.requests() > 0)
            && (self.kusto.is_none() || self.sent().0 > 0)
    }

    /// Bytes that came, and what they are uncompressed; zeros where it does not tell.
    pub fn sent(&self) -> (u64, u64) {
        let Some((_, folder)) = &self.kusto else { return (0, 0) };
        let mut text = String::new();
        let read = File::open(folder.join("ingestions.jsonl"))
            .and_then(|file| file.take(RECORDS).read_to_string(&mut text));
        // Nothing has come before there is such a file.
        read.map_or((0, 0), |_| sizes(&text))
    }
}

/// The sums over the ingestions that kusto-local has recorded, one a line.
fn sizes(text: &str) -> (u64, u64) {
    let records = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    records.fold((0, 0), |(sent, plain), record| {
        let of = |field: &str| record.get(field).and_then(serde_json::Value::as_u64).unwrap_or(0);
        (sent + of("blob_bytes"), plain + of("uncompressed_bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingestions_are_added_up_and_a_line_that_is_being_written_is_not() {
        let text = "{\"blob_bytes\":10,\"uncompressed_bytes\":50}\n{\"blob_bytes\":1,\"uncompressed_bytes\":7}\n{\"blob_b";
        assert_eq!(sizes(text), (11, 57));
    }
}
