//! Which outputs take a tag.

use std::collections::HashMap;
use std::rc::Rc;

use event::{Pattern, Tag};

use crate::limits::{ROUTE_CACHE, ROUTE_CACHE_TAG};

/// The outputs' patterns, and the tags that were looked up.
pub struct Routes {
    patterns: Vec<Option<Pattern>>,
    known: HashMap<Tag, Rc<[usize]>>,
}

impl Routes {
    /// Outputs by their patterns. One without a pattern takes nothing.
    pub fn new(patterns: Vec<Option<Pattern>>) -> Routes {
        Routes { patterns, known: HashMap::new() }
    }

    /// The outputs that take this tag, in the order of the configuration.
    pub fn of(&mut self, tag: &Tag) -> Rc<[usize]> {
        if let Some(outputs) = self.known.get(tag) {
            return Rc::clone(outputs);
        }
        if self.known.len() >= ROUTE_CACHE {
            self.known.clear();
        }
        let matching = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(|p| p.matches(tag.as_str()));
        let outputs: Rc<[usize]> =
            self.patterns.iter().enumerate().filter(|(_, p)| matching(p)).map(|(index, _)| index).collect();
        if tag.as_str().len() <= ROUTE_CACHE_TAG {
            self.known.insert(tag.clone(), Rc::clone(&outputs));
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_to_every_output_that_matches_it_and_to_no_other() {
        let patterns = ["app.*", "*", "db.*"].map(|text| Some(Pattern::new(text)));
        let mut routes = Routes::new([patterns.as_slice(), &[None]].concat());
        assert_eq!(*routes.of(&Tag::new("app.web")), [0, 1]);
        assert_eq!(*routes.of(&Tag::new("x")), [1]);
    }

    #[test]
    fn the_memory_of_tags_is_bounded() {
        let mut routes = Routes::new(vec![Some(Pattern::new("*"))]);
        for number in 0..3 * ROUTE_CACHE {
            routes.of(&Tag::new(&number.to_string()));
            assert!(routes.known.len() <= ROUTE_CACHE);
        }
    }
}
