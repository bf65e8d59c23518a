//! Starting programs.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The root of the repository.
pub fn root() -> PathBuf {
    // Asked for at run time: the folder may have moved since this was built.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo in the repository and shows what it prints.
pub fn cargo(arguments: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    finish(Command::new(cargo).args(arguments).current_dir(root()), &format!("cargo {}", arguments.join(" ")))
}

/// Runs a command to its end.
pub fn finish(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{what}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}")) }
}

/// A program that runs beside this one and is ended with it.
pub struct Running {
    child: Child,
    name: &'static str,
}

impl Running {
    /// Starts it. Its standard output can be read when `output` is piped.
    pub fn start(name: &'static str, command: &mut Command, output: Stdio) -> Result<Running, String> {
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Running { child, name })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> Result<(), String> {
        self.terminate();
        let status = self.child.wait().map_err(|error| format!("{}: {error}", self.name))?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name)) }
    }

    fn terminate(&self) {
        // SAFETY: a signal to a child that was not waited for yet, so the id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` the child has been waited for and the number may be another process'.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            let _status = self.child.wait();
        }
    }
}
