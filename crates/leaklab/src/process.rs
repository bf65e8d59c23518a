//! What the kernel knows of a process' memory and time.

use std::io;

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident now (VmRSS).
    pub resident: u64,
    /// The most that was ever resident (VmHWM).
    pub peak: u64,
}

/// Reads `/proc/PID/status`.
///
/// # Errors
/// The process is gone, or the file is not what it should be.
pub fn memory(pid: u32) -> io::Result<Memory> {
    // The kernel writes this file; it has a few kilobytes.
    #[allow(clippy::disallowed_methods)]
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "no memory in /proc/PID/status");
    let resident = field("VmRSS:").ok_or_else(missing)?;
    Ok(Memory { resident, peak: field("VmHWM:").ok_or_else(missing)? })
}

/// The processor time a process has used, in seconds: all its threads, in user and kernel mode.
///
/// # Errors
/// The process is gone, or the file is not what it should be.
pub fn cpu(pid: u32) -> io::Result<f64> {
    // The kernel writes this file; it has one line.
    #[allow(clippy::disallowed_methods)]
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat);
    // SAFETY: the call has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let ticks =
        ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no times in /proc/PID/stat"))?;
    Ok(ticks as f64 / per_second as f64)
}

/// utime + stime. The name of the process, in brackets, may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// The processor time of this process, in seconds.
pub fn own_cpu() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a usage that lives during the call; zeros are a valid one if the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Lets this process, and those it starts, open as many files and connections as the system allows.
///
/// # Errors
/// The system's.
pub fn allow_descriptors() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a limit that lives during the calls.
    let result = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) {
            0 => {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
            }
            failed => failed,
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_the_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 400 56 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(456));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.peak > 0);
        let mut sum = 0_u64;
        while own_cpu() < 0.02 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu(std::process::id()).unwrap() > 0.0);
    }
}
