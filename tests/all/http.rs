//! The http input, seen by curl and over plain sockets.

use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::{Weir, curl, have};

const SMALL_PAGES: &str = "memory_limit: 40M, ";

const TO_STDOUT: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT, buffer_max_size: 1M}
  outputs:
    - {name: stdout, match: '*', format: json_lines, json_date_key: false}
";

const JSON: &str = "Content-Type: application/json";

#[test]
fn every_form_of_body_gives_its_records_under_the_tag_of_the_path() {
    if !have("curl") {
        return;
    }
    let weir = Weir::start(&TO_STDOUT.replace("json_lines", "msgpack"));
    for (path, body, status) in [
        ("/one", r#"{"n":1}"#, 201),
        ("/array", r#"[{"n":2},{"n":3}]"#, 201),
        ("/lines", "{\"n\":4}\n{\"n\":5}\n", 201),
        ("/joined", r#"{"n":6}{"n":7},{"n":8}"#, 201),
        ("/bad", r#"{"n":9}{"n":}"#, 400),
        ("/cut", r#"[{"n":10},{"n""#, 400),
        ("/scalar", "11", 400),
        ("/mixed", r#"[{"n":12},13]"#, 400),
        ("/empty", "", 400),
    ] {
        let answer = curl(&["-H", JSON, "--data-binary", body, &weir.url(path)]);
        assert_eq!(answer.0, status, "{path}: {}", answer.1);
        assert_eq!(answer.1.is_empty(), status == 201, "a refusal says why: {path}");
    }
    let (output, _) = weir.stop();
    let mut lines: Vec<String> = output
        .lines()
        .map(|line| {
            let tag = line.split_once("] ").unwrap().1.split(':').next().unwrap();
            format!("{tag} {}", line.rsplit_once("{}], ").unwrap().1)
        })
        .collect();
    lines.sort();
    let expected: Vec<String> = [("array", 2..4), ("joined", 6..9), ("lines", 4..6), ("one", 1..2)]
        .into_iter()
        .flat_map(|(tag, numbers)| numbers.map(move |n| format!("{tag} {{\"n\"=>{n}}}]")))
        .collect();
    assert_eq!(lines, expected, "of a refused body nothing is kept, of an accepted one everything");
}

#[test]
fn requests_that_are_no_ingestion_get_one_clear_answer() {
    if !have("curl") {
        return;
    }
    let weir = Weir::start(TO_STDOUT);
    let url = weir.url("/x");
    for (arguments, status, text) in [
        (&["-X", "PUT", "-H", JSON, "-d", "{}"][..], 400, "error: invalid HTTP method"),
        (&["-H", "Content-Type:", "-d", "{}"], 400, "error: header 'Content-Type' is not set"),
        (&["-H", "Content-Type: text/csv", "-d", "{}"], 400, "error: invalid 'Content-Type'"),
        (&["-H", JSON, "-H", "Content-Encoding: br", "-d", "{}"], 415, "error: the content encoding \"br\""),
        (&["-H", JSON, "-d", r#"{"a":01}"#], 400, "error: invalid JSON at byte"),
    ] {
        let (got, body) = curl(&[arguments, &[&url]].concat());
        assert_eq!(got, status, "{arguments:?}");
        assert!(body.starts_with(text), "{arguments:?}: {body}");
    }
    weir.stop();
}

#[test]
fn a_body_above_the_limit_is_413_and_one_at_the_limit_is_taken() {
    if !have("curl") {
        return;
    }
    let weir = Weir::start(TO_STDOUT);
    let body = |size: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(size - 8));
    let file = tempfile::NamedTempFile::new().unwrap();
    for (size, status) in [(1_000_000, 201), (1_000_001, 413), (5_000_000, 413)] {
        std::fs::write(file.path(), body(size)).unwrap();
        let data = format!("@{}", file.path().display());
        for extra in [&[][..], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]] {
            let (got, text) = curl(&[extra, &["-H", JSON, "--data-binary", &data, &weir.url("/x")]].concat());
            assert_eq!(got, status, "{size} bytes, {extra:?}: {text}");
        }
    }
    weir.stop();
}

fn raw(weir: &Weir, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn request(body: &str, extra: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: x\r\n{JSON}\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn pipelined_requests_are_all_answered_in_order_and_a_refused_one_costs_only_itself() {
    let weir = Weir::start(TO_STDOUT);
    let bodies = [r#"{"n":1}"#, r#"{"n":}"#, r#"{"n":2}"#, r#"[{"n":3}]"#];
    let text: String = bodies.iter().map(|body| request(body, "")).collect();
    let answer = raw(&weir, &text);
    let statuses: Vec<&str> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["201", "400", "201", "201"], "{answer}");
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 3);
    let (output, _) = weir.stop();
    assert_eq!(output.lines().collect::<Vec<_>>(), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
}

#[test]
fn what_could_smuggle_a_request_is_refused() {
    let weir = Weir::start(TO_STDOUT);
    for head in [
        "Content-Length: 7\r\nContent-Length: 8\r\n",
        "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +7\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ] {
        let answer = raw(&weir, &format!("POST /p HTTP/1.1\r\nHost: x\r\n{JSON}\r\n{head}\r\n{{\"n\":1}}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
    }
    weir.stop();
}

#[test]
fn connection_close_and_http_1_0_are_honoured() {
    let weir = Weir::start(TO_STDOUT);
    let first = request(r#"{"n":1}"#, "Connection: close\r\n");
    let answer = raw(&weir, &(first.clone() + &first));
    assert_eq!(answer.matches("HTTP/1.1 201").count(), 1, "the second is not looked at: {answer}");
    assert!(answer.contains("Connection: close"));
    let old = raw(&weir, &request("{}", "").replace("HTTP/1.1", "HTTP/1.0").repeat(2));
    assert_eq!(old.matches("HTTP/1.1 201").count(), 1, "{old}");
    weir.stop();
}

/// The configuration with pages of 16 KiB, which a few thousand requests cross many times.
fn small_pages() -> Weir {
    Weir::start(&TO_STDOUT.replace("service: {", &format!("service: {{{SMALL_PAGES}")))
}

#[test]
fn chunks_and_pipelined_requests_are_understood_wherever_a_page_ends() {
    let weir = small_pages();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(100_000));
    for size in [1, 7, 64, 4_097] {
        let mut text = format!("POST /p HTTP/1.1\r\nHost: x\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in body.as_bytes().chunks(size) {
            text += &format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap());
        }
        text += "0\r\n\r\n";
        let answer = raw(&weir, &text);
        assert!(answer.starts_with("HTTP/1.1 201 "), "chunks of {size}: {answer:?}");
    }
    let text = request(r#"{"n":1}"#, "").repeat(3_000);
    let mut writer = TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
    let mut reader = writer.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        writer.write_all(text.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut answers = String::new();
    reader.read_to_string(&mut answers).unwrap();
    sending.join().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 201 ").count(), 3_000);
    weir.stop();
}

#[test]
fn a_refusal_is_answered_even_when_the_rest_of_the_body_never_comes() {
    let weir = Weir::start(TO_STDOUT);
    let head = format!("POST /p HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: 5000\r\n\r\n{{bad json");
    let mut stream = TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    weir.stop();
}
