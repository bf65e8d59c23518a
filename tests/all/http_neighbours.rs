//! One bad client costs nobody else anything.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::Weir;

const TO_STDOUT: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, memory_limit: 64M}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT, buffer_max_size: 1M}
  outputs:
    - {name: stdout, match: '*', format: json_lines, json_date_key: false}
";

/// Bodies that must be refused.
const MALFORMED: &[&str] = &[
    "[1,2,3]",
    "[{\"n\":-1},2]",
    "{\"n\":-1}{",
    "{\"n\":-1,}",
    "{\"n\":-1}]",
    "[{\"n\":-1}",
    "[{\"n\":-1},]",
    "\"text\"",
    "7",
    "null",
    "{\"n\":01}",
    "{\"n\":1e999}",
    "{\"n\":\"\\ud800\"}",
    "{\"n\":\"\\x\"}",
    "{'n':1}",
    "{n:1}",
    "{\"n\" 1}",
    "{\"n\":}",
    "{\"n\":+1}",
    "{\"n\":.5}",
    "{\"n\":1.}",
    "{\"n\":tru}",
    "{\"n\":NaN}",
    "{\"n\":-1}x",
    "[{\"n\":-1}]{}",
    "{\"a\u{0}\":1}",
    "\u{feff}",
];

fn post(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<u16> {
    let head = format!(
        "POST /same HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = [0; 4096];
    let mut read = 0;
    // Answers here are short: their end is the end of what one or two reads give.
    while !answer[..read].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut answer[read..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap())
}

/// Posts everything that is malformed, cuts requests off and sends no HTTP at all, until told to stop.
fn misbehave(port: u16, stop: &AtomicBool) -> usize {
    let mut requests = 0;
    let mut depth = "[".repeat(100_000);
    depth.insert_str(0, "{\"n\":");
    while !stop.load(Ordering::Relaxed) {
        for body in
            MALFORMED.iter().map(|body| body.as_bytes()).chain([depth.as_bytes(), b"{\"n\":\"\xff\"}"])
        {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            if let Ok(status) = post(&mut stream, body) {
                assert_eq!(status, 400, "{:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
            }
            requests += 1;
        }
        let mut cut = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = "POST /same HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[{\"n\":-1},";
        let _sent = cut.write_all(head.as_bytes());
        let _closed = cut.shutdown(Shutdown::Both);
        let mut noise = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _sent = noise.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
    }
    requests
}

#[test]
fn beside_a_client_that_posts_every_malformed_body_all_records_of_a_good_one_arrive() {
    let weir = Weir::start(TO_STDOUT);
    let stop = Arc::new(AtomicBool::new(false));
    let bad: Vec<_> = (0..2)
        .map(|_| {
            let (port, stop) = (weir.port, Arc::clone(&stop));
            std::thread::spawn(move || misbehave(port, &stop))
        })
        .collect();
    let mut good = TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
    for first in (0..10_000).step_by(10) {
        let records: Vec<String> = (first..first + 10).map(|n| format!("{{\"n\":{n}}}")).collect();
        assert_eq!(post(&mut good, format!("[{}]", records.join(",")).as_bytes()).unwrap(), 201);
    }
    stop.store(true, Ordering::Relaxed);
    let refused: usize = bad.into_iter().map(|bad| bad.join().unwrap()).sum();
    assert!(refused >= MALFORMED.len(), "the bad clients had their turn: {refused}");
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 10_000);
    let (output, _) = weir.stop();
    let mut numbers: Vec<i64> = output
        .lines()
        .map(|line| line.strip_prefix("{\"n\":").unwrap().strip_suffix('}').unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_000), "each once, and nothing of a refused body");
}
