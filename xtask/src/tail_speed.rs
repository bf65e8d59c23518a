//! `cargo x tail --speed`: what following a file costs, by weir and by a Fluent Bit.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::run;

/// Rounds, one agent after the other in each.
const ROUNDS: usize = 3;

/// A way to follow a file: its name, the parser of the input, and that parser's section.
const WAYS: &[(&str, &str, &str)] = &[
    ("lines", "", ""),
    ("json", "parser js", "[PARSER]\n  name js\n  format json\n"),
    (
        "regex",
        "parser access",
        "[PARSER]\n  name access\n  format regex\n  regex ^\\{\"time\":\"(?<at>[^\"]*)\",\"level\":\"(?<level>[^\"]*)\",(?<rest>.*)\\}$\n",
    ),
];

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    wall: f64,
    peak_mb: f64,
}

/// Follows a file of so many MB to its end with each agent, and prints MB per CPU-second.
pub fn speed(megabytes: usize, weir: &Path, peer: Option<&str>) -> Result<(), String> {
    let folder = run::target().join("tail").join("speed");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let bytes = write_lines(&folder.join("lines.log"), megabytes << 20).map_err(failed)?;
    let agents: Vec<(&str, PathBuf)> = std::iter::once(("weir", weir.to_owned()))
        .chain(peer.map(|path| ("fluent-bit", path.into())))
        .collect();
    println!("{:<8} {:<12} {:>14} {:>8} {:>8}", "way", "agent", "MB per CPU-s", "seconds", "peak MB");
    for (way, option, parser) in WAYS {
        let config = format!(
            "[SERVICE]\n  flush 0.2\n  log_level error\n  parsers_file parsers.conf\n[INPUT]\n  name tail\n  \
             path lines.log\n  read_from_head on\n  exit_on_eof on\n  {option}\n[OUTPUT]\n  name null\n  match *\n"
        );
        std::fs::write(folder.join("speed.conf"), config).map_err(failed)?;
        std::fs::write(folder.join("parsers.conf"), parser).map_err(failed)?;
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); agents.len()];
        for _ in 0..ROUNDS {
            for ((_, agent), costs) in agents.iter().zip(&mut costs) {
                costs.push(follow(agent, &folder)?);
            }
        }
        let megabytes = bytes as f64 / 1e6;
        let speeds: Vec<f64> = costs.iter().map(|costs| megabytes / median(costs, |cost| cost.cpu)).collect();
        for (((name, _), costs), speed) in agents.iter().zip(&costs).zip(&speeds) {
            let (wall, peak) = (median(costs, |cost| cost.wall), median(costs, |cost| cost.peak_mb));
            println!("{way:<8} {name:<12} {speed:>14.0} {wall:>8.2} {peak:>8.1}");
        }
        if let [weir, peer] = speeds[..] {
            println!("{way:<8} {:<12} {:>14.2}", "ratio", weir / peer);
        }
    }
    Ok(())
}

/// Lines of JSON as a web service logs them.
fn write_lines(path: &Path, size: usize) -> std::io::Result<usize> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let (mut bytes, mut number) = (0, 0_u64);
    while bytes < size {
        number += 1;
        let line = format!(
            "{{\"time\":\"2026-11-24T10:{:02}:{:02}.{:03}Z\",\"level\":\"info\",\"service\":\"checkout\",\
             \"trace\":\"{:032x}\",\"request\":{{\"method\":\"GET\",\"path\":\"/cart/{number}\",\"status\":200,\
             \"ms\":{}.25}},\"user\":{},\"message\":\"cart loaded with {} items in one query\",\"cached\":true}}\n",
            number / 60 % 60,
            number % 60,
            number % 1_000,
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            number % 90,
            number % 50_000,
            number % 17,
        );
        file.write_all(line.as_bytes())?;
        bytes += line.len();
    }
    file.flush()?;
    Ok(bytes)
}

/// Runs an agent to the end of the file.
fn follow(agent: &Path, folder: &Path) -> Result<Cost, String> {
    let started = std::time::Instant::now();
    let child = Command::new(agent)
        .args(["-q", "-c", "speed.conf"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", agent.display()))?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: a child of this process that nobody else waits for; both are written to.
    let ended = unsafe { libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, usage.as_mut_ptr()) };
    let status = ExitStatus::from_raw(status);
    if ended < 0 || !status.success() {
        return Err(format!("{}: {status}", agent.display()));
    }
    // SAFETY: all zeros is a valid value, and wait4 has filled it in.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Cost {
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        wall: started.elapsed().as_secs_f64(),
        peak_mb: usage.ru_maxrss as f64 / 1e3,
    })
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
