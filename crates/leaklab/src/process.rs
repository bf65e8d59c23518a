//! What the kernel knows of a process' memory.

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
