//! The http input over every transport, encoding and format, seen by curl, h2load and Python.

use std::io::Write;
use std::process::Command;

use testkit::{Weir, curl, have};

use crate::certificates::Certificates;

const JSON: &str = "Content-Type: application/json";

/// Records of every input go to standard output, bodies only, in the order of their chunks.
fn configuration(options: &str) -> String {
    format!(
        "
service: {{flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}}
pipeline:
  inputs:
    - {{name: http, listen: 127.0.0.1, port: PORT, buffer_max_size: 1M{options}}}
  outputs:
    - {{name: stdout, match: '*', format: json_lines, json_date_key: false}}
"
    )
}

fn tls(certificates: &Certificates, more: &str) -> String {
    let (crt, key) = (certificates.path("server.pem"), certificates.path("server.key"));
    configuration(&format!(", tls: on, tls.crt_file: {crt}, tls.key_file: {key}{more}"))
}

fn body_file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn encoded(encoding: &str, text: &[u8]) -> Vec<u8> {
    use flate2::Compression;
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd(text),
        "snappy" => snap::raw::Encoder::new().compress_vec(text).unwrap(),
        "x-snappy-framed" => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(text).unwrap();
            encoder.into_inner().unwrap()
        }
        _ => text.to_vec(),
    }
}

fn zstd(text: &[u8]) -> Vec<u8> {
    // SAFETY: both buffers are as long as said.
    unsafe {
        let mut packed = vec![0; zstd_sys::ZSTD_compressBound(text.len())];
        let (to, from) = (packed.as_mut_ptr().cast(), text.as_ptr().cast());
        let size = zstd_sys::ZSTD_compress(to, packed.len(), from, text.len(), 1);
        packed.truncate(size);
        packed
    }
}

/// What curl is told so that it uses a transport.
struct Transport {
    name: &'static str,
    weir: Weir,
    arguments: Vec<String>,
}

impl Transport {
    fn all(certificates: &Certificates) -> Vec<Transport> {
        let ca = certificates.path("ca.pem");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let plain = |name, arguments: &[&str]| Transport {
            name,
            weir: Weir::start(&configuration("")),
            arguments: words(arguments),
        };
        let secure = |name, arguments: &[&str]| Transport {
            name,
            weir: Weir::start(&tls(certificates, "")),
            arguments: [words(arguments), words(&["--cacert", &ca])].concat(),
        };
        vec![
            plain("1.0", &["--http1.0"]),
            plain("1.1", &["--http1.1"]),
            plain("1.1 in chunks", &["--http1.1", "-H", "Transfer-Encoding: chunked"]),
            plain("2", &["--http2-prior-knowledge"]),
            secure("1.1 over TLS", &["--http1.1"]),
            secure("2 over TLS", &["--http2"]),
            secure("1.1 over TLS 1.2", &["--http1.1", "--tls-max", "1.2"]),
        ]
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.name.contains("TLS") { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.weir.port)
    }

    fn post(&self, headers: &[&str], body: &[u8]) -> (u16, String) {
        let file = body_file(body);
        let data = format!("@{}", file.path().display());
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        headers.iter().for_each(|header| arguments.extend(["-H", *header]));
        let url = self.url("/app");
        curl(&[&arguments[..], &["--data-binary", &data, &url]].concat())
    }
}

#[test]
fn every_transport_takes_every_encoding_and_gives_the_same_answers() {
    if !have("curl") {
        return;
    }
    let certificates = Certificates::new();
    let large = format!("[{}{{\"n\":1}}]", "{\"text\":\"0123456789abcdef\"},".repeat(20_000));
    for transport in Transport::all(&certificates) {
        let name = transport.name;
        for encoding in ["identity", "gzip", "deflate", "zstd", "snappy", "x-snappy-framed"] {
            let header = format!("Content-Encoding: {encoding}");
            let post = |body: &[u8]| transport.post(&[JSON, &header], body);
            assert_eq!(post(&encoded(encoding, br#"{"n":1}"#)).0, 201, "{name} {encoding}");
            assert_eq!(post(&encoded(encoding, large.as_bytes())).0, 201, "{name} {encoding}, large");
            let (status, text) = post(&encoded(encoding, br#"{"n":}"#));
            assert_eq!(status, 400, "{name} {encoding}, malformed");
            assert!(text.starts_with("error: invalid JSON at byte 5"), "{name} {encoding}: {text}");
            let (status, text) = post(&encoded(encoding, format!("[{}]", " ".repeat(1_000_000)).as_bytes()));
            assert_eq!(status, 413, "{name} {encoding}, too large: {text}");
            if encoding != "identity" {
                let packed = encoded(encoding, large.as_bytes());
                let (status, text) = post(&packed[..packed.len() - 3]);
                assert_eq!(status, 400, "{name} {encoding}, cut: {text}");
                let (status, text) = post(b"this is not compressed at all, whatever the header says");
                assert_eq!(status, 400, "{name} {encoding}, not compressed: {text}");
            }
        }
        for (headers, body, status) in [
            (&["Content-Type: application/x-www-form-urlencoded"][..], &b"a%20b=c+%C3%A9&n=1"[..], 201),
            (&["Content-Type: application/x-www-form-urlencoded"], b"a=%zz", 400),
            (&["Content-Type: application/x-ndjson"], b"{\"n\":1}\n{\"n\":2}\n", 201),
            (&["Content-Type: application/jsonl; charset=utf-8"], b"{\"n\":1}", 201),
            (&["Content-Type: text/plain"], b"{\"n\":1}", 400),
            (&[JSON, "Content-Encoding: br"], b"{\"n\":1}", 415),
            (&[JSON, "Content-Encoding: gzip, gzip"], b"{\"n\":1}", 415),
            (&[JSON], b"[1]", 400),
            (&[JSON], b"", 400),
        ] {
            assert_eq!(transport.post(headers, body).0, status, "{name}: {headers:?}");
        }
        // 6 encodings with 1 + 20,001 records, a form, two lines and one line.
        let expected = 6 * 20_002 + 1 + 2 + 1;
        transport.weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", expected);
        let (output, _) = transport.weir.stop();
        assert_eq!(output.lines().count() as u64, expected, "{name}: of a refused body nothing arrives");
        assert!(output.contains(r#"{"a b":"c \u00e9","n":"1"}"#), "{name}: the form is decoded");
    }
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    if !have("curl") {
        return;
    }
    let certificates = Certificates::new();
    let ca = certificates.path("ca.pem");
    let weir = Weir::start(&tls(&certificates, &format!(", tls.verify_client_cert: on, tls.ca_file: {ca}")));
    let url = format!("https://127.0.0.1:{}/app", weir.port);
    let post = |more: &[&str]| curl(&[&["--cacert", &ca, "-H", JSON, "-d", "{}", &url], more].concat()).0;
    assert_eq!(post(&[]), 0, "without a certificate");
    let (crt, key) = (certificates.path("stranger.pem"), certificates.path("stranger.key"));
    assert_eq!(post(&["--cert", &crt, "--key", &key]), 0, "with one that nobody signed");
    let (crt, key) = (certificates.path("client.pem"), certificates.path("client.key"));
    assert_eq!(post(&["--cert", &crt, "--key", &key]), 201);
    weir.stop();
}

#[test]
fn a_client_that_never_shakes_hands_holds_nothing_for_long() {
    let certificates = Certificates::new();
    let weir = Weir::start(&tls(&certificates, ", net.accept_timeout: 1s"));
    let silent = weir.connect();
    testkit::eventually("the connection to be given up", || weir.held().is_empty().then_some(()));
    drop(silent);
    weir.stop();
}

#[test]
fn h2load_and_python_are_served_over_one_connection_and_many() {
    if !have("h2load") || !have("python3") {
        return;
    }
    let weir = Weir::start(&configuration(""));
    let body = body_file(br#"{"n":1}"#);
    let file = body.path().to_str().unwrap();
    for more in [&["-c", "1", "-m", "8"][..], &["-c", "20", "-m", "4"], &["--h1", "-c", "10"]] {
        let mut command = Command::new("h2load");
        command.args(["-n", "5000", "-d", file, "-H", JSON]).args(more).arg(weir.url("/h2"));
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(output.contains("5000 succeeded, 0 failed"), "{more:?}: {output}");
        assert!(output.contains("5000 2xx"), "{more:?}: {output}");
    }
    let script = "
import http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))
def pieces():
    yield b'[{\"n\":'
    yield b'1}]'
for turn in range(300):
    body = b'{\"n\":1}' if turn % 3 else pieces()
    if turn % 50 == 49:
        body = b'{\"n\"'
    connection.request('POST', '/py', body, {'Content-Type': 'application/json'})
    answer = connection.getresponse()
    assert answer.status == (400 if turn % 50 == 49 else 201), (turn, answer.status)
    answer.read()
";
    let status = Command::new("python3").args(["-c", script, &weir.port.to_string()]).status().unwrap();
    assert!(status.success());
    weir.wait_for("fluentbit_input_records_total", "http.0", 15_000 + 294);
    testkit::eventually("the ledger to be empty", || weir.held().is_empty().then_some(()));
    weir.stop();
}

#[test]
fn many_http2_clients_are_all_served_in_little_memory() {
    if !have("h2load") {
        return;
    }
    let weir = Weir::start(&configuration("").replace("flush: 0.2", "flush: 0.2, memory_limit: 40M"));
    let record = format!("{{\"text\":\"{}\"}}", "x".repeat(200));
    let body = body_file(format!("[{}]", vec![record; 280].join(",")).as_bytes());
    let mut command = Command::new("h2load");
    command.args(["-n", "600", "-c", "60", "-m", "1", "-d", body.path().to_str().unwrap(), "-H", JSON]);
    let output = String::from_utf8(command.arg(weir.url("/h2")).output().unwrap().stdout).unwrap();
    assert!(output.contains("600 2xx"), "who waits to begin does not keep others from ending: {output}");
    testkit::eventually("the ledger to be empty", || weir.held().is_empty().then_some(()));
    weir.stop();
}

#[test]
fn records_of_many_tags_in_turn_take_a_page_for_each_tag_and_not_for_each_record() {
    let weir =
        Weir::start(&configuration(", tag_key: app").replace("flush: 0.2", "flush: 0.2, memory_limit: 40M"));
    let records: Vec<String> = (0..20_000).map(|n| format!("{{\"app\":\"t{}\"}}", n % 5)).collect();
    let body = format!("[{}]", records.join(","));
    assert_eq!(weir.connect().post("/a", body.as_bytes()).unwrap(), 201);
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 20_000);
    weir.stop();
}

#[test]
fn records_say_their_own_tag_and_the_address_of_the_client() {
    if !have("curl") {
        return;
    }
    let text =
        configuration(", tag_key: \"$meta['app']\", add_remote_addr: on").replace("json_lines", "msgpack");
    let weir = Weir::start(&text);
    let body =
        r#"[{"n":1,"meta":{"app":"a/b"}},{"n":2,"meta":{"app":"a/b"}},{"n":3},{"n":4,"REMOTE_ADDR":"own"}]"#;
    let from = "X-Forwarded-For: 10.1.2.3, 10.0.0.1";
    assert_eq!(curl(&["-H", JSON, "-H", from, "-d", body, &weir.url("/path")]).0, 201);
    assert_eq!(curl(&["-H", JSON, "-d", r#"{"n":5}"#, &weir.url("/path")]).0, 201);
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 5);
    let (output, _) = weir.stop();
    for (tag, end) in [
        ("a_b", r#"{"n"=>1, "meta"=>{"app"=>"a/b"}, "REMOTE_ADDR"=>"10.1.2.3"}]"#),
        ("a_b", r#"{"n"=>2, "meta"=>{"app"=>"a/b"}, "REMOTE_ADDR"=>"10.1.2.3"}]"#),
        ("path", r#"{"n"=>3, "REMOTE_ADDR"=>"10.1.2.3"}]"#),
        ("path", r#"{"n"=>4, "REMOTE_ADDR"=>"own"}]"#),
        ("path", r#"{"n"=>5}]"#),
    ] {
        let found = output.lines().any(|line| line.contains(&format!("] {tag}: [")) && line.ends_with(end));
        assert!(found, "{tag} {end} in\n{output}");
    }
}
