//! What is wrong with a configuration, said so that the user can mend it.
//!
//! A problem never stops the reading: every problem of every file is collected, and printed in file order.

use std::fmt;

use crate::Pos;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub pos: Pos,
    /// Whose: `output http`, `service`; empty where it concerns the file itself.
    pub who: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of the file itself.
    pub fn new(pos: Pos, what: impl Into<String>) -> Self {
        Self { pos, who: String::new(), what: what.into(), hint: None }
    }

    /// Says whose problem it is.
    #[must_use]
    pub fn of(mut self, who: impl Into<String>) -> Self {
        self.who = who.into();
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds advice where there is any.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.pos)?;
        if !self.who.is_empty() {
            write!(out, "{}: ", self.who)?;
        }
        out.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(out, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Every problem found, in the order of discovery; displayed one per line in file order.
///
/// Beyond [`MAX_KEPT`] problems are only counted: a large file that is wrong in every line must not make a report
/// larger than itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    more: usize,
}

/// How many problems are kept in full.
pub const MAX_KEPT: usize = 1000;

impl Problems {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.push_with(|| problem);
    }

    /// Adds one that is costly to describe: it is described only if it is kept.
    pub fn push_with(&mut self, describe: impl FnOnce() -> Problem) {
        if self.kept.len() < MAX_KEPT {
            self.kept.push(describe());
        } else {
            self.more += 1;
        }
    }

    /// Adds all of another collection.
    pub fn append(&mut self, other: Self) {
        self.more += other.more;
        self.extend(other.kept);
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len() + self.more
    }

    /// The problems kept, in the order of discovery.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }

    /// The problems kept, in file order.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<&Problem> = self.kept.iter().collect();
        sorted.sort_by(|a, b| a.pos.cmp(&b.pos));
        sorted
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.sorted().into_iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(out, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, more: I) {
        more.into_iter().for_each(|problem| self.push(problem));
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_print_one_per_line_in_file_order() {
        let mut problems = Problems::new();
        problems
            .push(Problem::new(Pos::new("weir.yaml", 14, 7), "unknown option \"hots\"").of("output http"));
        problems.push(Problem::new(Pos::new("weir.yaml", 9, 12), "wrong").of("input tail").hint("mend it"));
        problems.push(Problem::new(Pos::whole("weir.yaml"), "too large"));
        assert_eq!(
            problems.to_string(),
            "weir.yaml: too large\nweir.yaml:9:12: input tail: wrong; mend it\n\
             weir.yaml:14:7: output http: unknown option \"hots\""
        );
    }

    #[test]
    fn a_flood_of_problems_is_counted() {
        let mut problems = Problems::new();
        problems.extend((0..).take(MAX_KEPT + 2).map(|line| Problem::new(Pos::new("a", line, 1), "wrong")));
        assert_eq!(problems.len(), MAX_KEPT + 2);
        assert!(problems.to_string().ends_with("\nand 2 more"));
    }
}
