//! The parsers of the configuration, by their names.

use std::sync::Arc;

use formats::parser::{Parser, ParserOptions};
use options::{Options, Problem, Problems, Reader, Section, did_you_mean};

/// Every parser there is. Inputs and filters ask for them by name.
#[derive(Debug, Default)]
pub struct Parsers {
    parsers: Vec<Arc<Parser>>,
}

impl Parsers {
    /// These parsers.
    pub fn of(parsers: Vec<Parser>) -> Parsers {
        Parsers { parsers: parsers.into_iter().map(Arc::new).collect() }
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

    /// Builds the parsers of these sections. What is allowed but probably not meant goes to `warnings`.
    pub(crate) fn open(sections: &[Section], problems: &mut Problems, warnings: &mut Vec<String>) -> Parsers {
        let mut parsers = Parsers::default();
        for section in sections {
            if let Some(parser) = parsers.parser(section, problems, warnings) {
                parsers.parsers.push(Arc::new(parser));
            }
        }
        parsers
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
