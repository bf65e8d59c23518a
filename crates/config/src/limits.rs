//! Every bound of this crate. A configuration is small; these keep a mistake or a malicious file small too.

/// Bytes of all configuration files of one load together, and of the text that YAML aliases expand to.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Files of one load.
pub const MAX_FILES: usize = 1000;

/// Files that include one another.
pub const MAX_INCLUDE_DEPTH: usize = 64;

/// Bytes of a file that gives the value of a variable.
pub const MAX_VARIABLE_BYTES: u64 = 1024 * 1024;

/// Maps and lists inside one another in YAML.
pub const MAX_NESTING: usize = 64;

/// Lines of all classic files of one load, blank ones and comments not counted; keys, values, maps and lists of
/// one YAML file, aliases expanded.
pub const MAX_NODES: usize = 500_000;

/// Entries of one directory that an include pattern is compared with.
pub const MAX_DIRECTORY_ENTRIES: usize = 100_000;
