//! Tags and the patterns that match them.

use std::sync::Arc;

/// The name that records travel under; routing looks at nothing else. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// A tag of this text.
    pub fn new(text: &str) -> Tag {
        Tag(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A `match` pattern: `*` stands for any run of characters, anywhere, any number of times; case counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern of this text.
    pub fn new(text: &str) -> Pattern {
        Pattern(text.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches the whole tag.
    ///
    /// Linear in practice: after a mismatch only the last `*` takes one more character.
    pub fn matches(&self, tag: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), tag.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p, t));
                p += 1;
            } else if pattern.get(p) == Some(&text[t]) {
                (p, t) = (p + 1, t + 1);
            } else if let Some((at, taken)) = star {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_everything_else_for_itself() {
        for (pattern, tag, expected) in [
            ("*", "", true),
            ("*", "app.log", true),
            ("app.*", "app.log", true),
            ("app.*", "App.log", false),
            ("*.log", "a.b.log", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("app", "app.log", false),
            ("a**", "a", true),
            ("", "a", false),
            ("", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(tag), expected, "{pattern} on {tag}");
        }
    }
}
