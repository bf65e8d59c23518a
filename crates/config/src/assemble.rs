//! What the two formats have in common: sections come in, are checked and filled in, and become a document.

use std::sync::Arc;

use options::{Pos, Problem, Problems, Section};

use crate::env::{Definition, Env, Variables};
use crate::{Document, Loaded};

/// Sections that are about something with a name.
const NAMED: &[&str] =
    &["input", "filter", "output", "custom", "parser", "multiline_parser", "stream_task", "upstream"];

/// What has been understood so far.
#[derive(Default)]
pub struct Assembly {
    /// In the order of the files; an included file stands where it is included.
    pub sections: Vec<Section>,
    pub definitions: Vec<Definition>,
    pub problems: Problems,
    pub warnings: Problems,
}

impl Assembly {
    /// Replaces variables, checks what every section needs, and sorts the sections by kind.
    pub fn finish(self, file: Arc<str>, env: &dyn Env) -> Loaded {
        let Self { sections, definitions, mut problems, mut warnings } = self;
        let mut variables = Variables::new(env);
        for definition in &definitions {
            variables.define(definition, &mut problems, &mut warnings);
        }
        let service = sections.iter().find(|section| section.kind == "service");
        let pos = service.map_or_else(|| Pos::whole(file), |section| section.pos.clone());
        let mut document = Document::with_service(Section::new("service", pos));
        for mut section in sections {
            variables.apply(&mut section, &mut warnings);
            if NAMED.contains(&section.kind.as_str()) && section.name().is_none() {
                let what = "required option \"name\" is missing";
                problems.push(Problem::new(section.pos.clone(), what).of(section.kind.clone()));
            }
            document.push(section);
        }
        Loaded { variables: variables.into_defined(), document, problems, warnings }
    }
}
