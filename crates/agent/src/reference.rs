//! What Fluent Bit 5.1.1 has: the options of its plugins, so that a configuration that works there is
//! understood here, and told what has no effect.

/// A plugin a line: kind, name, options. `*` has the options of every plugin of the kind.
const OPTIONS: &str = include_str!("reference.txt");

/// Options that every instance of a kind may have beside those of the table.
const COMMON: &[(&str, &[&str])] = &[
    ("input", &["processors", "routes", "net.", "tls."]),
    ("filter", &["active"]),
    ("output", &["workers", "net.", "tls.", "storage.total_limit_size", "_debug.http."]),
];

/// Options of the service section that are known and have no effect.
pub const SERVICE: &[&str] = &[
    "flush.adaptive",
    "flush.adaptive.",
    "sp.convert_from_str_to_num",
    "json.convert_nan_to_null",
    "security.fips_mode",
    "enable_chunk_trace",
    "dns.",
    "storage.",
    "coro_stack_size",
    "hot_reload.",
    "windows.maxstdio",
    "telemetry",
];

/// The options that Fluent Bit has for a plugin; `None` for a plugin that it does not have.
pub fn options_of(kind: &str, plugin: &str) -> Option<Vec<&'static str>> {
    let line = |name: &str| {
        OPTIONS.lines().find_map(|line| {
            let mut words = line.split(' ');
            (words.next() == Some(kind) && words.next() == Some(name)).then_some(words)
        })
    };
    let own = line(plugin)?;
    let common = COMMON.iter().filter(|(of, _)| *of == kind).flat_map(|(_, names)| names.iter().copied());
    Some(own.chain(line("*").into_iter().flatten()).chain(common).collect())
}

/// Whether running without the option's effect would break what the configuration promises: encryption,
/// admission, where records go, what survives.
pub fn must_act(key: &str, value: &str) -> bool {
    const MUST: &[&str] = &[
        "tls",
        "oauth2.validate",
        "oauth2.enable",
        "storage.type",
        "tls.verify_client_cert",
        "tag_key",
        "proxy",
        "aws_auth",
        "compress",
        "body_key",
        "headers_key",
        "unicode.encoding",
        "generic.encoding",
    ];
    let off = ["off", "false", "no", "memory", "none"].iter().any(|off| value.eq_ignore_ascii_case(off));
    MUST.contains(&key) && !off
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_fluent_bits_plugins_and_their_options() {
        assert!(options_of("input", "tail").is_some_and(|names| names.contains(&"exclude_path")));
        assert!(options_of("output", "azure_kusto").is_some_and(|names| names.contains(&"retry_limit")));
        assert!(options_of("output", "nonesuch").is_none());
        assert!(options_of("input", "es").is_none(), "kinds are apart");
    }
}
