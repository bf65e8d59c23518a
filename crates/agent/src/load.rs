//! From a configuration file to a pipeline, with every problem in one run.

use std::path::Path;

use budget::Budget;
use engine::common::Service;
use engine::pipeline::{self, Pipeline, Sections, Unused};
use engine::registry::Registry;
use options::{Options, Pos, Problem, Problems, Reader, Section};

use crate::memory::Memory;
use crate::reference;

/// A valid configuration.
pub struct Loaded {
    /// The service section.
    pub service: Service,
    /// The instances.
    pub pipeline: Pipeline,
    /// The ledger.
    pub budget: Budget,
    /// How the memory limit is divided.
    pub memory: Memory,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

const REGISTRY: Registry = Registry {
    inputs: inputs::INPUTS,
    filters: filters::FILTERS,
    processors: filters::PROCESSORS,
    outputs: outputs::OUTPUTS,
    reference: reference::options_of,
};

/// Reads and opens everything.
///
/// # Errors
/// All problems of all files and sections.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let config::Loaded { document, mut problems, warnings } = config::load(path, &config::process_env);
    let mut warnings: Vec<String> = warnings.sorted().iter().map(ToString::to_string).collect();
    let service = service(&document.service, &mut problems, &mut warnings);
    if problems.is_empty() {
        missing(path, "input", &document.inputs, &mut problems);
        missing(path, "output", &document.outputs, &mut problems);
    }
    // With a broken service section the instances are still looked at, with its defaults.
    let fallback;
    let service_for_instances = match (&service, Service::defaults()) {
        (Some(service), _) => service,
        (None, Ok(defaults)) => {
            fallback = defaults;
            &fallback
        }
        (None, Err(_)) => return Err(problems),
    };
    let position =
        document.service.get("memory_limit").map_or_else(|| Pos::whole(display(path)), |t| t.pos.clone());
    let (memory, budget) = match Memory::of(service_for_instances.memory_limit) {
        Ok(memory) => memory,
        Err((what, hint)) => {
            problems.push(Problem::new(position, what).of("service").hint(hint));
            return Err(problems);
        }
    };
    let sections =
        Sections { inputs: &document.inputs, filters: &document.filters, outputs: &document.outputs };
    let opened = pipeline::open(service_for_instances, &sections, REGISTRY, &budget);
    problems.append(opened.problems);
    judge(opened.unused, &mut problems, &mut warnings);
    warnings.extend(opened.warnings);
    match (service, opened.pipeline) {
        (Some(service), Some(pipeline)) if problems.is_empty() => {
            Ok(Loaded { service, pipeline, budget, memory, warnings })
        }
        _ => Err(problems),
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// Fluent Bit ignores unknown SERVICE keys, so here they are warnings.
fn service(section: &Section, problems: &mut Problems, warnings: &mut Vec<String>) -> Option<Service> {
    let mut reader = Reader::new(section);
    let service = Service::read(&mut reader);
    for problem in reader.finish(reference::SERVICE).problems.sorted() {
        if problem.what.starts_with("unknown option") {
            warnings.push(format!("{problem} (it is ignored)"));
        } else {
            problems.push(problem.clone());
        }
    }
    service
}

fn missing(path: &Path, kind: &str, sections: &[Section], problems: &mut Problems) {
    if sections.is_empty() {
        let what = format!("there is no {kind}: the agent would have nothing to do");
        problems
            .push(Problem::new(Pos::whole(display(path)), what).hint(format!("add a section for an {kind}")));
    }
}

/// An option without effect is said once; one whose absence would break what the configuration promises stops
/// the start.
fn judge(unused: Vec<Unused>, problems: &mut Problems, warnings: &mut Vec<String>) {
    for Unused { section, key, value } in unused {
        if reference::must_act(&key.value, &value) {
            let what = format!(
                "option \"{}\" is not available yet, and nothing else would do what it asks for",
                key.value
            );
            problems.push(Problem::new(key.pos, what).of(section).hint("remove it if you can do without it"));
        } else {
            warnings.push(format!("{}: {section}: option \"{}\" has no effect here", key.pos, key.value));
        }
    }
}
