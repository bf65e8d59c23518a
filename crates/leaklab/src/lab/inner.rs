//! What a process tells of its own memory over HTTP: weir's ledger, jemalloc statistics, a Go heap profile.
//!
//! One number is taken: the first under a name in a JSON document (`budget.held`: under both, one inside the other),
//! or the last number of the first line of text that has the name (`# HeapInuse = 123` of a Go profile with
//! `?debug=1`, `jemalloc_allocated 123` of metrics). Without a name, the first of those that are known.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::target::{addresses, split};
use crate::client::Connection;

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// What weir, jemalloc, Go's profile and Go's metrics call the bytes that are in use.
const KNOWN: [&str; 6] = [
    "budget.held",
    "jemalloc.stats.allocated",
    "HeapInuse",
    "go_memstats_heap_inuse_bytes",
    "jemalloc_allocated",
    "allocated",
];

/// Where the number is.
pub struct Inner {
    addresses: Vec<SocketAddr>,
    path: String,
    /// What the number is called.
    pub name: String,
}

impl Inner {
    /// From a URL and a name, or one that is known.
    ///
    /// # Errors
    /// The URL is none, nobody answers there, or there is no such number.
    pub fn new(url: &str, name: Option<&str>) -> Result<Inner, String> {
        let (host, path) = split(url)?;
        let mut inner = Inner { addresses: addresses(host)?, path: path.to_owned(), name: String::new() };
        let (status, body) = inner.ask().ok_or_else(|| format!("{url}: nobody answers"))?;
        let names = name.map_or(KNOWN.to_vec(), |name| vec![name]);
        match names.iter().find(|name| find(&body, name).is_some()) {
            Some(name) => inner.name = (*name).to_owned(),
            None => {
                let names = names.join(", ");
                return Err(format!(
                    "{url} answers {status} and has no number called {names}: --name says which"
                ));
            }
        }
        Ok(inner)
    }

    /// The number now. None: it is not there.
    pub fn read(&self) -> Option<u64> {
        find(&self.ask()?.1, &self.name)
    }

    fn ask(&self) -> Option<(u16, Vec<u8>)> {
        let connect = |address: &SocketAddr| Connection::open(*address, PATIENCE).ok();
        self.addresses.iter().find_map(connect)?.get(&self.path).ok()
    }
}

fn find(body: &[u8], name: &str) -> Option<u64> {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => in_json(&json, name),
        Err(_) => in_text(&String::from_utf8_lossy(body), name),
    }
}

fn in_json(json: &Value, name: &str) -> Option<u64> {
    match json {
        Value::Object(fields) => {
            let own = fields.get(name).and_then(Value::as_f64).map(|number| number as u64);
            let inside = |(outer, inner): (&str, &str)| in_json(fields.get(outer)?, inner);
            own.or_else(|| name.split_once('.').and_then(inside))
                .or_else(|| fields.values().find_map(|value| in_json(value, name)))
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
        let json = serde_json::json!({"accounts": [{"held": 3}], "budget": {"held": 7}});
        assert_eq!((in_json(&json, "budget.held"), in_json(&json, "held")), (Some(7), Some(3)));
        assert_eq!(in_json(&json, "budget.lost"), None);
        assert_eq!(in_text("# HeapAlloc = 5\n# HeapInuse = 4096\n", "HeapInuse"), Some(4096));
        assert_eq!(in_text("x_bytes{a=\"b\"} 1.5e3\n", "x_bytes"), Some(1500));
        assert_eq!(in_text("", "x"), None);
    }
}
