//! Asking the allocator of the target to give back what it keeps: what goes was freed by the program and kept by
//! the allocator, what stays is held by the program.
//!
//! The only way is a call inside the target. It is made by ptrace while the main thread waits in a system call, as
//! a debugger does: registers are kept, `malloc_trim(0)` of glibc or `arena.<all>.purge` of jemalloc is called, and
//! the registers are put back. V8 is asked to collect garbage by its inspector (`v8`). Only a process that the lab
//! itself has started is asked, and only while it rests.

use std::time::{Duration, Instant};

use super::program;
use super::v8::Inspector;

/// How long a call may take, and how long the thread may take to wait in a system call.
const CALL: Duration = Duration::from_secs(8);
const WAITING: Duration = Duration::from_secs(4);
/// "All arenas" for jemalloc, purged.
const PURGE: &[u8] = b"arena.4096.purge\0";

/// The size from which glibc maps a block by itself, as it is at its start.
const LARGE_BLOCK: u64 = 128 << 10;

/// What a function is called with.
#[derive(Clone, Copy)]
enum Arguments<'a> {
    Numbers([u64; 2]),
    /// A text and zeros.
    Text(&'a [u8]),
}

/// Whom to ask in a process, found out once.
pub struct Asker {
    pid: u32,
    jemalloc: Option<u64>,
    glibc: Option<u64>,
    options: Option<u64>,
    v8: Option<Inspector>,
    /// Why nobody is asked any more.
    pub failed: Option<String>,
}

impl Asker {
    /// Looks for allocators and collectors that can be asked. `port` is that of Node's inspector.
    pub fn new(pid: u32, runtime: &str, port: Option<u16>) -> Asker {
        let jemalloc = program::function(pid, &program::JEMALLOC, None)
            .or_else(|| program::function(pid, &program::JEMALLOC, Some("libjemalloc")));
        let glibc = program::function(pid, &["malloc_trim"], Some("libc.so.6"))
            .or_else(|| program::function(pid, &["malloc_trim", "__malloc_trim"], None));
        let options = program::function(pid, &["mallopt"], Some("libc.so.6"));
        let v8 = port.filter(|_| runtime == "node").and_then(|port| Inspector::open(pid, port).ok());
        let nobody = jemalloc.is_none() && glibc.is_none() && v8.is_none();
        let failed = nobody.then(|| "its allocator is not known".to_owned());
        Asker { pid, jemalloc, glibc, options, v8, failed }
    }

    /// What is asked, in words.
    pub fn names(&self) -> String {
        let names = [
            self.v8.as_ref().map(|_| "a collection of V8"),
            self.jemalloc.map(|_| "purge of jemalloc"),
            self.glibc.map(|_| "malloc_trim of glibc"),
        ];
        names.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether a collector was found: what is left then is held by somebody.
    pub fn collects(&self) -> bool {
        self.v8.is_some()
    }

    /// Asks all of them. False: nobody was asked, now or ever.
    pub fn ask(&mut self) -> bool {
        if self.failed.is_none() {
            self.failed = self.try_ask().err();
        }
        self.failed.is_none()
    }

    /// Tells glibc to map large blocks by themselves, as it does until the first of them is freed, and to trim the
    /// heaps of threads. It keeps up to 64 MiB of what a large block leaves otherwise, which `malloc_trim` does not
    /// reach: that is the allocator's peak and not the program's.
    pub fn map_large_blocks(&mut self) {
        let Some(mallopt) = self.options.filter(|_| self.failed.is_none()) else { return };
        for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
            let arguments = [option as u64, LARGE_BLOCK];
            if let Err(error) = call(self.pid, mallopt, Arguments::Numbers(arguments)) {
                self.failed = Some(error);
                return;
            }
        }
    }

    fn try_ask(&mut self) -> Result<(), String> {
        if let Some(v8) = &mut self.v8 {
            v8.collect().map_err(|error| format!("inspector: {error}"))?;
        }
        if let Some(address) = self.jemalloc {
            call(self.pid, address, Arguments::Text(PURGE))?;
        }
        if let Some(address) = self.glibc {
            call(self.pid, address, Arguments::Numbers([0, 0]))?;
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
fn call(pid: u32, function: u64, arguments: Arguments) -> Result<(), String> {
    x86::call(pid as i32, function, arguments).map_err(|error| format!("ptrace: {error}"))
}

#[cfg(not(target_arch = "x86_64"))]
fn call(_: u32, _: u64, _: Arguments) -> Result<(), String> {
    Err("not on this processor".to_owned())
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr::null_mut;

    use super::{Arguments, CALL, Duration, Instant, WAITING};

    /// The number of no system call: nothing is restarted when the thread goes on.
    const NONE: u64 = u64::MAX;

    type Registers = libc::user_regs_struct;

    /// A thread that is traced until this is dropped.
    struct Thread(i32);

    impl Drop for Thread {
        fn drop(&mut self) {
            if !self.detach() {
                // It has not stopped yet, and would stop for ever once we are gone.
                let _stopped = self.stopped(CALL);
                self.detach();
            }
        }
    }

    fn check(result: libc::c_long) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    impl Thread {
        fn detach(&self) -> bool {
            let nothing = null_mut::<libc::c_void>;
            // SAFETY: the request takes no memory of ours; it fails where the thread has not stopped.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, nothing(), nothing()) == 0 }
        }

        fn seize(tid: i32) -> io::Result<Thread> {
            let nothing = null_mut::<libc::c_void>;
            // SAFETY: the requests take no memory of ours.
            unsafe {
                check(libc::ptrace(libc::PTRACE_SEIZE, tid, nothing(), nothing()))?;
                let thread = Thread(tid);
                check(libc::ptrace(libc::PTRACE_INTERRUPT, tid, nothing(), nothing()))?;
                thread.stopped(WAITING)?;
                Ok(thread)
            }
        }

        /// Waits until it has stopped.
        fn stopped(&self, patience: Duration) -> io::Result<()> {
            let begun = Instant::now();
            loop {
                let mut status = 0;
                // SAFETY: the pointer is to a status that lives during the call.
                let found = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL | libc::WNOHANG) };
                if found == self.0 {
                    let stopped = libc::WIFSTOPPED(status);
                    return if stopped { Ok(()) } else { Err(io::Error::other("the target ended")) };
                }
                if found < 0 {
                    return Err(io::Error::last_os_error());
                }
                if begun.elapsed() > patience {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }

        fn registers(&self) -> io::Result<Registers> {
            let mut registers = MaybeUninit::<Registers>::zeroed();
            // SAFETY: the pointer is to registers that live during the call; zeros are valid ones.
            unsafe {
                check(libc::ptrace(
                    libc::PTRACE_GETREGS,
                    self.0,
                    null_mut::<libc::c_void>(),
                    registers.as_mut_ptr(),
                ))?;
                Ok(registers.assume_init())
            }
        }

        fn set(&self, registers: &Registers) -> io::Result<()> {
            // SAFETY: the pointer is to registers that live during the call.
            let result = unsafe {
                libc::ptrace(
                    libc::PTRACE_SETREGS,
                    self.0,
                    null_mut::<libc::c_void>(),
                    std::ptr::from_ref(registers),
                )
            };
            check(result)
        }

        fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
            for (index, word) in bytes.chunks(8).enumerate() {
                let mut value = [0; 8];
                value[..word.len()].copy_from_slice(word);
                let at = address + index as u64 * 8;
                // SAFETY: the word goes into the target's memory, below its stack; none of ours is touched.
                let result = unsafe {
                    libc::ptrace(
                        libc::PTRACE_POKEDATA,
                        self.0,
                        at as *mut libc::c_void,
                        u64::from_ne_bytes(value),
                    )
                };
                check(result)?;
            }
            Ok(())
        }

        fn go_on(&self) -> io::Result<()> {
            let nothing = null_mut::<libc::c_void>;
            // SAFETY: the request takes no memory of ours.
            check(unsafe { libc::ptrace(libc::PTRACE_CONT, self.0, nothing(), nothing()) })
        }

        fn interrupt(&self) -> io::Result<()> {
            let nothing = null_mut::<libc::c_void>;
            // SAFETY: the request takes no memory of ours.
            check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, self.0, nothing(), nothing()) })?;
            self.stopped(WAITING)
        }
    }

    /// Calls a function in the main thread of a process; arguments behind those given are 0.
    pub fn call(pid: i32, function: u64, arguments: Arguments) -> io::Result<()> {
        let thread = waiting(pid)?;
        let before = thread.registers()?;
        // Below the stack and what a function may use beneath it; at a call it is aligned but for the address
        // to return to. That address is 0: the return is a fault, which stops the thread once more.
        let room = (before.rsp - 1024) & !15;
        let argument = room + 64;
        let [first, second] = match arguments {
            Arguments::Numbers(numbers) => numbers,
            Arguments::Text(text) => {
                thread.write(argument, text)?;
                [argument, 0]
            }
        };
        thread.write(room - 8, &[0; 8])?;
        let mut registers = before;
        registers.rsp = room - 8;
        registers.rip = function;
        (registers.rdi, registers.rsi) = (first, second);
        (registers.rdx, registers.rcx, registers.r8) = (0, 0, 0);
        (registers.rax, registers.orig_rax) = (0, NONE);
        thread.set(&registers)?;
        thread.go_on()?;
        let ended = thread.stopped(CALL);
        if ended.is_err() {
            thread.interrupt()?;
        }
        let returned = ended.is_ok() && thread.registers()?.rip == 0;
        thread.set(&again(before))?;
        ended?;
        if returned { Ok(()) } else { Err(io::Error::other("the call did not return")) }
    }

    /// Waiting on epoll would end with EINTR, which is the only trace of a stop that a program sees: it waits again.
    fn again(mut registers: Registers) -> Registers {
        let number = registers.orig_rax as i64;
        let waits = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2].contains(&number);
        if waits && registers.rax as i64 == -i64::from(libc::EINTR) {
            // The instruction of the system call has two bytes.
            registers.rip -= 2;
            registers.rax = registers.orig_rax;
            registers.orig_rax = NONE;
        }
        registers
    }

    /// The main thread, stopped while it waits in a system call: it holds no lock of the allocator then.
    fn waiting(pid: i32) -> io::Result<Thread> {
        let begun = Instant::now();
        loop {
            let thread = Thread::seize(pid)?;
            if thread.registers()?.orig_rax != NONE {
                return Ok(thread);
            }
            drop(thread);
            if begun.elapsed() > WAITING {
                return Err(io::Error::other("its main thread never waits"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
