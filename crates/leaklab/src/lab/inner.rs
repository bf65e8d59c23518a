//! What a process tells of its own memory over HTTP: weir's ledger, jemalloc statistics, a Go heap profile.
//!
//! One number is taken: the first under a name in a JSON document, or the last number of the first line of text
//! that has the name (`# HeapInuse = 123` of a Go profile with `?debug=1`, `jemalloc_allocated 123` of metrics).

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::target::{addresses, split};
use crate::client::Connection;

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the number is.
pub struct Inner {
    addresses: Vec<SocketAddr>,
    path: String,
    name: String,
}

impl Inner {
    /// From a URL and a name.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(url: &str, name: &str) -> Result<Inner, String> {
        let (host, path) = split(url)?;
        Ok(Inner { addresses: addresses(host)?, path: path.to_owned(), name: name.to_owned() })
    }

    /// The number now. None: it is not there.
    pub fn read(&self) -> Option<u64> {
        let connect = |address: &SocketAddr| Connection::open(*address, PATIENCE).ok();
        let mut connection = self.addresses.iter().find_map(connect)?;
        let (_, body) = connection.get(&self.path).ok()?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(json) => in_json(&json, &self.name),
            Err(_) => in_text(&String::from_utf8_lossy(&body), &self.name),
        }
    }
}

fn in_json(json: &Value, name: &str) -> Option<u64> {
    match json {
        Value::Object(fields) => {
            let own = fields.get(name).and_then(Value::as_f64).map(|number| number as u64);
            own.or_else(|| fields.values().find_map(|value| in_json(value, name)))
        }
        Value::Array(values) => values.iter().find_map(|value| in_json(value, name)),
        _ => None,
    }
}

fn in_text(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split([' ', '{', '=']).any(|word| word == name))?;
    line.split_whitespace().last()?.parse::<f64>().ok().map(|number| number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_name() {
        let json = serde_json::json!({"a": [{"b": {"leased": 12.0}}]});
        assert_eq!(in_json(&json, "leased"), Some(12));
        assert_eq!(in_text("# HeapAlloc = 5\n# HeapInuse = 4096\n", "HeapInuse"), Some(4096));
        assert_eq!(in_text("x_bytes{a=\"b\"} 1.5e3\n", "x_bytes"), Some(1500));
        assert_eq!(in_text("", "x"), None);
    }
}
