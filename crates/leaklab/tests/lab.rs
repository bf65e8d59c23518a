//! The lab on servers of the zoo, one of each kind; `cargo x zoo` runs them all.
//!
//! The servers are in Python here, because that needs nothing to be built; where there is no Python the tests are
//! skipped by name.

#![allow(
    clippy::unwrap_used,
    reason = "a test panics on failure, also outside of the functions marked as tests"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use leaklab::lab::judge::Verdict;
use leaklab::lab::zoo::{Case, Zoo, run};

/// For each server: what the manual promises verdicts for. In half of it a busy machine once took a leak for a peak.
const BUDGET: Duration = Duration::from_secs(60);

fn zoo() -> Option<Zoo> {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "python3 is not installed");
    if !there {
        eprintln!("skipped: python3 is not installed");
        return None;
    }
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../zoo");
    Some(Zoo { programs: PathBuf::new(), source, budget: BUDGET, out: None })
}

fn case(defect: &'static str, twin: bool) -> Case {
    Case { kind: "python", defect, twin }
}

#[test]
fn defects_are_found_with_their_factor_and_twins_are_not_called_a_leak() {
    let Some(zoo) = zoo() else { return };
    let cases = [
        case("requests", false),
        case("held", false),
        case("payload", false),
        case("opened", false),
        case("requests", true),
        case("held", true),
    ];
    let runs = run(&cases, 2, &zoo, &|run| eprintln!("{}", run.line())).unwrap();
    assert_eq!(runs.len(), cases.len());
    for run in runs {
        let found = run.document.judgement.verdict;
        // On a loaded machine a short run may say that it cannot say.
        let honest = run.is_right() || found == Verdict::Inconclusive;
        assert!(honest, "{}\n{:#?}", run.line(), run.document.judgement.evidence);
    }
}

#[test]
fn a_server_that_ends_is_not_measured() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let (document, _) = leaklab::lab::command::measure(
        "sleep 0.2; echo gone; exit 7".to_owned(),
        "http://127.0.0.1:1/".to_owned(),
        leaklab::lab::body::Payload::default(),
        leaklab::lab::plan::Plan::default(),
        BUDGET,
        log.path(),
    );
    assert_eq!((document.judgement.verdict, document.code()), (Verdict::Inconclusive, 2));
    assert!(document.sentence.contains("gone"), "{}", document.sentence);
}
