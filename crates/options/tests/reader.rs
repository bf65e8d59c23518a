//! How a section becomes options structs, and what is said when it cannot.

use std::time::Duration;

use options::{
    Choice, CommaList, Entry, Finished, Kind, Options, Period, Pos, Reader, Rules, Secret, Section, Size,
    Spec, Text, Words,
};

/// Everything a declaration can say.
#[derive(Debug, Options)]
#[options(check = Own::check)]
struct Own {
    /// Address to connect to.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Port to connect to.
    #[option(default = "80", min = "1")]
    port: u16,
    /// Largest body,
    /// headers excluded.
    #[option(name = "http_server.buffer_max_size", alias = "buffer_max_size", alias = "bms", default = "4M")]
    buffer: Size,
    /// How long to wait.
    #[option(default = "10s", min = "0.5", max = "1h")]
    timeout: Period,
    /// Table to write to.
    #[option(required)]
    table: String,
    /// Credential.
    password: Option<Secret>,
    /// Headers to add.
    header: Vec<Words<2>>,
    /// Files to read.
    #[option(default = "a,b")]
    path: CommaList,
    /// Compression.
    #[option(default = "none")]
    compress: Compress,
    #[option(rules)]
    edits: Vec<Edit>,
}

#[derive(Choice, Clone, Copy, Debug, PartialEq)]
enum Compress {
    None,
    Gzip,
    #[choice(name = "zstd", alias = "zst")]
    Zstandard,
}

#[derive(Rules, Debug, PartialEq)]
enum Edit {
    /// Set a key.
    Set(Words<2>),
    /// Rename a key, even onto another.
    HardRename(Words<2>),
    /// Remove a key.
    #[option(alias = "delete")]
    Remove(String),
}

#[derive(Debug, Options)]
struct Common {
    /// Plugin.
    #[option(required)]
    name: String,
    #[option(flatten)]
    tls: Tls,
}

#[derive(Debug, Options)]
struct Tls {
    /// Speak TLS.
    #[option(name = "tls", default = "off")]
    enabled: bool,
    /// Check certificates.
    #[option(name = "tls.verify", default = "on")]
    verify: bool,
}

impl Own {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.password.is_some() && self.host == "127.0.0.1" {
            reader.refuse("password", "a password needs a host", Some("set host".into()));
        }
    }
}

/// The section of an output; line N is the Nth option, its value at column 20.
fn section(options: &[(&str, &str)]) -> Section {
    let pos = Pos::new("weir.conf", 1, 1);
    let mut section = Section::new("output", pos.clone());
    for (line, (key, value)) in (2..).zip(options) {
        let key = Text::new(*key, pos.at(line, 5));
        section.entries.push(Entry { key, value: Text::new(*value, pos.at(line, 20)) });
    }
    section
}

fn read(section: &Section, known: &[&str]) -> (Option<Common>, Option<Own>, Finished) {
    let mut reader = Reader::new(section);
    let common = Common::read(&mut reader);
    let own = Own::read(&mut reader);
    (common, own, reader.finish(known))
}

#[track_caller]
fn refused(options: &[(&str, &str)], wanted: &str) {
    let (_, _, finished) = read(&section(options), &[]);
    assert_eq!(finished.problems.to_string(), wanted);
}

#[test]
fn what_is_not_given_has_its_default() {
    let own = Own::from_pairs(&[("table", "logs")]).unwrap();
    assert_eq!((own.host.as_str(), own.port, own.buffer.bytes()), ("127.0.0.1", 80, 4_000_000));
    assert_eq!(own.timeout.duration(), Duration::from_secs(10));
    assert_eq!(*own.path, ["a", "b"]);
    assert_eq!(own.compress, Compress::None);
    assert!(own.password.is_none() && own.header.is_empty() && own.edits.is_empty());
    assert!(Own::defaults().is_err(), "the table is required");
}

#[test]
fn several_structs_read_one_section() {
    let section = section(&[
        ("name", "http"),
        ("tls", "On"),
        ("table", "logs"),
        ("bms", "1K"),
        ("header", "X-A one two"),
        ("header", "X-B three"),
        ("compress", "ZST"),
    ]);
    let (common, own, finished) = read(&section, &[]);
    let (common, own) = (common.unwrap(), own.unwrap());
    assert!(finished.problems.is_empty() && finished.unused.is_empty());
    assert_eq!(common.name, "http");
    assert!(common.tls.enabled && common.tls.verify);
    assert_eq!(own.table, "logs");
    assert_eq!(own.buffer, Size(1000));
    assert_eq!(own.header[0][1], "one two");
    assert_eq!(own.header.len(), 2);
    assert_eq!(own.compress, Compress::Zstandard);
}

#[test]
fn rules_keep_the_order_of_the_file() {
    let own = Own::from_pairs(&[
        ("Remove", "a"),
        ("table", "t"),
        ("Hard_Rename", "b c"),
        ("delete", "d"),
        ("Set", "e f g"),
    ]);
    let rules: Vec<String> = own.unwrap().edits.iter().map(|rule| format!("{rule:?}")).collect();
    assert_eq!(
        rules,
        [
            "Remove(\"a\")",
            "HardRename(Words([\"b\", \"c\"]))",
            "Remove(\"d\")",
            "Set(Words([\"e\", \"f g\"]))"
        ]
    );
}

#[test]
fn all_problems_come_in_one_run_and_in_file_order() {
    refused(
        &[
            ("name", "http"),
            ("port", "70000"),
            ("hots", "db"),
            ("timeout", "5ms"),
            ("compress", "gzp"),
            ("tls", "1"),
            ("header", "alone"),
            ("set", "alone"),
            ("host", ""),
        ],
        "weir.conf:1:1: output http: required option \"table\" is missing\n\
         weir.conf:3:20: output http: option \"port\": 70000 is out of range: 0 to 65535\n\
         weir.conf:4:5: output http: unknown option \"hots\"; did you mean \"host\"?\n\
         weir.conf:5:20: output http: option \"timeout\": \"5ms\" is not a time; write 0.005 (seconds)\n\
         weir.conf:6:20: output http: option \"compress\": \"gzp\" is not one of none, gzip, zstd; \
         did you mean \"gzip\"?\n\
         weir.conf:7:20: output http: option \"tls\": \"1\" is not true or false; write true\n\
         weir.conf:8:20: output http: option \"header\": \"alone\" is not 2 words separated by blanks, but 1\n\
         weir.conf:9:20: output http: option \"set\": \"alone\" is not 2 words separated by blanks, but 1\n\
         weir.conf:10:20: output http: option \"host\": the value is empty",
    );
}

#[test]
fn ranges_hold_for_values_with_units() {
    refused(
        &[("name", "http"), ("table", "t"), ("port", "0"), ("timeout", "2h")],
        "weir.conf:4:20: output http: option \"port\": 0 is out of range: at least 1\n\
         weir.conf:5:20: output http: option \"timeout\": 2h is out of range: 0.5 to 1h",
    );
}

#[test]
fn an_option_given_twice_names_both_places_whatever_its_name() {
    refused(
        &[("name", "http"), ("table", "t"), ("buffer_max_size", "1"), ("bms", "2")],
        "weir.conf:5:5: output http: option \"http_server.buffer_max_size\" is already set at weir.conf:4:5",
    );
}

#[test]
fn a_rule_between_options_is_reported_at_its_option() {
    refused(
        &[("name", "http"), ("table", "t"), ("password", "hunter2")],
        "weir.conf:4:20: output http: a password needs a host; set host",
    );
}

#[test]
fn an_unknown_option_without_a_near_one_says_where_the_list_is() {
    refused(
        &[("name", "http"), ("table", "t"), ("colour", "red")],
        "weir.conf:4:5: output http: unknown option \"colour\"; run `weir -o http -h` for the list",
    );
}

#[test]
fn names_of_the_reference_are_unused_rather_than_wrong() {
    let mut section = section(&[("name", "http"), ("table", "t"), ("workers", "2"), ("rdkafka.acks", "1")]);
    section.groups.push(Section::new("processors", Pos::new("weir.conf", 9, 9)));
    section.groups.push(Section::new("host", Pos::new("weir.conf", 10, 9)));
    let (_, _, finished) = read(&section, &["Workers", "rdkafka.", "processors"]);
    let unused: Vec<&str> = finished.unused.iter().map(|text| text.value.as_str()).collect();
    assert_eq!(unused, ["workers", "rdkafka.acks", "processors"]);
    assert_eq!(
        finished.problems.to_string(),
        "weir.conf:10:9: output http: option \"host\" takes a value (text), not a map"
    );
}

#[test]
fn options_of_a_prefix_are_taken_unless_somebody_has_them_and_one_without_effect_is_unused() {
    let section =
        section(&[("name", "http"), ("table", "t"), ("name_1", "a"), ("Name_2", "b"), ("other", "c")]);
    let mut reader = Reader::new(&section);
    assert!(Common::read(&mut reader).is_some() && Own::read(&mut reader).is_some());
    let found: Vec<&str> = reader.prefixed("name").iter().map(|entry| entry.value.value.as_str()).collect();
    assert_eq!(found, ["a", "b"]);
    reader.without_effect("table");
    reader.without_effect("absent");
    let finished = reader.finish(&["other"]);
    let unused: Vec<&str> = finished.unused.iter().map(|text| text.value.as_str()).collect();
    assert_eq!((unused, finished.problems.is_empty()), (vec!["table", "other"], true));
}

#[test]
fn groups_are_taken_by_name() {
    let mut section = section(&[]);
    section.groups.push(Section::new("node", Pos::new("weir.conf", 2, 1)));
    section.groups.push(Section::new("node", Pos::new("weir.conf", 5, 1)));
    let mut reader = Reader::new(&section);
    assert_eq!(reader.groups("node").len(), 2);
    assert!(reader.finish(&[]).problems.is_empty());
}

#[test]
fn the_table_says_what_the_declaration_says() {
    let mut specs: Vec<Spec> = Vec::new();
    Own::specs(&mut specs);
    let buffer = specs.iter().find(|spec| spec.is("BMS")).unwrap();
    assert_eq!(buffer.name, "http_server.buffer_max_size");
    assert_eq!(buffer.doc, "Largest body,\nheaders excluded.");
    assert_eq!((buffer.default, buffer.kind, buffer.repeatable), (Some("4M"), Kind::Size, false));
    let names: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    assert_eq!(names[5..], ["password", "header", "path", "compress", "set", "hard_rename", "remove"]);
    assert!(specs[4].required && specs[6].repeatable && specs[9].repeatable);
    assert_eq!(specs[8].kind.to_string(), "none|gzip|zstd");
}

#[test]
fn a_declaration_with_a_bad_default_is_flawed() {
    let mut specs: Vec<Spec> = Vec::new();
    Own::specs(&mut specs);
    let bad = Spec { default: Some("2h"), doc: "", ..specs[3] };
    assert_eq!(
        bad.flaws(),
        ["timeout: bad default: 2h is out of range: 0.5 to 1h", "timeout: no doc comment"]
    );
}
