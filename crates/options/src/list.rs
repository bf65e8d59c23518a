//! Several items in the text of one value.

use std::ops::Deref;

use crate::value::{Invalid, Kind, Value};

/// Items separated by commas; blanks around an item and empty items do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommaList(pub Vec<String>);

/// Items separated by blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpaceList(pub Vec<String>);

/// Exactly `N` words separated by blanks, the last of which takes the rest of the text as it is.
///
/// `Words<2>` reads `X-Note  two words` as `["X-Note", "two words"]`, as a header option needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words<const N: usize>(pub [String; N]);

impl Deref for CommaList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Deref for SpaceList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl<const N: usize> Deref for Words<N> {
    type Target = [String; N];

    fn deref(&self) -> &[String; N] {
        &self.0
    }
}

impl Value for CommaList {
    const KIND: Kind = Kind::CommaList;

    fn parse(text: &str) -> Result<Self, Invalid> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(Self(items.map(str::to_owned).collect()))
    }
}

impl Value for SpaceList {
    const KIND: Kind = Kind::SpaceList;

    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(Self(text.split_whitespace().map(str::to_owned).collect()))
    }
}

impl<const N: usize> Value for Words<N> {
    const KIND: Kind = Kind::Words(N);

    fn parse(text: &str) -> Result<Self, Invalid> {
        let mut words = Vec::with_capacity(N);
        let mut rest = text.trim();
        while words.len() + 1 < N {
            let Some((word, after)) = rest.split_once(char::is_whitespace) else { break };
            words.push(word.to_owned());
            rest = after.trim_start();
        }
        if !rest.is_empty() {
            words.push(rest.to_owned());
        }
        let found = words.len();
        words
            .try_into()
            .map(Self)
            .map_err(|_| Invalid::not(text, format_args!("{N} words separated by blanks, but {found}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_drop_blanks_and_empty_items() {
        assert_eq!(*CommaList::parse(" a, b c ,,d").unwrap(), ["a", "b c", "d"]);
        assert_eq!(*SpaceList::parse(" a \t b,c ").unwrap(), ["a", "b,c"]);
    }

    #[test]
    fn the_last_word_keeps_the_rest() {
        assert_eq!(*Words::<2>::parse("X-Note  two  words ").unwrap(), ["X-Note", "two  words"]);
        assert_eq!(*Words::<1>::parse("all of it").unwrap(), ["all of it"]);
        let refused = Words::<3>::parse("src dst").unwrap_err();
        assert_eq!(refused.what, "\"src dst\" is not 3 words separated by blanks, but 2");
    }
}
