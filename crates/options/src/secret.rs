//! Text that must not be seen.

use std::fmt;

use crate::value::{Invalid, Kind, Value};

/// A password, key or token. Neither `Debug` nor `Display` shows it, so no log line or message can.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(...)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("...")
    }
}

impl Value for Secret {
    const KIND: Kind = Kind::Secret;

    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_only_when_asked() {
        let secret = Secret::parse("hunter2").unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "... Secret(...)");
        assert_eq!(secret.expose(), "hunter2");
        assert!(!secret.is_empty());
    }
}
