//! Plugins that Fluent Bit has and this agent does not, and what does their work instead.

/// For all that has no line of its own.
const ANY: &[(&str, &str)] = &[
    ("input", "an agent that has it can hand its records to the forward input"),
    ("filter", "an agent that has it can stand behind the forward output, or before the forward input"),
    ("processor", "an agent that has it can stand behind the forward output, or before the forward input"),
    ("output", "the forward output can hand the records to an agent that has it"),
];

/// Kind, plugins, and what to use.
const INSTEAD: &[(&str, &[&str], &str)] = &[
    (
        "input",
        &["systemd"],
        "use exec with command \"journalctl -o json --no-pager --cursor-file /var/lib/weir/journal\" and a json parser",
    ),
    ("input", &["kmsg"], "use exec with command \"dmesg --follow\", oneshot on"),
    ("input", &["head"], "use exec with command \"head -n 1 FILE\""),
    (
        "input",
        &["disk", "netif", "proc", "thermal", "docker"],
        "use exec with a command that prints the figures",
    ),
    ("input", &["unix_socket"], "use syslog with mode unix_udp or unix_tcp, or forward with unix_path"),
    (
        "input",
        &["splunk", "elasticsearch", "opentelemetry"],
        "clients that can send plain JSON use the http input",
    ),
    (
        "input",
        &[
            "node_exporter_metrics",
            "prometheus_scrape",
            "process_exporter_metrics",
            "windows_exporter_metrics",
        ],
        "let Prometheus scrape the exporter itself",
    ),
    ("input", &["event_type", "event_test"], "use dummy"),
    (
        "filter",
        &["lua", "wasm"],
        "modify, record_modifier, nest, grep, parser, rewrite_tag and the processor content_modifier with conditions do what most scripts do",
    ),
    (
        "filter",
        &["kubernetes"],
        "the processor content_modifier with action extract takes pod, namespace and container out of tail's path_key; labels and annotations need an agent that has it, behind the forward output",
    ),
    ("filter", &["aws", "ecs"], "use record_modifier with values from environment variables"),
    ("filter", &["throttle_size"], "use throttle"),
    (
        "filter",
        &["log_to_metrics"],
        "use the output counter or flowcounter, or count where the records arrive",
    ),
    ("processor", &["sql"], "use the filters grep, modify and record_modifier as processors"),
    (
        "output",
        &["splunk"],
        "use http with uri /services/collector/raw, format json_lines and header Authorization \"Splunk TOKEN\"",
    ),
    (
        "output",
        &["loki", "datadog", "nrlogs", "logdna", "slack", "kafka-rest", "azure", "azure_logs_ingestion"],
        "use http if the service takes plain JSON records, or forward to an agent that has it",
    ),
    (
        "output",
        &["es", "elasticsearch", "opensearch"],
        "use http towards Logstash or Data Prepper, or forward to an agent that has it",
    ),
    ("output", &["gelf"], "use http or tcp with a JSON format, or syslog, which the same servers take"),
    ("output", &["td", "websocket", "skywalking"], "use http or forward"),
    ("output", &["prometheus_remote_write"], "use prometheus_exporter and let Prometheus scrape it"),
    (
        "output",
        &["opentelemetry"],
        "use forward: the OpenTelemetry Collector has a receiver for it (fluentforward)",
    ),
    ("output", &["plot", "retry"], "use file or exit"),
];

/// Plugins that are not in every build of Fluent Bit, so that the table of options does not have them.
const RARE: &[(&str, &[&str])] = &[
    (
        "input",
        &[
            "ebpf",
            "etw",
            "event_test",
            "exec_wasi",
            "kafka",
            "systemd",
            "unix_socket",
            "winevtlog",
            "winlog",
            "windows_exporter_metrics",
            "winstat",
        ],
    ),
    ("filter", &["tensorflow", "throttle_size", "wasm"]),
    (
        "processor",
        &[
            "cumulative_to_delta",
            "labels",
            "metrics_selector",
            "opentelemetry_envelope",
            "sampling",
            "sql",
            "tda",
        ],
    ),
    ("output", &["elasticsearch", "kafka", "pgsql", "retry"]),
];

/// What to use instead of a plugin of Fluent Bit; `None` for what it does not have either.
pub fn instead(kind: &str, plugin: &str) -> Option<&'static str> {
    let is_rare = RARE.iter().any(|(of, names)| *of == kind && names.contains(&plugin));
    if !is_rare && crate::reference::options_of(kind, plugin).is_none() {
        return None;
    }
    let own = INSTEAD.iter().find(|(of, names, _)| *of == kind && names.contains(&plugin));
    own.map(|(_, _, text)| *text).or_else(|| ANY.iter().find(|(of, _)| *of == kind).map(|(_, text)| *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_of_fluent_bit_has_something_to_use_instead() {
        assert!(instead("output", "splunk").is_some_and(|text| text.contains("collector/raw")));
        assert!(instead("output", "kafka").is_some_and(|text| text.contains("forward")));
        assert!(instead("input", "nonesuch").is_none());
        let known = |kind: &str, name: &str| instead(kind, name).is_some();
        assert!(INSTEAD.iter().all(|(kind, names, _)| names.iter().all(|name| known(kind, name))));
    }
}
