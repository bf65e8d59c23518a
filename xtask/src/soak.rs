//! The memory limit, held against everything that can be done to an agent. The scenarios are leaklab's.

use crate::{bench, run};

/// Where the figures stand.
const PAGE: &str = "docs/memory.md";

/// Builds the agent and leaklab, runs scenarios, all or those that are named, and writes their rows into the page. An
/// agent that is given with `--weir` is not built.
pub fn soak(arguments: &[&str]) -> Result<(), String> {
    let weir = run::target().join("release/weir");
    let weir = weir.to_string_lossy();
    let mut all = vec!["soak", "--page", PAGE];
    let given = arguments.contains(&"--weir");
    if !given {
        all.extend(["--weir", &weir]);
    }
    all.extend(arguments);
    bench::leaklab(&all, if given { &[] } else { &["agent"] })
}
