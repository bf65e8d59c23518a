//! `cargo x tail`: whether `tail` loses or repeats lines when files are rotated and the agent is stopped or killed.

use std::time::Instant;

use testkit::rotation::{End, Kind, Plan, run};

use crate::run;

const HELP: &str = "\
Usage: cargo x tail [--lines N] [--rotations N] [--stops N] [--kills N] [--profile NAME]
       cargo x tail --speed MB [--peer fluent-bit=PATH] [--profile NAME]

Writes lines to a file that is rotated by renaming and by copying and emptying it, while weir follows it and is
stopped (SIGTERM) or killed (SIGKILL) again and again. Every line must come out: exactly once over stops, at
least once over kills. Prints what was missing and repeated. 1,000,000 lines, 50 rotations, 10 stops and 5 kills
unless said otherwise.

With --speed, follows a file of so many MB to its end instead, as lines, with a JSON parser and with a regular
expression, by weir and the peer in turn: MB per CPU-second, medians of three.
";

/// Runs the four combinations.
pub fn tail(words: &[&str]) -> Result<(), String> {
    let (mut speed, mut peer) = (None, None);
    let (mut lines, mut rotations, mut stops, mut kills, mut profile) = (1_000_000, 50, 10, 5, "release");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if matches!(*word, "-h" | "--help") {
            print!("{HELP}");
            return Ok(());
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<usize>().map_err(|_| format!("{word}: {value} is no number"));
        match *word {
            "--lines" => lines = number()?,
            "--rotations" => rotations = number()?,
            "--stops" => stops = number()?,
            "--kills" => kills = number()?,
            "--profile" => profile = value,
            "--speed" => speed = Some(number()?),
            "--peer" => peer = Some(value.strip_prefix("fluent-bit=").ok_or("write --peer fluent-bit=PATH")?),
            other => return Err(format!("unknown option {other}\n\n{HELP}")),
        }
    }
    run::cargo(&["build", "--profile", profile, "--quiet", "-p", "agent"])?;
    let weir = run::target().join(if profile == "dev" { "debug" } else { profile }).join("weir");
    if let Some(megabytes) = speed {
        return crate::tail_speed::speed(megabytes, &weir, peer);
    }
    let mut wrong = 0;
    println!("{lines} lines, {rotations} rotations");
    println!(
        "{:<14} {:<10} {:>10} {:>10} {:>10} {:>8}",
        "rotated by", "restarts", "missing", "repeated", "strange", "seconds"
    );
    for kind in [Kind::Rename, Kind::CopyTruncate] {
        for (end, restarts) in [(End::Stop, stops), (End::Kill, kills)] {
            let plan = Plan { lines, rotations, kind, restarts, end, inotify: true };
            let folder = run::target().join("tail").join(format!("{kind:?}-{end:?}"));
            let fresh =
                std::fs::remove_dir_all(&folder).or(Ok(())).and_then(|()| std::fs::create_dir_all(&folder));
            fresh.map_err(|error: std::io::Error| format!("{}: {error}", folder.display()))?;
            let started = Instant::now();
            let report = run(&plan, &weir, &folder);
            let what = format!("{restarts} {}", if end == End::Stop { "stops" } else { "kills" });
            let seconds = started.elapsed().as_secs();
            println!(
                "{:<14} {what:<10} {:>10} {:>10} {:>10} {seconds:>8}",
                format!("{kind:?}"),
                report.missing,
                report.repeated,
                report.strange
            );
            wrong += report.missing + report.strange + if end == End::Stop { report.repeated } else { 0 };
        }
    }
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} lines are missing, strange or repeated over a stop"))
    }
}
