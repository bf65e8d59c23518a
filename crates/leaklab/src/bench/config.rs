//! Each agent's configuration for a scenario, as its own documentation has it.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use super::agent::Kind;
use super::network::Network;
use super::scenario::{Route, Scenario, Storage, Wire};

/// The memory that weir gets. The peers have no such setting.
pub const MEMORY_LIMIT: &str = "64M";
/// Bodies up to this are taken without a setting by all.
const BODY: usize = 4 << 20;

/// What a configuration needs to know.
pub struct Setting<'a> {
    /// Port of the input.
    pub input: u16,
    /// Port of the agent's own metrics.
    pub admin: u16,
    /// Bytes of a body.
    pub body: usize,
    pub scenario: &'a Scenario,
    /// Port of the server behind [`Route::Http`].
    pub sink: u16,
    /// What kusto-local says of itself, behind [`Route::Kusto`].
    pub kusto: &'a HashMap<String, String>,
    /// An empty folder of the agent's own.
    pub folder: &'a Path,
    /// Files of a certificate and its key.
    pub certificate: (&'a Path, &'a Path),
}

/// Whether a scenario has to play a machine's metadata service to an agent.
pub fn needs_metadata_service(kind: Kind, scenario: &Scenario) -> bool {
    kind == Kind::FluentBit && scenario.route == Route::Kusto
}

/// Why an agent cannot take part in a scenario, where that is known without asking it.
pub fn obstacle(kind: Kind, scenario: &Scenario, network: Option<Network>) -> Option<&'static str> {
    match (kind, scenario) {
        _ if needs_metadata_service(kind, scenario) && network.is_none() => {
            Some("its tokens come from Azure or from 169.254.169.254, and only root can play that address")
        }
        (Kind::Vector, Scenario { route: Route::Kusto, .. }) => Some("it has no output for Kusto"),
        (Kind::Vector, Scenario { wire: Wire::Http2, .. }) => Some("its input has no HTTP/2 without TLS"),
        (Kind::Vector, Scenario { workers: 2.., .. }) => Some("its input has no such option"),
        (Kind::Vector, Scenario { storage: Storage::Normal | Storage::Full, .. }) => {
            Some("it writes to the disk every half second, which is neither of the two")
        }
        _ => None,
    }
}

/// The text of a configuration.
pub fn text(kind: Kind, setting: &Setting<'_>) -> String {
    match kind {
        Kind::Weir | Kind::FluentBit => classic(kind, setting),
        Kind::Vector => vector(setting),
    }
}

/// Weir reads Fluent Bit's format, so both get the same text, but for the limit that only weir has.
fn classic(kind: Kind, setting: &Setting<'_>) -> String {
    let Setting { input, admin, body, scenario, .. } = setting;
    let mut text = format!(
        "[SERVICE]\n    flush        1\n    grace        1\n    log_level    warn\n    http_server  on\n    \
         http_listen  127.0.0.1\n    http_port    {admin}\n"
    );
    if kind == Kind::Weir {
        section(&mut text, "", &[("memory_limit", MEMORY_LIMIT)]);
    }
    let files = setting.folder.display().to_string();
    match scenario.storage {
        Storage::Memory => {}
        Storage::Normal => section(&mut text, "", &[("storage.path", &files), ("storage.sync", "normal")]),
        Storage::Full => section(&mut text, "", &[("storage.path", &files), ("storage.sync", "full")]),
    }
    let (port, size) = (input.to_string(), (body + (1 << 20)).to_string());
    section(&mut text, "INPUT", &[("name", "http"), ("listen", "127.0.0.1"), ("port", &port)]);
    section(&mut text, "", &[("http_server.idle_timeout", "600s")]);
    if *body > BODY {
        section(&mut text, "", &[("buffer_max_size", &size)]);
    }
    if scenario.storage != Storage::Memory {
        section(&mut text, "", &[("storage.type", "filesystem")]);
    }
    if scenario.workers > 1 {
        section(&mut text, "", &[("http_server.workers", &scenario.workers.to_string())]);
    }
    let (certificate, key) = setting.certificate;
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    match scenario.wire {
        Wire::Plain | Wire::Gzip => {}
        Wire::Http2 => section(&mut text, "", &[("http_server.http2", "on")]),
        Wire::Tls => {
            let options = [("tls", "on"), ("tls.crt_file", &certificate), ("tls.key_file", &key)];
            section(&mut text, "", &options);
        }
    }
    if let Route::Filters(count) = scenario.route {
        for options in FILTERS.iter().take(count) {
            section(&mut text, "FILTER", options);
        }
    }
    classic_output(&mut text, kind, setting);
    text
}

/// None of them drops a record, so that what is delivered can be compared with what was accepted.
const FILTERS: [&[(&str, &str)]; 3] = [
    &[("name", "grep"), ("match", "*"), ("exclude", "path ^/healthz")],
    &[("name", "modify"), ("match", "*"), ("add", "cluster bench")],
    &[("name", "modify"), ("match", "*"), ("rename", "duration_ms duration"), ("remove", "bytes")],
];

fn classic_output(text: &mut String, kind: Kind, setting: &Setting<'_>) {
    let sink = setting.sink.to_string();
    match setting.scenario.route {
        Route::Null | Route::Filters(_) => section(text, "OUTPUT", &[("name", "null"), ("match", "*")]),
        Route::Http(_) => section(
            text,
            "OUTPUT",
            &[
                ("name", "http"),
                ("match", "*"),
                ("host", "127.0.0.1"),
                ("port", &sink),
                ("uri", "/sink"),
                ("format", "json_lines"),
            ],
        ),
        Route::Kusto => {
            let said = |key: &str| setting.kusto.get(key).map_or("", String::as_str);
            section(text, "OUTPUT", &[("name", "azure_kusto"), ("match", "*")]);
            let same = [("ingestion_endpoint", "ingestion_endpoint"), ("database_name", "database")];
            for (key, what) in same.into_iter().chain([("table_name", "table")]) {
                section(text, "", &[(key, said(what))]);
            }
            if needs_metadata_service(kind, setting.scenario) {
                // Blobs and messages go to hosts for which no certificate can be named, so none is checked.
                section(text, "", &[("auth_type", "managed_identity"), ("client_id", "system")]);
                section(text, "", &[("tls", "on"), ("tls.verify", "off")]);
                return;
            }
            for key in ["tenant_id", "client_id", "client_secret", "authority_host"] {
                section(text, "", &[(key, said(key))]);
            }
            section(text, "", &[("tls.ca_file", said("ca_file"))]);
        }
    }
}

/// A section of the classic format; without a name, more lines of the last.
fn section(text: &mut String, name: &str, options: &[(&str, &str)]) {
    // Writing to a String cannot fail.
    if !name.is_empty() {
        let _ = write!(text, "\n[{name}]\n");
    }
    for (key, value) in options {
        let _ = writeln!(text, "    {key:<12} {value}");
    }
}

/// The same filters for Vector; a pattern of its language has single quotes itself.
const TRANSFORMS: [(&str, &str); 3] = [
    ("grep", "type = \"filter\"\ncondition = '''!match(string!(.path), r'^/healthz')'''\n"),
    ("add", "type = \"remap\"\nsource = '.cluster = \"bench\"'\n"),
    ("rename", "type = \"remap\"\nsource = '''\n.duration = del(.duration_ms)\ndel(.bytes)\n'''\n"),
];

fn vector(setting: &Setting<'_>) -> String {
    let Setting { input, admin, sink, .. } = setting;
    let (certificate, key) = setting.certificate;
    let tls = match setting.scenario.wire {
        Wire::Tls => format!(
            "tls.enabled = true\ntls.crt_file = \"{}\"\ntls.key_file = \"{}\"\n",
            certificate.display(),
            key.display()
        ),
        _ => String::new(),
    };
    let mut text = format!(
        "[sources.in]\ntype = \"http_server\"\naddress = \"127.0.0.1:{input}\"\nstrict_path = false\n\
         decoding.codec = \"json\"\n{tls}\n\
         [sources.self]\ntype = \"internal_metrics\"\n\n\
         [sinks.metrics]\ntype = \"prometheus_exporter\"\ninputs = [\"self\"]\naddress = \"127.0.0.1:{admin}\"\n"
    );
    let mut last = "in";
    if let Route::Filters(count) = setting.scenario.route {
        for (name, options) in TRANSFORMS.iter().take(count) {
            let _ = write!(text, "\n[transforms.{name}]\ninputs = [\"{last}\"]\n{options}");
            last = name;
        }
    }
    let _ = write!(text, "\n[sinks.out]\ninputs = [\"{last}\"]\n");
    text.push_str(&match setting.scenario.route {
        Route::Http(_) => format!(
            "type = \"http\"\nuri = \"http://127.0.0.1:{sink}/sink\"\nencoding.codec = \"json\"\n\
             framing.method = \"newline_delimited\"\n"
        ),
        _ => "type = \"blackhole\"\nprint_interval_secs = 0\n".to_owned(),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, scenario: &str, body: usize, expected: &[&str], absent: &[&str]) {
        let pairs = [("client_secret", "s3"), ("ca_file", "/ca.pem"), ("database", "db"), ("table", "T")];
        let kusto = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let scenario = crate::bench::scenario::named(scenario).unwrap();
        let (folder, certificate) = (Path::new("/state"), (Path::new("/c.pem"), Path::new("/k.pem")));
        let setting = Setting {
            input: 1001,
            admin: 1002,
            body,
            scenario,
            sink: 1003,
            kusto: &kusto,
            folder,
            certificate,
        };
        let text = text(kind, &setting);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in expected {
            assert!(lines.iter().any(|found| found == line), "no {line:?} in\n{text}");
        }
        for word in absent {
            assert!(!text.contains(word), "{word:?} in\n{text}");
        }
    }

    #[test]
    fn weir_and_fluent_bit_get_the_same_but_for_the_limit() {
        let common = ["[INPUT]", "port 1001", "http_port 1002", "name null", "match *"];
        check(Kind::FluentBit, "small", 500, &common, &["memory_limit", "buffer_max_size", "FILTER"]);
        check(Kind::Weir, "small", 500, &common, &["buffer_max_size"]);
        check(Kind::Weir, "small", 500, &["memory_limit 64M"], &[]);
        check(Kind::FluentBit, "small", 5_000_000, &["buffer_max_size 6048576"], &[]);
    }

    #[test]
    fn filters_stand_between_input_and_output() {
        check(Kind::Weir, "filters-1", 1, &["name grep", "exclude path ^/healthz"], &["modify"]);
        check(Kind::FluentBit, "filters-3", 1, &["add cluster bench", "remove bytes"], &[]);
        check(Kind::Vector, "filters-1", 1, &["inputs = [\"grep\"]", "type = \"blackhole\""], &["remap"]);
        check(Kind::Vector, "filters-3", 1, &["inputs = [\"add\"]", "inputs = [\"rename\"]"], &[]);
    }

    #[test]
    fn outputs_are_pointed_at_what_the_bench_runs() {
        check(Kind::FluentBit, "http", 1, &["port 1003", "format json_lines"], &["null"]);
        check(Kind::Vector, "http", 1, &["uri = \"http://127.0.0.1:1003/sink\""], &["blackhole"]);
        let kusto = ["name azure_kusto", "client_secret s3", "tls.ca_file /ca.pem", "table_name T"];
        check(Kind::Weir, "kusto", 1, &kusto, &["null"]);
        check(Kind::FluentBit, "kusto", 1, &["auth_type managed_identity", "table_name T"], &["secret"]);
        let kusto = crate::bench::scenario::named("kusto").unwrap();
        assert!(obstacle(Kind::Weir, kusto, None).is_none());
        assert!(obstacle(Kind::FluentBit, kusto, None).is_some());
    }

    #[test]
    fn what_a_scenario_is_about_is_configured() {
        let tls = ["tls on", "tls.crt_file /c.pem", "tls.key_file /k.pem"];
        check(Kind::FluentBit, "tls", 1, &tls, &["storage"]);
        check(Kind::Vector, "tls", 1, &["tls.enabled = true", "tls.crt_file = \"/c.pem\""], &[]);
        check(Kind::Weir, "http2", 1, &["http_server.http2 on"], &["tls"]);
        check(Kind::Weir, "workers-2", 1, &["http_server.workers 2"], &[]);
        let full = ["storage.path /state", "storage.sync full", "storage.type filesystem"];
        check(Kind::FluentBit, "storage-full", 1, &full, &["normal"]);
    }
}
