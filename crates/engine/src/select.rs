//! Which tags an instance takes: `match`, or `match_regex`.

use std::sync::Arc;

use event::Pattern;
use formats::ruby::RubyRegex;
use options::{Invalid, Kind, Value};

/// A choice of tags. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Select {
    /// `match`: a pattern for the whole tag.
    Pattern(Pattern),
    /// `match_regex`.
    Regex(TagRegex),
}

/// A regular expression for the start of a tag, as Fluent Bit takes it: what follows in the tag does not count,
/// and matching nothing is not enough.
#[derive(Debug, Clone)]
pub struct TagRegex(Arc<RubyRegex>);

impl Value for TagRegex {
    const KIND: Kind = Kind::Other("regular expression");

    fn parse(text: &str) -> Result<TagRegex, Invalid> {
        // Checked as it stands first, so that a message shows what the user wrote.
        RubyRegex::parse(text)?;
        RubyRegex::parse(&format!("\\A(?:{text})")).map(|regex| TagRegex(Arc::new(regex)))
    }
}

impl Select {
    /// What `match` and `match_regex` of a section choose; Fluent Bit takes a tag that either of them takes.
    pub fn of(pattern: Option<&str>, regex: Option<TagRegex>) -> Option<Select> {
        regex.map(Select::Regex).or_else(|| pattern.map(|text| Select::Pattern(Pattern::new(text))))
    }

    /// Whether it takes this tag.
    pub fn matches(&self, tag: &str) -> bool {
        match self {
            Select::Pattern(pattern) => pattern.matches(tag),
            Select::Regex(TagRegex(regex)) => regex
                .captures(tag.as_bytes())
                .and_then(|captures| captures.get(0).map(|matched| !matched.is_empty()))
                .unwrap_or(false),
        }
    }
}

impl From<Pattern> for Select {
    fn from(pattern: Pattern) -> Select {
        Select::Pattern(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_must_match_at_the_start_of_the_tag_and_something_of_it() {
        let select = |text| Select::of(None, Some(TagRegex::parse(text).unwrap())).unwrap();
        assert!(select("app").matches("app.web"));
        assert!(!select("web").matches("app.web"));
        assert!(select(r"\w+\.(web|db)$").matches("app.web"));
        assert!(!select("x*").matches("app"), "an empty match is none");
        assert!(TagRegex::parse("(").is_err());
    }
}
