//! `mem`: how much memory the machine uses, and one process.
//!
//! ```text
//! [INPUT]
//!     name  mem
//!     tag   memory
//! ```
//!
//! A record has `Mem.total`, `Mem.used`, `Mem.free`, `Swap.total`, `Swap.used` and `Swap.free` in KiB. With `pid`
//! it has as well what that process has resident: `proc_bytes`, and `proc_hr` for people to read.

use std::sync::Arc;

use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::EventTime;
use options::{Options, Reader};

use crate::records::{Records, Value};
use crate::timer::{self, Interval};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "mem", about: "the memory that the machine uses", specs: MemOptions::specs, open };

#[derive(Debug, Options)]
struct MemOptions {
    /// The process to look at as well; 0 for none.
    #[option(default = "0", min = "0")]
    pid: i32,
    #[option(flatten)]
    /// How often.
    interval: Interval,
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Input>> {
    Some(Arc::new(Mem { options: MemOptions::read(reader)? }))
}

struct Mem {
    options: MemOptions,
}

impl Input for Mem {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let mut timer = timer::every(self.options.interval.period());
            let mut records = Records::new(&out);
            while timer::tick(&mut timer, &stop).await {
                self.add(&mut records).await?;
                records.send().await;
            }
            Ok(())
        })
    }
}

impl Mem {
    async fn add(&self, records: &mut Records) -> Result<(), String> {
        let text = timer::kernel_text("/proc/meminfo")?;
        let figure = |name| kib(&text, name).ok_or_else(|| format!("/proc/meminfo has no {name}"));
        let mut entries = Vec::with_capacity(8);
        for (names, total, free) in [
            (["Mem.total", "Mem.used", "Mem.free"], figure("MemTotal")?, figure("MemFree")?),
            (["Swap.total", "Swap.used", "Swap.free"], figure("SwapTotal")?, figure("SwapFree")?),
        ] {
            let figures = [total, total.saturating_sub(free), free];
            entries.extend(names.into_iter().zip(figures.map(Value::U64)));
        }
        let resident = (self.options.pid > 0).then(|| resident(self.options.pid)).flatten();
        let readable = resident.map(readable);
        if let (Some(bytes), Some(readable)) = (resident, &readable) {
            entries.push(("proc_bytes", Value::U64(bytes)));
            entries.push(("proc_hr", Value::Str(readable.as_bytes())));
        }
        records.add(EventTime::now(), &entries).await;
        Ok(())
    }
}

/// A figure of `/proc/meminfo` or of a process's `status`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// What a process has resident, in bytes; `None` when there is no such process.
fn resident(pid: i32) -> Option<u64> {
    let status = timer::kernel_text(&format!("/proc/{pid}/status")).ok()?;
    kib(&status, "VmRSS").map(|kib| 1024 * kib)
}

fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return format!("{bytes} b");
    }
    let unit = (bytes.ilog2() / 10) as usize;
    format!("{:.2}{}", bytes as f64 / 1024_f64.powi(unit as i32), UNITS[unit - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name_and_written_for_people() {
        let text = "MemTotal:       24689764 kB\nMemFree:          12 kB\n";
        assert_eq!(
            (kib(text, "MemTotal"), kib(text, "MemFree"), kib(text, "Mem")),
            (Some(24_689_764), Some(12), None)
        );
        assert_eq!(
            [0, 1023, 1536, 5 << 20, 3 << 30].map(readable),
            ["0 b", "1023 b", "1.50K", "5.00M", "3.00G"]
        );
        assert!(resident(std::process::id() as i32).is_some_and(|bytes| bytes > 0));
    }
}
