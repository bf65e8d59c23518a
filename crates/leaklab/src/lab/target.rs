//! The process that is looked at: started, waited for, and ended with everything below it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use super::v8;

/// How long a process may take to stop when asked.
const STOPPING: Duration = Duration::from_secs(2);
/// What is shown of its output when it fails.
const TAIL: u64 = 2_000;
/// Why a run ended that somebody ended.
pub const INTERRUPTION: &str = "it was interrupted";

/// The group of the process that runs, for the signal handler.
static GROUP: AtomicI32 = AtomicI32::new(0);
/// Whether the first signal only asks this program to end, and whether one has come.
static POLITE: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C only makes [`interrupted`] true, so that what was measured until then is kept; the
/// second ends everything, as the first does otherwise.
pub fn end_politely() {
    POLITE.store(true, Ordering::SeqCst);
    end_with_us();
}

/// Whether this program was told to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// A process of our own, in a group of its own.
pub struct Target {
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Target {
    /// Starts a command line by the shell; what it prints goes to the file. A Node process will open its inspector
    /// at the port when it is asked to.
    ///
    /// # Errors
    /// The system's, as a sentence.
    pub fn start(command: &str, log: &Path, inspector: Option<u16>) -> Result<Target, String> {
        let fail = |error: io::Error| format!("{command}: {error}");
        let output = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(fail)?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        if let Some(port) = inspector {
            shell.env("NODE_OPTIONS", v8::options(port));
        }
        if std::env::var_os("GOGC").is_none() {
            // A Go program collects when its heap has grown by a fifth, not when it has doubled: what it holds
            // shows earlier.
            shell.env("GOGC", "20");
        }
        // SAFETY: between fork and exec one system call is made, which touches no memory of the parent.
        unsafe {
            shell.pre_exec(|| {
                // The shell ends when this program is killed; its group ends by the handler below.
                match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        let child = shell.spawn().map_err(fail)?;
        GROUP.store(child.id() as i32, Ordering::SeqCst);
        end_with_us();
        Ok(Target { child, log: log.to_owned(), ended: None })
    }

    /// The id of the shell, or of the program where the shell became it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() && self.has_ended() {
            self.ended = self.child.wait().ok();
        }
        self.ended
    }

    /// Whether it has ended. A child that is traced and has stopped is no child that has ended, which the standard
    /// library's way to ask cannot tell.
    fn has_ended(&self) -> bool {
        let mut about = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the pointer is to a structure that lives during the call and that zeros are a valid one of.
        unsafe {
            let result = libc::waitid(libc::P_PID, self.child.id(), about.as_mut_ptr(), how);
            result == 0 && about.assume_init().si_pid() != 0
        }
    }

    /// The end of what it printed.
    pub fn tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_default()
    }

    /// Waits until one of the addresses takes a connection, and returns that address.
    ///
    /// # Errors
    /// It ended, or the time is over.
    pub fn wait_for(&mut self, addresses: &[SocketAddr], patience: Duration) -> Result<SocketAddr, String> {
        let started = Instant::now();
        loop {
            if let Some(address) = addresses.iter().find(|address| answers(**address)) {
                return Ok(*address);
            }
            if let Some(status) = self.ended() {
                return Err(format!("the process ended before it listened ({status}): {}", self.tail()));
            }
            if interrupted() {
                return Err(INTERRUPTION.to_owned());
            }
            if started.elapsed() > patience {
                let seconds = patience.as_secs_f64();
                let tail = self.tail();
                let words = if tail.is_empty() { "the process says nothing" } else { tail.as_str() };
                return Err(format!("nothing listens after {seconds:.0} s: {words}"));
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let group = self.child.id() as i32;
        // SAFETY: signals to the group of a child that was not reaped before its group was ended.
        unsafe { libc::kill(-group, libc::SIGTERM) };
        let asked = Instant::now();
        while self.ended().is_none() && asked.elapsed() < STOPPING {
            std::thread::sleep(Duration::from_millis(10));
        }
        // SAFETY: as above; what is left of the group has our command as its only origin.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let _gone = self.child.wait();
        GROUP.store(0, Ordering::SeqCst);
    }
}

/// Host with port, and path, of a URL.
///
/// # Errors
/// It is of another scheme than http.
pub fn split(url: &str) -> Result<(&str, &str), String> {
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(format!("{url}: only http is spoken, not {scheme}")),
        None => url,
    };
    Ok(rest.find('/').map_or((rest, "/"), |at| rest.split_at(at)))
}

/// Every address of `HOST:PORT`, at which a target is going to listen.
///
/// # Errors
/// The host is not known, or somebody else listens there, who would be measured in its place.
pub fn free_addresses(host: &str) -> Result<Vec<SocketAddr>, String> {
    let all = addresses(host)?;
    match all.iter().find(|address| answers(**address)) {
        Some(taken) => Err(format!("{taken} is taken: another process listens there already")),
        None => Ok(all),
    }
}

/// Whether something takes connections there.
pub fn answers(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Every address of `HOST:PORT`.
///
/// # Errors
/// The host is not known.
pub fn addresses(host: &str) -> Result<Vec<SocketAddr>, String> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    let found: Vec<SocketAddr> =
        host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.collect();
    if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
}

/// Ends the group of the target when this program is told to end.
fn end_with_us() {
    extern "C" fn end(_: i32) {
        if !INTERRUPTED.swap(true, Ordering::SeqCst) && POLITE.load(Ordering::SeqCst) {
            return;
        }
        let group = GROUP.load(Ordering::SeqCst);
        // SAFETY: both calls may be made from a signal handler.
        unsafe {
            if group > 0 {
                libc::kill(-group, libc::SIGKILL);
            }
            libc::_exit(130);
        }
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler makes only calls that a handler may make.
        unsafe { libc::signal(signal, end as extern "C" fn(i32) as libc::sighandler_t) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_goes_through_the_shell_and_its_end_is_told() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut target = Target::start("printf '%s' 'a  b'; exit 3", log.path(), None).unwrap();
        let addresses = ["127.0.0.1:1".parse().unwrap()];
        let error = target.wait_for(&addresses, Duration::from_secs(20)).unwrap_err();
        assert!(error.contains("a  b") && error.contains('3'), "{error}");
    }

    #[test]
    fn children_end_with_the_target() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let target = Target::start("sleep 100 & sleep 100; true", log.path(), None).unwrap();
        let pid = target.pid();
        while crate::lab::look::tree(pid).len() < 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let pids = crate::lab::look::tree(pid);
        drop(target);
        let alive = |pid: &u32| crate::lab::look::look(&[*pid]).is_some();
        while pids.iter().any(alive) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
