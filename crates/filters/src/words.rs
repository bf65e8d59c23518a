//! What several filters read in their options: words in quotes, keys, accessors.

use event::{Accessor, Entry, Malformed, Raw};
use formats::template::Template;
use options::{Invalid, Kind, Value};

/// One word.
#[derive(Debug)]
pub struct Word {
    pub text: String,
    /// The word as a value, made once.
    pub value: Raw<'static>,
}

/// Two words.
#[derive(Debug, Clone)]
pub struct Pair(pub Word, pub Word);

impl Word {
    pub fn new(text: String) -> Word {
        Word { value: Raw::text(&text), text }
    }

    /// Whether this is the key of an entry.
    pub fn names(&self, entry: &Entry<'_>) -> bool {
        entry.key.as_text() == Some(self.text.as_bytes())
    }
}

/// The bytes are copied, too: shared by several lanes, their count of owners would travel between processors
/// with every record.
impl Clone for Word {
    fn clone(&self) -> Word {
        Word::new(self.text.clone())
    }
}

impl Value for Word {
    const KIND: Kind = Kind::Words(1);

    fn parse(text: &str) -> Result<Word, Invalid> {
        let [word] = exactly("it", words(text)?)?;
        Ok(Word::new(word))
    }
}

impl Value for Pair {
    const KIND: Kind = Kind::Words(2);

    fn parse(text: &str) -> Result<Pair, Invalid> {
        let [first, second] = exactly("it", words(text)?)?;
        Ok(Pair(Word::new(first), Word::new(second)))
    }
}

impl Pair {
    /// The first word as the key of the second.
    pub fn entry(&self) -> Entry<'static> {
        Entry { key: self.0.value.clone(), value: self.1.value.clone() }
    }
}

/// A key, of which a `*` at the end stands for any more characters.
#[derive(Debug, Clone)]
pub struct Start {
    text: Box<[u8]>,
    open: bool,
}

impl Start {
    /// Whether the key is meant; `same` compares two texts of one length.
    pub fn matches(&self, key: &[u8], same: fn(&[u8], &[u8]) -> bool) -> bool {
        let long_enough = if self.open { key.len() >= self.text.len() } else { key.len() == self.text.len() };
        long_enough && same(&key[..self.text.len()], &self.text)
    }
}

impl Value for Start {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Start, Invalid> {
        let start = text.strip_suffix('*');
        Ok(Start { text: start.unwrap_or(text).as_bytes().into(), open: start.is_some() })
    }
}

/// A plain key, whatever characters it has, or behind a `$` a record accessor.
#[derive(Debug, Clone)]
pub struct Place(pub Accessor);

impl Value for Place {
    const KIND: Kind = Kind::Other("record accessor");

    fn parse(text: &str) -> Result<Place, Invalid> {
        accessor(text).map(Place)
    }
}

/// See [`Place`].
pub fn accessor(text: &str) -> Result<Accessor, Invalid> {
    if !text.starts_with('$') {
        return Ok(Accessor::key(text));
    }
    Accessor::parse(text).map_err(|malformed| refused(text, "a record accessor", malformed))
}

/// See [`Template`].
pub fn template(text: &str) -> Result<Template, Invalid> {
    Template::parse(text).map_err(|malformed| refused(text, "a text with record accessors", malformed))
}

fn refused(text: &str, what: &str, malformed: Malformed) -> Invalid {
    let invalid = Invalid::not(text, format_args!("{what}: it {}", malformed.what));
    Invalid { hint: malformed.hint, ..invalid }
}

/// The words of a text, at least one. A word in quotes may hold blanks, and there `\` before the quote or
/// another `\` stands for the character itself.
pub fn words(text: &str) -> Result<Vec<String>, Invalid> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            '"' | '\'' => in_quotes(text, first, &rest[1..])?,
            _ => {
                let (word, behind) = rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len()));
                (word.to_owned(), behind)
            }
        };
        words.push(word);
        rest = behind.trim_start_matches([' ', '\t']);
    }
    if words.is_empty() { Err(Invalid::new("the value is empty")) } else { Ok(words) }
}

/// A word up to its closing quote, and what follows.
fn in_quotes<'t>(text: &str, quote: char, quoted: &'t str) -> Result<(String, &'t str), Invalid> {
    let mut word = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            _ if c == quote => return Ok((word, chars.as_str())),
            '\\' if chars.as_str().starts_with([quote, '\\']) => word.extend(chars.next()),
            _ => word.push(c),
        }
    }
    Err(Invalid::not(text, format_args!("complete: a {quote} is not closed")))
}

/// Just so many words, as `taker` takes.
pub fn exactly<const N: usize>(taker: &str, words: Vec<String>) -> Result<[String; N], Invalid> {
    words.try_into().map_err(|words: Vec<String>| {
        let (found, plural) = (words.len(), if N == 1 { "" } else { "s" });
        let hint = match found > N {
            true => "put a word with blanks in quotes",
            false => "write \"\" for an empty word",
        };
        Invalid::new(format!("{taker} takes {N} word{plural}, not {found}")).hint(hint)
    })
}
