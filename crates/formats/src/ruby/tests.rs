use super::*;
use proptest::prelude::*;

#[test]
fn patterns_match_what_they_match_in_ruby() {
    for (pattern, text, expected) in [
        ("error", "an error here", true),
        ("Error", "an error here", false),
        ("/Error/i", "an error here", true),
        ("/error/", "an error here", true),
        ("/var/log", "/var/log/x", true),
        ("/var/log", "var", false),
        ("/a/o", "/a/o", true),
        ("/a.b/m", "a\nb", true),
        ("/a b # c/x", "ab", true),
        ("/a [ ] b/x", "a b", true),
        ("a.b", "a\nb", false),
        ("^b$", "a\nb\nc", true),
        (r"\Ab", "a\nb", false),
        (r"b\Z", "a\nb\n", true),
        (r"b\z", "a\nb\n", false),
        (r"^\d+$", "٣", false),
        (r"^[[:digit:]]+$", "٣", true),
        (r"^\w$", "ä", false),
        (r"^[[:alpha:]]$", "ä", true),
        (r"^[^[:alpha:]]$", "ä", false),
        (r"^[[:^alpha:]]$", "1", true),
        (r"^\p{^Alpha}$", "1", true),
        (r"^\p{Alnum}+$", "a1", true),
        (r"^\h+$", "Fa09", true),
        (r"^[\h\-]+$", "fa-09", true),
        (r"^[\w-]+$", "a-b", true),
        (r"^[A-\d]+$", "A-5", true),
        (r"^[A-\d]+$", "B", false),
        (r"^[\S]$", " ", false),
        (r"^\s$", "\u{a0}", false),
        (r#"^{"level":"error"}$"#, r#"{"level":"error"}"#, true),
        ("^a{,2}$", "aa", true),
        ("^a{,2}$", "aaa", false),
        ("^a{2}?b$", "b", true),
        ("^a{2,}$", "aaa", true),
        ("^a{x}$", "a{x}", true),
        ("^a{,}$", "a{,}", true),
        ("a(?i)b|C", "ac", true),
        ("a(?i)b|C", "c", false),
        ("a(?i:B)c", "abC", false),
        ("(?m:a.)b", "a\nb", true),
        ("(?mi-x)A.", "a\n", true),
        ("(?i-m)A", "a", true),
        ("x(?#a (comment)y", "xy", true),
        ("(?<n>a)(?<n>b)(?'m'c)", "abc", true),
        (r"\<b\>", "<b>", true),
        (r"\/\_\y\é", "/_yé", true),
        (r"\e\x1b\033[\b]", "\u{1b}\u{1b}\u{1b}\u{8}", true),
        (r"\xc3\xa4", "ä", true),
        (r"\x{e4}\u00e4", "ää", true),
        (r"a\Rb", "a\r\nb", true),
        ("[]a]]", "]]", true),
        ("[a-z&&[^b]]", "b", false),
        (r"^[\\-\d]+$", "\\-5", true),
        ("^[+-]$", "-", true),
        ("", "", true),
    ] {
        let regex = RubyRegex::parse(pattern);
        let regex = regex.unwrap_or_else(|invalid| panic!("{pattern}: {}", invalid.what));
        assert_eq!(regex.is_match(text.as_bytes()), expected, "{pattern} on {text:?}");
        // Groups are searched for in another program.
        assert_eq!(regex.captures(text.as_bytes()).is_some(), expected, "groups of {pattern} on {text:?}");
    }
}

#[test]
fn groups_are_the_same_in_one_line_and_in_the_first_of_several_that_matches() {
    let regex = RubyRegex::parse(r"^(?<key>\w+)=(?<value>.*)$").unwrap();
    for text in ["a=b c", "no\na=b c\nd=e", "a=b c\n", "ä\na=b c"] {
        let captures = regex.captures(text.as_bytes()).unwrap();
        let found = regex.names().iter().map(|(_, group)| captures.get(*group).unwrap());
        assert_eq!(found.collect::<Vec<_>>(), [&b"a"[..], b"b c"], "{text:?}");
    }
    assert!(regex.captures(b"\xff a=b").is_none() && regex.captures(b"\xff\na=b").is_some());
}

#[test]
fn what_cannot_be_said_is_refused_with_the_reason() {
    for (pattern, what) in [
        ("a[--z]", "\"--\" within [] can be read in two ways"),
        ("a(", "unclosed group"),
        ("a)", "unopened group"),
        ("*a", "repetition operator missing expression"),
        ("a\\", "it ends in a single \\"),
    ] {
        let invalid = RubyRegex::parse(pattern).unwrap_err();
        assert_eq!(invalid.what, format!("{pattern:?} is not a regular expression: {what}"));
    }
    let large = RubyRegex::parse("((a{100}){100}){100}").unwrap_err();
    assert_eq!(large.what, "\"((a{100}){100}){100}\" takes more than 1048576 bytes");
}

proptest! {
    #[test]
    fn no_pattern_makes_the_translation_panic(pattern in r"[()\[\]{}?*+|^$.\\/:<>'&~#, \-a-z0-9Zé]{0,24}") {
        let _ = RubyRegex::parse(&pattern);
    }
}
