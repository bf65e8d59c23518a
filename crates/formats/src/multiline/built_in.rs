//! The multiline parsers that need no definition.

use std::sync::Arc;

use options::{Options, Value};

use super::{FLUSH_TIMEOUT, Join, Keys, MultilineParser, Rule, RuleText};
use crate::parser::{Parser, ParserOptions};

/// Their names.
pub const BUILT_IN: &[&str] = &["docker", "cri", "java", "go", "ruby", "python"];

/// The one of this name.
pub fn built_in(name: &str) -> Option<MultilineParser> {
    let keys = |content: &str, pattern: Option<&str>| Keys {
        content: Some(content.to_owned()),
        pattern: pattern.map(str::to_owned),
        group: Some("stream".to_owned()),
    };
    let (kind, keys, parser) = match name {
        "docker" => {
            let kind = Join::EndsWith { text: "\n".to_owned(), negate: false };
            (kind, keys("log", None), Some(parser(DOCKER)?))
        }
        "cri" => {
            let kind = Join::Equal { text: "F".to_owned(), negate: false };
            (kind, keys("log", Some("_p")), Some(parser(CRI)?))
        }
        "java" => (rules(JAVA)?, Keys::default(), None),
        "go" => (rules(GO)?, Keys::default(), None),
        "ruby" => (rules(RUBY)?, Keys::default(), None),
        "python" => (rules(PYTHON)?, Keys::default(), None),
        _ => return None,
    };
    Some(MultilineParser { name: name.to_owned(), kind, flush: FLUSH_TIMEOUT, keys, parser })
}

fn parser(options: &[(&str, &str)]) -> Option<Arc<Parser>> {
    let (parser, _notes) = Parser::new(ParserOptions::from_pairs(options).ok()?).ok()?;
    Some(Arc::new(parser))
}

fn rules(texts: &[&str]) -> Option<Join> {
    let texts: Result<Vec<RuleText>, _> = texts.iter().map(|text| RuleText::parse(text)).collect();
    Rule::all(&texts.ok()?).ok().map(Join::Regex)
}

/// A line is an object whose `log` ends with a line end unless more of it follows.
const DOCKER: &[(&str, &str)] = &[
    ("name", "docker"),
    ("format", "json"),
    ("time_key", "time"),
    ("time_format", "%Y-%m-%dT%H:%M:%S.%L"),
    ("time_keep", "on"),
    ("time_strict", "off"),
];

/// A line says with `P` that more of it follows, and with `F` that it is full.
const CRI: &[(&str, &str)] = &[
    ("name", "cri"),
    ("format", "regex"),
    ("regex", "^(?<time>.+?) (?<stream>stdout|stderr) (?<_p>F|P) (?<log>.*)$"),
    ("skip_empty_values", "off"),
    ("time_key", "time"),
    ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z"),
    ("time_keep", "on"),
    ("time_strict", "off"),
];

const JAVA: &[&str] = &[
    r#""start_state, java_start_exception" "/(.)(?:Exception|Error|Throwable|V8 errors stack trace)[:\r\n]/" "java_after_exception""#,
    r#""java_after_exception" "/^[\t ]*nested exception is:[\t ]*/" "java_start_exception""#,
    r#""java_after_exception" "/^[\r\n]*$/" "java_after_exception""#,
    r#""java_after_exception, java" "/^[\t ]+(?:eval )?at /" "java""#,
    r#""java_after_exception, java" "/^[\t ]+--- End of inner exception stack trace ---$/" "java""#,
    r#""java_after_exception, java" "/^--- End of stack trace from previous location where exception was thrown ---$/" "java""#,
    r#""java_after_exception, java" "/^[\t ]*(?:Caused by|Suppressed):/" "java_after_exception""#,
    r#""java_after_exception, java" "/^[\t ]*... \d+ (?:more|common frames omitted)/" "java""#,
];

const GO: &[&str] = &[
    r#""start_state" "/\bpanic: /" "go_after_panic""#,
    r#""start_state" "/http: panic serving/" "go_goroutine""#,
    r#""go_after_panic" "/^$/" "go_goroutine""#,
    r#""go_after_panic, go_after_signal, go_frame_1" "/^$/" "go_goroutine""#,
    r#""go_after_panic" "/^\[signal /" "go_after_signal""#,
    r#""go_goroutine" "/^goroutine \d+ \[[^\]]+\]:$/" "go_frame_1""#,
    r#""go_frame_1" "/^(?:[^\s.:]+\.)*[^\s.():]+\(|^created by /" "go_frame_2""#,
    r#""go_frame_2" "/^\s/" "go_frame_1""#,
];

const RUBY: &[&str] = &[
    r#""start_state, ruby_start_exception" "/^.+:\d+:in\s+.*/" "ruby_after_exception""#,
    r#""ruby_after_exception, ruby" "/^\s+from\s+.*:\d+:in\s+.*/" "ruby""#,
];

const PYTHON: &[&str] = &[
    r#""start_state" "/^Traceback \(most recent call last\):$/" "python""#,
    r#""python" "/^[\t ]+File /" "python_code""#,
    r#""python_code" "/[^\t ]/" "python""#,
    r#""python" "/^(?:[^\s.():]+\.)*[^\s.():]+:/" "start_state""#,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_parser_can_be_made() {
        for name in BUILT_IN {
            assert!(built_in(name).is_some(), "{name}");
        }
    }
}
