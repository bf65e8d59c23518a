//! Bodies that were damaged at random, cut at random, in memory that is short at random: against one-shot
//! reading and against independent readers.
//!
//! A run is told by its seed, so what it finds can be found again:
//!
//! * `cargo test -p formats --test fuzz`: a fixed seed and number of rounds.
//! * `cargo x fuzz --seconds 600`: another seed each time, which is printed.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../common/mod.rs"]
mod common;
mod form;
mod inflate;
mod json;
mod parser;
mod random;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use random::Random;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Runs `round` with random numbers of its own until the rounds, or the time if one is set, are over.
fn run(name: &str, rounds: u64, mut round: impl FnMut(&mut Random)) {
    let seed = variable("FUZZ_SEED").unwrap_or(1);
    let time = variable("FUZZ_SECONDS").map(Duration::from_secs);
    let (start, mut done) = (Instant::now(), 0);
    while time.map_or(done < rounds, |time| start.elapsed() < time) {
        let mut random = Random::new(seed.wrapping_add(done));
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| round(&mut random)));
        if let Err(panic) = outcome {
            eprintln!("{name}: found with FUZZ_SEED={} in the first round", seed.wrapping_add(done));
            std::panic::resume_unwind(panic);
        }
        done += 1;
    }
    println!("{name}: {done} rounds from seed {seed}");
}

#[test]
fn json_is_read_as_serde_json_reads_it_and_the_same_wherever_it_is_cut() {
    run("json", 1000, json::round);
}

#[test]
fn forms_are_read_as_by_the_definition_and_the_same_wherever_they_are_cut() {
    run("form", 2000, form::round);
}

#[test]
fn compressed_bodies_come_back_or_are_refused_the_same_wherever_they_are_cut() {
    run("inflate", 150, inflate::round);
}

#[test]
fn lines_are_parsed_the_same_whatever_memory_there_is() {
    run("parser", 1000, parser::round);
}

#[test]
fn an_object_on_a_line_is_read_as_serde_json_reads_it() {
    run("parser json", 3000, parser::json_round);
}

#[test]
fn joined_lines_are_all_there_whatever_memory_there_is() {
    run("multiline", 500, parser::multiline_round);
}
