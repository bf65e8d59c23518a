//! What `modify` makes of records.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use proptest::prelude::*;
use rmpv::Value;
use support::{any_body, body, check, example, open, run};

/// Checks cases of options, a record, and what becomes of it.
fn table(cases: &[(&str, &str, &str)]) {
    for (options, record, expected) in cases {
        check("modify", options, record, expected);
    }
}

#[test]
fn the_example_of_the_manual_page_does_what_it_says() {
    let options = example(include_str!("../src/modify.rs"));
    let other = r#"{"msg":"hi","password":"x","env":"test"}"#;
    table(&[
        (
            &options,
            r#"{"msg":"hi","password":"x","env":"prod"}"#,
            r#"{"message":"hi","env":"prod","site":"north west"}"#,
        ),
        (&options, other, other),
    ]);
}

#[test]
fn set_leaves_one_key_at_the_end() {
    table(&[
        ("set a new", r#"{"b":1}"#, r#"{"b":1,"a":"new"}"#),
        ("set a new", r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":"new"}"#),
        ("set a ''", "{}", r#"{"a":""}"#),
    ]);
}

#[test]
fn add_appends_only_a_new_key() {
    table(&[
        ("add a new", r#"{"b":1}"#, r#"{"b":1,"a":"new"}"#),
        ("add a new", r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
        ("add a 1\nadd a 2", "{}", r#"{"a":"1"}"#),
    ]);
}

#[test]
fn remove_takes_away_every_key_of_that_name() {
    table(&[
        ("remove a", r#"{"a":1,"b":2,"a":3,"ab":4}"#, r#"{"b":2,"ab":4}"#),
        ("remove a", r#"{"b":2}"#, r#"{"b":2}"#),
    ]);
}

#[test]
fn remove_wildcard_takes_away_keys_that_begin_so() {
    table(&[
        ("remove_wildcard Mem", r#"{"Mem.total":1,"mem":2,"Mem":3,"Me":4}"#, r#"{"mem":2,"Me":4}"#),
        ("remove_wildcard Mem*", r#"{"Mem.total":1,"Mem*x":2}"#, r#"{"Mem.total":1}"#),
        ("remove_wildcard ''", r#"{"a":1,"b":2}"#, "{}"),
    ]);
}

#[test]
fn remove_regex_takes_away_keys_that_match_anywhere() {
    table(&[
        ("remove_regex ^(a|b)$", r#"{"a":1,"b":2,"ab":3}"#, r#"{"ab":3}"#),
        ("remove_regex b", r#"{"a":1,"b":2,"ab":3}"#, r#"{"a":1}"#),
        ("remove_regex 'x y'", r#"{"x y":1,"x":2}"#, r#"{"x":2}"#),
    ]);
}

#[test]
fn moved_keys_keep_their_order() {
    let record = r#"{"b1":1,"a1":2,"b2":3,"a2":4,"a1":5}"#;
    table(&[
        ("move_to_start a", record, r#"{"a1":2,"a2":4,"a1":5,"b1":1,"b2":3}"#),
        ("move_to_end b", record, r#"{"a1":2,"a2":4,"a1":5,"b1":1,"b2":3}"#),
        ("move_to_end b2", record, r#"{"b1":1,"a1":2,"a2":4,"a1":5,"b2":3}"#),
        ("move_to_start zzz", record, record),
    ]);
}

#[test]
fn rename_stays_in_place_and_does_not_overwrite() {
    table(&[
        ("rename a n", r#"{"x":0,"a":1,"b":2,"a":3}"#, r#"{"x":0,"n":1,"b":2,"n":3}"#),
        ("rename a n", r#"{"a":1,"n":2}"#, r#"{"a":1,"n":2}"#),
        ("rename a n", r#"{"b":1}"#, r#"{"b":1}"#),
        ("rename a a", r#"{"a":1}"#, r#"{"a":1}"#),
    ]);
}

#[test]
fn hard_rename_overwrites() {
    table(&[
        ("hard_rename a n", r#"{"n":0,"a":1,"n":2,"a":3}"#, r#"{"n":1,"n":3}"#),
        ("hard_rename a n", r#"{"a":1,"b":2}"#, r#"{"n":1,"b":2}"#),
        ("hard_rename a n", r#"{"n":2}"#, r#"{"n":2}"#),
        ("hard_rename a a", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
    ]);
}

#[test]
fn copy_stands_behind_the_original_and_does_not_overwrite() {
    table(&[
        ("copy a n", r#"{"a":[1],"b":2}"#, r#"{"a":[1],"n":[1],"b":2}"#),
        ("copy a n", r#"{"a":1,"n":2}"#, r#"{"a":1,"n":2}"#),
        ("copy a n", r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
        ("copy a n", r#"{"b":1}"#, r#"{"b":1}"#),
    ]);
}

#[test]
fn hard_copy_overwrites_one_key() {
    table(&[
        ("hard_copy a n", r#"{"a":1,"b":2}"#, r#"{"a":1,"n":1,"b":2}"#),
        ("hard_copy a n", r#"{"n":0,"a":1,"b":2}"#, r#"{"a":1,"n":1,"b":2}"#),
        ("hard_copy a n", r#"{"n":0,"a":1,"n":2}"#, r#"{"n":0,"a":1,"n":2}"#),
        ("hard_copy a n", r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
        ("hard_copy a n", r#"{"n":1}"#, r#"{"n":1}"#),
        ("hard_copy a a", r#"{"a":1}"#, r#"{"a":1}"#),
    ]);
}

#[test]
fn rules_apply_in_the_order_of_the_file() {
    table(&[
        ("rename a b\nset a new\nremove b", r#"{"a":1}"#, r#"{"a":"new"}"#),
        ("remove b\nset a new\nrename a b", r#"{"a":1,"b":2}"#, r#"{"b":"new"}"#),
    ]);
}

#[test]
fn words_in_quotes_may_hold_blanks_and_escapes() {
    table(&[
        (r#"set "a b" "say \"x\" \\ \n""#, "{}", r#"{"a b":"say \"x\" \\ \\n"}"#),
        ("set 'a'   it's", "{}", r#"{"a":"it's"}"#),
        ("set a\tb", "{}", r#"{"a":"b"}"#),
    ]);
}

/// Checks conditions that hold, and do not hold, for a record.
fn conditions(record: &str, cases: &[(&str, bool)]) {
    let Value::Map(mut changed) = body(record) else { panic!("{record} is no map") };
    changed.push(("held".into(), "yes".into()));
    let changed = Value::Map(changed);
    for (condition, holds) in cases {
        let mut filter = open("modify", &format!("condition {condition}\nset held yes")).unwrap();
        let expected = if *holds { changed.clone() } else { body(record) };
        assert_eq!(run(filter.as_mut(), &body(record)), Some(expected), "{condition} on {record}");
    }
}

const RECORD: &str = r#"{"env":"prod","n":1,"ok":true,"none":null,"k":{"pod":"web","list":["x"]},"d.t":"x",
    "twice":"first","twice":"last","empty":""}"#;

#[test]
fn a_key_exists_whatever_its_value() {
    conditions(
        RECORD,
        &[
            ("key_exists env", true),
            ("Key_Exists none", true),
            ("key_exists missing", false),
            ("key_does_not_exist env", false),
            ("key_does_not_exist missing", true),
            ("key_exists d.t", true),
            ("key_exists $k['pod']", true),
            ("key_exists $k['list'][0]", true),
            ("key_exists $k['list'][1]", false),
            ("key_exists k['pod']", false),
            ("key_exists $env['inner']", true),
        ],
    );
}

#[test]
fn keys_match_anywhere() {
    conditions(
        RECORD,
        &[
            ("a_key_matches ^e", true),
            ("a_key_matches ^z", false),
            ("no_key_matches ^e", false),
            ("no_key_matches ^z", true),
            ("a_key_matches pod", false),
        ],
    );
}

#[test]
fn only_strings_equal_a_text() {
    conditions(
        RECORD,
        &[
            ("key_value_equals env prod", true),
            ("key_value_equals env pro", false),
            ("key_value_equals n 1", false),
            ("key_value_equals ok true", false),
            ("key_value_equals empty ''", true),
            ("key_value_equals twice last", true),
            ("key_value_equals $k['pod'] web", true),
            ("key_value_does_not_equal env test", true),
            ("key_value_does_not_equal env prod", false),
            ("key_value_does_not_equal n 1", true),
            ("key_value_does_not_equal missing x", false),
        ],
    );
}

#[test]
fn strings_and_booleans_match_a_pattern() {
    conditions(
        RECORD,
        &[
            ("key_value_matches env ^p", true),
            ("key_value_matches n 1", false),
            ("key_value_matches ok ^true$", true),
            ("key_value_matches none .*", false),
            ("key_value_matches missing .*", false),
            ("key_value_does_not_match env ^x", true),
            ("key_value_does_not_match env ^p", false),
            ("key_value_does_not_match n 1", true),
            ("key_value_does_not_match missing x", false),
        ],
    );
}

#[test]
fn values_of_matching_keys_match_all_or_not() {
    conditions(
        RECORD,
        &[
            ("matching_keys_have_matching_values ^(env|ok)$ o", false),
            ("matching_keys_have_matching_values ^(env|ok)$ r", true),
            ("matching_keys_have_matching_values ^z x", true),
            ("matching_keys_have_matching_values ^n$ 1", false),
            ("matching_keys_do_not_have_matching_values ^(env|ok)$ o", true),
            ("matching_keys_do_not_have_matching_values ^(env|ok)$ r", false),
            ("matching_keys_do_not_have_matching_values ^z x", false),
        ],
    );
}

#[test]
fn all_conditions_must_hold_before_any_rule_applies() {
    let both = "condition key_exists a\ncondition key_does_not_exist b";
    table(&[
        (&format!("{both}\nset b 1\nset c 2"), r#"{"a":1}"#, r#"{"a":1,"b":"1","c":"2"}"#),
        (&format!("{both}\nset c 2"), r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
        (&format!("{both}\nset c 2"), "{}", "{}"),
    ]);
}

#[test]
fn keys_may_be_binary_and_keys_of_other_types_stay() {
    let binary = |text: &str| Value::Binary(text.into());
    let record = Value::Map(vec![(binary("a"), binary("x")), (7.into(), 1.into()), (true.into(), 2.into())]);
    let after = |options| run(open("modify", options).unwrap().as_mut(), &record).unwrap();
    let renamed = vec![("n".into(), binary("x")), (7.into(), 1.into()), (true.into(), 2.into())];
    assert_eq!(after("rename a n"), Value::Map(renamed));
    assert_eq!(after("remove_wildcard ''"), Value::Map(vec![(7.into(), 1.into()), (true.into(), 2.into())]));
    assert_eq!(after("remove_regex ."), Value::Map(vec![(binary("a"), binary("x")), (7.into(), 1.into())]));
    assert_eq!(after("condition key_exists a\nset b c"), record);
}

#[test]
fn every_problem_is_reported_at_its_place() {
    for (option, problem) in [
        ("set key two words", "option \"set\": it takes 2 words, not 3; put a word with blanks in quotes"),
        ("set key", "option \"set\": it takes 2 words, not 1; write \"\" for an empty word"),
        ("remove a b", "option \"remove\": it takes 1 word, not 2; put a word with blanks in quotes"),
        ("set a \"b", "option \"set\": \"a \\\"b\" is not complete: a \" is not closed"),
        ("remove_regex (", "option \"remove_regex\": \"(\" is not a regular expression: unclosed group"),
        (
            "condition key_exist a",
            "option \"condition\": \"key_exist\" is not one of key_exists, key_does_not_exist, a_key_matches, \
             no_key_matches, key_value_equals, key_value_does_not_equal, key_value_matches, \
             key_value_does_not_match, matching_keys_have_matching_values, \
             matching_keys_do_not_have_matching_values; did you mean \"key_exists\"?",
        ),
        (
            "condition key_value_equals a",
            "option \"condition\": key_value_equals takes 2 words, not 1; write \"\" for an empty word",
        ),
        (
            "condition key_exists $a.b",
            "option \"condition\": \"$a.b\" is not a record accessor: it has a dot, which ends the key; for a \
             key within a map write $a['b']",
        ),
    ] {
        assert_eq!(open("modify", option).err().unwrap(), format!("test:1:1: filter: {problem}"));
    }
}

proptest! {
    #[test]
    fn no_option_makes_it_panic(
        option in "(set|remove|remove_regex|condition key_value_matches|condition a_key_matches) [ \"'\\\\a$ä.\\[\\]()\t]{0,12}"
    ) {
        let _ = open("modify", &option);
    }

    #[test]
    fn no_record_makes_it_panic(body in any_body()) {
        for options in [
            "set a x\nadd b y\nremove ab\nremove_wildcard x\nremove_regex ^$\nmove_to_start ab\nmove_to_end a",
            "rename a b\nhard_rename ab a\ncopy a ab\nhard_copy a abc\nhard_copy abc a",
            "condition key_does_not_exist $a[0]\ncondition no_key_matches z\nset a b",
            "condition key_value_does_not_equal $a['b'] x\ncondition matching_keys_have_matching_values a b\nset b c",
        ] {
            prop_assert!(run(open("modify", options).unwrap().as_mut(), &body).is_some());
        }
    }
}
