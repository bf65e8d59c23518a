//! A configuration as both formats give it.

use options::Section;

/// All sections, in the order in which the files name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `[SERVICE]`; when there are several, all their entries.
    pub service: Section,
    /// Inputs, in order: the order gives them their numbers.
    pub inputs: Vec<Section>,
    /// Filters, in the order in which records pass them.
    pub filters: Vec<Section>,
    /// Outputs.
    pub outputs: Vec<Section>,
    /// Parsers.
    pub parsers: Vec<Section>,
    /// Multiline parsers.
    pub multiline_parsers: Vec<Section>,
    /// Other kinds by their name: `custom`, `stream_task`, `plugins`, and `upstream` with its `node` groups.
    pub others: Vec<Section>,
}

impl Document {
    pub(crate) fn with_service(service: Section) -> Self {
        Self {
            service,
            inputs: Vec::new(),
            filters: Vec::new(),
            outputs: Vec::new(),
            parsers: Vec::new(),
            multiline_parsers: Vec::new(),
            others: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, section: Section) {
        let list = match section.kind.as_str() {
            "service" => {
                self.service.entries.extend(section.entries);
                return self.service.groups.extend(section.groups);
            }
            "input" => &mut self.inputs,
            "filter" => &mut self.filters,
            "output" => &mut self.outputs,
            "parser" => &mut self.parsers,
            "multiline_parser" => &mut self.multiline_parsers,
            _ => &mut self.others,
        };
        list.push(section);
    }
}
