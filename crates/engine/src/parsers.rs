//! The parsers and multiline parsers of the configuration, by their names.

use std::sync::Arc;

use formats::multiline::{BUILT_IN, LIMIT, MultilineOptions, MultilineParser, built_in};
use formats::parser::{Parser, ParserOptions};
use options::{Options, Problem, Problems, Reader, Section, did_you_mean};

use crate::pipeline::Sections;

/// Every parser there is. Inputs and filters ask for them by name.
#[derive(Debug, Default)]
pub struct Parsers {
    parsers: Vec<Arc<Parser>>,
    multiline: Vec<Arc<MultilineParser>>,
    /// The most bytes that lines are joined to.
    limit: usize,
}

impl Parsers {
    /// These parsers.
    pub fn of(parsers: Vec<Parser>) -> Parsers {
        Parsers { parsers: parsers.into_iter().map(Arc::new).collect(), multiline: Vec::new(), limit: LIMIT }
    }

    /// The parser of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Parser>> {
        self.parsers.iter().find(|parser| parser.name() == name).map(Arc::clone)
    }

    /// What to say about a name that no parser has.
    pub fn hint(&self, name: &str) -> String {
        let names = || self.parsers.iter().map(|parser| parser.name());
        if self.parsers.is_empty() {
            return "there is no parser: name a parsers_file in the service section, or add parsers"
                .to_owned();
        }
        did_you_mean(name, names())
            .unwrap_or_else(|| format!("there are: {}", names().collect::<Vec<_>>().join(", ")))
    }

    /// The multiline parser of this name: one that needs no definition, or one of the configuration.
    pub fn find_multiline(&self, name: &str) -> Option<Arc<MultilineParser>> {
        let found = self.multiline.iter().find(|parser| parser.name().eq_ignore_ascii_case(name));
        found.map(Arc::clone).or_else(|| built_in(&name.to_ascii_lowercase()).map(Arc::new))
    }

    /// What to say about a name that no multiline parser has.
    pub fn multiline_hint(&self, name: &str) -> String {
        let names = || BUILT_IN.iter().copied().chain(self.multiline.iter().map(|parser| parser.name()));
        did_you_mean(name, names())
            .unwrap_or_else(|| format!("there are: {}", names().collect::<Vec<_>>().join(", ")))
    }

    /// The most bytes that lines are joined to.
    pub fn multiline_limit(&self) -> usize {
        self.limit
    }

    /// Builds the parsers of these sections. What is allowed but probably not meant goes to `warnings`.
    pub(crate) fn open(
        sections: &Sections<'_>,
        limit: usize,
        problems: &mut Problems,
        warnings: &mut Vec<String>,
    ) -> Parsers {
        let mut parsers = Parsers { limit, ..Parsers::default() };
        for section in sections.parsers {
            if let Some(parser) = parsers.parser(section, problems, warnings) {
                parsers.parsers.push(Arc::new(parser));
            }
        }
        for section in sections.multiline_parsers {
            if let Some(parser) = parsers.multiline(section, problems, warnings) {
                parsers.multiline.push(Arc::new(parser));
            }
        }
        parsers
    }

    fn multiline(
        &self,
        section: &Section,
        problems: &mut Problems,
        warnings: &mut Vec<String>,
    ) -> Option<MultilineParser> {
        let mut reader = Reader::new(section);
        let mut options = MultilineOptions::read(&mut reader);
        let groups = reader.groups("rules");
        let mut parser = None;
        if let Some(options) = &mut options {
            options.rule_groups(&groups, &mut reader);
            if BUILT_IN.contains(&options.name.as_str()) || self.find_multiline(&options.name).is_some() {
                reader.refuse("name", format!("there are two multiline parsers \"{}\"", options.name), None);
            }
            if let Some(name) = options.parser() {
                parser = self.find(name);
                if parser.is_none() {
                    reader.refuse("parser", format!("there is no parser \"{name}\""), Some(self.hint(name)));
                }
            }
        }
        let finished = finish(reader, problems, warnings);
        let made = MultilineParser::new(options.filter(|_| finished)?, parser);
        made.map_err(|why| problems.push(Problem::new(section.pos.clone(), why).of(section.label()))).ok()
    }

    fn parser(
        &self,
        section: &Section,
        problems: &mut Problems,
        warnings: &mut Vec<String>,
    ) -> Option<Parser> {
        let mut reader = Reader::new(section);
        let options = ParserOptions::read(&mut reader);
        if let Some(options) = &options
            && self.find(&options.name).is_some()
        {
            reader.refuse("name", format!("there are two parsers \"{}\"", options.name), None);
        }
        let finished = finish(reader, problems, warnings);
        let options = options.filter(|_| finished)?;
        match Parser::new(options) {
            Ok((parser, notes)) => {
                let note = |note: String| format!("{}: {}: {note}", section.pos, section.label());
                warnings.extend(notes.into_iter().map(note));
                Some(parser)
            }
            Err(why) => {
                problems.push(Problem::new(section.pos.clone(), why).of(section.label()));
                None
            }
        }
    }
}

/// Fluent Bit ignores unknown keys of parsers, so here they are warnings. Answers whether there was no problem.
fn finish(reader: Reader<'_>, problems: &mut Problems, warnings: &mut Vec<String>) -> bool {
    let mut fine = true;
    for problem in reader.finish(&[]).problems.sorted() {
        if problem.what.starts_with("unknown option") {
            warnings.push(format!("{problem} (it is ignored)"));
        } else {
            problems.push(problem.clone());
            fine = false;
        }
    }
    fine
}
