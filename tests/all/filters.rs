//! Filters and processors in a running agent.

use testkit::{Weir, curl, have};

const JSON: &str = "Content-Type: application/json";

#[test]
fn processors_of_inputs_run_before_filters_and_those_of_outputs_on_their_output_only() {
    if !have("curl") {
        return;
    }
    let weir = Weir::start(
        r#"
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - name: http
      listen: 127.0.0.1
      port: PORT
      processors:
        logs:
          - {name: content_modifier, action: upsert, key: site, value: north}
          - name: modify
            set: size large
            condition: {op: and, rules: [{field: $n, op: gte, value: 3}]}
  filters:
    - {name: rewrite_tag, match: 'app.*', rule: '$site ^(n)orth$ $1.$TAG[1] false', emitter_name: again}
    - {name: grep, match: 'n.*', exclude: n ^2$}
    - {name: modify, match: 'n.*', add: seen yes}
  outputs:
    - {name: stdout, match: 'n.*', format: json_lines, json_date_key: false}
    - name: stdout
      match_regex: '^n\.'
      processors:
        logs:
          - {name: record_modifier, allowlist_key: n}
          - name: grep
            regex: 'n ^1$'
            condition: {rules: [{field: $n, op: lt, value: 3}]}
"#,
    );
    let body = r#"[{"n":1},{"n":"2"},{"n":3}]"#;
    assert_eq!(curl(&["-H", JSON, "--data-binary", body, &weir.url("/app.web")]).0, 201);
    weir.wait_for("fluentbit_input_records_total", "again", 3);
    let (output, _) = weir.stop();
    let lines: Vec<&str> = output.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(
        lines,
        [r#"{"n":1,"site":"north","seen":"yes"}"#, r#"{"n":3,"site":"north","size":"large","seen":"yes"}"#]
    );
    let processed: Vec<&str> = output.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(processed.len(), 1, "a number is no text that grep matches: {processed:?}");
    assert!(
        processed[0].starts_with("[0] n.web: ") && processed[0].ends_with("{\"n\"=>3}]"),
        "{processed:?}"
    );
}

#[test]
fn a_request_that_filters_spread_over_more_tags_than_memory_has_pages_is_delivered_whole() {
    if !have("curl") {
        return;
    }
    let weir = Weir::start(
        r#"
service: {flush: 0.1, memory_limit: 64M, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT}
  filters:
    - {name: rewrite_tag, match: app, rule: '$tenant . t.$tenant false', emitter_mem_buf_limit: 1M}
  outputs:
    - {name: stdout, match: 't.*', format: json_lines, json_date_key: false}
"#,
    );
    let records: Vec<String> = (0..300).map(|n| format!("{{\"tenant\":\"{n}\"}}")).collect();
    let body = format!("[{}]", records.join(","));
    assert_eq!(curl(&["-H", JSON, "--data-binary", &body, &weir.url("/app")]).0, 201);
    weir.wait_for("fluentbit_output_proc_records_total", "stdout.0", 300);
    let (output, _) = weir.stop();
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 300);
}

#[test]
fn an_input_with_routes_sends_each_record_to_the_outputs_of_the_routes_that_take_it() {
    if !have("curl") {
        return;
    }
    let weir = Weir::start(
        r#"
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - name: http
      listen: 127.0.0.1
      port: PORT
      routes:
        logs:
          - name: errors
            condition: {op: and, rules: [{field: $level, op: eq, value: error}]}
            to: {outputs: [json]}
          - name: rest
            condition: {default: true}
            to: {outputs: [text]}
  outputs:
    - {name: stdout, alias: json, format: json_lines, json_date_key: false}
    - {name: stdout, alias: text}
"#,
    );
    let body = r#"[{"level":"error","n":1},{"level":"info","n":2},{"level":"error","n":3}]"#;
    assert_eq!(curl(&["-H", JSON, "--data-binary", body, &weir.url("/app")]).0, 201);
    let (output, _) = weir.stop();
    let json: Vec<&str> = output.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(json, [r#"{"level":"error","n":1}"#, r#"{"level":"error","n":3}"#]);
    let text: Vec<&str> = output.lines().filter(|line| line.starts_with('[')).collect();
    assert!(text.len() == 1 && text[0].contains("\"n\"=>2}"), "{text:?}");
}
