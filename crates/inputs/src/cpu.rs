//! `cpu`: how busy the processors are, or one process.
//!
//! ```text
//! [INPUT]
//!     name          cpu
//!     tag           cpu.local
//!     interval_sec  10
//! ```
//!
//! A record has the percentage of all processors together (`cpu_p`, and of that `user_p` and `system_p`) and of
//! each one (`cpu0.p_cpu`, `cpu0.p_user`, `cpu0.p_system`), since the look before. With `pid` it has the first
//! three only, for that process.

use std::sync::Arc;
use std::time::Instant;

use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::EventTime;
use options::{Options, Reader};

use crate::records::{Records, Value};
use crate::timer::{self, Interval};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "cpu", about: "the load of the processors", specs: CpuOptions::specs, open };

#[derive(Debug, Options)]
struct CpuOptions {
    /// The process to look at; -1 for all of the machine.
    #[option(default = "-1")]
    pid: i32,
    #[option(flatten)]
    /// How often.
    interval: Interval,
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Input>> {
    Some(Arc::new(Cpu { options: CpuOptions::read(reader)? }))
}

struct Cpu {
    options: CpuOptions,
}

/// What a processor, or a process, has spent, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Spent {
    user: u64,
    system: u64,
}

impl Input for Cpu {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let mut timer = timer::every(self.options.interval.period());
            let mut records = Records::new(&out);
            let mut before = (Instant::now(), self.look()?);
            while timer::tick(&mut timer, &stop).await {
                let now = (Instant::now(), self.look()?);
                let ticks = (now.0 - before.0).as_secs_f64() * ticks_per_second();
                self.add(&mut records, &before.1, &now.1, ticks).await;
                records.send().await;
                before = now;
            }
            Ok(())
        })
    }
}

impl Cpu {
    /// All processors together first, then each; or the process alone.
    fn look(&self) -> Result<Vec<Spent>, String> {
        let (path, parse): (String, fn(&str) -> Vec<Spent>) = match self.options.pid {
            pid @ 0.. => (format!("/proc/{pid}/stat"), of_process),
            _ => ("/proc/stat".to_owned(), of_machine),
        };
        let text = timer::kernel_text(&path)?;
        let spent = parse(&text);
        if spent.is_empty() { Err(format!("{path} is not as expected")) } else { Ok(spent) }
    }

    async fn add(&self, records: &mut Records, before: &[Spent], now: &[Spent], ticks: f64) {
        let mut entries = Vec::with_capacity(3 * now.len());
        // One process may keep all processors busy.
        let processors = if now.len() > 1 { now.len() - 1 } else { online() };
        for (number, (now, before)) in now.iter().zip(before).enumerate() {
            let all = ticks * if number == 0 { processors as f64 } else { 1.0 };
            let share = |now: u64, before: u64| 100.0 * now.saturating_sub(before) as f64 / all;
            let (user, system) = (share(now.user, before.user), share(now.system, before.system));
            let names = match number.checked_sub(1) {
                None => ["cpu_p".to_owned(), "user_p".to_owned(), "system_p".to_owned()],
                Some(cpu) => ["p_cpu", "p_user", "p_system"].map(|name| format!("cpu{cpu}.{name}")),
            };
            entries.extend(names.into_iter().zip([user + system, user, system]));
        }
        let entries: Vec<(&str, Value<'_>)> =
            entries.iter().map(|(name, share)| (name.as_str(), Value::F64(*share))).collect();
        records.add(EventTime::now(), &entries).await;
    }
}

/// `/proc/stat`: a line for all processors, then one for each.
fn of_machine(text: &str) -> Vec<Spent> {
    let lines = text.lines().take_while(|line| line.starts_with("cpu"));
    let spent = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
        let mut next = || words.next()?.ok();
        let (user, nice, system) = (next()?, next()?, next()?);
        Some(Spent { user: user + nice, system })
    });
    spent.collect()
}

/// `/proc/PID/stat`: the program's name in parentheses may hold anything, so the rest is counted from its end.
fn of_process(text: &str) -> Vec<Spent> {
    let words = text.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect::<Vec<_>>());
    let number = |index: usize| words.as_ref()?.get(index)?.parse().ok();
    let spent = number(11).zip(number(12)).map(|(user, system)| Spent { user, system });
    spent.into_iter().collect()
}

fn ticks_per_second() -> f64 {
    // SAFETY: the call has no preconditions.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64
}

fn online() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_read_for_all_for_each_and_for_a_process_of_any_name() {
        let stat = "cpu  10 2 3 100 5 0 0\ncpu0 4 1 2 50 5\ncpu1 6 1 1 50 0\nintr 5\n";
        let spent = [(12, 3), (5, 2), (7, 1)].map(|(user, system)| Spent { user, system });
        assert_eq!(of_machine(stat), spent);
        let process = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 77 33 0 0 20";
        assert_eq!(of_process(process), [Spent { user: 77, system: 33 }]);
        assert!(of_process("").is_empty());
    }
}
