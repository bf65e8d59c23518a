//! The table of what can be set: the source of help, reference pages and schemas.

use crate::value::{Invalid, Kind, Value};

/// One option, as `#[derive(Options)]` or `#[derive(Rules)]` declared it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name of the reference pages.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// The type.
    pub kind: Kind,
    /// The value used when the option is not given, as the user would write it.
    pub default: Option<&'static str>,
    /// Least value, as the user would write it.
    pub min: Option<&'static str>,
    /// Greatest value, as the user would write it.
    pub max: Option<&'static str>,
    /// The doc comment.
    pub doc: &'static str,
    /// A section without it is refused.
    pub required: bool,
    /// It may be given more than once.
    pub repeatable: bool,
    /// Whether a text is a valid value, range included.
    pub check: fn(&Spec, &str) -> Result<(), Invalid>,
}

impl Spec {
    /// True when `key` names this option.
    pub fn is(&self, key: &str) -> bool {
        self.name.eq_ignore_ascii_case(key)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(key))
    }

    /// What the declaration itself has wrong: a default or a bound that its own type refuses, a missing doc.
    pub fn flaws(&self) -> Vec<String> {
        let written = [("default", self.default), ("min", self.min), ("max", self.max)];
        let mut flaws: Vec<String> = written
            .into_iter()
            .filter_map(|(what, text)| Some((what, text?)))
            .filter_map(|(what, text)| (self.check)(self, text).err().map(|invalid| (what, invalid)))
            .map(|(what, invalid)| format!("{}: bad {what}: {}", self.name, invalid.what))
            .collect();
        if self.doc.is_empty() {
            flaws.push(format!("{}: no doc comment", self.name));
        }
        flaws
    }
}

/// Reads a value of a type without range.
///
/// # Errors
///
/// As the type says.
pub fn plain<T: Value>(_spec: &Spec, text: &str) -> Result<T, Invalid> {
    T::parse(text)
}

/// Reads a value and holds it to the range of its option.
///
/// # Errors
///
/// As the type says, and when the value lies outside the range.
pub fn ranged<T: Value + PartialOrd>(spec: &Spec, text: &str) -> Result<T, Invalid> {
    let value = T::parse(text)?;
    let below = spec.min.map(T::parse).transpose()?.is_some_and(|min| value < min);
    let above = spec.max.map(T::parse).transpose()?.is_some_and(|max| value > max);
    if !below && !above {
        return Ok(value);
    }
    let range = match (spec.min, spec.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (_, max) => format!("at most {}", max.unwrap_or_default()),
    };
    Err(Invalid::new(format!("{text} is out of range: {range}")))
}

/// Fails when two options share a name or a declaration is flawed; the derives write one test per type with it.
///
/// # Panics
///
/// With the list of flaws.
pub fn assert_sound(type_name: &str, specs: &[Spec]) {
    let mut flaws: Vec<String> = specs.iter().flat_map(Spec::flaws).collect();
    for (index, spec) in specs.iter().enumerate() {
        let names = std::iter::once(&spec.name).chain(spec.aliases);
        for name in names {
            if specs[..index].iter().any(|other| other.is(name)) {
                flaws.push(format!("{name}: declared twice"));
            }
        }
    }
    assert!(flaws.is_empty(), "{type_name}:\n{}", flaws.join("\n"));
}
