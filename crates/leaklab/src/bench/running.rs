//! Starting programs on a core of their own.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a program takes no connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// It ended by itself.
    Ended,
    /// It runs and does not listen.
    Silent,
}

/// A program that ends with this one.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts it on a core.
    pub fn start(command: &mut Command, core: usize) -> Result<Running, String> {
        let name = command.get_program().display().to_string();
        // SAFETY: between fork and exec only two system calls are made, which touch no memory of the parent.
        unsafe {
            command.pre_exec(move || {
                pin(core)?;
                // Ended with its parent, also when that is killed.
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Running { child })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a port of the loopback interface takes connections.
    pub fn wait_for(&mut self, port: u16) -> Result<(), NotReady> {
        let started = Instant::now();
        while TcpStream::connect_timeout(&local(port), Duration::from_secs(1)).is_err() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(NotReady::Ended);
            }
            if started.elapsed() > PATIENCE {
                return Err(NotReady::Silent);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Reads `key=value` lines from its standard output until it says `ready`.
    pub fn settings(&mut self) -> Result<HashMap<String, String>, String> {
        let output = self.child.stdout.take().ok_or("its output is not piped")?;
        let mut found = HashMap::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| error.to_string())?;
            if line == "ready" {
                return Ok(found);
            }
            if let Some((key, value)) = line.split_once('=') {
                found.insert(key.to_owned(), value.to_owned());
            }
        }
        Err("it ended before it was ready".to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // What was to be measured has been; a polite end takes a second and more.
            let _gone = self.child.kill();
        }
        let _status = self.child.wait();
    }
}

/// Keeps the calling thread, and the threads and processes it starts, on a core.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: a set of cores is plain bits, all zeros an empty one, and it lives during the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(local(0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// A port of the loopback interface.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
