//! What `grep` keeps and drops.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use proptest::prelude::*;
use support::{any_body, check, example, open, run};

/// Checks cases of options, a record, and whether it is kept.
fn table(cases: &[(&str, &str, bool)]) {
    for (options, record, kept) in cases {
        check("grep", options, record, if *kept { record } else { "" });
    }
}

#[test]
fn the_example_of_the_manual_page_does_what_it_says() {
    let options = example(include_str!("../src/grep.rs"));
    let core = |log: &str| format!(r#"{{"log":"{log}","kubernetes":{{"labels":{{"team":"core"}}}}}}"#);
    table(&[
        (&options, &core("POST /x"), true),
        (&options, &core("GET /healthz"), false),
        (&options, r#"{"log":"POST /x"}"#, false),
    ]);
}

#[test]
fn a_filter_without_rules_keeps_everything() {
    table(&[("", r#"{"a":1}"#, true), ("logical_op AND", r#"{"a":1}"#, true), ("logical_op OR", "{}", true)]);
}

#[test]
fn regex_keeps_and_exclude_drops_what_matches() {
    table(&[
        ("regex log err", r#"{"log":"an error"}"#, true),
        ("regex log ^err", r#"{"log":"an error"}"#, false),
        ("regex log ^err", r#"{"log":"line\nerror"}"#, true),
        ("regex log /ERR/i", r#"{"log":"an error"}"#, true),
        ("exclude log err", r#"{"log":"an error"}"#, false),
        ("exclude log err", r#"{"log":"fine"}"#, true),
        ("Regex log a b$", r#"{"log":"a b"}"#, true),
    ]);
}

#[test]
fn everything_behind_one_blank_is_the_pattern() {
    table(&[("regex log  x", r#"{"log":"x"}"#, false), ("regex log  x", r#"{"log":"a x"}"#, true)]);
}

#[test]
fn a_missing_key_and_a_value_that_is_no_string_match_nothing() {
    for value in ["null", "true", "1", "1.5", "[\"x\"]", "{\"x\":\"x\"}"] {
        let record = format!("{{\"a\":{value}}}");
        table(&[("regex a .*", &record, false), ("exclude a .*", &record, true)]);
    }
    table(&[("regex a .*", r#"{"b":"x"}"#, false), ("exclude a .*", r#"{"b":"x"}"#, true)]);
}

#[test]
fn a_key_is_plain_or_a_record_accessor() {
    let nested = r#"{"k":{"pod":"web-1","list":["x",{"y":"deep"}]},"@t":"now","a":"first","a":"last"}"#;
    table(&[
        ("regex $k['pod'] ^web", nested, true),
        ("regex k['pod'] ^web", nested, true),
        ("regex $k['list'][1]['y'] ^deep$", nested, true),
        ("regex $k['list'][2] .", nested, false),
        ("regex $k .", nested, false),
        ("regex @t now", nested, true),
        ("regex a last", nested, true),
        ("regex $a['x'] last", nested, true),
    ]);
}

#[test]
fn in_legacy_mode_the_first_rule_that_decides_decides() {
    table(&[
        ("regex a 1\nregex b 2", r#"{"a":"1","b":"9"}"#, true),
        ("regex a 1\nregex b 2", r#"{"a":"9","b":"2"}"#, false),
        ("regex a 1\nexclude b 2", r#"{"a":"1","b":"2"}"#, true),
        ("exclude b 2\nregex a 1", r#"{"a":"1","b":"2"}"#, false),
        ("exclude b 2\nregex a 1", r#"{"a":"1","b":"9"}"#, true),
        ("exclude a 1\nexclude b 2", r#"{"a":"9","b":"2"}"#, false),
        ("exclude a 1\nexclude b 2", r#"{"a":"9","b":"9"}"#, true),
        ("logical_op Legacy\nregex a 1\nexclude b 2", r#"{"a":"1","b":"2"}"#, true),
    ]);
}

#[test]
fn and_and_or_join_all_rules() {
    table(&[
        ("logical_op AND\nregex a 1\nregex b 2", r#"{"a":"1","b":"2"}"#, true),
        ("logical_op and\nregex a 1\nregex b 2", r#"{"a":"1","b":"9"}"#, false),
        ("logical_op OR\nregex a 1\nregex b 2", r#"{"a":"9","b":"2"}"#, true),
        ("logical_op OR\nregex a 1\nregex b 2", r#"{"a":"9","b":"9"}"#, false),
        ("logical_op AND\nexclude a 1\nexclude b 2", r#"{"a":"1","b":"2"}"#, false),
        ("logical_op AND\nexclude a 1\nexclude b 2", r#"{"a":"1","b":"9"}"#, true),
        ("logical_op OR\nexclude a 1\nexclude b 2", r#"{"a":"9","b":"2"}"#, false),
        ("logical_op OR\nexclude a 1\nexclude b 2", r#"{"a":"9","b":"9"}"#, true),
    ]);
}

#[test]
fn every_problem_is_reported_at_its_place() {
    let problems = open("grep", "regex log\nexclude a.b x\nregex a (?~x)\nlogical_op XOR\nrgex a b").err();
    assert_eq!(
        problems.unwrap(),
        "test:1:1: filter: option \"regex\": \"log\" is not a key and a pattern; write the key, one blank and \
         the pattern\n\
         test:2:1: filter: option \"exclude\": \"a.b\" is not a record accessor: it has a dot, which ends the \
         key; for a key within a map write $a['b']\n\
         test:3:1: filter: option \"regex\": \"(?~x)\" is not a regular expression: absence operators are not \
         supported\n\
         test:4:1: filter: option \"logical_op\": \"XOR\" is not one of legacy, AND, OR; did you mean \"OR\"?\n\
         test:5:1: filter: unknown option \"rgex\"; did you mean \"regex\"?"
    );
    let mixed = open("grep", "regex a 1\nexclude b 2\nlogical_op AND").err();
    assert_eq!(
        mixed.unwrap(),
        "test:3:1: filter: logical_op AND and OR take regex or exclude, not both; use two grep filters, or \
         logical_op legacy"
    );
}

proptest! {
    #[test]
    fn no_record_makes_it_panic(body in any_body()) {
        for options in ["regex a b\nexclude $ab['a'][0] x", "logical_op OR\nexclude $a[1] .\nexclude b ^$"] {
            if let Some(kept) = run(open("grep", options).unwrap().as_mut(), &body) {
                prop_assert_eq!(kept.to_string(), body.to_string());
            }
        }
    }
}
