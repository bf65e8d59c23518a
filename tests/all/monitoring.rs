//! The monitoring API.

use testkit::{Weir, curl, have};

#[test]
fn counters_and_uptime_have_fluent_bits_names_and_shapes() {
    let weir = Weir::start(
        "
service: {flush: 0.1, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, health_check: on}
pipeline:
  inputs:
    - {name: dummy, tag: kept, samples: 5, rate: 100}
    - {name: dummy, tag: lost, samples: 3, rate: 100}
  filters:
    - {name: grep, match: lost, exclude: message dummy}
  outputs:
    - {name: 'null', match: kept, alias: bin}
",
    );
    weir.wait_for("fluentbit_output_proc_records_total", "bin", 5);
    weir.wait_for("fluentbit_filter_drop_records_total", "grep.0", 3);
    assert_eq!(weir.metric("fluentbit_input_records_total", "dummy.0"), 5);
    assert_eq!(weir.metric("fluentbit_input_records_total", "dummy.1"), 3);
    let uptime: serde_json::Value = serde_json::from_str(&weir.get("/api/v1/uptime")).unwrap();
    assert!(uptime["uptime_sec"].is_u64() && uptime["uptime_hr"].is_string());
    assert_eq!(weir.get("/api/v1/health"), "ok\n");
    if have("curl") {
        let url = format!("http://127.0.0.1:{}/nothing/here", weir.admin);
        assert_eq!(curl(&[&url]), (404, String::new()));
    }
    weir.stop();
}
