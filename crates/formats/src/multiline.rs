//! Multiline: lines or records that belong together become one record.
//!
//! ```text
//! [MULTILINE_PARSER]
//!     name           app
//!     type           regex
//!     flush_timeout  1000
//!     rule           "start_state"  "/^\d{4}-/"  "more"
//!     rule           "more"         "/^\s/"      "more"
//! ```
//!
//! | Type | A record is complete |
//! |---|---|
//! | `regex` | when a line matches no rule that may follow. A rule has the states it may follow, a pattern, and the state that comes behind it; a record begins with a rule for `start_state` |
//! | `endswith` | with the line that ends with `match_string` |
//! | `equal` | with the record whose `key_pattern` (or content) is `match_string` |
//!
//! With `parser` a line is parsed first, and what is joined is the value of `key_content`, apart for each value
//! of `key_group`; the other entries are those of the first line. `negate` turns `endswith` and `equal` around.
//!
//! There are six that need no definition: `docker` and `cri` for what container runtimes split, and `java`, `go`,
//! `ruby` and `python` for what they print when something goes wrong.
//!
//! A [`Multiline`] joins the lines of one stream, for example of a file. What it holds back is leased; a record
//! that reaches its limit, or for which there is no memory, goes out as far as it came, marked as truncated.

mod built_in;
mod group;
mod partial;

use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Full};
use event::{EventTime, Record};
use options::{Choice, Invalid, Kind, Options, Reader, Section, Value};

use crate::parser::{Fields, Parser, Unparsed};
use crate::ruby::RubyRegex;
use group::{Content, Group, Head};

pub use built_in::{BUILT_IN, built_in};
pub use group::Joined;
pub use partial::{Partial, Partials};

/// How long lines wait for the next one, unless something else is said.
pub const FLUSH_TIMEOUT: Duration = Duration::from_millis(4000);

/// The most bytes of a record that lines are joined to, unless the service says something else.
pub const LIMIT: usize = 2 << 20;

/// Values of `key_group` that are kept apart in one stream. Further ones share the first.
const GROUPS: usize = 6;

/// The options of a multiline parser, as its section has them.
#[derive(Debug, Options)]
#[options(check = MultilineOptions::check)]
pub struct MultilineOptions {
    /// The name that plugins ask for.
    #[option(required)]
    pub name: String,
    /// How it is known what belongs together.
    #[option(name = "type", required)]
    kind: Type,
    /// The text that completes a record, with the types endswith and equal.
    match_string: Option<String>,
    /// A record is complete with what does not match.
    #[option(default = "off")]
    negate: bool,
    /// Milliseconds after which what waits goes out.
    #[option(default = "4000", min = "1")]
    flush_timeout: u64,
    /// The key whose values are joined.
    key_content: Option<String>,
    /// The key whose value is compared instead.
    key_pattern: Option<String>,
    /// The key that tells apart what does not belong together.
    key_group: Option<String>,
    /// The parser that takes lines apart first.
    parser: Option<String>,
    /// A state or several, a pattern and the state that follows, each in quotes.
    rule: Vec<RuleText>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Type {
    Regex,
    #[choice(name = "endswith")]
    EndsWith,
    #[choice(name = "equal", alias = "eq")]
    Equal,
}

/// A rule of the type regex.
#[derive(Debug, Clone)]
struct RuleText {
    from: Vec<String>,
    regex: RubyRegex,
    to: String,
}

impl RuleText {
    fn new(from: &str, regex: &str, to: &str) -> Result<RuleText, Invalid> {
        let from = from.split(',').map(|state| state.trim().to_owned()).collect();
        Ok(RuleText { from, regex: RubyRegex::parse(regex)?, to: to.trim().to_owned() })
    }
}

impl Value for RuleText {
    const KIND: Kind = Kind::Words(3);

    fn parse(text: &str) -> Result<RuleText, Invalid> {
        let (Some([from, regex, to]), "") = tokens(text) else {
            let invalid = Invalid::not(text, "a state, a pattern and a state");
            return Err(invalid.hint("write \"start_state\" \"/^pattern/\" \"next_state\""));
        };
        RuleText::new(&from, &regex, &to)
    }
}

/// Three words, each in quotes or up to a blank, and what follows. Within quotes `\"` is a quote.
fn tokens(text: &str) -> (Option<[String; 3]>, &str) {
    let mut rest = text.trim();
    let mut word = || {
        let quoted = rest.strip_prefix('"');
        let mut found = String::new();
        let mut chars = quoted.unwrap_or(rest).char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if quoted.is_some() && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    found.push('"');
                    chars.next();
                }
                '"' if quoted.is_some() => {
                    rest = quoted.unwrap_or(rest)[at + 1..].trim_start();
                    return Some(found);
                }
                c if quoted.is_none() && c.is_whitespace() => {
                    rest = rest[at..].trim_start();
                    return Some(found);
                }
                c => found.push(c),
            }
        }
        rest = "";
        (quoted.is_none() && !found.is_empty()).then_some(found)
    };
    let words = (word(), word(), word());
    match words {
        (Some(first), Some(second), Some(third)) => (Some([first, second, third]), rest),
        _ => (None, rest),
    }
}

impl MultilineOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.kind != Type::Regex && self.match_string.is_none() {
            let what = "the types endswith and equal need match_string";
            reader.refuse("type", what, Some("add the option match_string".to_owned()));
        }
        if self.parser.is_some() && self.key_content.is_none() {
            let hint = "name the key of the parser's record that holds the text".to_owned();
            reader.refuse("parser", "parser without key_content", Some(hint));
        }
    }

    /// The parser that lines go through first.
    pub fn parser(&self) -> Option<&str> {
        self.parser.as_deref()
    }

    /// Reads the rules that stand as groups, as YAML has them.
    pub fn rule_groups(&mut self, groups: &[&Section], reader: &mut Reader<'_>) {
        for group in groups {
            let text = |key: &str| group.get(key).map(|text| text.value.as_str());
            let (Some(state), Some(regex), Some(next)) = (text("state"), text("regex"), text("next_state"))
            else {
                let hint = Some("each rule has state, regex and next_state".to_owned());
                reader.refuse("rules", format!("{}: a rule is not complete", group.pos), hint);
                continue;
            };
            match RuleText::new(state, regex, next) {
                Ok(rule) => self.rule.push(rule),
                Err(invalid) => {
                    reader.refuse("rules", format!("{}: {}", group.pos, invalid.what), invalid.hint)
                }
            }
        }
    }
}

/// How lines are joined. It has no state: streams share it.
#[derive(Debug)]
pub struct MultilineParser {
    name: String,
    kind: Join,
    flush: Duration,
    keys: Keys,
    parser: Option<Arc<Parser>>,
}

#[derive(Debug, Clone, Default)]
struct Keys {
    content: Option<String>,
    pattern: Option<String>,
    group: Option<String>,
}

#[derive(Debug)]
enum Join {
    Regex(Vec<Rule>),
    EndsWith { text: String, negate: bool },
    Equal { text: String, negate: bool },
}

#[derive(Debug)]
struct Rule {
    start: bool,
    regex: RubyRegex,
    /// The rules that may follow.
    next: Vec<usize>,
}

impl Rule {
    fn all(texts: &[RuleText]) -> Result<Vec<Rule>, String> {
        if !texts.first().is_some_and(|rule| rule.from.iter().any(|state| state == "start_state")) {
            return Err("the first rule must be one for \"start_state\"".to_owned());
        }
        let follow = |to: &str| {
            let next = texts.iter().enumerate().filter(|(_, rule)| rule.from.iter().any(|state| state == to));
            next.map(|(index, _)| index).collect::<Vec<_>>()
        };
        let rule = |text: &RuleText| {
            let next = follow(&text.to);
            if next.is_empty() {
                return Err(format!("no rule is for the state \"{}\"", text.to));
            }
            let start = text.from.iter().any(|state| state == "start_state");
            Ok(Rule { start, regex: text.regex.clone(), next })
        };
        texts.iter().map(rule).collect()
    }
}

impl MultilineParser {
    /// A multiline parser with these options; `parser` is the one that they name.
    ///
    /// # Errors
    /// The rules do not belong together.
    pub fn new(options: MultilineOptions, parser: Option<Arc<Parser>>) -> Result<MultilineParser, String> {
        let (negate, text) = (options.negate, options.match_string.unwrap_or_default());
        let kind = match options.kind {
            Type::Regex => Join::Regex(Rule::all(&options.rule)?),
            Type::EndsWith => Join::EndsWith { text, negate },
            Type::Equal => Join::Equal { text, negate },
        };
        let keys =
            Keys { content: options.key_content, pattern: options.key_pattern, group: options.key_group };
        let flush = Duration::from_millis(options.flush_timeout);
        Ok(MultilineParser { name: options.name, kind, flush, keys, parser })
    }

    /// The name that plugins ask for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long lines wait for the next one.
    pub fn flush_timeout(&self) -> Duration {
        self.flush
    }
}

/// The multiline parsers of a plugin, tried in their order, and the limit of what they join.
#[derive(Debug, Clone)]
pub struct Joins {
    parsers: Arc<[(Arc<MultilineParser>, Keys)]>,
    limit: usize,
}

impl Joins {
    /// These parsers. `key_content` takes the place of their own.
    pub fn new(parsers: Vec<Arc<MultilineParser>>, key_content: Option<&str>, limit: usize) -> Joins {
        let keys = |parser: &MultilineParser| Keys {
            content: key_content.map(str::to_owned).or_else(|| parser.keys.content.clone()),
            ..parser.keys.clone()
        };
        Joins {
            parsers: parsers.into_iter().map(|parser| (Arc::clone(&parser), keys(&parser))).collect(),
            limit,
        }
    }

    /// How long lines wait for the next one.
    pub fn flush_timeout(&self) -> Duration {
        self.parsers.iter().map(|(parser, _)| parser.flush).min().unwrap_or(FLUSH_TIMEOUT)
    }
}

/// Joins the lines, or the records, of one stream.
pub struct Multiline {
    joins: Joins,
    account: Account,
    /// What waits, by parser and group, and where each stands in the rules.
    groups: Vec<Group>,
    /// The parser that took the last line.
    last: Option<usize>,
    fields: Fields,
}

/// A line or record on its way to a group.
struct Part<'a> {
    time: EventTime,
    metadata: Option<&'a [u8]>,
    /// The entries it comes with; none for a line as it is.
    entries: Option<Vec<(&'a [u8], &'a [u8])>>,
    text: &'a [u8],
}

impl Multiline {
    /// Nothing joined yet. What waits is charged to `account`.
    pub fn new(joins: &Joins, account: &Account) -> Multiline {
        let fields = Fields::new(account);
        Multiline { joins: joins.clone(), account: account.clone(), groups: Vec::new(), last: None, fields }
    }

    /// Whether something waits for more.
    pub fn is_waiting(&self) -> bool {
        self.groups.iter().any(|group| !group.is_empty())
    }

    /// Takes a line without its end. What is complete is appended to `out`, in its order.
    ///
    /// # Errors
    /// [`Full`] when there is no memory for the line. It was not taken: write what is in `out` and drop it, wait
    /// until [`Multiline::needs`] can be leased, and give the line again.
    pub fn line(&mut self, time: EventTime, line: &[u8], out: &mut Vec<Joined>) -> Result<(), Full> {
        let part = Part { time, metadata: None, entries: None, text: line };
        if self.take(&part, out)? {
            return Ok(());
        }
        self.flush(out);
        let key = self.joins.parsers.first().and_then(|(_, keys)| keys.content.as_deref());
        Joined::line(time, key, line, self.joins.limit, &self.account, out)
    }

    /// What a line of so many bytes needs at most.
    pub fn needs(line: usize) -> usize {
        (4 * line).next_power_of_two() + (16 << 10)
    }

    /// Takes a record. What is complete is appended to `out`, in its order. False when nothing takes the record:
    /// it goes out as it is, behind what is in `out`.
    ///
    /// # Errors
    /// As for [`Multiline::line`].
    pub fn record(&mut self, record: &Record<'_>, out: &mut Vec<Joined>) -> Result<bool, Full> {
        let entries = record.body().iter().map(|entry| (entry.key.bytes(), entry.value.bytes())).collect();
        let metadata = Some(record.metadata().bytes());
        let part = Part { time: record.time(), metadata, entries: Some(entries), text: &[] };
        let taken = self.take(&part, out)?;
        if !taken {
            self.flush(out);
        }
        Ok(taken)
    }

    /// Everything that waits, as far as it came.
    pub fn flush(&mut self, out: &mut Vec<Joined>) {
        for group in &mut self.groups {
            out.extend(group.finish());
        }
        self.fields.release();
    }

    /// Offers a part to the parser that took the last one, and then to the others.
    fn take(&mut self, part: &Part<'_>, out: &mut Vec<Joined>) -> Result<bool, Full> {
        let first = self.last;
        let others = (0..self.joins.parsers.len()).filter(|index| Some(*index) != first);
        for index in first.into_iter().chain(others) {
            if self.offer(index, part, out)? {
                self.last = Some(index);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the part with one parser, parsed first where the parser wants that.
    fn offer(&mut self, index: usize, part: &Part<'_>, out: &mut Vec<Joined>) -> Result<bool, Full> {
        let joins = self.joins.clone();
        let (join, keys) = &joins.parsers[index];
        let Some(parser) = &join.parser else { return self.entries(index, join, keys, part, out) };
        let text = match &part.entries {
            None => part.text,
            Some(entries) => match keys.content.as_deref().and_then(|key| value(entries, key)) {
                Some(text) => text,
                None => return Ok(false),
            },
        };
        let mut fields = std::mem::replace(&mut self.fields, Fields::new(&self.account));
        let parsed = parser.parse(text, part.time, &mut fields);
        let taken = match parsed {
            Ok(time) => {
                let entries = Some(fields.iter().collect());
                let part = Part { time: time.or(part.time), entries, metadata: part.metadata, text: &[] };
                self.entries(index, join, keys, &part, out)
            }
            Err(Unparsed::NoMatch) => Ok(false),
            Err(Unparsed::Full) => Err(Full),
        };
        self.fields = fields;
        taken
    }

    /// Finds the group and the texts that count.
    fn entries(
        &mut self,
        index: usize,
        join: &MultilineParser,
        keys: &Keys,
        part: &Part<'_>,
        out: &mut Vec<Joined>,
    ) -> Result<bool, Full> {
        let Some(entries) = &part.entries else {
            let head = Head { time: part.time, metadata: None, key: keys.content.as_deref(), entries: None };
            let content =
                Content { text: part.text, pattern: part.text, with_breaks: keys.content.is_none() };
            return self.join(index, &join.kind, &[], &head, &content, out);
        };
        let find = |key: &Option<String>| key.as_deref().and_then(|key| value(entries, key));
        let Some(text) = find(&keys.content) else { return Ok(false) };
        let pattern = find(&keys.pattern).unwrap_or(text);
        let name = find(&keys.group).unwrap_or_default();
        let key = keys.content.as_deref();
        let head = Head { time: part.time, metadata: part.metadata, key, entries: Some(entries) };
        let content = Content { text, pattern, with_breaks: false };
        self.join(index, &join.kind, name, &head, &content, out)
    }

    fn join(
        &mut self,
        index: usize,
        kind: &Join,
        name: &[u8],
        head: &Head<'_>,
        content: &Content<'_>,
        out: &mut Vec<Joined>,
    ) -> Result<bool, Full> {
        let limit = self.joins.limit;
        let group = self.group(index, name);
        match kind {
            Join::Regex(rules) => group.by_rules(rules, head, content, limit, out),
            Join::EndsWith { text, negate } => {
                let complete = content.pattern.ends_with(text.as_bytes()) != *negate;
                group.until(complete, head, content, limit, out).map(|()| true)
            }
            Join::Equal { text, negate } => {
                let complete = (content.pattern == text.as_bytes()) != *negate;
                group.until(complete, head, content, limit, out).map(|()| true)
            }
        }
    }

    /// The group of this name, new if there is none yet.
    fn group(&mut self, parser: usize, name: &[u8]) -> &mut Group {
        let found = self.groups.iter().position(|group| group.is(parser, name));
        let of_parser = self.groups.iter().filter(|group| group.is_of(parser)).count();
        let at = match found {
            Some(at) => at,
            None if of_parser >= GROUPS => {
                self.groups.iter().position(|group| group.is_of(parser)).unwrap_or_default()
            }
            None => {
                self.groups.push(Group::new(parser, name, &self.account));
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }
}

/// The text of the first entry with this key whose value is text.
fn value<'a>(entries: &[(&'a [u8], &'a [u8])], key: &str) -> Option<&'a [u8]> {
    let text = |raw: &'a [u8]| crate::parser::as_str(raw);
    let named = entries.iter().filter(|(name, _)| text(name) == Some(key.as_bytes()));
    named.filter_map(|(_, value)| text(value)).next()
}
