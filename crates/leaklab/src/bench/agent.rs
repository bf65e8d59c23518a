//! Who is measured.

use std::path::PathBuf;
use std::process::Command;

/// A program that takes logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Weir,
    FluentBit,
    Vector,
}

const KINDS: [Kind; 3] = [Kind::Weir, Kind::FluentBit, Kind::Vector];

impl Kind {
    /// The name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Weir => "weir",
            Kind::FluentBit => "fluent-bit",
            Kind::Vector => "vector",
        }
    }

    /// A kind by its name, behind which more may stand that tells agents of one kind apart: `weir2`.
    pub fn named(name: &str) -> Result<Kind, String> {
        KINDS.into_iter().find(|kind| name.starts_with(kind.name())).ok_or_else(|| {
            format!("there is no peer \"{name}\"; there are {}", KINDS.map(Kind::name).join(", "))
        })
    }

    /// The end of its configuration's name.
    pub fn extension(self) -> &'static str {
        if self == Kind::Vector { "toml" } else { "conf" }
    }
}

/// A binary that is measured.
#[derive(Debug)]
pub struct Agent {
    /// Its name in tables; what follows the kind's name tells agents of one kind apart.
    pub name: String,
    pub kind: Kind,
    pub binary: PathBuf,
    pub version: String,
}

impl Agent {
    /// Asks a binary for its version.
    pub fn new(name: String, kind: Kind, binary: PathBuf) -> Result<Agent, String> {
        let output = Command::new(&binary)
            .arg("--version")
            .output()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or("").trim();
        if version.is_empty() {
            return Err(format!("{} --version says nothing", binary.display()));
        }
        Ok(Agent { name, kind, version: version.to_owned(), binary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_name() {
        for kind in KINDS {
            assert_eq!(Kind::named(kind.name()), Ok(kind));
        }
        assert_eq!(Kind::named("weir2"), Ok(Kind::Weir));
        assert!(Kind::named("beats").unwrap_err().contains("weir, fluent-bit, vector"));
    }

    #[test]
    fn a_binary_that_is_not_there_is_an_error_that_names_it() {
        let error = Agent::new("x".to_owned(), Kind::Vector, "/nowhere/vector".into()).unwrap_err();
        assert!(error.contains("/nowhere/vector"), "{error}");
    }
}
