//! What is measured.

use crate::payload;

/// A way to load an agent.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub body: Body,
    pub load: Load,
    pub route: Route,
    pub wire: Wire,
    /// Threads of the input.
    pub workers: usize,
    pub storage: Storage,
    /// Paths, which are tags, that requests go to in turn.
    pub tags: usize,
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// One record of a web service.
    Record,
    /// An array of such records.
    Records(usize),
    /// One large pretty-printed object.
    Alert,
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// As fast as they are answered, over so many connections.
    Flat(usize),
    /// One over each of so many connections, which stay open.
    Held(usize),
    /// The same with more and more connections.
    Growing(&'static [usize]),
}

/// What requests travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1, bodies compressed.
    Gzip,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 without TLS.
    Http2,
}

/// Where an agent keeps what it has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    Memory,
    /// In files; the kernel writes them when it likes.
    Normal,
    /// In files that are on the disk before the answer.
    Full,
}

/// Where records go, and through what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Nowhere.
    Null,
    /// Through so many filters (1 or 3), and nowhere.
    Filters(usize),
    /// To a local Kusto, compressed, over TLS.
    Kusto,
    /// To another HTTP server; it takes so many bytes a second, or all there are.
    Http(Option<u64>),
}

/// How many connections are open in turn.
pub const GROWING: &[usize] = &[1, 10, 100, 1_000, 10_000];
const HUNDRED: Body = Body::Records(100);

/// All of them, in the order of the tables.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        body: Body::Record,
        load: Load::Flat(16),
        ..scenario("small", "HTTP -> null, one record of about 480 bytes per request")
    },
    scenario("records-100", "HTTP -> null, arrays of 100 records"),
    Scenario {
        body: Body::Records(1_000),
        ..scenario("records-1000", "HTTP -> null, arrays of 1,000 records")
    },
    Scenario {
        body: Body::Records(10_000),
        load: Load::Flat(4),
        ..scenario("records-10000", "HTTP -> null, arrays of 10,000 records")
    },
    Scenario {
        body: Body::Alert,
        ..scenario("trigger", "HTTP -> null, one object of 4,900 lines per request")
    },
    Scenario {
        body: Body::Record,
        load: Load::Flat(16),
        wire: Wire::Http2,
        ..scenario("http2", "HTTP/2 -> null, one record of about 480 bytes per request")
    },
    Scenario { wire: Wire::Tls, ..scenario("tls", "HTTP over TLS -> null, arrays of 100 records") },
    Scenario {
        wire: Wire::Gzip,
        ..scenario("gzip", "HTTP -> null, arrays of 100 records, compressed by the sender")
    },
    Scenario { workers: 2, ..scenario("workers-2", "as records-100, with two threads on the one core") },
    Scenario {
        route: Route::Filters(1),
        ..scenario("filters-1", "HTTP -> grep -> null, arrays of 100 records")
    },
    Scenario {
        route: Route::Filters(3),
        ..scenario("filters-3", "HTTP -> grep, modify, modify -> null, arrays of 100 records")
    },
    Scenario {
        route: Route::Kusto,
        ..scenario("kusto", "HTTP -> azure_kusto (gzip, TLS), arrays of 100 records")
    },
    Scenario {
        route: Route::Http(None),
        ..scenario("http", "HTTP -> HTTP (JSON lines), arrays of 100 records")
    },
    Scenario {
        route: Route::Http(Some(20_000_000)),
        ..scenario("slow-destination", "as http, to a server that takes 20 MB a second")
    },
    Scenario {
        storage: Storage::Normal,
        ..scenario("storage-normal", "HTTP -> files (storage.sync normal) -> null, arrays of 100 records")
    },
    Scenario {
        storage: Storage::Full,
        ..scenario("storage-full", "HTTP -> files (storage.sync full) -> null, arrays of 100 records")
    },
    Scenario {
        storage: Storage::Normal,
        tags: 1_000,
        ..scenario("tags-normal", "as storage-normal, to 1,000 tags in turn")
    },
    Scenario {
        storage: Storage::Full,
        tags: 1_000,
        ..scenario("tags-full", "as storage-full, to 1,000 tags in turn")
    },
    Scenario {
        body: Body::Record,
        load: Load::Growing(GROWING),
        ..scenario("connections", "HTTP -> null, 1 to 10,000 connections that stay open behind a record each")
    },
    Scenario {
        body: Body::Records(1_000),
        load: Load::Held(1_000),
        ..scenario(
            "idle-connections",
            "HTTP -> null, 1,000 connections that stay open behind an array of 1,000 records each",
        )
    },
];

/// Arrays of 100 records over eight connections, to nowhere.
const fn scenario(name: &'static str, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        body: HUNDRED,
        load: Load::Flat(8),
        route: Route::Null,
        wire: Wire::Plain,
        workers: 1,
        storage: Storage::Memory,
        tags: 1,
    }
}

/// A scenario by its name.
pub fn named(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario \"{name}\"; there are {}", names.join(", "))
    })
}

impl Body {
    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        let text = match self {
            Body::Record => payload::record(1),
            Body::Records(count) => payload::records(count, 1),
            Body::Alert => payload::alert(4_900, 1),
        };
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_two_are_alike() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert_eq!(named(scenario.name).unwrap().about, scenario.about);
            assert!(SCENARIOS[index + 1..].iter().all(|other| other.name != scenario.name));
        }
    }

    #[test]
    fn bodies_have_the_records_they_are_named_for() {
        for (body, records) in [(Body::Record, 1), (Body::Records(100), 100), (Body::Alert, 1)] {
            assert_eq!(payload::count(&body.bytes()), records);
        }
    }
}
