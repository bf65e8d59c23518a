//! What is measured.

use crate::payload;

/// A way to load an agent.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub body: Body,
    pub load: Load,
    pub route: Route,
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
    /// To another HTTP server.
    Http,
}

/// All of them, in the order of the tables.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "small",
        "HTTP -> null, one record of about 480 bytes per request",
        Body::Record,
        Load::Flat(16),
        Route::Null,
    ),
    scenario(
        "records-100",
        "HTTP -> null, arrays of 100 records",
        Body::Records(100),
        Load::Flat(8),
        Route::Null,
    ),
    scenario(
        "records-1000",
        "HTTP -> null, arrays of 1,000 records",
        Body::Records(1_000),
        Load::Flat(8),
        Route::Null,
    ),
    scenario(
        "records-10000",
        "HTTP -> null, arrays of 10,000 records",
        Body::Records(10_000),
        Load::Flat(4),
        Route::Null,
    ),
    scenario(
        "trigger",
        "HTTP -> null, one object of 4,900 lines per request",
        Body::Alert,
        Load::Flat(8),
        Route::Null,
    ),
    scenario(
        "filters-1",
        "HTTP -> grep -> null, arrays of 100 records",
        Body::Records(100),
        Load::Flat(8),
        Route::Filters(1),
    ),
    scenario(
        "filters-3",
        "HTTP -> grep, modify, modify -> null, arrays of 100 records",
        Body::Records(100),
        Load::Flat(8),
        Route::Filters(3),
    ),
    scenario(
        "kusto",
        "HTTP -> azure_kusto (gzip, TLS), arrays of 100 records",
        Body::Records(100),
        Load::Flat(8),
        Route::Kusto,
    ),
    scenario(
        "http",
        "HTTP -> HTTP (JSON lines), arrays of 100 records",
        Body::Records(100),
        Load::Flat(8),
        Route::Http,
    ),
    scenario(
        "idle-connections",
        "HTTP -> null, 1,000 connections that stay open behind an array of 1,000 records each",
        Body::Records(1_000),
        Load::Held(1_000),
        Route::Null,
    ),
];

const fn scenario(name: &'static str, about: &'static str, body: Body, load: Load, route: Route) -> Scenario {
    Scenario { name, about, body, load, route }
}

/// A scenario by its name.
pub fn named(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario \"{name}\"; there are {}", names.join(", "))
    })
}

impl Body {
    /// The bytes, and how many records they are.
    pub fn bytes(self) -> (Vec<u8>, u64) {
        let text = match self {
            Body::Record => payload::record(1),
            Body::Records(count) => payload::records(count, 1),
            Body::Alert => payload::alert(4_900, 1),
        };
        let records = payload::count(text.as_bytes());
        (text.into_bytes(), records)
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
        assert_eq!(Body::Record.bytes().1, 1);
        assert_eq!(Body::Records(100).bytes().1, 100);
        assert_eq!(Body::Alert.bytes().1, 1);
    }
}
