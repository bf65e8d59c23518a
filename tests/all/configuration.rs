//! Configurations, right and wrong, as a user meets them.

use std::path::Path;

use testkit::{Weir, weir};

#[test]
fn a_pipeline_gives_the_same_records_as_conf_and_as_yaml() {
    let classic = "
[SERVICE]
    Flush        0.1
    HTTP_Server  On
    HTTP_Listen  127.0.0.1
    HTTP_Port    ADMIN
[INPUT]
    Name     dummy
    Tag      app.web
    Dummy    {\"level\":\"info\",\"text\":\"${SOME_TEXT}\",\"drop\":1}
    Samples  4
    Rate     50
    Start_Time_Sec 1700000000
[FILTER]
    Name     modify
    Match    app.*
    Remove   drop
    Set      site north
[OUTPUT]
    Name     stdout
    Match    *
    Format   json_lines
";
    let yaml = "
service: {flush: 0.1, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - name: dummy
      tag: app.web
      dummy: '{\"level\":\"info\",\"text\":\"${SOME_TEXT}\",\"drop\":1}'
      samples: 4
      rate: 50
      start_time_sec: 1700000000
  filters:
    - {name: modify, match: app.*, remove: drop, set: site north}
  outputs:
    - {name: stdout, match: '*', format: json_lines}
";
    let outputs = [("weir.conf", classic), ("weir.yaml", yaml)].map(|(name, text)| {
        let weir = Weir::start_named(name, text, &[("SOME_TEXT", "grüße")]);
        weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 4);
        weir.stop().0
    });
    assert_eq!(outputs[0].lines().count(), 4);
    assert!(outputs[0].contains("\"site\":\"north\"") && !outputs[0].contains("drop"), "{}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

/// File, and what must be said about it: place, reason, suggestion.
const BROKEN: &[(&str, &str, &[&str])] = &[
    (
        "key.yaml",
        "pipeline:\n  inputs:\n    - {name: http, prot: 1}\n  outputs:\n    - {name: stdout, match: '*'}\n",
        &["key.yaml:3:20: input http: unknown option \"prot\"; did you mean \"port\"?"],
    ),
    (
        "value.conf",
        "[INPUT]\n    name http\n    successful_response_code 299\n[OUTPUT]\n    name stdout\n    match *\n",
        &["value.conf:3:30: input http: option \"successful_response_code\": 299 is not 200, 201 or 204"],
    ),
    (
        "plugin.conf",
        "[INPUT]\n    name htpp\n[OUTPUT]\n    name stdout\n    match *\n",
        &["plugin.conf:2:10: unknown input plugin \"htpp\"; did you mean \"http\"?"],
    ),
    (
        "section.conf",
        "[INPTU]\n    name http\n[OUTPUT]\n    name stdout\n    match *\n",
        &["section.conf:1:1: unknown section [INPTU]; did you mean \"INPUT\"?"],
    ),
    (
        "bracket.yaml",
        "pipeline:\n  inputs: [{name: http\n  outputs:\n    - {name: stdout}\n",
        &["bracket.yaml:"],
    ),
    (
        "duplicate.conf",
        "[INPUT]\n    name http\n    port 1\n    port 2\n[OUTPUT]\n    name stdout\n    match *\n",
        &["duplicate.conf:4:5: input http: option \"port\" is already set at duplicate.conf:3:5"],
    ),
    (
        "required.conf",
        "[INPUT]\n    name http\n[OUTPUT]\n    name azure_kusto\n    match *\n",
        &[
            "required.conf:3:1: output azure_kusto: required option \"ingestion_endpoint\" is missing",
            "\"table_name\" is missing",
        ],
    ),
    (
        "type.conf",
        "[INPUT]\n    name http\n    port eighty\n[OUTPUT]\n    name stdout\n    match *\n",
        &["type.conf:3:10: input http: option \"port\": \"eighty\" is not"],
    ),
    (
        "range.yaml",
        "pipeline:\n  inputs:\n    - {name: http, http_server.workers: 9000}\n  outputs:\n    - {name: stdout, match: '*'}\n",
        &["range.yaml:3:41: input http: option \"http_server.workers\":", "64"],
    ),
    (
        "include.conf",
        "@INCLUDE nowhere.conf\n[INPUT]\n    name http\n[OUTPUT]\n    name stdout\n    match *\n",
        &["include.conf:1:10:", "nowhere.conf"],
    ),
];

#[test]
fn a_broken_configuration_is_refused_with_place_reason_and_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, expected) in BROKEN {
        let said = refused(folder.path(), name, text);
        for part in *expected {
            assert!(said.contains(part), "{name}: {part:?} is not in\n{said}");
        }
    }
}

#[test]
fn all_problems_of_a_configuration_come_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[SERVICE]\n    flush soon\n[INPUT]\n    name http\n    prot 1\n    port x\n[INPUT]\n    name htpp\n[FILTER]\n    \
                name grep\n    match *\n    regex a (\n[OUTPUT]\n    name azure_kusto\n    match *\n";
    let said = refused(folder.path(), "many.conf", text);
    for part in ["\"flush\"", "\"prot\"", "\"port\"", "\"htpp\"", "\"regex\"", "\"database_name\""] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

/// Runs weir on the text, which it must refuse with exit code 1; returns what it said, without the folder.
fn refused(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    for dry_run in [&[][..], &["--dry-run"]] {
        let output = weir(&[&["-c", path.to_str().unwrap()], dry_run].concat());
        assert_eq!(output.status.code(), Some(1), "{name}");
    }
    let output = weir(&["-c", path.to_str().unwrap()]);
    String::from_utf8(output.stderr).unwrap().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_dry_run_shows_what_memory_is_reserved_and_binds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    std::fs::write(
        &path,
        format!("[INPUT]\n    name http\n    port {port}\n[OUTPUT]\n    name null\n    match *\n"),
    )
    .unwrap();
    let output = weir(&["-c", path.to_str().unwrap(), "--dry-run"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("http.0 chunks") && said.contains("memory_limit"), "{said}");
    assert!(said.contains("configuration test is successful"), "{said}");
}

#[test]
fn a_taken_port_stops_the_start_with_the_reason_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    std::fs::write(&path, format!("[INPUT]\n    name http\n    listen 127.0.0.1\n    port {port}\n[OUTPUT]\n    name null\n    match *\n")).unwrap();
    let output = weir(&["-c", path.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("another process listens there"),
        "{said}"
    );
}

#[test]
fn an_option_whose_absence_would_break_a_promise_stops_the_start_and_a_harmless_one_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    let text =
        |extra: &str| format!("[INPUT]\n    name http\n    {extra}\n[OUTPUT]\n    name null\n    match *\n");
    std::fs::write(&path, text("buffer_chunk_size 512K")).unwrap();
    let output = weir(&["-c", path.to_str().unwrap(), "--dry-run"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("\"buffer_chunk_size\" has no effect"), "{said}");
    let said = refused(folder.path(), "b.conf", &text("storage.type filesystem"));
    assert!(
        said.contains("b.conf:3:18: input http: option \"storage.type\": filesystem needs a folder"),
        "{said}"
    );
}
