//! What the text of one value means: the plain types.
//!
//! A type reads itself from text through [`Value`]. Where Fluent Bit accepts junk silently (`5ms` as five
//! seconds, `8o` as eight) the text is refused with a hint instead: a value that means something else than it
//! says is never what the user wanted.

use std::fmt;

use crate::nearest::did_you_mean;

/// A type an option can have.
pub trait Value: Sized {
    /// What help and reference pages call the type.
    const KIND: Kind;

    /// Reads the value from the text of an option.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text and, where it is known, what to write instead.
    fn parse(text: &str) -> Result<Self, Invalid>;
}

/// Why a text is not a value of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong, for example `"abc" is not an integer`.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Invalid {
    /// A reason without advice.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// `"text" is not <expected>`.
    pub fn not(text: &str, expected: impl fmt::Display) -> Self {
        Self::new(format!("{} is not {expected}", quoted(text)))
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The type of an option, for help, reference pages and schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true, on, yes or false, off, no.
    Bool,
    /// A whole number.
    Integer,
    /// A number, fraction allowed.
    Number,
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A number of bytes.
    Size,
    /// A span of time.
    Period,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// Items separated by commas.
    CommaList,
    /// Items separated by blanks.
    SpaceList,
    /// This many words separated by blanks; the last takes the rest of the text.
    Words(usize),
    /// A type of the plugin's own, by the name the reader knows it.
    Other(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => out.write_str("bool"),
            Self::Integer => out.write_str("integer"),
            Self::Number => out.write_str("number"),
            Self::Text => out.write_str("text"),
            Self::Secret => out.write_str("secret"),
            Self::Size => out.write_str("size"),
            Self::Period => out.write_str("time"),
            Self::Choice(names) => out.write_str(&names.join("|")),
            Self::CommaList => out.write_str("comma list"),
            Self::SpaceList => out.write_str("space list"),
            Self::Words(count) => write!(out, "{count} words"),
            Self::Other(name) => out.write_str(name),
        }
    }
}

/// What to say about a text that is none of `names`; the derive of `Choice` calls it.
pub fn not_a_choice(text: &str, names: &[&str]) -> Invalid {
    let invalid = Invalid::not(text, format_args!("one of {}", names.join(", ")));
    Invalid { hint: did_you_mean(text, names.iter().copied()), ..invalid }
}

/// The text in quotes and cut to what fits a message.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Bool;

    fn parse(text: &str) -> Result<Self, Invalid> {
        if ["true", "on", "yes"].iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(true);
        }
        if ["false", "off", "no"].iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(false);
        }
        let invalid = Invalid::not(text, "true or false");
        Err(match text {
            "1" => invalid.hint("write true"),
            "0" => invalid.hint("write false"),
            _ => invalid,
        })
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(text.to_owned())
    }
}

impl Value for f64 {
    const KIND: Kind = Kind::Number;

    fn parse(text: &str) -> Result<Self, Invalid> {
        // Rust also reads "inf" and "nan", which no option can act on.
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| Invalid::not(text, "a number"))
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Integer;

            fn parse(text: &str) -> Result<Self, Invalid> {
                text.parse().map_err(|_| not_integer(text, &<$type>::MIN, &<$type>::MAX))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64);

/// Tells a number that does not fit from a text that is no number.
fn not_integer(text: &str, min: &dyn fmt::Display, max: &dyn fmt::Display) -> Invalid {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if number {
        return Invalid::new(format!("{text} is out of range: {min} to {max}"));
    }
    Invalid::not(text, "an integer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_words_in_any_case() {
        for text in ["true", "On", "YES"] {
            assert_eq!(bool::parse(text), Ok(true));
        }
        for text in ["False", "off", "no"] {
            assert_eq!(bool::parse(text), Ok(false));
        }
        assert_eq!(bool::parse("1"), Err(Invalid::not("1", "true or false").hint("write true")));
        assert_eq!(bool::parse("maybe").unwrap_err().what, "\"maybe\" is not true or false");
    }

    #[test]
    fn integers_are_checked_to_the_last_character() {
        assert_eq!(i64::parse("-1"), Ok(-1));
        assert_eq!(u16::parse("70000").unwrap_err().what, "70000 is out of range: 0 to 65535");
        assert_eq!(u16::parse("-1").unwrap_err().what, "-1 is out of range: 0 to 65535");
        assert_eq!(u16::parse("80a").unwrap_err().what, "\"80a\" is not an integer");
        assert_eq!(u16::parse("-").unwrap_err().what, "\"-\" is not an integer");
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(f64::parse("0.8"), Ok(0.8));
        assert!(f64::parse("inf").is_err() && f64::parse("NaN").is_err());
    }

    #[test]
    fn a_long_text_is_cut_in_messages() {
        assert_eq!(quoted(&"ä".repeat(100)).chars().count(), 65);
    }
}
