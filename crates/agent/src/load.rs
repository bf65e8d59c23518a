//! From command line and configuration files to a pipeline, with every problem in one run.

use std::path::Path;
use std::sync::Arc;

use budget::Budget;
use config::Document;
use engine::common::{LogLevel, MemoryLimit, Service};
use engine::metrics::Metrics;
use engine::pipeline::{self, Pipeline, Sections, Unused, Upstream};
use engine::registry::Registry;
use options::{Options, Period, Pos, Problem, Problems, Reader, Section, Text, Value};

use crate::absent;
use crate::cli;
use crate::log;
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
    /// How much each instance may log.
    pub instances: Vec<log::Instance>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

const REGISTRY: Registry = Registry {
    inputs: inputs::INPUTS,
    filters: filters::FILTERS,
    processors: filters::PROCESSORS,
    outputs: outputs::OUTPUTS,
    reference: reference::options_of,
    instead: absent::instead,
};

/// Everything that the files and the command line say, before any of it is typed.
pub struct Read {
    document: Document,
    upstreams: Vec<Upstream>,
    problems: Problems,
    warnings: Vec<String>,
    /// Where problems are that have no place: the file, or the command line.
    place: Pos,
}

impl Read {
    /// Reads the configuration and the files it names.
    pub fn all(options: &cli::Options) -> Read {
        let mut read = match &options.config {
            Some(path) => Read::main(path),
            None => Read::of(config::load_text("command line", "", &config::process_env), "command line"),
        };
        read.add(options);
        let variables = std::mem::take(&mut read.variables);
        let env = |name: &str| variables.get(name).cloned().or_else(|| config::process_env(name));
        let main = options.config.clone().unwrap_or_default();
        read.read.parsers(&main, &env);
        read.read.upstreams(&main, &env);
        read.read.unavailable();
        read.read
    }

    fn main(path: &Path) -> Reading {
        Read::of(config::load(path, &config::process_env), &path.display().to_string())
    }

    fn of(loaded: config::Loaded, place: &str) -> Reading {
        let config::Loaded { document, problems, warnings, variables } = loaded;
        let warnings = warnings.sorted().iter().map(ToString::to_string).collect();
        let place = Pos::whole(place);
        Reading { read: Read { document, upstreams: Vec::new(), problems, warnings, place }, variables }
    }

    /// The parsers of the files that `parsers_file` names, before those of the main file.
    fn parsers(&mut self, main: &Path, env: &dyn config::Env) {
        let (mut parsers, mut multiline) = (Vec::new(), Vec::new());
        for file in self.service_values("parsers_file") {
            let part = self.part(main, &file, config::PARSERS, env);
            parsers.extend(part.parsers);
            multiline.extend(part.multiline_parsers);
        }
        self.document.parsers.splice(0..0, parsers);
        self.document.multiline_parsers.splice(0..0, multiline);
    }

    /// The groups of servers: of the main file, and of the files that outputs name.
    fn upstreams(&mut self, main: &Path, env: &dyn config::Env) {
        let upstream = |called: &str, section: &Section| Upstream {
            called: called.to_owned(),
            section: section.clone(),
        };
        let of_main = self.document.others.iter().filter(|section| section.kind == "upstream");
        self.upstreams = of_main.filter_map(|s| Some(upstream(&s.name()?.value, s))).collect();
        let named: Vec<Text> =
            self.document.outputs.iter().filter_map(|o| o.get("upstream")).cloned().collect();
        for file in named {
            if self.upstreams.iter().any(|known| known.called == file.value) {
                continue;
            }
            let part = self.part(main, &file, config::UPSTREAMS, env);
            match part.others.first() {
                Some(section) => self.upstreams.push(upstream(&file.value, section)),
                None if self.problems.is_empty() => {
                    let what = format!("{} has no [UPSTREAM] section", file.value);
                    self.problems.push(Problem::new(file.pos, what).of("output"));
                }
                None => {}
            }
        }
    }

    fn part(
        &mut self,
        main: &Path,
        file: &Text,
        kinds: &'static [&'static str],
        env: &dyn config::Env,
    ) -> Document {
        let path = config::resolve(main, &file.value);
        let loaded = config::load_part(&path, &file.pos, kinds, env);
        self.problems.append(loaded.problems);
        self.warnings.extend(loaded.warnings.sorted().iter().map(ToString::to_string));
        loaded.document
    }

    fn service_values(&self, key: &str) -> Vec<Text> {
        let entries = self.document.service.entries.iter().filter(|entry| entry.key.value == key);
        entries.map(|entry| entry.value.clone()).collect()
    }

    /// What Fluent Bit can load and this agent cannot.
    fn unavailable(&mut self) {
        let mut refuse = |pos: &Pos, what: &str, hint: &str| {
            self.problems.push(Problem::new(pos.clone(), what.to_owned()).hint(hint.to_owned()));
        };
        for section in &self.document.others {
            match section.kind.as_str() {
                "custom" => refuse(&section.pos, "custom plugins are not available", "remove the section"),
                "plugins" if !section.entries.is_empty() => refuse(
                    &section.pos,
                    "plugins in shared libraries are not available",
                    "remove the section, and what uses them",
                ),
                "stream_task" => refuse(
                    &section.pos,
                    "the stream processor is not available",
                    "filters or the rewrite_tag filter may do what the query does",
                ),
                _ => {}
            }
        }
        for key in ["plugins_file", "streams_file"] {
            for file in self.service_values(key) {
                self.warnings.push(format!(
                    "{}: service: \"{key}\" is not read: what it loads is not available",
                    file.pos
                ));
            }
        }
    }

    /// The typed service section. Fluent Bit ignores unknown keys there, so here they are warnings.
    fn service(&mut self) -> Option<Service> {
        let mut reader = Reader::new(&self.document.service);
        let service = Service::read(&mut reader);
        let finished = reader.finish(reference::SERVICE);
        for key in finished.unused {
            self.warnings.push(format!("{}: service: option \"{}\" has no effect here", key.pos, key.value));
        }
        for problem in finished.problems.sorted() {
            if problem.what.starts_with("unknown option") {
                self.warnings.push(format!("{problem} (it is ignored)"));
            } else {
                self.problems.push(problem.clone());
            }
        }
        service
    }

    fn missing(&mut self) {
        for (kind, sections) in [("input", &self.document.inputs), ("output", &self.document.outputs)] {
            if sections.is_empty() {
                let what = format!("there is no {kind}: the agent would have nothing to do");
                let hint =
                    format!("add a section for an {kind}, or -{} NAME on the command line", &kind[..1]);
                self.problems.push(Problem::new(self.place.clone(), what).hint(hint));
            }
        }
    }

    /// Types everything and opens every instance; those of a reload in the ledger of what is `running`.
    ///
    /// # Errors
    /// All problems of all files and sections.
    pub fn open(mut self, running: Option<&Running>) -> Result<Loaded, Problems> {
        let service = self.service();
        if self.problems.is_empty() {
            self.missing();
        }
        // With a broken service section the instances are still looked at, with its defaults.
        let for_instances = match (&service, Service::defaults()) {
            (Some(service), _) => service.clone(),
            (None, Ok(defaults)) => defaults,
            (None, Err(_)) => return Err(self.problems),
        };
        let divided = match running {
            None => Memory::of(for_instances.memory_limit),
            Some(running) => running.memory(for_instances.memory_limit),
        };
        let position =
            self.document.service.get("memory_limit").map_or_else(|| self.place.clone(), |t| t.pos.clone());
        let (mut memory, budget) = match divided {
            Ok(memory) => memory,
            Err((what, hint)) => {
                self.problems.push(Problem::new(position.clone(), what).of("service").hint(hint));
                return Err(self.problems);
            }
        };
        let document = &self.document;
        let instances = instances(document);
        let sections = Sections {
            inputs: &document.inputs,
            filters: &document.filters,
            outputs: &document.outputs,
            parsers: &document.parsers,
            multiline_parsers: &document.multiline_parsers,
            upstreams: &self.upstreams,
        };
        let opened = pipeline::open(
            &for_instances,
            &sections,
            REGISTRY,
            &budget,
            running.map(|r| Arc::clone(&r.metrics)),
        );
        self.problems.append(opened.problems);
        judge(opened.unused, &mut self.problems, &mut self.warnings);
        self.warnings.extend(opened.warnings);
        if let Some(pipeline) = opened.pipeline.as_ref().filter(|_| self.problems.is_empty())
            && let Err((what, hint)) = match running {
                None => memory.divide(&budget, &pipeline.needs()),
                Some(_) => memory.fits(&budget, &pipeline.needs()),
            }
        {
            self.problems.push(Problem::new(position, what).of("service").hint(hint));
        }
        match (service, opened.pipeline) {
            (Some(service), Some(pipeline)) if self.problems.is_empty() => {
                Ok(Loaded { service, pipeline, budget, memory, instances, warnings: self.warnings })
            }
            _ => Err(self.problems),
        }
    }
}

/// What every instance may log. What is wrong with the values, its own options say.
fn instances(document: &Document) -> Vec<log::Instance> {
    let mut instances: Vec<log::Instance> = Vec::new();
    for section in [&document.inputs, &document.filters, &document.outputs] {
        let of_name =
            |name: &str| section.iter().filter(|s| s.name().is_some_and(|n| n.value == name)).count();
        for (number, section) in section.iter().enumerate() {
            let Some(plugin) = section.name() else { continue };
            let level = section.get("log_level").and_then(|text| LogLevel::parse(&text.value).ok());
            let suppress =
                section.get("log_suppress_interval").and_then(|text| Period::parse(&text.value).ok());
            let suppress = suppress.unwrap_or_default().duration();
            let name = section.get("alias").map(|alias| alias.value.clone());
            let name = name.unwrap_or_else(|| format!("{}.{number}", plugin.value.to_ascii_lowercase()));
            instances.push(log::Instance { name, level, suppress });
            if of_name(&plugin.value) == 1 {
                // Some messages name the plugin only.
                instances.push(log::Instance { name: plugin.value.to_ascii_lowercase(), level, suppress });
            }
        }
    }
    instances
}

/// What a reload keeps of the running agent.
pub struct Running {
    /// The ledger.
    pub budget: Budget,
    /// How it is divided.
    pub memory: Memory,
    /// The limit as it was configured.
    pub memory_limit: MemoryLimit,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

impl Running {
    fn memory(&self, configured: MemoryLimit) -> Result<(Memory, Budget), (String, String)> {
        if configured == self.memory_limit {
            return Ok((self.memory.clone(), self.budget.clone()));
        }
        let what = "memory_limit cannot be changed by a reload".to_owned();
        Err((what, "set it back, or restart the agent".to_owned()))
    }
}

/// What has been read, with the variables that the main file defines.
struct Reading {
    read: Read,
    variables: std::collections::BTreeMap<String, String>,
}

impl Reading {
    /// Adds what the command line says: its plugins come first, and its service options win.
    fn add(&mut self, options: &cli::Options) {
        let document = &mut self.read.document;
        let of = |kind: &str| -> Vec<Section> {
            options.plugins.iter().filter(|section| section.kind == kind).cloned().collect()
        };
        document.inputs.splice(0..0, of("input"));
        document.filters.splice(0..0, of("filter"));
        document.outputs.splice(0..0, of("output"));
        document.others.splice(0..0, of("custom"));
        let given = &options.service.entries;
        let overridden =
            |key: &str| key != "parsers_file" && given.iter().any(|entry| entry.key.value == key);
        document.service.entries.retain(|entry| !overridden(&entry.key.value));
        document.service.entries.splice(0..0, given.iter().cloned());
        self.read
            .warnings
            .extend(options.ignored.iter().map(|what| format!("command line: no effect: {what}")));
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
