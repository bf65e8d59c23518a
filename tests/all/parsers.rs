//! Parsers end to end: what a parser makes of a line is the same whoever uses it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::binary;

/// A parser with the lines it is given and what becomes of them: the time as seconds, and the record.
struct Case {
    parser: &'static str,
    lines: &'static [(&'static str, &'static str)],
}

const PARSERS: &str = r#"
[PARSER]
    name         js
    format       json
    time_key     at
    time_format  %Y-%m-%dT%H:%M:%S.%L%z
    time_keep    on
    types        code:string
[PARSER]
    name         access
    format       regex
    regex        ^(?<host>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+) (?<path>[^"]*)" (?<code>\d+) (?<size>\d*)$
    time_key     time
    time_format  %d/%b/%Y:%H:%M:%S %z
    types        code:integer size:integer
[PARSER]
    name         lt
    format       ltsv
    time_key     time
    time_format  %s
    types        n:integer ok:bool part:float mask:hex
[PARSER]
    name         lf
    format       logfmt
    types        n:integer
[PARSER]
    name         inner
    format       regex
    regex        ^(?<level>[A-Z]+) (?<json>\{.*\})$
    decode_field_as  json  json
[PARSER]
    name         zone
    format       regex
    regex        ^(?<time>[^|]+)\|(?<text>.*)$
    time_format  %Y-%m-%d %H:%M:%S
    time_zone    Europe/Berlin
"#;

const CASES: &[Case] = &[
    Case {
        parser: "js",
        lines: &[
            (
                r#"{"at":"2023-11-14T22:13:20.250+0000","code":5,"m":{"k":[1,null,"é"]}}"#,
                r#"{"date":1700000000.25,"at":"2023-11-14T22:13:20.250+0000","code":5,"m":{"k":[1,null,"é"]}}"#,
            ),
            (
                r#"{"at":"2023-11-14T23:13:21.000+0100"}"#,
                r#"{"date":1700000001.0,"at":"2023-11-14T23:13:21.000+0100"}"#,
            ),
        ],
    },
    Case {
        parser: "access",
        lines: &[
            (
                r#"10.0.0.1 [14/Nov/2023:23:13:20 +0100] "GET /a b" 200 12"#,
                r#"{"date":1700000000.0,"host":"10.0.0.1","method":"GET","path":"/a b","code":200,"size":12}"#,
            ),
            (
                r#"h [14/Nov/2023:22:13:20 +0000] "PUT /" 404 "#,
                r#"{"date":1700000000.0,"host":"h","method":"PUT","path":"/","code":404}"#,
            ),
        ],
    },
    Case {
        parser: "lt",
        lines: &[(
            "time:1700000000\tn:7\tok:true\tpart:1.5\tmask:ff\ttext:a b",
            r#"{"date":1700000000.0,"n":7,"ok":true,"part":1.5,"mask":255,"text":"a b"}"#,
        )],
    },
    Case {
        parser: "lf",
        lines: &[(
            r#"n=3 text="two words" bare quote="a\"b""#,
            r#"{"n":3,"text":"two words","bare":"","quote":"a\\\"b"}"#,
        )],
    },
    Case { parser: "inner", lines: &[(r#"WARN {"a":{"b":1}}"#, r#"{"level":"WARN","json":{"a":{"b":1}}}"#)] },
    Case {
        parser: "zone",
        lines: &[
            ("2023-11-14 23:13:20|winter", r#"{"date":1700000000.0,"text":"winter"}"#),
            ("2023-07-01 02:00:00|summer", r#"{"date":1688169600.0,"text":"summer"}"#),
        ],
    },
];

/// Runs weir with this input section, and filters; returns what it wrote, a record a line.
fn run(folder: &Path, pipeline: &str, input: &str) -> Vec<String> {
    std::fs::write(folder.join("parsers.conf"), PARSERS).unwrap();
    let config = format!(
        "[SERVICE]\n  flush 0.1\n  grace 5\n  log_level warn\n  json.escape_unicode off\n  parsers_file parsers.conf\n{pipeline}\n\
         [OUTPUT]\n  name stdout\n  match *\n  format json_lines\n"
    );
    std::fs::write(folder.join("weir.conf"), config).unwrap();
    let mut child = Command::new(binary("weir"))
        .args(["-c", "weir.conf"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{pipeline}\n{log}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Times that come from the clock are taken out.
fn without_clock(line: &str, expected: &str) -> String {
    let Some(rest) = line.strip_prefix("{\"date\":").filter(|_| !expected.starts_with("{\"date\":")) else {
        return line.to_owned();
    };
    format!("{{{}", rest.split_once(',').map_or("", |(_, rest)| rest))
}

fn assert_all(way: &str, case: &Case, wrote: &[String]) {
    assert_eq!(wrote.len(), case.lines.len(), "{way} {}: {wrote:?}", case.parser);
    for ((_, expected), line) in case.lines.iter().zip(wrote) {
        assert_eq!(without_clock(line, expected), *expected, "{way} {}", case.parser);
    }
}

#[test]
fn a_parser_makes_the_same_of_a_line_in_every_input_and_in_the_filter() {
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = case.lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        std::fs::write(folder.path().join("lines.log"), &lines).unwrap();
        let parser = case.parser;
        let tail = "name tail\n  path lines.log\n  read_from_head on\n  exit_on_eof on";
        let ways = [
            ("tail", format!("[INPUT]\n  {tail}\n  parser {parser}")),
            (
                "exec",
                format!(
                    "[INPUT]\n  name exec\n  command cat lines.log\n  exit_after_oneshot on\n  parser {parser}"
                ),
            ),
            ("stdin", format!("[INPUT]\n  name stdin\n  parser {parser}")),
            (
                "the filter",
                format!(
                    "[INPUT]\n  {tail}\n[FILTER]\n  name parser\n  match *\n  key_name log\n  parser {parser}"
                ),
            ),
        ];
        for (way, pipeline) in &ways {
            let input = if *way == "stdin" { lines.as_str() } else { "" };
            assert_all(way, case, &run(folder.path(), pipeline, input));
        }
    }
}

#[test]
fn a_line_that_no_parser_takes_stays_whole_and_the_first_of_several_that_takes_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lines.log"), "no match\nWARN {\"a\":1}\n").unwrap();
    let tail = "[INPUT]\n  name tail\n  path lines.log\n  read_from_head on\n  exit_on_eof on\n";
    let lines = run(folder.path(), &format!("{tail}  parser inner"), "");
    let lines: Vec<String> = lines.iter().map(|line| without_clock(line, "")).collect();
    assert_eq!(lines, [r#"{"log":"no match"}"#, r#"{"level":"WARN","json":{"a":1}}"#]);

    let filter = "[FILTER]\n  name parser\n  match *\n  key_name log\n  parser js\n  parser inner\n  \
                  preserve_key on\n  reserve_data on\n";
    let lines = run(folder.path(), &format!("{tail}  path_key file\n{filter}"), "");
    let lines: Vec<String> = lines.iter().map(|line| without_clock(line, "")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], r#"{"file":"lines.log","log":"no match"}"#);
    assert!(lines[1].contains(r#""level":"WARN","json":{"a":1}"#), "{lines:?}");
    assert!(lines[1].contains(r#""file":"lines.log""#) && lines[1].contains(r#""log":"WARN"#), "{lines:?}");
}
