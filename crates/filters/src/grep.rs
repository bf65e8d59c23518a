//! `grep`: keeps or drops records by regular expressions.
//!
//! ```text
//! [FILTER]
//!     name     grep
//!     match    app.*
//!     exclude  log ^(GET|HEAD) /healthz
//!     regex    $kubernetes['labels']['team'] ^(core|edge)$
//! ```
//!
//! A rule names a key and, behind one blank, a pattern in Ruby's syntax; further blanks are a part of the
//! pattern. The key is one of the top level (`log`) or a record accessor (`$a['b'][0]`). A rule holds when
//! the value is a string that the pattern matches anywhere: a missing key and a value that is no string
//! match nothing.
//!
//! `logical_op` says how rules work together:
//!
//! * `legacy`: in the order of the file, the first `exclude` that holds drops the record, and the first
//!   `regex` decides: the record is kept if it holds and else dropped. What stands behind a `regex` is
//!   therefore never asked.
//! * `AND`, `OR`: the rules are all `regex`, and keep the record when all, or any, of them hold; or they are
//!   all `exclude`, and drop it then.

use engine::{Filter, FilterDef, Setup};
use event::{Accessor, Record, Tag, Window};
use formats::ruby::RubyRegex;
use options::{Choice, Invalid, Kind, Options, Reader, Rules, Value};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "grep",
    about: "keeps or drops records by regular expressions",
    specs: GrepOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
#[options(check = GrepOptions::check)]
struct GrepOptions {
    #[option(rules)]
    rules: Vec<Rule>,
    /// How rules work together.
    #[option(default = "legacy")]
    logical_op: LogicalOp,
}

#[derive(Debug, Clone, Rules)]
enum Rule {
    /// Keep records whose KEY matches the PATTERN: a key or record accessor, one blank, the pattern.
    Regex(Test),
    /// Drop records whose KEY matches the PATTERN: a key or record accessor, one blank, the pattern.
    Exclude(Test),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum LogicalOp {
    #[choice(name = "legacy")]
    Legacy,
    #[choice(name = "AND")]
    And,
    #[choice(name = "OR")]
    Or,
}

impl GrepOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        let excludes = self.rules.iter().filter(|rule| matches!(rule, Rule::Exclude(_))).count();
        if self.logical_op != LogicalOp::Legacy && excludes > 0 && excludes < self.rules.len() {
            let hint = "use two grep filters, or logical_op legacy".to_owned();
            reader.refuse("logical_op", "logical_op AND and OR take regex or exclude, not both", Some(hint));
        }
    }
}

/// A key and a pattern.
#[derive(Debug, Clone)]
struct Test {
    key: Accessor,
    pattern: RubyRegex,
}

impl Value for Test {
    const KIND: Kind = Kind::Words(2);

    fn parse(text: &str) -> Result<Test, Invalid> {
        let (key, pattern) = text.split_once(' ').ok_or_else(|| {
            Invalid::not(text, "a key and a pattern").hint("write the key, one blank and the pattern")
        })?;
        Ok(Test { key: accessor(key)?, pattern: RubyRegex::parse(pattern)? })
    }
}

/// A plain key, or an accessor whose `$` may be left out.
fn accessor(text: &str) -> Result<Accessor, Invalid> {
    let path = text.strip_prefix('$').unwrap_or(text);
    // A dot would end the key of an accessor silently: better refused, with what to write.
    if text == path && !text.contains(['[', '.']) {
        return Ok(Accessor::key(text));
    }
    Accessor::parse(&format!("${path}")).map_err(|malformed| {
        let invalid = Invalid::not(text, format_args!("a record accessor: it {}", malformed.what));
        Invalid { hint: malformed.hint, ..invalid }
    })
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    Some(Box::new(Grep { options: GrepOptions::read(reader)? }))
}

#[derive(Clone)]
struct Grep {
    options: GrepOptions,
}

impl Filter for Grep {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        window.records.retain(|record| self.options.keeps(record));
    }

    // Copied rather than shared: searches through one compiled pattern would contend for its memory.
    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl GrepOptions {
    fn keeps(&self, record: &Record<'_>) -> bool {
        let mut rules = self.rules.iter();
        let hold = match self.logical_op {
            LogicalOp::Legacy => return rules.find_map(|rule| rule.verdict(record)).unwrap_or(true),
            LogicalOp::And => rules.all(|rule| rule.test().holds(record)),
            LogicalOp::Or => rules.any(|rule| rule.test().holds(record)),
        };
        match self.rules.first() {
            Some(Rule::Regex(_)) => hold,
            Some(Rule::Exclude(_)) => !hold,
            None => true,
        }
    }
}

impl Rule {
    fn test(&self) -> &Test {
        let (Rule::Regex(test) | Rule::Exclude(test)) = self;
        test
    }

    /// Whether to keep the record, if the rule decides it by itself.
    fn verdict(&self, record: &Record<'_>) -> Option<bool> {
        match self {
            Rule::Regex(test) => Some(test.holds(record)),
            Rule::Exclude(test) => test.holds(record).then_some(false),
        }
    }
}

impl Test {
    fn holds(&self, record: &Record<'_>) -> bool {
        let value = self.key.find(record);
        value.as_ref().and_then(|value| value.as_str()).is_some_and(|text| self.pattern.is_match(text))
    }
}
