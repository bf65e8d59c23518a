//! `exec`: runs a command; each line that it prints is a record.
//!
//! ```text
//! [INPUT]
//!     name          exec
//!     command       df -h /var
//!     interval_sec  60
//! ```
//!
//! The command is run by `/bin/sh -c` in a process group of its own, so whoever can write the configuration can
//! run anything as the agent's user. Without a parser a record is `{"exec": line}`; a line longer than
//! `buf_size` becomes several. When the agent stops, the group gets SIGTERM. A command that runs for longer than
//! the interval delays the next run.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::EventTime;
use options::{Options, Reader, Size};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

use crate::parsing::LineParser;
use crate::records::Records;
use crate::timer::{self, Interval};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "exec", about: "runs a command and takes its lines", specs: ExecOptions::specs, open };

/// Records go out at this size, or when the command has printed nothing more.
const BATCH_BYTES: usize = 64 << 10;

#[derive(Debug, Options)]
#[options(check = ExecOptions::check)]
struct ExecOptions {
    /// The command, for `/bin/sh -c`.
    #[option(required)]
    command: String,
    /// The parser that takes a line apart.
    parser: Option<String>,
    #[option(flatten)]
    /// How often the command is run.
    interval: Interval,
    /// The longest line, in bytes, its end included. What is longer becomes several records.
    #[option(default = "4096", min = "2", max = "256M")]
    buf_size: Size,
    /// Run the command once.
    #[option(default = "off")]
    oneshot: bool,
    /// Run the command once and stop the agent when it has ended.
    #[option(default = "off")]
    exit_after_oneshot: bool,
    /// With `exit_after_oneshot`: the agent's exit code is the command's, or 128 and the number of the signal
    /// that ended it.
    #[option(default = "off")]
    propagate_exit_code: bool,
}

impl ExecOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.propagate_exit_code && !self.exit_after_oneshot {
            let hint = "set exit_after_oneshot to on as well".to_owned();
            let what = "propagate_exit_code without exit_after_oneshot: the agent would not exit";
            reader.refuse("propagate_exit_code", what, Some(hint));
        }
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = ExecOptions::read(reader)?;
    let parser = LineParser::open(options.parser.as_deref(), reader, setup)?;
    Some(Arc::new(Exec { options, parser }))
}

struct Exec {
    options: ExecOptions,
    parser: LineParser,
}

impl Input for Exec {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            if self.options.oneshot || self.options.exit_after_oneshot {
                let code = self.command(&out, &stop).await;
                if self.options.exit_after_oneshot {
                    tracing::info!("[input:exec] the command has ended: the agent stops");
                    stop.ask_exit(if self.options.propagate_exit_code { code } else { 0 });
                }
                return Ok(());
            }
            let mut timer = timer::every(self.options.interval.period());
            while timer::tick(&mut timer, &stop).await {
                self.command(&out, &stop).await;
            }
            Ok(())
        })
    }
}

impl Exec {
    /// Runs the command to its end. Returns its exit code as a shell would give it.
    async fn command(&self, out: &Emitter, stop: &Stop) -> u8 {
        let command = &self.options.command;
        let code = match self.start() {
            Ok((mut child, output)) => {
                let group = child.id();
                let work = async {
                    self.lines(output, out).await;
                    child.wait().await
                };
                tokio::pin!(work);
                let ended = tokio::select! {
                    ended = &mut work => ended,
                    () = stop.requested() => {
                        terminate(group);
                        work.await
                    }
                };
                ended.map(code_of)
            }
            Err(error) => Err(error),
        };
        code.unwrap_or_else(|error| {
            tracing::warn!("[input:exec] the command \"{command}\" could not be run: {error}");
            128
        })
    }

    fn start(&self) -> io::Result<(Child, ChildStdout)> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(&self.options.command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((child, output))
    }

    /// Reads to the end of what the command prints. The buffer grows with the longest line.
    async fn lines(&self, mut output: ChildStdout, out: &Emitter) {
        let most = self.options.buf_size.0 as usize - 1;
        let Ok(mut lease) = out.account().lease(most.min(BATCH_BYTES)).await else { return };
        let mut buffer = vec![0; lease.bytes()];
        let mut held = 0;
        // The command waits when it is not read.
        let mut records = Records::new(&out.waiting());
        loop {
            let read = match output.read(&mut buffer[held..]).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!("[input:exec] what the command prints cannot be read: {error}");
                    0
                }
            };
            let end = held + read;
            let mut start = 0;
            while let Some(length) = buffer[start..end].iter().position(|byte| *byte == b'\n') {
                self.line(&buffer[start..start + length], &mut records).await;
                start += length + 1;
            }
            let is_full = end - start == buffer.len();
            if is_full
                && lease.bytes() < most
                && let Ok(more) = out.account().lease(most.min(2 * end)).await
            {
                buffer.resize(more.bytes(), 0);
                lease = more;
            } else if start < end && (is_full || read == 0) {
                // A piece of a line that is longer, or the last one.
                self.line(&buffer[start..end], &mut records).await;
                start = end;
            }
            buffer.copy_within(start..end, 0);
            held = end - start;
            if records.len() >= BATCH_BYTES || held == 0 || read == 0 {
                records.send().await;
                records = Records::new(&out.waiting());
            }
            if read == 0 {
                return;
            }
        }
    }

    async fn line(&self, line: &[u8], records: &mut Records) {
        if !self.parser.add(records, EventTime::now(), line, "exec", &[]).await {
            tracing::debug!("[input:exec] the parser does not take a line: it is kept whole");
        }
    }
}

/// Ends the process group of the command.
fn terminate(group: Option<u32>) {
    if let Some(group) = group.and_then(|group| i32::try_from(group).ok()) {
        // SAFETY: signals a process group that this process has made and not yet waited for.
        unsafe { libc::kill(-group, libc::SIGTERM) };
    }
}

fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(128);
    code as u8
}
