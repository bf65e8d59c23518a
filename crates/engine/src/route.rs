//! Which outputs take a tag.

use std::collections::HashMap;
use std::rc::Rc;

use event::Tag;

use crate::limits::{ROUTE_CACHE, ROUTE_CACHE_TAG};
use crate::select::Select;

/// The outputs' patterns, and the tags that were looked up.
pub struct Routes {
    patterns: Vec<Option<Select>>,
    known: HashMap<Tag, Rc<[usize]>>,
    /// Inputs whose records go nowhere: `routable off`.
    unroutable: Vec<usize>,
    /// The outputs of routes that inputs have of their own, by their number.
    direct: HashMap<usize, Rc<[usize]>>,
}

impl Routes {
    /// Outputs by their patterns. One without a pattern takes nothing.
    pub fn new(patterns: Vec<Option<Select>>) -> Routes {
        Routes { patterns, known: HashMap::new(), unroutable: Vec::new(), direct: HashMap::new() }
    }

    /// The same, but for the records of these inputs, which no output takes.
    pub fn without(self, unroutable: Vec<usize>) -> Routes {
        Routes { unroutable, ..self }
    }

    /// The same with routes that inputs have of their own.
    pub(crate) fn with(self, direct: Vec<(usize, Vec<usize>)>) -> Routes {
        Routes {
            direct: direct.into_iter().map(|(number, outputs)| (number, outputs.into())).collect(),
            ..self
        }
    }

    /// Takes over the inputs' own routes of the routes before: chunks of them may still come. `successor` tells
    /// which output is in the place of an old one.
    pub(crate) fn inherit(&mut self, before: &Routes, successor: impl Fn(usize) -> Option<usize>) {
        for (number, outputs) in &before.direct {
            let outputs = outputs.iter().map(|output| successor(*output).unwrap_or(*output)).collect();
            self.direct.entry(*number).or_insert(outputs);
        }
    }

    /// The outputs that take records of this input and tag.
    pub fn from(&mut self, input: usize, tag: &Tag) -> Rc<[usize]> {
        match self.direct.get(&input) {
            Some(outputs) => Rc::clone(outputs),
            None if self.unroutable.contains(&input) => Rc::from([]),
            None => self.of(tag),
        }
    }

    /// The outputs that take this tag, in the order of the configuration.
    pub fn of(&mut self, tag: &Tag) -> Rc<[usize]> {
        if let Some(outputs) = self.known.get(tag) {
            return Rc::clone(outputs);
        }
        if self.known.len() >= ROUTE_CACHE {
            self.known.clear();
        }
        let matching = |pattern: &Option<Select>| pattern.as_ref().is_some_and(|p| p.matches(tag.as_str()));
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
    use event::Pattern;

    #[test]
    fn a_tag_goes_to_every_output_that_matches_it_and_to_no_other() {
        let patterns = ["app.*", "*", "db.*"].map(|text| Some(Select::from(Pattern::new(text))));
        let mut routes = Routes::new([patterns.as_slice(), &[None]].concat());
        assert_eq!(*routes.of(&Tag::new("app.web")), [0, 1]);
        assert_eq!(*routes.of(&Tag::new("x")), [1]);
    }

    #[test]
    fn the_memory_of_tags_is_bounded() {
        let mut routes = Routes::new(vec![Some(Select::from(Pattern::new("*")))]);
        for number in 0..3 * ROUTE_CACHE {
            routes.of(&Tag::new(&number.to_string()));
            assert!(routes.known.len() <= ROUTE_CACHE);
        }
    }
}
