//! The plugins there are, and what is known of the ones that are not.

use options::{Problem, Section, Text, did_you_mean};

use crate::plugin::{FilterDef, InputDef, OutputDef};

/// The plugins of an agent.
#[derive(Clone, Copy)]
pub struct Registry {
    /// The inputs.
    pub inputs: &'static [&'static InputDef],
    /// The filters.
    pub filters: &'static [&'static FilterDef],
    /// What can be a processor beside every filter.
    pub processors: &'static [&'static FilterDef],
    /// The outputs.
    pub outputs: &'static [&'static OutputDef],
    /// The options that Fluent Bit has for a plugin, by kind and name; `None` for a plugin it does not have.
    /// Those that nobody reads are accepted and reported as having no effect.
    pub reference: fn(&str, &str) -> Option<Vec<&'static str>>,
    /// What does the work of a plugin, by kind and name, that Fluent Bit has and this agent does not.
    pub instead: fn(&str, &str) -> Option<&'static str>,
}

/// What plugins of all kinds have in common here.
pub(crate) trait Named {
    fn name(&self) -> &'static str;
}

impl Named for InputDef {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl Named for FilterDef {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl Named for OutputDef {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl Registry {
    /// The plugin that a section names, or the problem with the name. A section without a name has been
    /// reported by whoever read the file.
    pub(crate) fn find<D: Named>(
        &self,
        plugins: &'static [&'static D],
        section: &Section,
    ) -> Result<&'static D, Option<Problem>> {
        let Some(name) = section.name() else { return Err(None) };
        let found = plugins.iter().find(|plugin| plugin.name().eq_ignore_ascii_case(&name.value));
        found.copied().ok_or_else(|| Some(self.unknown(plugins, &section.kind, name)))
    }

    /// The processor that a section names: one of its own or a filter.
    pub(crate) fn find_processor(&self, section: &Section) -> Result<&'static FilterDef, Option<Problem>> {
        self.find(self.processors, section).or_else(|problem| {
            let filter = Section { kind: "filter".to_owned(), ..section.clone() };
            // Of what is no filter either, the processors are the better list to speak of.
            self.find(self.filters, &filter).map_err(|other| match &section.name() {
                Some(name) if (self.instead)("filter", &name.value.to_ascii_lowercase()).is_some() => other,
                _ => problem,
            })
        })
    }

    fn unknown<D: Named>(&self, plugins: &'static [&'static D], kind: &str, name: &Text) -> Problem {
        if let Some(instead) = (self.instead)(kind, &name.value.to_ascii_lowercase()) {
            let what = format!("{kind} plugin \"{}\" of Fluent Bit is not available here", name.value);
            return Problem::new(name.pos.clone(), what).hint(instead);
        }
        // Every filter is a processor too.
        let filters = self.filters.iter().filter(|_| kind == "processor").map(|plugin| plugin.name);
        let names = plugins.iter().map(|plugin| plugin.name()).chain(filters);
        let hint = did_you_mean(&name.value, names.clone())
            .unwrap_or_else(|| format!("available: {}", names.collect::<Vec<_>>().join(", ")));
        Problem::new(name.pos.clone(), format!("unknown {kind} plugin \"{}\"", name.value)).hint(hint)
    }
}
