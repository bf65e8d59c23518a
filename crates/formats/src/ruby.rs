//! Regular expressions in Ruby's syntax, which Fluent Bit reads with Onigmo.
//!
//! A pattern is translated once, at open, into the syntax of the `regex` crate, whose time is linear in the
//! text whatever the pattern. What differs between the two:
//!
//! | Ruby | meaning |
//! |---|---|
//! | `/pattern/`, `/pattern/imx` | the slashes are no part of the pattern; `m` lets `.` match a line end |
//! | `^`, `$` | begin and end of every line |
//! | `\d`, `\w`, `\s`, `\h` | ASCII only; `\h` is a hexadecimal digit |
//! | `[[:alpha:]]` | all of Unicode |
//! | `(?i)` | reaches to the end of the group, over `\|` too |
//! | `{` without a count behind | itself |
//! | `(...)` beside `(?<name>...)` | does not capture |
//!
//! Look-around, back-references, atomic groups and possessive repetition need a search that goes back. Patterns
//! with these are left to the `fancy-regex` crate; one that has not come to an end after [`BACKTRACKS`] steps
//! does not match. In text for them, what is not UTF-8 counts as U+FFFD. Calls of groups, conditions and absence operators are refused.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use options::{Invalid, Kind, Value, quoted};
use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

/// The most bytes of a compiled pattern. The default of the crate would let a few counted repetitions take
/// 10 MB each.
const PROGRAM_BYTES: usize = 1 << 20;

/// The most bytes of the states a search remembers, per lane and pattern. They are forgotten and found again
/// when more are needed.
const STATES_BYTES: usize = 256 << 10;

/// The most steps of a search that goes back.
pub const BACKTRACKS: usize = 1_000_000;

/// A compiled pattern. A clone shares the program, not the memory of the searches, so that lanes do not wait
/// for each other.
#[derive(Debug, Clone)]
pub struct RubyRegex {
    engine: Engine,
    /// Named groups: name and number, those of one name together, else in the order of the pattern.
    names: Arc<[(String, usize)]>,
}

#[derive(Debug, Clone)]
enum Engine {
    Linear(Linear),
    Backtracking(fancy_regex::Regex),
}

/// A pattern, built for what it is searched in. Over bytes it is smaller and faster and gives the same for ASCII;
/// and it takes a text that is no UTF-8 byte by byte, as Onigmo does. In one line `^` stands for the begin of the
/// text, so that a pattern with it is tried at one place only, in one go where it can be.
#[derive(Debug, Clone)]
struct Linear {
    unicode: Regex,
    pattern: Arc<str>,
    flags: Flags,
    /// Over bytes, for one line and for several. Built when somebody asks for groups; `None` if the pattern means
    /// characters beyond ASCII.
    line: OnceLock<Option<Regex>>,
    lines: OnceLock<Option<Regex>>,
}

/// What the groups of a pattern matched.
pub struct Captures<'t> {
    text: Cow<'t, [u8]>,
    spans: Spans,
}

enum Spans {
    Locations(CaptureLocations),
    List(Vec<Option<(usize, usize)>>),
}

impl Captures<'_> {
    /// What this group matched; group 0 is the whole pattern.
    pub fn get(&self, group: usize) -> Option<&[u8]> {
        let (start, end) = match &self.spans {
            Spans::Locations(locations) => locations.get(group)?,
            Spans::List(spans) => (*spans.get(group)?)?,
        };
        self.text.get(start..end)
    }

    /// The number of groups, the whole pattern counted.
    pub fn count(&self) -> usize {
        match &self.spans {
            Spans::Locations(locations) => locations.len(),
            Spans::List(spans) => spans.len(),
        }
    }
}

impl RubyRegex {
    /// Whether the pattern matches anywhere in the text.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            Engine::Linear(linear) => linear.unicode.is_match(text),
            Engine::Backtracking(regex) => regex.is_match(&*String::from_utf8_lossy(text)).unwrap_or(false),
        }
    }

    /// What the groups match where the pattern first matches.
    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        match &self.engine {
            Engine::Linear(linear) => {
                let regex = linear.of(text);
                let mut locations = regex.capture_locations();
                regex.captures_read(&mut locations, text)?;
                Some(Captures { text: Cow::Borrowed(text), spans: Spans::Locations(locations) })
            }
            Engine::Backtracking(regex) => {
                // The crate wants UTF-8.
                let text = String::from_utf8_lossy(text);
                let captures = regex.captures(&*text).ok()??;
                let spans = captures.iter().map(|group| group.map(|group| (group.start(), group.end())));
                let spans = Spans::List(spans.collect());
                drop(captures);
                let text = match text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                };
                Some(Captures { text, spans })
            }
        }
    }

    /// The named groups and their numbers.
    pub fn names(&self) -> &[(String, usize)] {
        &self.names
    }
}

impl Linear {
    fn of(&self, text: &[u8]) -> &Regex {
        if !text.is_ascii() && std::str::from_utf8(text).is_ok() {
            return &self.unicode;
        }
        let over = |lines| build(&self.pattern, self.flags, Over { unicode: false, lines }).ok();
        let bytes = match text.contains(&b'\n') {
            true => self.lines.get_or_init(|| over(true)),
            false => self.line.get_or_init(|| over(false)),
        };
        bytes.as_ref().unwrap_or(&self.unicode)
    }
}

/// What a pattern is searched in.
#[derive(Clone, Copy)]
struct Over {
    /// Text of characters, not of bytes.
    unicode: bool,
    /// Several lines.
    lines: bool,
}

fn build(pattern: &str, flags: Flags, over: Over) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(over.unicode)
        .multi_line(over.lines)
        .case_insensitive(flags.ignore_case)
        .dot_matches_new_line(flags.dot_all)
        .ignore_whitespace(flags.extended)
        .size_limit(PROGRAM_BYTES)
        .dfa_size_limit(STATES_BYTES)
        .build()
}

fn build_backtracking(pattern: &str, flags: Flags) -> Result<fancy_regex::Regex, fancy_regex::Error> {
    fancy_regex::RegexBuilder::new(pattern)
        .multi_line(true)
        .case_insensitive(flags.ignore_case)
        .dot_matches_new_line(flags.dot_all)
        .ignore_whitespace(flags.extended)
        .delegate_size_limit(PROGRAM_BYTES)
        .delegate_dfa_size_limit(STATES_BYTES)
        .backtrack_limit(BACKTRACKS)
        .build()
}

impl Value for RubyRegex {
    const KIND: Kind = Kind::Other("regular expression");

    fn parse(text: &str) -> Result<RubyRegex, Invalid> {
        let (pattern, flags) = delimited(text);
        let wrong = |why: &str| Invalid::not(text, format_args!("a regular expression: {why}"));
        let translated = Translator::new(pattern, flags.extended).run().map_err(|refused| {
            refused.hint.map_or(wrong(refused.what), |hint| wrong(refused.what).hint(hint))
        })?;
        let Translated { pattern, names, backtracks } = translated;
        let engine = if backtracks {
            let regex = build_backtracking(&pattern, flags);
            Engine::Backtracking(
                regex.map_err(|error| wrong(error.to_string().lines().last().unwrap_or("")))?,
            )
        } else {
            let over = Over { unicode: true, lines: true };
            let unicode = build(&pattern, flags, over).map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    Invalid::new(format!("{} takes more than {PROGRAM_BYTES} bytes", quoted(text)))
                        .hint("use smaller counts in {}")
                }
                // The crate draws the translated pattern and an arrow; the reason is the last line.
                error => {
                    let message = error.to_string();
                    let reason = message.lines().last().unwrap_or_default();
                    wrong(reason.trim_start_matches("error: "))
                }
            })?;
            let (line, lines) = (OnceLock::new(), OnceLock::new());
            Engine::Linear(Linear { unicode, pattern: pattern.into(), flags, line, lines })
        };
        Ok(RubyRegex { engine, names: names.into() })
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Flags {
    ignore_case: bool,
    dot_all: bool,
    extended: bool,
}

/// The pattern within its slashes, if it has any. Slashes with anything else than options behind them are a
/// part of the pattern, as in `/var/log`.
fn delimited(text: &str) -> (&str, Flags) {
    let Some((pattern, letters)) = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) else {
        return (text, Flags::default());
    };
    let known = letters.chars().all(|letter| "imxo".contains(letter));
    // `o` is known to Ruby and without effect here; alone it is taken for text.
    if !known || letters.chars().all(|letter| letter == 'o') && !letters.is_empty() {
        return (text, Flags::default());
    }
    let has = |letter| letters.contains(letter);
    (pattern, Flags { ignore_case: has('i'), dot_all: has('m'), extended: has('x') })
}

/// Something that the syntax of the `regex` crate cannot say.
struct Refused {
    what: &'static str,
    hint: Option<&'static str>,
}

fn refuse<T>(what: &'static str, hint: impl Into<Option<&'static str>>) -> Result<T, Refused> {
    Err(Refused { what, hint: hint.into() })
}

/// A group that is open.
struct Group {
    /// Groups opened within it for options that reach to its end.
    inner: usize,
    /// Whether blanks were left out before it.
    extended: bool,
}

/// A pattern in the syntax of the crates.
struct Translated {
    pattern: String,
    names: Vec<(String, usize)>,
    /// Only a search that goes back can find it.
    backtracks: bool,
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
    groups: Vec<Group>,
    /// The pattern has named groups, so those without a name do not capture.
    named: bool,
    names: Vec<(String, usize)>,
    captures: usize,
    backtracks: bool,
    /// Classes that are open, one in the other.
    classes: usize,
    /// Blanks do not count and `#` begins a comment.
    extended: bool,
    /// Where the output ended with a hyphen that may be the middle of a range.
    hyphen: Option<usize>,
    /// Whether the last thing was `?`, `*` or `+`, behind which `+` would be possessive.
    repeated: bool,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str, extended: bool) -> Translator<'p> {
        let whole = Group { inner: 0, extended };
        let out = String::with_capacity(pattern.len() + 16);
        let groups = vec![whole];
        let named = pattern
            .match_indices("(?<")
            .any(|(at, open)| !pattern[at + open.len()..].starts_with(['=', '!']))
            || pattern.contains("(?'");
        Translator {
            rest: pattern,
            out,
            groups,
            named,
            names: Vec::new(),
            captures: 0,
            backtracks: false,
            classes: 0,
            extended,
            hyphen: None,
            repeated: false,
        }
    }

    fn run(mut self) -> Result<Translated, Refused> {
        while let Some(next) = self.take() {
            let repeated = std::mem::take(&mut self.repeated);
            match next {
                '\\' => self.escape()?,
                _ if self.classes > 0 => self.in_class(next)?,
                '[' => self.open_class(),
                '(' => self.open_group()?,
                ')' => self.close_group(),
                '{' => self.count(),
                ']' | '}' => self.literal(next),
                '+' if repeated => {
                    self.backtracks = true;
                    self.out.push('+');
                }
                '?' | '*' | '+' => {
                    // A `?` behind a repetition makes it lazy and ends it.
                    self.repeated = !(repeated && next == '?');
                    self.out.push(next);
                }
                '#' if self.extended => self.pass_comment(),
                _ => self.out.push(next),
            }
        }
        let open = self.groups.first().map_or(0, |whole| whole.inner);
        self.out.extend(std::iter::repeat_n(')', open));
        Ok(Translated { pattern: self.out, names: self.names, backtracks: self.backtracks })
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn accept(&mut self, text: &str) -> bool {
        let behind = self.rest.strip_prefix(text);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn literal(&mut self, c: char) {
        // Blanks and `#` would be left out where blanks do not count, within classes too.
        if c.is_whitespace() || c == '#' {
            self.code_point(u32::from(c));
        } else {
            self.out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        }
    }

    fn code_point(&mut self, code: u32) {
        self.out.push_str(&format!("\\x{{{code:x}}}"));
    }

    fn pass_comment(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, behind)| behind);
    }

    /// A class, on its own or within another.
    fn class(&mut self, class: &str) {
        if self.hyphen == Some(self.out.len()) {
            // No range ends in a class: the hyphen is itself.
            self.out.pop();
            self.out.push_str("\\-");
        }
        self.out.push_str(class);
    }

    fn open_class(&mut self) {
        self.class("[");
        self.classes += 1;
        if self.accept("^") {
            self.out.push('^');
        }
        if self.accept("]") {
            self.literal(']');
        }
    }

    fn in_class(&mut self, next: char) -> Result<(), Refused> {
        match next {
            '[' => match posix_class(self.rest) {
                Some((class, behind)) => {
                    self.class(&class);
                    self.rest = behind;
                }
                None => self.open_class(),
            },
            ']' => {
                self.classes -= 1;
                self.out.push(']');
            }
            '-' if self.rest.starts_with('-') => {
                return refuse("\"--\" within [] can be read in two ways", "write \\- for a hyphen");
            }
            '-' => {
                self.out.push('-');
                self.hyphen = Some(self.out.len());
            }
            '~' => self.literal('~'),
            _ if next.is_whitespace() || next == '#' => self.literal(next),
            _ => self.out.push(next),
        }
        Ok(())
    }

    /// Behind a `{`: a count, or else the brace is itself.
    fn count(&mut self) {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let count = self.rest.split_once('}').filter(|(count, _)| {
            let (least, most) = count.split_once(',').unwrap_or((count, ""));
            least.len() + most.len() > 0 && digits(least) && digits(most)
        });
        let Some((count, behind)) = count else { return self.literal('{') };
        self.rest = behind;
        let zero = if count.starts_with(',') { "0" } else { "" };
        self.out.push_str(&format!("{{{zero}{count}}}"));
        // An exact count cannot be lazy: the mark makes it optional.
        if !count.contains(',') && self.accept("?") {
            self.out.push_str("{0,1}");
        }
    }

    fn open_group(&mut self) -> Result<(), Refused> {
        if !self.accept("?") {
            self.captures += usize::from(!self.named);
            self.enter(if self.named { "(?:" } else { "(" });
            return Ok(());
        }
        match self.take() {
            Some('#') => {
                self.rest = self.rest.split_once(')').map_or("", |(_, behind)| behind);
            }
            Some(':') => self.enter("(?:"),
            Some('=') => self.look_around("(?="),
            Some('!') => self.look_around("(?!"),
            Some('>') => self.look_around("(?>"),
            Some('<') if self.accept("=") => self.look_around("(?<="),
            Some('<') if self.accept("!") => self.look_around("(?<!"),
            Some(open @ ('<' | '\'')) => return self.named_group(if open == '<' { '>' } else { '\'' }),
            Some('~') => return refuse("absence operators are not supported", None),
            Some('(') => return refuse("conditions on groups are not supported", None),
            Some(first) => return self.options(first),
            None => return refuse("a group is not closed", None),
        }
        Ok(())
    }

    fn look_around(&mut self, open: &str) {
        self.backtracks = true;
        self.enter(open);
    }

    fn named_group(&mut self, close: char) -> Result<(), Refused> {
        let Some((name, behind)) = self.rest.split_once(close) else {
            return refuse("the name of a group does not end", None);
        };
        self.rest = behind;
        self.captures += 1;
        // A name may be used twice.
        let last = self.names.iter().rposition(|(known, _)| known == name);
        let at = last.map_or(self.names.len(), |last| last + 1);
        self.names.insert(at, (name.to_owned(), self.captures));
        self.enter("(");
        Ok(())
    }

    fn enter(&mut self, open: &str) {
        self.groups.push(Group { inner: 0, extended: self.extended });
        self.out.push_str(open);
    }

    fn close_group(&mut self) {
        // The last one is the pattern itself: a `)` too many is for the compiler to report.
        if self.groups.len() > 1
            && let Some(group) = self.groups.pop()
        {
            self.extended = group.extended;
            self.out.extend(std::iter::repeat_n(')', group.inner));
        }
        self.out.push(')');
    }

    /// `(?i-m)`, which reaches to the end of the group, or `(?i-m:...)`.
    fn options(&mut self, first: char) -> Result<(), Refused> {
        let mut flags = String::from("(?");
        let mut on = true;
        let mut extended = self.extended;
        let mut next = Some(first);
        loop {
            match next {
                Some('-') if on => {
                    on = false;
                    flags.push('-');
                }
                Some('i') => flags.push('i'),
                Some('m') => flags.push('s'),
                Some('x') => {
                    extended = on;
                    flags.push('x');
                }
                Some(')') | Some(':') => break,
                _ => return refuse("(? is followed by options other than i, m and x", None),
            }
            next = self.take();
        }
        if flags.ends_with('-') {
            flags.pop();
        }
        flags.push(':');
        if next == Some(':') {
            self.enter(&flags);
        } else {
            self.out.push_str(&flags);
            if let Some(group) = self.groups.last_mut() {
                group.inner += 1;
            }
        }
        self.extended = extended;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Refused> {
        let Some(c) = self.take() else { return refuse("it ends in a single \\", None) };
        match c {
            'd' => self.class("[0-9]"),
            'D' => self.class("[^0-9]"),
            'w' => self.class("[0-9A-Za-z_]"),
            'W' => self.class("[^0-9A-Za-z_]"),
            's' => self.class(r"[\t-\r\x20]"),
            'S' => self.class(r"[^\t-\r\x20]"),
            'h' => self.class("[0-9A-Fa-f]"),
            'H' => self.class("[^0-9A-Fa-f]"),
            'p' | 'P' => self.property(c == 'P'),
            'b' if self.classes > 0 => self.code_point(8),
            'e' => self.code_point(0x1b),
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'u' => self.out.extend(['\\', c]),
            'x' => self.hexadecimal(),
            '0' => self.number(8, 2, 0),
            '1'..='9' if self.classes == 0 => return self.back_reference(c),
            'k' if self.classes == 0 => return self.named_back_reference(),
            'A' | 'b' | 'B' | 'z' if self.classes == 0 => self.out.extend(['\\', c]),
            'Z' if self.classes == 0 => self.out.push_str(r"(?:\n?\z)"),
            'R' if self.classes == 0 => self.out.push_str(r"(?:\r\n|[\n-\r\x{85}\x{2028}\x{2029}])"),
            'g' | 'G' | 'K' | 'X' | 'c' | 'C' | 'M' => {
                return refuse("\\g, \\G, \\K, \\X, \\c, \\C and \\M are not supported", None);
            }
            _ => self.literal(c),
        }
        Ok(())
    }

    /// `\1`: what a group matched, once more.
    fn back_reference(&mut self, first: char) -> Result<(), Refused> {
        let more = self.rest.chars().take_while(char::is_ascii_digit).count().min(2);
        let number = format!("{first}{}", &self.rest[..more]);
        self.rest = &self.rest[more..];
        if self.named {
            return refuse("groups that have names have no numbers", "write \\k<name>");
        }
        self.refer_to(&number);
        Ok(())
    }

    /// `\k<name>`, or a number in place of the name.
    fn named_back_reference(&mut self) -> Result<(), Refused> {
        let close = if self.accept("<") { '>' } else { '\'' };
        let Some((name, behind)) = self.rest.trim_start_matches('\'').split_once(close) else {
            return refuse("the name of a group does not end", None);
        };
        self.rest = behind;
        let known = self.names.iter().rev().find(|(known, _)| known == name).map(|(_, number)| *number);
        let Some(number) = known.or_else(|| name.parse().ok()) else {
            return refuse("\\k names a group that is not there yet", None);
        };
        self.refer_to(&number.to_string());
        Ok(())
    }

    fn refer_to(&mut self, number: &str) {
        self.backtracks = true;
        // A digit that follows must not be read as a part of the number.
        self.out.push_str(&format!("(?:\\{number})"));
    }

    /// Behind `\x`: one byte, which stands for itself outside classes, or a code point in braces.
    fn hexadecimal(&mut self) {
        if self.rest.starts_with('{') {
            self.out.push_str("\\x");
            // The brace belongs to the escape, so it must not be read as a count.
            let end = self.rest.find('}').map_or(self.rest.len(), |end| end + 1);
            self.out.push_str(&self.rest[..end]);
            self.rest = &self.rest[end..];
        } else {
            self.number(16, 2, 0);
        }
    }

    /// Up to `digits` digits, as a character.
    fn number(&mut self, base: u32, digits: usize, mut code: u32) {
        for _ in 0..digits {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(base)) else { break };
            code = code * base + digit;
            self.rest = &self.rest[1..];
        }
        if code > 0x7f && self.classes == 0 {
            self.out.push_str(&format!("(?-u:\\x{code:02x})"));
        } else {
            self.code_point(code);
        }
    }

    /// Behind `\p`: `{Name}`, or `{^Name}` for everything else.
    fn property(&mut self, not: bool) {
        let braced = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((name, behind)) = braced else { return self.out.push_str(if not { "\\P" } else { "\\p" }) };
        self.rest = behind;
        let (name, not) = name.strip_prefix('^').map_or((name, not), |name| (name, !not));
        let class = match members(&name.to_ascii_lowercase()) {
            Some(members) => format!("[{}{members}]", if not { "^" } else { "" }),
            None => format!("\\{}{{{name}}}", if not { 'P' } else { 'p' }),
        };
        self.class(&class);
    }
}

/// `:alpha:]` at the start of `text`, as a class, and what follows.
fn posix_class(text: &str) -> Option<(String, &str)> {
    let (name, behind) = text.strip_prefix(':')?.split_once(":]")?;
    let (name, not) = name.strip_prefix('^').map_or((name, ""), |name| (name, "^"));
    Some((format!("[{not}{}]", members(name)?), behind))
}

/// The members of the POSIX classes, which Ruby takes from Unicode.
fn members(name: &str) -> Option<&'static str> {
    Some(match name {
        "alnum" => r"\p{Alphabetic}\p{Nd}",
        "alpha" => r"\p{Alphabetic}",
        "ascii" => r"\x00-\x7f",
        "blank" => r"\t\p{Zs}",
        "cntrl" => r"\p{Cc}",
        "digit" => r"\p{Nd}",
        "graph" => r"[^\p{White_Space}\p{Cc}\p{Cs}\p{Cn}]",
        "lower" => r"\p{Lowercase}",
        "print" => r"[^\p{White_Space}\p{Cc}\p{Cs}\p{Cn}]\p{Zs}",
        "punct" => r"\p{P}$+<=>^`|~",
        "space" => r"\p{White_Space}",
        "upper" => r"\p{Uppercase}",
        "word" => r"\p{L}\p{M}\p{N}\p{Pc}",
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
