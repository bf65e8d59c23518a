//! `modify`: changes the top level of records by a list of rules.
//!
//! ```text
//! [FILTER]
//!     name       modify
//!     match      app.*
//!     condition  key_value_equals env prod
//!     rename     msg message
//!     set        site "north west"
//!     remove     password
//! ```
//!
//! Rules apply in the order of the file, each to what the one before it left, to records for which every
//! `condition` holds. Words are separated by blanks; a word in quotes may hold some, and there `\` before the
//! quote or another `\` stands for the character itself.
//!
//! | Rule | Does |
//! |---|---|
//! | `set KEY VALUE` | removes KEY and appends it with the text VALUE |
//! | `add KEY VALUE` | appends KEY with the text VALUE if there is no KEY |
//! | `remove KEY` | removes KEY |
//! | `remove_wildcard START` | removes keys that begin with START (a `*` is nothing special) |
//! | `remove_regex PATTERN` | removes keys that match |
//! | `move_to_start START`, `move_to_end START` | moves keys that begin with START, in their order |
//! | `rename KEY NEW` | renames KEY if there is no NEW |
//! | `hard_rename KEY NEW` | renames KEY in place of any NEW |
//! | `copy KEY NEW` | copies KEY behind itself if there is no NEW |
//! | `hard_copy KEY NEW` | copies KEY behind itself in place of a NEW |
//!
//! Where a record has a key more than once, every one of them counts, but such a key is not copied, and
//! `hard_copy` does not replace one.
//!
//! | Condition | Holds when |
//! |---|---|
//! | `key_exists KEY`, `key_does_not_exist KEY` | there is, or is not, such a key |
//! | `a_key_matches PATTERN`, `no_key_matches PATTERN` | any, or no, key matches |
//! | `key_value_equals KEY TEXT` | the value is the string TEXT |
//! | `key_value_does_not_equal KEY TEXT` | the key exists and its value is not the string TEXT |
//! | `key_value_matches KEY PATTERN` | the value matches |
//! | `key_value_does_not_match KEY PATTERN` | the key exists and its value does not match |
//! | `matching_keys_have_matching_values PATTERN PATTERN` | values of matching keys all match |
//! | `matching_keys_do_not_have_matching_values PATTERN PATTERN` | one of them does not |
//!
//! KEY of a condition is one of the top level or a record accessor such as `$a['b']`. Patterns are in Ruby's
//! syntax and match anywhere in strings and in the words `true` and `false` of booleans, in nothing else.

use engine::{Filter, FilterDef, Setup};
use event::{Accessor, Cursor, Entry, Raw, Record, Tag, Token, Window};
use formats::ruby::RubyRegex;
use options::{Invalid, Kind, Options, Reader, Rules, Value, not_a_choice};

use crate::words::{Pair, Word, accessor, exactly, words};

/// The registry's entry.
pub static FILTER: FilterDef =
    FilterDef { name: "modify", about: "changes records by rules", specs: ModifyOptions::specs, open };

#[derive(Debug, Clone, Options)]
struct ModifyOptions {
    #[option(rules)]
    rules: Vec<Rule>,
    /// Change only records for which this holds: the name of a condition and its words. All must hold.
    condition: Vec<Condition>,
}

#[derive(Debug, Clone, Rules)]
enum Rule {
    /// Give KEY the text VALUE, at the end of the record.
    Set(Pair),
    /// Append KEY with the text VALUE if there is no KEY.
    Add(Pair),
    /// Remove KEY.
    Remove(Word),
    /// Remove keys that begin with this text.
    RemoveWildcard(Word),
    /// Remove keys that match this pattern.
    RemoveRegex(Pattern),
    /// Move keys that begin with this text to the start of the record.
    MoveToStart(Word),
    /// Move keys that begin with this text to the end of the record.
    MoveToEnd(Word),
    /// Rename KEY to NEW if there is no NEW.
    Rename(Pair),
    /// Rename KEY to NEW and remove what was called NEW.
    HardRename(Pair),
    /// Copy KEY to NEW if there is no NEW.
    Copy(Pair),
    /// Copy KEY to NEW in place of what was called NEW.
    HardCopy(Pair),
}

/// One word that is a pattern.
#[derive(Debug, Clone)]
struct Pattern(RubyRegex);

#[derive(Debug, Clone)]
enum Condition {
    KeyExists(Accessor),
    KeyDoesNotExist(Accessor),
    AKeyMatches(RubyRegex),
    NoKeyMatches(RubyRegex),
    KeyValueEquals((Accessor, String)),
    KeyValueDoesNotEqual((Accessor, String)),
    KeyValueMatches((Accessor, RubyRegex)),
    KeyValueDoesNotMatch((Accessor, RubyRegex)),
    MatchingKeysHaveMatchingValues((RubyRegex, RubyRegex)),
    MatchingKeysDoNotHaveMatchingValues((RubyRegex, RubyRegex)),
}

impl Value for Pattern {
    const KIND: Kind = RubyRegex::KIND;

    fn parse(text: &str) -> Result<Pattern, Invalid> {
        let [word] = exactly("it", words(text)?)?;
        RubyRegex::parse(&word).map(Pattern)
    }
}

impl Condition {
    const NAMES: &[&str] = &[
        "key_exists",
        "key_does_not_exist",
        "a_key_matches",
        "no_key_matches",
        "key_value_equals",
        "key_value_does_not_equal",
        "key_value_matches",
        "key_value_does_not_match",
        "matching_keys_have_matching_values",
        "matching_keys_do_not_have_matching_values",
    ];
}

impl Value for Condition {
    const KIND: Kind = Kind::Other("condition");

    fn parse(text: &str) -> Result<Condition, Invalid> {
        let mut words = words(text)?;
        let name = words.remove(0).to_ascii_lowercase();
        let one = |words| exactly::<1>(&name, words).map(|[word]| word);
        let two = |words| exactly::<2>(&name, words).map(|[first, second]| (first, second));
        let key = |words| accessor(&one(words)?);
        let pattern = |words| RubyRegex::parse(&one(words)?);
        let key_and_text = |words| two(words).and_then(|(key, text)| Ok((accessor(&key)?, text)));
        let key_and_pattern =
            |words| key_and_text(words).and_then(|(key, pattern)| Ok((key, RubyRegex::parse(&pattern)?)));
        let patterns = |words| {
            two(words).and_then(|(keys, values)| Ok((RubyRegex::parse(&keys)?, RubyRegex::parse(&values)?)))
        };
        Ok(match name.as_str() {
            "key_exists" => Condition::KeyExists(key(words)?),
            "key_does_not_exist" => Condition::KeyDoesNotExist(key(words)?),
            "a_key_matches" => Condition::AKeyMatches(pattern(words)?),
            "no_key_matches" => Condition::NoKeyMatches(pattern(words)?),
            "key_value_equals" => Condition::KeyValueEquals(key_and_text(words)?),
            "key_value_does_not_equal" => Condition::KeyValueDoesNotEqual(key_and_text(words)?),
            "key_value_matches" => Condition::KeyValueMatches(key_and_pattern(words)?),
            "key_value_does_not_match" => Condition::KeyValueDoesNotMatch(key_and_pattern(words)?),
            "matching_keys_have_matching_values" => {
                Condition::MatchingKeysHaveMatchingValues(patterns(words)?)
            }
            "matching_keys_do_not_have_matching_values" => {
                Condition::MatchingKeysDoNotHaveMatchingValues(patterns(words)?)
            }
            _ => return Err(not_a_choice(&name, Condition::NAMES)),
        })
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    Some(Box::new(Modify { options: ModifyOptions::read(reader)? }))
}

#[derive(Clone)]
struct Modify {
    options: ModifyOptions,
}

impl Filter for Modify {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        let ModifyOptions { rules, condition } = &self.options;
        for record in &mut window.records {
            if condition.iter().all(|condition| condition.holds(record)) {
                for rule in rules {
                    rule.apply(record.body_mut());
                }
            }
        }
    }

    // Copied rather than shared: searches through one compiled pattern would contend for its memory.
    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Condition {
    fn holds(&self, record: &Record<'_>) -> bool {
        match self {
            Condition::KeyExists(key) => key.find(record).is_some(),
            Condition::KeyDoesNotExist(key) => key.find(record).is_none(),
            Condition::AKeyMatches(pattern) => record.body().iter().any(|entry| matches(pattern, &entry.key)),
            Condition::NoKeyMatches(pattern) => {
                !record.body().iter().any(|entry| matches(pattern, &entry.key))
            }
            Condition::KeyValueEquals((key, text)) => key.find(record).is_some_and(|value| is(&value, text)),
            Condition::KeyValueDoesNotEqual((key, text)) => {
                key.find(record).is_some_and(|value| !is(&value, text))
            }
            Condition::KeyValueMatches((key, pattern)) => {
                key.find(record).is_some_and(|value| matches(pattern, &value))
            }
            Condition::KeyValueDoesNotMatch((key, pattern)) => {
                key.find(record).is_some_and(|value| !matches(pattern, &value))
            }
            Condition::MatchingKeysHaveMatchingValues((keys, values)) => values_match(record, keys, values),
            Condition::MatchingKeysDoNotHaveMatchingValues((keys, values)) => {
                !values_match(record, keys, values)
            }
        }
    }
}

/// Whether the values of all keys that match do, too: also when there is no such key.
fn values_match(record: &Record<'_>, keys: &RubyRegex, values: &RubyRegex) -> bool {
    let mut entries = record.body().iter().filter(|entry| matches(keys, &entry.key));
    entries.all(|entry| matches(values, &entry.value))
}

impl Rule {
    fn apply(&self, body: &mut Vec<Entry<'_>>) {
        match self {
            Rule::Set(pair) => {
                body.retain(|entry| !pair.0.names(entry));
                body.push(pair.entry());
            }
            Rule::Add(pair) => {
                if count(&pair.0, body) == 0 {
                    body.push(pair.entry());
                }
            }
            Rule::Remove(key) => body.retain(|entry| !key.names(entry)),
            Rule::RemoveWildcard(start) => body.retain(|entry| !begins(start, entry)),
            Rule::RemoveRegex(Pattern(pattern)) => body.retain(|entry| !matches(pattern, &entry.key)),
            // The sort is stable, and of a time that the number of keys in a record cannot blow up.
            Rule::MoveToStart(start) => body.sort_by_key(|entry| !begins(start, entry)),
            Rule::MoveToEnd(start) => body.sort_by_key(|entry| begins(start, entry)),
            Rule::Rename(pair) => {
                if count(&pair.1, body) == 0 {
                    rename(pair, body);
                }
            }
            Rule::HardRename(pair) => {
                if count(&pair.0, body) > 0 {
                    body.retain(|entry| !pair.1.names(entry));
                    rename(pair, body);
                }
            }
            Rule::Copy(pair) => {
                if count(&pair.0, body) == 1 && count(&pair.1, body) == 0 {
                    copy(pair, body);
                }
            }
            Rule::HardCopy(pair) => {
                // A copy onto itself would first remove what is to be copied.
                if pair.0.text != pair.1.text && count(&pair.0, body) == 1 && count(&pair.1, body) <= 1 {
                    body.retain(|entry| !pair.1.names(entry));
                    copy(pair, body);
                }
            }
        }
    }
}

fn begins(word: &Word, entry: &Entry<'_>) -> bool {
    entry.key.as_text().is_some_and(|key| key.starts_with(word.text.as_bytes()))
}

fn count(word: &Word, body: &[Entry<'_>]) -> usize {
    body.iter().filter(|entry| word.names(entry)).count()
}

fn rename(pair: &Pair, body: &mut [Entry<'_>]) {
    for entry in body.iter_mut().filter(|entry| pair.0.names(entry)) {
        entry.key = pair.1.value.clone();
    }
}

fn copy(pair: &Pair, body: &mut Vec<Entry<'_>>) {
    if let Some(at) = body.iter().position(|entry| pair.0.names(entry)) {
        let copy = Entry { key: pair.1.value.clone(), value: body[at].value.clone() };
        body.insert(at + 1, copy);
    }
}

/// Whether a value is this text, as a string or as a binary.
fn is(value: &Raw<'_>, text: &str) -> bool {
    value.as_text() == Some(text.as_bytes())
}

/// Whether a pattern matches a key or a value: a string, or a boolean as a word.
fn matches(pattern: &RubyRegex, value: &Raw<'_>) -> bool {
    let mut cursor = Cursor::of(value.bytes());
    match cursor.token() {
        Ok(Token::Str(size)) => cursor.here().get(..size).is_some_and(|text| pattern.is_match(text)),
        Ok(Token::Bool(true)) => pattern.is_match(b"true"),
        Ok(Token::Bool(false)) => pattern.is_match(b"false"),
        _ => false,
    }
}
