//! Inputs that read sockets, commands and standard input.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Weir, binary, eventually};

/// One input that prints what it takes.
fn printing(input: &str) -> Weir {
    Weir::start(&format!(
        "
service: {{flush: 0.1, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}}
pipeline:
  inputs:
    - {{{input}, alias: in}}
  outputs:
    - {{name: stdout, match: '*', format: json_lines, json_date_key: false}}
"
    ))
}

/// The lines of standard output, when there are so many.
fn lines(weir: &Weir, count: usize) -> Vec<String> {
    eventually(&format!("{count} records"), || {
        let lines: Vec<String> = weir.output().lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn connect(weir: &Weir) -> TcpStream {
    TcpStream::connect(("127.0.0.1", weir.port)).unwrap()
}

#[test]
fn json_over_tcp_is_taken_however_it_is_cut_and_bad_json_costs_its_line_only() {
    let weir = printing("name: tcp, port: PORT, source_address_key: from");
    let mut client = connect(&weir);
    let text =
        "{\"a\":1}{\"b\":[2,{}]}\n{\"c\":\"x\u{fc}\"},[1,{\"d\":2}]\nno json {\"lost\":1}\n{\"e\":{}}\n";
    for byte in text.as_bytes() {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(text.as_bytes()).unwrap();
    client.write_all(b"{\"begun\":").unwrap();
    let from = format!(",\"from\":\"tcp://{}\"}}", client.local_addr().unwrap());
    let expected =
        ["{\"a\":1", "{\"b\":[2,{}]", "{\"c\":\"x\\u00fc\"", "{\"msg\":[1,{\"d\":2}]", "{\"e\":{}"];
    let expected: Vec<String> = expected.iter().map(|record| format!("{record}{from}")).collect();
    assert_eq!(lines(&weir, 10), [expected.clone(), expected].concat());
    drop(client);
    weir.stop();
}

#[test]
fn lines_over_tcp_end_at_the_separator_or_with_the_connection() {
    let weir = printing("name: tcp, port: PORT, format: none, separator: '||'");
    let mut client = connect(&weir);
    for piece in ["one||t", "wo|", "|||", &"x".repeat(30_000), "||last"] {
        client.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(client);
    let long = "x".repeat(30_000);
    let expected = ["one", "two", &long, "last"].map(|line| format!("{{\"log\":\"{line}\"}}"));
    assert_eq!(lines(&weir, 4), expected);
    weir.stop();
}

#[test]
fn a_tcp_client_that_sends_too_much_in_one_piece_is_disconnected_and_its_neighbour_is_not() {
    let weir = printing("name: tcp, port: PORT, format: none, buffer_size: 8");
    let (mut bad, mut good) = (connect(&weir), connect(&weir));
    good.write_all(b"begun").unwrap();
    // It may be gone before all of it was sent.
    let _cut_off = bad.write_all(&vec![b'x'; 1 << 20]);
    let mut end = [0];
    assert!(!matches!(bad.read(&mut end), Ok(1..)), "nothing is sent to it");
    good.write_all(b" and ended\n").unwrap();
    assert_eq!(lines(&weir, 1), ["{\"log\":\"begun and ended\"}"]);
    drop((bad, good));
    eventually("nothing to be held", || weir.held().is_empty().then_some(()));
    let (_, log) = weir.stop();
    assert!(log.contains("more than buffer_size (8 KiB) in one piece"), "{log}");
}

#[test]
fn datagrams_hold_whole_objects_or_lines() {
    for (format, sent, expected) in [
        ("json", "{\"a\":1}{\"b\":2}", ["{\"a\":1}", "{\"b\":2}"]),
        ("none", "one\ntwo", ["{\"log\":\"one\"}", "{\"log\":\"two\"}"]),
    ] {
        let weir = printing(&format!("name: udp, port: PORT, format: {format}"));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(sent.as_bytes(), ("127.0.0.1", weir.port)).unwrap();
        assert_eq!(lines(&weir, 2), expected);
        weir.stop();
    }
}

#[test]
fn connections_at_rest_hold_no_page() {
    let weir = printing("name: tcp, port: PORT");
    let mut clients: Vec<TcpStream> = (0..300).map(|_| connect(&weir)).collect();
    for client in &mut clients {
        client.write_all(b"{\"a\":1}\n").unwrap();
    }
    lines(&weir, clients.len());
    eventually("pages to be given back", || {
        let held = weir.held();
        let only_connections = held.iter().all(|account| account.contains("\"connections\""));
        (only_connections && !held.is_empty()).then_some(())
    });
    drop(clients);
    eventually("nothing to be held", || weir.held().is_empty().then_some(()));
    weir.stop();
}

#[test]
fn each_line_of_a_command_is_a_record_and_its_exit_code_the_agents() {
    let configuration = "
service: {flush: 0.1}
pipeline:
  inputs:
    - name: exec
      command: 'echo one; echo; printf two; exit 7'
      exit_after_oneshot: on
      propagate_exit_code: on
  outputs:
    - {name: stdout, match: '*', format: json_lines, json_date_key: false}
";
    let (code, output) = to_its_end(configuration, b"");
    assert_eq!(
        (code, output.as_str()),
        (Some(7), "{\"exec\":\"one\"}\n{\"exec\":\"\"}\n{\"exec\":\"two\"}\n")
    );
}

#[test]
fn standard_input_is_read_to_its_end_and_then_the_agent_stops() {
    let configuration = "
service: {flush: 0.1}
pipeline:
  inputs:
    - {name: stdin}
  outputs:
    - {name: stdout, match: '*', format: json_lines, json_date_format: epoch}
";
    let input = b"[1700000000.0, {\"a\": 1}]\n[[1700000001, {\"meta\": 1}], {\"b\": 2}] [3]\n";
    let (code, output) = to_its_end(configuration, input);
    assert_eq!(code, Some(0));
    let (first, second) = output.split_once('\n').unwrap();
    assert_eq!(first, "{\"date\":1700000000,\"a\":1}");
    assert!(second.starts_with("{\"date\":1700000001,") && second.contains("{\"meta\":1}"), "{second}");
    assert!(second.ends_with("\"b\":2}\n"), "the array that is no record is dropped: {second}");
}

/// Runs weir with this standard input until it ends.
fn to_its_end(configuration: &str, input: &[u8]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, configuration).unwrap();
    let mut child = Command::new(binary("weir"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}
