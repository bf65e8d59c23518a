//! Conditions on records: `{op: and, rules: [{field: "$level", op: in, value: [error, fatal]}]}`.
//!
//! A rule compares the text of a field with its value: a number as it is printed (a float with six decimals), a map
//! as JSON, and a field that is not there as the empty text. `gt`, `lt`, `gte` and `lte` compare the number that the
//! text begins with, 0 if it begins with none.

use event::{Raw, Record};
use formats::ruby::RubyRegex;
use formats::template::append;
use options::{Choice, Invalid, Kind, Options, Problem, Problems, Reader, Section, Value};

/// When something is done with a record.
#[derive(Debug, Clone)]
pub struct Condition {
    op: Op,
    rules: Vec<Rule>,
}

/// The longest text of a field that is looked at.
const FIELD_BYTES: usize = 64 << 10;

#[derive(Debug, Options)]
struct ConditionOptions {
    /// Whether all rules must hold or any.
    #[option(default = "and")]
    op: Op,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Op {
    And,
    Or,
}

#[derive(Debug, Options)]
struct RuleOptions {
    /// The value in the record: a record accessor.
    #[option(required)]
    field: Field,
    /// How it is compared.
    #[option(required)]
    op: Compare,
    /// What it is compared with; several for in and not_in.
    value: Vec<String>,
    /// Whether the field stands in the body or in the metadata.
    #[option(default = "body")]
    context: Context,
}

#[derive(Debug, Clone)]
struct Field(event::Accessor);

impl Value for Field {
    const KIND: Kind = Kind::Other("record accessor");

    fn parse(text: &str) -> Result<Field, Invalid> {
        event::Accessor::parse(text).map(Field).map_err(|malformed| {
            let hint = malformed.hint.or_else(|| (!text.starts_with('$')).then(|| format!("write ${text}")));
            Invalid { hint, ..Invalid::not(text, format_args!("a record accessor: it {}", malformed.what)) }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Compare {
    Eq,
    Neq,
    Gt,
    Lt,
    Gte,
    Lte,
    Regex,
    #[choice(name = "not_regex")]
    NotRegex,
    In,
    #[choice(name = "not_in")]
    NotIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Context {
    #[choice(alias = "message")]
    Body,
    Record,
    #[choice(alias = "attributes")]
    Metadata,
    #[choice(name = "record_metadata")]
    RecordMetadata,
}

#[derive(Debug, Clone)]
struct Rule {
    field: event::Accessor,
    metadata: bool,
    test: Test,
    /// The test must fail.
    not: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Among(Vec<String>),
    Matches(RubyRegex),
    Greater(f64),
    Less(f64),
}

impl Condition {
    /// Reads the section of a condition.
    pub(crate) fn read(section: &Section, problems: &mut Problems) -> Option<Condition> {
        let mut reader = Reader::new(section);
        let options = ConditionOptions::read(&mut reader);
        let groups = reader.groups("rules");
        if groups.is_empty() {
            reader.refuse("rules", "a condition needs rules", None);
        }
        let rules: Vec<Option<Rule>> = groups.into_iter().map(|group| Rule::read(group, problems)).collect();
        problems.append(reader.finish(&[]).problems);
        Some(Condition { op: options?.op, rules: rules.into_iter().collect::<Option<_>>()? })
    }

    /// Whether it holds for a record.
    pub(crate) fn holds(&self, record: &Record<'_>) -> bool {
        match self.op {
            Op::And => self.rules.iter().all(|rule| rule.holds(record)),
            Op::Or => self.rules.iter().any(|rule| rule.holds(record)),
        }
    }
}

impl Rule {
    fn read(section: &Section, problems: &mut Problems) -> Option<Rule> {
        let mut reader = Reader::new(section);
        let options = RuleOptions::read(&mut reader);
        problems.append(reader.finish(&[]).problems);
        let RuleOptions { field, op, value, context } = options?;
        let pos = section.get("value").map_or(&section.pos, |value| &value.pos).clone();
        let mut refuse = |what: String, hint: Option<String>| {
            problems.push(Problem::new(pos.clone(), what).of("condition").maybe_hint(hint));
        };
        if value.is_empty() || value.len() > 1 && !matches!(op, Compare::In | Compare::NotIn) {
            refuse(format!("this rule takes one value, not {}", value.len()), None);
            return None;
        }
        let test = match op {
            Compare::Eq | Compare::Neq | Compare::In | Compare::NotIn => Ok(Test::Among(value)),
            Compare::Regex | Compare::NotRegex => RubyRegex::parse(&value[0]).map(Test::Matches),
            Compare::Gt | Compare::Lte => f64::parse(&value[0]).map(Test::Greater),
            Compare::Lt | Compare::Gte => f64::parse(&value[0]).map(Test::Less),
        };
        let not =
            matches!(op, Compare::Neq | Compare::NotIn | Compare::NotRegex | Compare::Lte | Compare::Gte);
        let metadata = matches!(context, Context::Metadata | Context::RecordMetadata);
        match test {
            Ok(test) => Some(Rule { field: field.0, metadata, test, not }),
            Err(invalid) => {
                refuse(format!("option \"value\": {}", invalid.what), invalid.hint);
                None
            }
        }
    }

    fn holds(&self, record: &Record<'_>) -> bool {
        let value = match self.metadata {
            false => self.field.find(record),
            true => self.field.find_in(record.metadata().bytes()).map(Raw::Page),
        };
        let mut text = Vec::new();
        let text = match &value {
            Some(value) => value.as_str().unwrap_or_else(|| {
                append(value, FIELD_BYTES, &mut text);
                &text
            }),
            None => &[],
        };
        let holds = match &self.test {
            Test::Among(values) => values.iter().any(|value| value.as_bytes() == text),
            Test::Matches(pattern) => pattern.is_match(text),
            Test::Greater(than) => number(text) > *than,
            Test::Less(than) => number(text) < *than,
        };
        holds != self.not
    }
}

/// The number that a text begins with.
fn number(text: &[u8]) -> f64 {
    let text = text.trim_ascii_start();
    let in_number = |c: &u8| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-');
    let end = text.iter().take(40).take_while(|c| in_number(c)).count();
    let starts = (1..=end).rev().filter_map(|end| std::str::from_utf8(&text[..end]).ok()?.parse().ok());
    starts.into_iter().next().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Entry, EventTime, msgpack};
    use options::{Pos, Text};

    impl Condition {
        /// A condition of one rule.
        pub(crate) fn with_rule(field: &str, op: &str, value: &str) -> Condition {
            read("and", vec![rule(field, op, &[value], "body")]).unwrap()
        }
    }

    fn rule(field: &str, op: &str, values: &[&str], context: &str) -> Section {
        let pos = Pos::new("test", 1, 1);
        let mut section = Section::new("rules", pos.clone());
        let mut set = |key: &str, value: &str| {
            let entry =
                options::Entry { key: Text::new(key, pos.clone()), value: Text::new(value, pos.clone()) };
            section.entries.push(entry);
        };
        set("field", field);
        set("op", op);
        values.iter().for_each(|value| set("value", value));
        set("context", context);
        section
    }

    fn read(op: &str, rules: Vec<Section>) -> Result<Condition, String> {
        let pos = Pos::new("test", 1, 1);
        let mut section = Section::new("condition", pos.clone());
        section.entries.push(options::Entry { key: Text::new("op", pos.clone()), value: Text::new(op, pos) });
        section.groups = rules;
        let mut problems = Problems::new();
        let condition = Condition::read(&section, &mut problems);
        condition.filter(|_| problems.is_empty()).ok_or_else(|| problems.to_string())
    }

    fn holds(condition: &Condition) -> bool {
        let entry = |key, value| Entry { key: Raw::text(key), value };
        let body = vec![
            entry("s", Raw::text("abc")),
            entry("n", Raw::made(|out| msgpack::put_i64(out, 20))),
            entry("f", Raw::made(|out| msgpack::put_f64(out, 1.5))),
            entry("t", Raw::text(" 7 apples")),
            entry("m", Raw::map(&[entry("x", Raw::made(|out| msgpack::put_bool(out, true)))])),
        ];
        let metadata = Raw::map(&[entry("s", Raw::text("meta"))]);
        condition.holds(&Record::new(EventTime::default(), metadata, body))
    }

    #[test]
    fn a_rule_compares_the_text_or_the_number_of_a_field() {
        for (field, op, values, context, expected) in [
            ("$s", "eq", &["abc"][..], "body", true),
            ("$s", "eq", &["ABC"], "body", false),
            ("$s", "eq", &["meta"], "metadata", true),
            ("$s", "neq", &["abc"], "body", false),
            ("$n", "eq", &["20"], "body", true),
            ("$f", "eq", &["1.500000"], "body", true),
            ("$m['x']", "eq", &["true"], "body", true),
            ("$m", "eq", &["{\"x\":true}"], "body", true),
            ("$n", "gt", &["10"], "body", true),
            ("$n", "gt", &["20"], "body", false),
            ("$n", "gte", &["20"], "body", true),
            ("$n", "lt", &["20.5"], "body", true),
            ("$n", "lte", &["19"], "body", false),
            ("$t", "eq", &[" 7 apples"], "body", false),
            ("$t", "gt", &["6.9"], "body", true),
            ("$missing", "gt", &["-1"], "body", true),
            ("$missing", "neq", &["x"], "body", true),
            ("$missing", "not_in", &["x"], "body", true),
            ("$s", "in", &["x", "abc"], "body", true),
            ("$s", "not_in", &["x", "abc"], "body", false),
            ("$s", "regex", &["^a.c$"], "body", true),
            ("$s", "not_regex", &["b"], "body", false),
        ] {
            let condition = read("and", vec![rule(field, op, values, context)]).unwrap();
            assert_eq!(holds(&condition), expected, "{field} {op} {values:?} {context}");
        }
    }

    #[test]
    fn rules_are_joined_by_and_or_or() {
        let rules = || vec![rule("$s", "eq", &["abc"], "body"), rule("$n", "eq", &["21"], "body")];
        assert!(!holds(&read("and", rules()).unwrap()));
        assert!(holds(&read("or", rules()).unwrap()));
    }

    #[test]
    fn what_makes_no_rule_is_refused() {
        assert!(read("and", Vec::new()).unwrap_err().contains("a condition needs rules"));
        assert!(read("xor", vec![rule("$s", "eq", &["x"], "body")]).unwrap_err().contains("and, or"));
        assert!(read("and", vec![rule("s", "eq", &["x"], "body")]).unwrap_err().contains("write $s"));
        assert!(read("and", vec![rule("$s", "gt", &["x"], "body")]).unwrap_err().contains("not a number"));
        assert!(read("and", vec![rule("$s", "eq", &["x", "y"], "body")]).unwrap_err().contains("one value"));
        assert!(read("and", vec![rule("$s", "regex", &["("], "body")]).unwrap_err().contains("unclosed"));
    }
}
