//! `leaklab zoo`: the lab on the zoo. `cargo x zoo` builds what it needs.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::{help, options, show};
use crate::lab;
use crate::lab::zoo::{Case, Zoo};

/// Runs it. Exit status 1: it was wrong more often than one time in twenty, or a twin was called a leak.
pub fn zoo(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let (mut times, mut at_a_time) = (5_usize, 1_usize);
    let mut zoo = Zoo {
        programs: PathBuf::from("target/release"),
        source: PathBuf::from("crates/zoo"),
        budget: Duration::from_secs(60),
        out: None,
    };
    let (mut only, mut again): (Vec<String>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("times") => times = parser.value()?.parse()?,
            Long("at-a-time") => at_a_time = parser.value()?.parse()?,
            Long("budget") => zoo.budget = options::duration(&parser.value()?.string()?)?,
            Long("programs") => zoo.programs = parser.value()?.into(),
            Long("source") => zoo.source = parser.value()?.into(),
            Long("out") => zoo.out = Some(parser.value()?.into()),
            Long("again") => again.push(parser.value()?.into()),
            Value(name) => only.push(name.string()?),
            other => return help(other),
        }
    }
    crate::process::allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let wanted = |case: &Case| {
        let names = [case.kind, case.defect, if case.twin { "twin" } else { "defect" }];
        only.iter().all(|name| names.contains(&name.as_str()))
    };
    let cases: Vec<Case> = lab::zoo::cases().into_iter().filter(wanted).collect();
    let cases = cases.repeat(times);
    let told = |run: &lab::zoo::Run| {
        // Each as it ends: a zoo takes hours.
        let _shown = show(&(run.line() + "\n"));
    };
    let runs = if again.is_empty() {
        lab::zoo::run(&cases, at_a_time, &zoo, &told)?
    } else {
        let mut runs = Vec::new();
        for folder in &again {
            runs.extend(lab::zoo::again(folder)?);
        }
        runs.retain(|run| wanted(&run.case));
        runs.iter().for_each(told);
        runs
    };
    show(&format!("\n{}", lab::zoo::table(&runs)))?;
    let right = runs.iter().filter(|run| run.is_right()).count();
    let false_leak =
        runs.iter().any(|run| run.case.twin && run.document.judgement.verdict == lab::judge::Verdict::Leak);
    Ok(u8::from(right * 20 < runs.len() * 19 || false_leak))
}
