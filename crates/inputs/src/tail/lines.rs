//! Text as lines.

use memchr::memchr;

/// What to do with lines that are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Long {
    /// Leave the file alone from there on.
    Stop,
    /// Pass over them.
    Skip,
    /// Cut them.
    Cut,
}

/// How lines are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The longest line, its end not counted.
    pub(super) longest: usize,
    pub(super) long: Long,
    pub(super) skip_empty: bool,
}

/// One step through text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A line without its end, and with it where it began.
    Line { text: &'a [u8], at: usize },
    /// A line that is too long and not to be taken; it is passed over.
    Skipped,
    /// A line that is too long and stops the file.
    TooLong,
    /// No whole line is left.
    Rest,
}

/// Lines of a piece of text, the front of which may be the rest of a line that is passed over.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    /// Bytes that are done with.
    pub(super) at: usize,
    /// The rest of a line that was too long comes first.
    pub(super) skipping: bool,
    rules: Rules,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8], skipping: bool, rules: Rules) -> Lines<'a> {
        Lines { text, at: 0, skipping, rules }
    }

    pub(super) fn step(&mut self) -> Step<'a> {
        loop {
            let rest = &self.text[self.at..];
            let Some(length) = memchr(b'\n', rest) else { return self.rest(rest) };
            let at = self.at;
            self.at += length + 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            // What a writer that does not append leaves behind when its file is truncated.
            let zeros = rest[..length].iter().take_while(|byte| **byte == 0).count();
            let mut line = &rest[zeros..length];
            if self.rules.skip_empty && matches!(line, [] | [b'\r']) {
                continue;
            }
            if let [start @ .., b'\r'] = line
                && !start.is_empty()
            {
                line = start;
            }
            if length > self.rules.longest {
                return self.too_long(line, at);
            }
            return Step::Line { text: line, at: at + zeros };
        }
    }

    fn too_long(&mut self, line: &'a [u8], at: usize) -> Step<'a> {
        match self.rules.long {
            Long::Stop => {
                self.at = at;
                Step::TooLong
            }
            Long::Skip => Step::Skipped,
            Long::Cut => Step::Line { text: cut(line, self.rules.longest), at },
        }
    }

    /// What has no line end yet.
    fn rest(&mut self, rest: &'a [u8]) -> Step<'a> {
        if self.skipping {
            self.at = self.text.len();
            return Step::Rest;
        }
        if rest.len() <= self.rules.longest {
            return Step::Rest;
        }
        let at = self.at;
        if self.rules.long == Long::Stop {
            return Step::TooLong;
        }
        self.at = self.text.len();
        self.skipping = true;
        self.too_long(rest, at)
    }
}

/// At most `most` bytes of a line, not cut within a character.
fn cut(line: &[u8], most: usize) -> &[u8] {
    if line.len() <= most {
        return line;
    }
    let end = (most.saturating_sub(3)..=most).rev().find(|at| line[*at] & 0xc0 != 0x80).unwrap_or(most);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { longest: 10, long: Long::Skip, skip_empty: false };

    fn all(text: &str, rules: Rules) -> (Vec<String>, usize) {
        let mut lines = Lines::new(text.as_bytes(), false, rules);
        let mut found = Vec::new();
        loop {
            match lines.step() {
                Step::Line { text, at } => found.push(format!("{at}:{}", String::from_utf8_lossy(text))),
                Step::Skipped => found.push("skipped".to_owned()),
                Step::TooLong => {
                    found.push("too long".to_owned());
                    return (found, lines.at);
                }
                Step::Rest => return (found, lines.at),
            }
        }
    }

    #[test]
    fn lines_end_with_a_line_feed_and_the_rest_stays() {
        assert_eq!(
            all("a\nbc\r\n\n\r\nde", RULES),
            (["0:a", "2:bc", "6:", "7:\r"].map(str::to_owned).to_vec(), 9)
        );
        let rules = Rules { skip_empty: true, ..RULES };
        assert_eq!(all("a\n\n\r\nb\n", rules), (["0:a", "5:b"].map(str::to_owned).to_vec(), 7));
        assert_eq!(all("\0\0\0a\n", RULES).0, ["3:a"]);
    }

    #[test]
    fn a_long_line_is_skipped_cut_or_stops_the_file() {
        let text = "a\n0123456789€\nb\n";
        assert_eq!(all(text, RULES).0, ["0:a", "skipped", "16:b"]);
        assert_eq!(all(text, Rules { long: Long::Cut, ..RULES }).0, ["0:a", "2:0123456789", "16:b"]);
        assert_eq!(
            all(text, Rules { long: Long::Stop, ..RULES }),
            (vec!["0:a".to_owned(), "too long".to_owned()], 2)
        );
        assert_eq!(cut("12345678€".as_bytes(), 10), b"12345678");
    }

    #[test]
    fn the_rest_of_a_line_that_was_too_long_is_passed_over_wherever_it_was_cut() {
        let text = "0123456789012345\nb\n";
        for cut in 11..17 {
            let mut lines = Lines::new(&text.as_bytes()[..cut], false, RULES);
            assert_eq!(lines.step(), Step::Skipped);
            assert_eq!((lines.step(), lines.at, lines.skipping), (Step::Rest, cut, true));
            let mut lines = Lines::new(&text.as_bytes()[cut..], true, RULES);
            assert_eq!(lines.step(), Step::Line { text: b"b", at: 17 - cut });
        }
    }
}
