//! The memory limit, held against everything that can be done to an agent. The scenarios are leaklab's.

use crate::{bench, run};

/// Where the table of a whole run stands.
const PAGE: &str = "docs/memory.md";

/// Builds the agent and leaklab, and runs it. A run of all scenarios writes its table into the page.
pub fn soak(arguments: &[&str]) -> Result<(), String> {
    let weir = run::target().join("release/weir");
    let weir = weir.to_string_lossy();
    let whole = arguments.iter().all(|argument| argument.starts_with("--") || is_value(argument));
    let page: &[&str] = if whole && !arguments.contains(&"--help") { &["--page", PAGE] } else { &[] };
    bench::leaklab(&[&["soak", "--weir", &weir], page, arguments].concat(), &["agent"])
}

/// Of an option, and no scenario's name.
fn is_value(argument: &str) -> bool {
    argument.starts_with(|first: char| first.is_ascii_digit())
}
