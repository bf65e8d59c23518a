//! Programs that people have, as clients: fluent-logger, logger and rsyslog, Prometheus.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use leaklab::client::Connection;
use serde_json::Value;
use testkit::{PATIENCE, Weir, eventually, free_port, have};

const SERVICE: &str = "service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}\n";

/// A program that runs for as long as a test does.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn program(command: &mut Command, log: &Path) -> Program {
    let log = File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Program(command.spawn().unwrap())
}

/// Sends with the client that Fluentd's own project has for Python: events, whole seconds, and times to the
/// nanosecond; in the foreground and from a thread of its own.
const FLUENT_LOGGER: &str = r#"
import sys
from fluent import asyncsender, event, sender

host, port = "127.0.0.1", int(sys.argv[1])
plain = sender.FluentSender("app", host=host, port=port)
assert plain.emit_with_time("web", 1700000000, {"n": 1, "text": "h\u00e9", "deep": {"list": [1, None, 2.5]}}), plain.last_error
assert plain.emit_with_time(None, 1700000001, {"n": 2}), plain.last_error
plain.close()
exact = sender.FluentSender("app", host=host, port=port, nanosecond_precision=True)
assert exact.emit_with_time("exact", 1700000002.25, {"n": 3}), exact.last_error
exact.close()
background = asyncsender.FluentSender("app", host=host, port=port)
for number in range(100):
    background.emit_with_time("many", 1700000003, {"n": number})
background.close()
sender.setup("global", host=host, port=port)
event.Event("last", {"n": "end"})
sender.get_global_sender().close()
"#;

#[test]
fn fluent_logger_delivers_to_forward() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/kusto-sdk/bin/python");
    assert!(python.exists(), "the clients are not installed: run `cargo x tools` (or `cargo x test`)");
    let weir = Weir::start(&format!(
        "{SERVICE}pipeline:\n  inputs:\n    - {{name: forward, listen: 127.0.0.1, port: PORT}}\n  outputs:\n    \
         - {{name: stdout, match: '*'}}\n"
    ));
    let port = weir.port.to_string();
    let sent = Command::new(python).args(["-c", FLUENT_LOGGER, &port]).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 104);
    let (output, _) = weir.stop();
    for record in [
        r#"app.web: [[1700000000.000000000, {}], {"n"=>1, "text"=>"hé", "deep"=>{"list"=>[1, nil, 2.500000]}}]"#,
        r#"app: [[1700000001.000000000, {}], {"n"=>2}]"#,
        r#"app.exact: [[1700000002.250000000, {}], {"n"=>3}]"#,
        r#"app.many: [[1700000003.000000000, {}], {"n"=>99}]"#,
        r#", {}], {"n"=>"end"}]"#,
    ] {
        assert!(output.contains(record), "{record} is not in\n{output}");
    }
    let many: Vec<&str> = output.lines().filter(|line| line.contains("app.many")).collect();
    assert_eq!(many.len(), 100, "each once");
}

const SYSLOG_PARSERS: &str = r#"
parsers:
  - name: bsd
    format: regex
    regex: '^<(?<pri>[0-9]+)>(?<time>[^ ]* {1,2}[^ ]* [^ ]*) (?<host>[^ ]*) (?<ident>[^ :\[]*)(?:\[(?<pid>[0-9]+)\])?: *(?<message>.*)$'
    time_key: time
    time_format: '%b %d %H:%M:%S'
  - name: local
    format: regex
    regex: '^<(?<pri>[0-9]+)>(?<time>[^ ]* {1,2}[^ ]* [^ ]*) (?<ident>[^ :\[]*)(?:\[(?<pid>[0-9]+)\])?: *(?<message>.*)$'
    time_key: time
    time_format: '%b %d %H:%M:%S'
  - name: rfc5424
    format: regex
    regex: '^<(?<pri>[0-9]{1,5})>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<ident>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) (?<extradata>(\[(.*?)\]|-)) *(?<message>.*)$'
    time_key: time
    time_format: '%Y-%m-%dT%H:%M:%S.%L%z'
"#;

fn syslog(mode: &str, parser: &str) -> Weir {
    Weir::start(&format!(
        "{SERVICE}{SYSLOG_PARSERS}pipeline:\n  inputs:\n    - {{name: syslog, mode: {mode}, listen: 127.0.0.1, \
         port: PORT, parser: {parser}}}\n  outputs:\n    - {{name: stdout, match: '*', format: json_lines}}\n"
    ))
}

/// Sends with logger(1).
fn logger(arguments: &[&str]) {
    let output =
        Command::new("logger").args(["-t", "job", "-p", "local0.err"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn wait(weir: Weir, records: u64) -> Vec<Value> {
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", records);
    let (output, _) = weir.stop();
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn logger_delivers_to_syslog_over_tcp_udp_and_a_socket_of_the_system() {
    if !have("logger") {
        return;
    }
    for (mode, parser, flags) in [
        ("tcp", "bsd", &["-T", "--rfc3164"][..]),
        ("udp", "bsd", &["-d", "--rfc3164"]),
        ("tcp", "rfc5424", &["-T", "--rfc5424"]),
        ("udp", "rfc5424", &["-d", "--rfc5424"]),
    ] {
        let weir = syslog(mode, parser);
        let port = weir.port.to_string();
        logger(&[&["-n", "127.0.0.1", "-P", &port], flags, &["it broke: 1 of 2"]].concat());
        let record = &wait(weir, 1)[0];
        assert_eq!(record["message"], "it broke: 1 of 2", "{mode} {parser}: {record}");
        assert_eq!((&record["pri"], &record["ident"]), (&"131".into(), &"job".into()), "{record}");
        assert!(record["date"].as_f64().unwrap() > 1.7e9, "the time is that of the message: {record}");
    }
    for mode in ["unix_udp", "unix_tcp"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let weir = Weir::start(&format!(
            "{SERVICE}{SYSLOG_PARSERS}pipeline:\n  inputs:\n    - {{name: syslog, mode: {mode}, path: {}, \
             parser: local}}\n  outputs:\n    - {{name: stdout, match: '*', format: json_lines}}\n",
            path.display()
        ));
        logger(&["-u", path.to_str().unwrap(), "local"]);
        let record = &wait(weir, 1)[0];
        assert_eq!(
            (&record["message"], &record["pri"]),
            (&"local".into(), &"131".into()),
            "{mode}: {record}"
        );
    }
}

#[test]
fn rsyslog_relays_to_syslog() {
    if !have("rsyslogd") || !have("logger") {
        return;
    }
    let weir = syslog("tcp", "rfc5424");
    let folder = tempfile::tempdir().unwrap();
    let (socket, config) = (folder.path().join("in"), folder.path().join("rsyslog.conf"));
    let text = format!(
        "global(workDirectory=\"{0}\")\nmodule(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" Socket=\"{1}\")\n\
         action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{2}\" protocol=\"tcp\" template=\"RSYSLOG_SyslogProtocol23Format\")\n",
        folder.path().display(),
        socket.display(),
        weir.port
    );
    std::fs::write(&config, text).unwrap();
    let pid = folder.path().join("pid");
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(&config).arg("-i").arg(&pid);
    let _rsyslog = program(&mut command, &folder.path().join("rsyslog.log"));
    eventually("rsyslog's socket", || socket.exists().then_some(()));
    for number in 0..3 {
        logger(&["-u", socket.to_str().unwrap(), &format!("relayed {number}")]);
    }
    let records = wait(weir, 3);
    let messages: Vec<&str> = records.iter().filter_map(|record| record["message"].as_str()).collect();
    assert_eq!(messages, ["relayed 0", "relayed 1", "relayed 2"], "{records:?}");
    assert!(records.iter().all(|record| record["ident"] == "job" && record["pri"] == "131"), "{records:?}");
}

#[test]
fn prometheus_scrapes_the_monitoring_api_and_the_exporter() {
    if !have("prometheus") {
        return;
    }
    let weir = Weir::start(&format!(
        "{SERVICE}pipeline:\n  inputs:\n    - {{name: dummy, rate: 20}}\n    - {{name: fluentbit_metrics, tag: own, \
         scrape_interval: 1, scrape_on_start: on}}\n  outputs:\n    - {{name: 'null', match: 'dummy*'}}\n    \
         - {{name: prometheus_exporter, match: own, host: 127.0.0.1, port: PORT, add_label: site north}}\n"
    ));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let job = |name: &str, path: &str, port: u16| {
        format!(
            "  - job_name: {name}\n    metrics_path: {path}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
    };
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}{}{}",
        job("v1", "/api/v1/metrics/prometheus", weir.admin),
        job("v2", "/api/v2/metrics/prometheus", weir.admin),
        job("exporter", "/metrics", weir.port)
    );
    std::fs::write(&config, text).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let log = folder.path().join("prometheus.log");
    let _prometheus = program(&mut command, &log);
    let ask = |path: &str| -> Option<Value> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (status, body) = Connection::open(address, PATIENCE).ok()?.get(path).ok()?;
        (status == 200).then(|| serde_json::from_slice(&body).unwrap())
    };
    for job in ["v1", "v2", "exporter"] {
        let query = format!("/api/v1/query?query=fluentbit_input_records_total%7Bjob%3D%22{job}%22%7D");
        eventually(&format!("the counter of dummy in the scrapes of {job}"), || {
            let answer = ask(&query)?;
            let samples = answer["data"]["result"].as_array()?;
            let sample = samples.iter().find(|sample| sample["metric"]["name"] == "dummy.0")?;
            let value: f64 = sample["value"][1].as_str()?.parse().ok()?;
            let labelled = job != "exporter" || sample["metric"]["site"] == "north";
            (value > 0.0 && labelled).then_some(())
        });
    }
    let targets = ask("/api/v1/targets").unwrap();
    for target in targets["data"]["activeTargets"].as_array().unwrap() {
        assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    }
    weir.stop();
}
