//! The instructions that the hot path takes, counted by callgrind. Counts repeat where time does not, so a change
//! that costs something is seen even on a busy machine.
//!
//! The counts stand in `bench/ratchet.txt`, under the tools they were made with: other tools give other counts.
//! Callgrind shows programs a processor with AVX2 and nothing newer, so what is chosen at run time is the same on
//! every machine that has AVX2.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{run, tools};

const FILE: &str = "bench/ratchet.txt";
const ABOUT: &str = "\
# Instructions of ten times each work of crates/hotpath. `cargo x test` fails when one takes more than 2 % more;
# `cargo x ratchet --write` counts anew.
";
/// How much more is a failure, and how much less is worth a new count.
const TOLERANCE: f64 = 0.02;

/// Counts, and compares with the file or writes it.
pub fn ratchet(arguments: &[&str]) -> Result<(), String> {
    let write = match arguments {
        [] => false,
        ["--write"] => true,
        [other, ..] => return Err(format!("cargo x ratchet [--write], not {other}")),
    };
    tools::install()?;
    let path = run::root().join(FILE);
    let tools = match here() {
        Ok(tools) => tools,
        // Without them there is nothing to compare; CI has them.
        Err(reason) if std::env::var_os("CI").is_none() && !write => {
            eprintln!("cargo x: instructions are not counted: {reason}");
            return Ok(());
        }
        Err(reason) => return Err(format!("instructions cannot be counted: {reason}")),
    };
    let kept = if write { None } else { Some(read(&path)?) };
    if let Some((of, _)) = &kept
        && *of != tools
    {
        let reason =
            format!("{FILE} was made with {of}, and here is {tools}; cargo x ratchet --write counts anew");
        return if std::env::var_os("CI").is_some() {
            Err(reason)
        } else {
            eprintln!("cargo x: instructions are not compared: {reason}");
            Ok(())
        };
    }
    let counts = count()?;
    match kept {
        None => {
            let mut text = format!("{ABOUT}{tools}\n");
            for (name, count) in &counts {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name} {count}");
            }
            fs::write(&path, text).map_err(|error| format!("{FILE}: {error}"))
        }
        Some((_, kept)) => compare(&kept, &counts),
    }
}

/// What counts depend on beside the program.
fn here() -> Result<String, String> {
    let version = |program: &str| {
        let output =
            Command::new(program).arg("--version").output().map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        Ok::<String, String>(words.join(" "))
    };
    let (valgrind, rustc) = (version("valgrind")?, version("rustc")?);
    let has_avx2 = cfg!(target_arch = "x86_64") && {
        #[cfg(target_arch = "x86_64")]
        let has = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(target_arch = "x86_64"))]
        let has = false;
        has
    };
    if has_avx2 {
        Ok(format!("{valgrind}, {rustc}, avx2"))
    } else {
        Err("the processor has no AVX2".to_owned())
    }
}

/// The tools and the counts of the file.
fn read(path: &PathBuf) -> Result<(String, BTreeMap<String, u64>), String> {
    // The repository's own file; it has a few lines.
    #[allow(clippy::disallowed_methods)]
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).ok_or_else(|| format!("{FILE} is not as cargo x ratchet --write writes it"))
}

fn parse(text: &str) -> Option<(String, BTreeMap<String, u64>)> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let tools = lines.next()?.to_owned();
    let count = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    lines.map(count).collect::<Option<BTreeMap<_, _>>>().map(|counts| (tools, counts))
}

fn count() -> Result<BTreeMap<String, u64>, String> {
    run::cargo(&["build", "--profile", "ratchet", "--quiet", "-p", "hotpath"])?;
    let (program, folder) = (run::target().join("ratchet/hotpath"), run::target().join("ratchet/counts"));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = Command::new(&program).output().map_err(|error| format!("{}: {error}", program.display()))?;
    let mut counts = BTreeMap::new();
    for name in String::from_utf8_lossy(&names.stdout).lines() {
        let file = folder.join(name);
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--tool=callgrind", "--toggle-collect=hotpath::measured*"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(&program)
            .arg(name)
            // The environment is on the stack and moves what is behind it.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        run::finish(&mut command, &format!("valgrind hotpath {name}"))?;
        // It has a line for each place in the program that was counted: some hundred kilobytes.
        #[allow(clippy::disallowed_methods)]
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        counts.insert(name.to_owned(), total.filter(|total| *total > 0).ok_or("callgrind counted nothing")?);
    }
    Ok(counts)
}

/// Prints every difference; more than the tolerance, and a work that is on one side only, are errors.
fn compare(kept: &BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) -> Result<(), String> {
    let mut worse = Vec::new();
    for (name, count) in counts {
        let Some(before) = kept.get(name) else {
            worse.push(format!("{name} is not in {FILE}"));
            continue;
        };
        let change = *count as f64 / *before as f64 - 1.0;
        let line = format!("{name}: {before} to {count} instructions ({:+.1} %)", change * 100.0);
        if change > TOLERANCE {
            worse.push(line);
        } else if change < -TOLERANCE {
            println!("{line}: lower the ratchet with cargo x ratchet --write");
        }
    }
    worse
        .extend(kept.keys().filter(|name| !counts.contains_key(*name)).map(|name| format!("{name} is gone")));
    if worse.is_empty() {
        println!("instructions of {} works are as in {FILE}", counts.len());
        return Ok(());
    }
    Err(format!(
        "{}\nif that is what the change is worth, cargo x ratchet --write keeps it, and the commit says why",
        worse.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (tools, found) = parse("# about\nvalgrind 1, rustc 2\na 10\nb 20\n").unwrap();
        assert_eq!((tools.as_str(), found), ("valgrind 1, rustc 2", counts(&[("a", 10), ("b", 20)])));
        assert!(parse("").is_none() && parse("tools\na ten\n").is_none());
    }

    #[test]
    fn more_than_the_tolerance_is_an_error_and_less_is_not() {
        let kept = counts(&[("a", 1_000), ("b", 1_000)]);
        assert_eq!(compare(&kept, &counts(&[("a", 1_019), ("b", 500)])), Ok(()));
        let error = compare(&kept, &counts(&[("a", 1_021), ("b", 1_000)])).unwrap_err();
        assert!(error.contains("a: 1000 to 1021") && !error.contains("b:"), "{error}");
    }

    #[test]
    fn a_work_on_one_side_only_is_an_error() {
        let kept = counts(&[("a", 1), ("b", 1)]);
        assert!(compare(&kept, &counts(&[("a", 1)])).unwrap_err().contains("b is gone"));
        assert!(compare(&counts(&[("a", 1)]), &kept).unwrap_err().contains("b is not in"));
    }
}
