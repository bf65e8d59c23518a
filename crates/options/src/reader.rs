//! Takes the options of a section one by one, and says at the end what nobody took.

use crate::field::Field;
use crate::nearest::did_you_mean;
use crate::problem::{Problem, Problems};
use crate::section::{Entry, Section};
use crate::spec::Spec;
use crate::value::Invalid;
use crate::{Pos, Rules, Text};

/// Reads one section. Several options structs may read from it in turn: the common ones and the plugin's own.
#[derive(Debug)]
pub struct Reader<'a> {
    section: &'a Section,
    taken: Vec<bool>,
    groups_taken: Vec<bool>,
    specs: Vec<Spec>,
    problems: Problems,
    unused: Vec<Text>,
}

/// What a reader knows when everyone has read.
#[derive(Debug)]
pub struct Finished {
    /// Everything wrong with the section.
    pub problems: Problems,
    /// Names the caller knows but acts on nowhere, as they stand in the file.
    pub unused: Vec<Text>,
}

impl<'a> Reader<'a> {
    /// Starts reading `section`.
    pub fn new(section: &'a Section) -> Self {
        Self {
            section,
            taken: vec![false; section.entries.len()],
            groups_taken: vec![false; section.groups.len()],
            specs: Vec::new(),
            problems: Problems::new(),
            unused: Vec::new(),
        }
    }

    /// The section being read.
    pub fn section(&self) -> &'a Section {
        self.section
    }

    /// Reads one option; `None` when a value is wrong or a required one is missing, which is then on record.
    pub fn field<F: Field>(
        &mut self,
        spec: &Spec,
        parse: fn(&Spec, &str) -> Result<F::Item, Invalid>,
    ) -> Option<F> {
        self.specs.push(*spec);
        let entries = self.take(|key| spec.is(key));
        let repeated = !F::REPEATABLE && self.refuse_repeats(spec, &entries);
        if entries.is_empty() {
            return self.absent::<F>(spec, parse);
        }
        let items: Vec<Option<F::Item>> =
            entries.iter().map(|entry| self.value(entry, |text| parse(spec, text))).collect();
        let items = items.into_iter().collect::<Option<Vec<_>>>()?;
        if repeated { None } else { F::from_items(items) }
    }

    /// Reads several repeatable options as one list, in the order of the file.
    pub fn rules<R: Rules>(&mut self) -> Option<Vec<R>> {
        let mut specs = Vec::new();
        R::specs(&mut specs);
        let entries = self.take(|key| specs.iter().any(|spec| spec.is(key)));
        let rules: Vec<Option<R>> = entries
            .iter()
            .map(|entry| {
                let rule = specs.iter().position(|spec| spec.is(&entry.key.value))?;
                self.value(entry, |text| R::parse(rule, text))
            })
            .collect();
        self.specs.append(&mut specs);
        rules.into_iter().collect()
    }

    /// The nested sections called `kind`, in the order of the file.
    pub fn groups(&mut self, kind: &str) -> Vec<&'a Section> {
        let mut found = Vec::new();
        for (group, taken) in self.section.groups.iter().zip(&mut self.groups_taken) {
            if group.kind.eq_ignore_ascii_case(kind) {
                *taken = true;
                found.push(group);
            }
        }
        found
    }

    /// The options that nobody has taken and whose names start with `prefix`, in the order of the file.
    pub fn prefixed(&mut self, prefix: &str) -> Vec<&'a Entry> {
        let mut found = Vec::new();
        for (entry, taken) in self.section.entries.iter().zip(&mut self.taken) {
            let start = entry.key.value.get(..prefix.len());
            if !*taken && start.is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
                *taken = true;
                found.push(entry);
            }
        }
        found
    }

    /// Where `key` is set, or else where the section starts.
    pub fn position(&self, key: &str) -> Pos {
        self.section.get(key).map_or_else(|| self.section.pos.clone(), |text| text.pos.clone())
    }

    /// Puts a problem with the option `key` on record: for rules between options.
    pub fn refuse(&mut self, key: &str, what: impl Into<String>, hint: Option<String>) {
        let problem = Problem::new(self.position(key), what).of(self.section.label()).maybe_hint(hint);
        self.problems.push(problem);
    }

    /// Says that an option has no effect, if it is set.
    pub fn without_effect(&mut self, key: &str) {
        let set = self.section.entries.iter().find(|entry| entry.key.value.eq_ignore_ascii_case(key));
        self.unused.extend(set.map(|entry| entry.key.clone()));
    }

    /// Ends the reading: what nobody took is unknown.
    ///
    /// `known` are names of the reference that nothing acts on; a name that ends in a dot stands for all names that
    /// start with it. They come back as unused rather than as problems.
    pub fn finish(mut self, known: &[&str]) -> Finished {
        self.refuse_maps();
        let mut unused = self.unused;
        let groups = self.section.groups.iter().zip(&self.groups_taken).filter(|(_, taken)| !**taken);
        let groups = groups.map(|(group, _)| Text::new(group.kind.clone(), group.pos.clone()));
        let entries = self.section.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        let left: Vec<Text> = entries.map(|(entry, _)| entry.key.clone()).chain(groups).collect();
        for key in left {
            if known.iter().any(|name| covers(name, &key.value)) {
                unused.push(key);
            } else {
                self.problems.push_with(|| unknown(self.section, &self.specs, &key, known));
            }
        }
        Finished { problems: self.problems, unused }
    }

    fn take(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<&'a Entry> {
        let mut found = Vec::new();
        for (entry, taken) in self.section.entries.iter().zip(&mut self.taken) {
            if wanted(&entry.key.value) {
                *taken = true;
                found.push(entry);
            }
        }
        found
    }

    fn absent<F: Field>(
        &mut self,
        spec: &Spec,
        parse: fn(&Spec, &str) -> Result<F::Item, Invalid>,
    ) -> Option<F> {
        let label = self.section.label();
        if spec.required {
            let what = format!("required option \"{}\" is missing", spec.name);
            self.problems.push(Problem::new(self.section.pos.clone(), what).of(label));
            return None;
        }
        let Some(default) = spec.default else { return F::from_items(Vec::new()) };
        match parse(spec, default) {
            Ok(value) => F::from_items(vec![value]),
            // The test that the derive writes keeps this from being released.
            Err(invalid) => {
                let what = format!("default of \"{}\" is not valid: {}", spec.name, invalid.what);
                self.problems.push(Problem::new(self.section.pos.clone(), what).of(label));
                None
            }
        }
    }

    fn value<T>(&mut self, entry: &Entry, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        let key = &entry.key.value;
        let text = entry.value.value.trim();
        let parsed = if text.is_empty() { Err(Invalid::new("the value is empty")) } else { parse(text) };
        match parsed {
            Ok(value) => Some(value),
            Err(invalid) => {
                let what = format!("option \"{key}\": {}", invalid.what);
                let problem = Problem::new(entry.value.pos.clone(), what);
                self.problems.push(problem.of(self.section.label()).maybe_hint(invalid.hint));
                None
            }
        }
    }

    fn refuse_repeats(&mut self, spec: &Spec, entries: &[&Entry]) -> bool {
        let Some((first, again)) = entries.split_first() else { return false };
        for entry in again {
            // A YAML list has one key and several values.
            let same_key = entry.key.pos == first.key.pos;
            let (here, there) = if same_key {
                (&entry.value.pos, &first.value.pos)
            } else {
                (&entry.key.pos, &first.key.pos)
            };
            let what = format!("option \"{}\" is already set at {there}", spec.name);
            self.problems.push(Problem::new(here.clone(), what).of(self.section.label()));
        }
        !again.is_empty()
    }

    /// A YAML map where an option wants text is no unknown option.
    fn refuse_maps(&mut self) {
        for (group, taken) in self.section.groups.iter().zip(&mut self.groups_taken) {
            let Some(spec) = self.specs.iter().find(|spec| !*taken && spec.is(&group.kind)) else { continue };
            *taken = true;
            let what = format!("option \"{}\" takes a value ({}), not a map", spec.name, spec.kind);
            self.problems.push(Problem::new(group.pos.clone(), what).of(self.section.label()));
        }
    }
}

fn unknown(section: &Section, specs: &[Spec], key: &Text, known: &[&str]) -> Problem {
    let names = specs.iter().flat_map(|spec| std::iter::once(&spec.name).chain(spec.aliases)).copied();
    let near = did_you_mean(&key.value, names.chain(known.iter().copied()));
    let what = format!("unknown option \"{}\"", key.value);
    let hint = near.or_else(|| how_to_list(section));
    Problem::new(key.pos.clone(), what).of(section.label()).maybe_hint(hint)
}

/// The whole list is too long for a message: say how to print it.
fn how_to_list(section: &Section) -> Option<String> {
    let flag = match section.kind.as_str() {
        "input" => "-i",
        "filter" => "-F",
        "output" => "-o",
        _ => return None,
    };
    let name = section.name()?;
    Some(format!("run `weir {flag} {} -h` for the list", name.value))
}

/// True when a known name, or a prefix that ends in a dot, stands for `key`.
fn covers(name: &str, key: &str) -> bool {
    let prefixed = || key.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    name.eq_ignore_ascii_case(key) || (name.ends_with('.') && prefixed())
}
