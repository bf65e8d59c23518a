//! Bodies as they come from real services. The same arguments give the same bytes.

use std::fmt::Write;

/// A source of numbers: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }
}

/// An alert as monitoring systems send it: one pretty-printed JSON object of about `lines` lines. With 4,900
/// lines it has about 186 KB.
pub fn alert(lines: usize, seed: u64) -> String {
    const RESULT_LINES: usize = 18;
    let mut numbers = Numbers(seed);
    let results = lines.saturating_sub(24).div_ceil(RESULT_LINES).max(1);
    let mut text = String::with_capacity(lines * 40);
    let id = numbers.next();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{{\n  \"schemaId\": \"alert/2\",\n  \"data\": {{\n    \"essentials\": {{\n      \"alertId\": \"{id:016x}\",\n      \
         \"severity\": \"Sev{}\",\n      \"signalType\": \"Log\",\n      \"monitorCondition\": \"Fired\",\n      \
         \"firedAt\": \"2026-11-23T20:35:46.1234567Z\",\n      \"description\": \"Überschreitung der Fehlerrate\"\n    }},\n    \
         \"context\": {{\n      \"threshold\": 0.05,\n      \"operator\": \"GreaterThan\",\n      \"results\": [\n",
        numbers.below(4)
    );
    for index in 0..results {
        result(&mut text, &mut numbers, index, index + 1 == results);
    }
    text.push_str("      ]\n    }\n  }\n}\n");
    text
}

/// One result of an alert, of 18 lines.
fn result(text: &mut String, numbers: &mut Numbers, index: usize, last: bool) {
    let host = numbers.below(400);
    let level = numbers.pick(&["info", "warning", "error", "critical"]);
    let service = numbers.pick(&["checkout", "payments", "search", "catalogue", "identity"]);
    let (id, duration, count) = (numbers.next(), numbers.below(90_000), numbers.below(5_000));
    let ok = numbers.below(2) == 0;
    let _ = write!(
        text,
        "        {{\n          \"row\": {index},\n          \"timestamp\": \"2026-11-23T20:{:02}:{:02}.{:07}Z\",\n          \
         \"host\": \"node-{host:03}.example\",\n          \"level\": \"{level}\",\n          \"service\": \"{service}\",\n          \
         \"traceId\": \"{id:016x}{:016x}\",\n          \"durationMs\": {duration}.{},\n          \"count\": {count},\n          \
         \"ok\": {ok},\n          \"parent\": null,\n          \"labels\": {{\n            \"zone\": \"{}\",\n            \
         \"release\": \"v{}.{}\"\n          }},\n          \"tags\": [\"{}\", \"{}\"],\n          \
         \"message\": \"request to /{service}/{count} took {duration} ms on node-{host:03}, which is above the objective of 250 ms; the rate of errors of the last five minutes is above its threshold\"\n        }}{}\n",
        numbers.below(60),
        numbers.below(60),
        numbers.below(10_000_000),
        id.rotate_left(17),
        numbers.below(100),
        numbers.pick(&["eu-1", "eu-2", "us-1"]),
        numbers.below(9),
        numbers.below(40),
        numbers.pick(&["blue", "green"]),
        numbers.pick(&["canary", "stable"]),
        if last { "" } else { "," }
    );
}

/// A record of a web service: 12 fields, about 480 bytes, a nested object, a list and text outside ASCII.
pub fn record(seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut text = String::with_capacity(512);
    web_record(&mut text, &mut numbers);
    text
}

/// An array of `count` such records.
pub fn records(count: usize, seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut text = String::with_capacity(count * 500 + 2);
    text.push('[');
    for index in 0..count {
        if index > 0 {
            text.push(',');
        }
        web_record(&mut text, &mut numbers);
    }
    text.push(']');
    text
}

fn web_record(text: &mut String, numbers: &mut Numbers) {
    let method = numbers.pick(&["GET", "POST", "PUT"]);
    let status = numbers.pick(&["200", "201", "404", "503"]);
    let (user, size, took) = (numbers.below(90_000), numbers.below(900_000), numbers.below(4_000_000));
    let trace = numbers.next();
    let _ = write!(
        text,
        "{{\"timestamp\":\"2026-11-23T20:35:46.{:06}Z\",\"level\":\"{}\",\"service\":\"{}\",\"host\":\"node-{:03}.example\",\
         \"method\":\"{method}\",\"path\":\"/api/v2/orders/{user}/items?page={}\",\"status\":{status},\
         \"duration_ms\":{}.{:03},\"bytes\":{size},\"trace\":{{\"id\":\"{trace:016x}{:016x}\",\"span\":\"{:016x}\",\"sampled\":{}}},\
         \"tags\":[\"{}\",\"shop\",\"v{}\"],\"message\":\"Bestellung für Kunde {user} geprüft – {size} bytes \\\"{method}\\\" sent to the central warehouse; the answer came after {} tries\"}}",
        numbers.below(1_000_000),
        numbers.pick(&["info", "warn", "error", "debug"]),
        numbers.pick(&["checkout", "payments", "search"]),
        numbers.below(400),
        numbers.below(50),
        took / 1000,
        took % 1000,
        trace.rotate_left(13),
        trace.rotate_left(31),
        numbers.below(2) == 0,
        numbers.pick(&["blue", "green"]),
        numbers.below(40),
        numbers.below(3) + 1,
    );
}

/// Records in a JSON body: elements of arrays at the top, and other values there.
pub fn count(body: &[u8]) -> u64 {
    let (mut depth, mut base, mut records) = (0_u32, 0_u32, 0);
    let (mut in_string, mut escaped, mut in_word) = (false, false, false);
    for byte in body {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        let begins = !matches!(byte, b']' | b'}' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n');
        if *byte == b'[' && depth == 0 {
            base = 1;
        } else if begins && depth == base && !in_word {
            records += 1;
        }
        in_word = begins && !matches!(byte, b'[' | b'{' | b'"');
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => in_string = true,
            _ => {}
        }
        if depth == 0 {
            base = 0;
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_has_the_lines_and_bytes_it_is_known_by() {
        let text = alert(4_900, 1);
        let (lines, bytes) = (text.lines().count(), text.len());
        assert!((4_850..=4_960).contains(&lines), "{lines} lines");
        assert!((180_000..=192_000).contains(&bytes), "{bytes} bytes");
        assert_eq!(text, alert(4_900, 1));
        assert_ne!(text, alert(4_900, 2));
    }

    #[test]
    fn a_record_is_about_as_long_as_a_web_services() {
        let text = records(1_000, 7);
        assert!((468_000..=498_000).contains(&text.len()), "{} bytes", text.len());
    }

    #[test]
    fn records_are_counted_as_an_agent_takes_them() {
        let cases = [
            ("", 0),
            ("{\"a\": [1, {\"b\": \"]\\\"}\"}]}", 1),
            ("{\"a\":1}\n{\"a\":2},{\"a\":3}", 3),
            ("[]", 0),
            ("[{\"a\":[1,2]}, {\"b\":{}}]\n[{}] {}", 4),
            ("[1, 23, \"x\", null]", 4),
        ];
        for (body, expected) in cases {
            assert_eq!(count(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(count(records(100, 1).as_bytes()), 100);
        assert_eq!(count(alert(4_900, 1).as_bytes()), 1);
    }
}
