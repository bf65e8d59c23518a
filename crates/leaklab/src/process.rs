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

/// The processor time a process has used, in seconds: all its threads, in user and kernel mode. It is the
/// scheduler's own count; the ticks of `/proc/PID/stat` are too coarse for a process that ran for a moment.
///
/// # Errors
/// The process is gone.
pub fn cpu(pid: u32) -> io::Result<f64> {
    let gone = |code: i32| Err(io::Error::from_raw_os_error(code));
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: the pointer is to a clock id that lives during the call.
    match unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } {
        0 => {}
        code => return gone(code),
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a time that lives during the call.
    match unsafe { libc::clock_gettime(clock, &raw mut time) } {
        0 => Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9),
        _ => Err(io::Error::last_os_error()),
    }
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
    fn time_is_counted_in_less_than_ticks_and_of_all_threads() {
        let own = std::process::id();
        let before = cpu(own).unwrap();
        let spin = || {
            let until = std::time::Instant::now() + std::time::Duration::from_millis(5);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
        };
        std::thread::spawn(spin).join().unwrap();
        let used = cpu(own).unwrap() - before;
        assert!(used > 0.0 && (used * 100.0).fract() > 0.0, "{used}");
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert!(cpu(ended.id()).is_err() && cpu(u32::MAX).is_err());
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
