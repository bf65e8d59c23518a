//! Starts the pipeline, and does what signals say until it has stopped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use budget::Budget;
use engine::Stop;
use engine::common::Service;
use engine::lane::{Stopper, runtime};
use engine::pipeline::{Pipeline, Switch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

use crate::admin::{self, Shown};
use crate::cli::Options;
use crate::ledger::Ledger;
use crate::load::{Loaded, Read, Running};
use crate::memory::Memory;
use crate::{heap, log};

/// Reloads, as those who ask for them and those who count them see them.
pub struct Reloads {
    /// When the process started.
    pub started: Instant,
    /// The same by the clock on the wall.
    pub started_at: SystemTime,
    /// How many were carried out.
    pub count: Cell<u64>,
    /// Whether they may be asked for.
    enabled: Cell<bool>,
    running: Cell<bool>,
    asked: Notify,
}

impl Reloads {
    fn new(enabled: bool) -> Rc<Reloads> {
        Rc::new(Reloads {
            started: Instant::now(),
            started_at: SystemTime::now(),
            count: Cell::new(0),
            enabled: Cell::new(enabled),
            running: Cell::new(false),
            asked: Notify::new(),
        })
    }

    /// Asks for a reload.
    ///
    /// # Errors
    /// True when one is running, false when they are not enabled.
    pub fn ask(&self) -> Result<(), bool> {
        if !self.enabled.get() {
            return Err(false);
        }
        if self.running.get() {
            return Err(true);
        }
        self.asked.notify_one();
        Ok(())
    }
}

/// Goes into the background, as `daemon` asks for: the process that was started ends, and this one has no
/// terminal. Relative paths of the configuration then start at `/`, as in Fluent Bit, but for the configuration's.
///
/// # Errors
/// The system's.
pub fn detach(options: &mut Options) -> Result<(), String> {
    if let Some(config) = &mut options.config
        && let Ok(full) = std::fs::canonicalize(&config)
    {
        *config = full;
    }
    // SAFETY: there is one thread still: no runtime and no lane has been started.
    match unsafe { libc::fork() } {
        -1 => return Err(format!("cannot go into the background: {}", std::io::Error::last_os_error())),
        0 => {}
        // What this process has buffered, its copy has too.
        // SAFETY: it ends this process and nothing else.
        _ => unsafe { libc::_exit(0) },
    }
    // SAFETY: plain system calls; the names are constants that end with a zero byte.
    unsafe {
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for descriptor in 0..=2 {
            libc::dup2(null, descriptor);
        }
        if null > 2 {
            libc::close(null);
        }
    }
    Ok(())
}

/// Runs what was loaded until a signal stops it, or an instance asks for the end. Returns the exit code.
///
/// # Errors
/// One line for each instance that cannot start.
pub fn run(loaded: Loaded, options: &Options) -> Result<u8, String> {
    log::start(&loaded.service, &loaded.instances, options)?;
    let Loaded { service, pipeline, budget, warnings, memory, .. } = loaded;
    tracing::info!("[weir] version={}, pid={}, {memory}", env!("CARGO_PKG_VERSION"), std::process::id());
    warnings.iter().for_each(|warning| tracing::warn!("[config] {warning}"));
    let runtime = runtime().map_err(|error| format!("cannot start: {error}"))?;
    tracing::info!("[memory] {}", heap::verify()?);
    LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(heap::settle());
        let signals = Signals::listen()?;
        net::listener::begin_reload();
        pipeline.start().map_err(|failed| failed.join("\n"))?;
        let stopper = Stopper::default();
        let (switches, switched) = mpsc::channel(1);
        let mut agent = Agent {
            reloads: Reloads::new(service.hot_reload),
            options: options.clone(),
            metrics: Rc::new(RefCell::new(pipeline.metrics())),
            stop: stopper.stop(),
            ledger: Ledger::new(budget.clone(), memory.clone()),
            memory,
            budget,
            service,
            switches,
            admin: None,
        };
        agent.admin = agent.serve(&agent.service)?;
        let ledger = agent.ledger.clone();
        let dump = Dump { metrics: Rc::clone(&agent.metrics), ledger: ledger.clone() };
        tokio::task::spawn_local(signals.obey(stopper.clone(), dump, Rc::clone(&agent.reloads)));
        tokio::task::spawn_local(agent.keep_reloading());
        tokio::task::spawn_local(await_exit(stopper.clone()));
        let left =
            pipeline.run(stopper.stop(), switched).await.map_err(|error| format!("cannot run: {error}"))?;
        if left > 0 {
            tracing::error!(
                "[engine] service has stopped ({left} batches were not delivered within the grace)"
            );
        } else {
            tracing::info!("[engine] service has stopped (0 pending tasks)");
            check_empty(&ledger).await;
        }
        Ok(stopper.exit_code())
    })
}

/// When everything was delivered, nothing is held any more. What is would be a leak, and is said.
async fn check_empty(ledger: &Ledger) {
    for _ in 0..50 {
        if ledger.held().is_empty() {
            return;
        }
        // The last connections and uploads are on their way out.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tracing::error!("[memory] still held after everything was delivered: {}", ledger.held().join(", "));
}

/// The running agent, as far as a reload changes it.
struct Agent {
    options: Options,
    service: Service,
    budget: Budget,
    memory: Memory,
    ledger: Ledger,
    metrics: Shown,
    reloads: Rc<Reloads>,
    stop: Stop,
    switches: mpsc::Sender<Switch>,
    /// Stops the monitoring API.
    admin: Option<Stopper>,
}

impl Agent {
    /// Starts the monitoring API that the service section asks for.
    fn serve(&self, service: &Service) -> Result<Option<Stopper>, String> {
        if !service.http_server {
            return Ok(None);
        }
        let stopper = self.stop.apart();
        let (reloads, ledger) = (Rc::clone(&self.reloads), self.ledger.clone());
        admin::start(service, Rc::clone(&self.metrics), &self.budget, ledger, reloads, stopper.stop())?;
        Ok(Some(stopper))
    }

    async fn keep_reloading(mut self) {
        loop {
            tokio::select! {
                () = self.reloads.asked.notified() => {}
                () = self.stop.requested() => {
                    net::listener::release();
                    self.admin.iter().for_each(Stopper::say);
                    return;
                }
            }
            tracing::info!("[reload] reloading the configuration, pid={}", std::process::id());
            self.reloads.running.set(true);
            self.budget.next_generation();
            net::listener::begin_reload();
            let reloaded = self.reload().await;
            net::listener::end_reload(reloaded.is_ok());
            self.reloads.running.set(false);
            match reloaded {
                Ok(()) => {
                    self.reloads.count.set(self.reloads.count.get() + 1);
                    tracing::info!("[reload] successful reload done");
                }
                Err(why) => {
                    why.lines().for_each(|line| tracing::error!("[reload] {line}"));
                    tracing::error!("[reload] nothing is changed: the running configuration stays");
                }
            }
        }
    }

    /// Reads, checks, builds and binds everything new beside what runs, then lets it take over.
    async fn reload(&mut self) -> Result<(), String> {
        let running = Running {
            budget: self.budget.clone(),
            memory: self.memory.clone(),
            memory_limit: self.service.memory_limit,
            metrics: Arc::clone(&self.metrics.borrow()),
        };
        let loaded = Read::all(&self.options).open(Some(&running));
        let loaded = loaded.map_err(|problems| problems.to_string())?;
        let Loaded { service, pipeline, warnings, instances, .. } = loaded;
        pipeline.start().map_err(|failed| failed.join("\n"))?;
        let address =
            |service: &Service| (service.http_server, service.http_listen.clone(), service.http_port);
        let moved = address(&service) != address(&self.service);
        let admin = if moved { self.serve(&service)? } else { None };
        let metrics = pipeline.metrics();
        if let Err(why) = self.switch(pipeline).await {
            admin.iter().for_each(Stopper::say);
            return Err(why);
        }
        if moved {
            self.admin.iter().for_each(Stopper::say);
            self.admin = admin;
        }
        *self.metrics.borrow_mut() = metrics;
        self.reloads.enabled.set(service.hot_reload);
        if let Err(why) = log::start(&service, &instances, &self.options) {
            tracing::error!("[reload] the log stays as it is: {why}");
        }
        warnings.iter().for_each(|warning| tracing::warn!("[config] {warning}"));
        self.service = service;
        Ok(())
    }

    async fn switch(&self, pipeline: Pipeline) -> Result<(), String> {
        let (done, switched) = oneshot::channel();
        let gone = "the agent stops".to_owned();
        self.switches.send(Switch { pipeline, done }).await.map_err(|_| gone.clone())?;
        switched.await.map_err(|_| gone)?.map_err(|error| format!("cannot take over: {error}"))
    }
}

/// An input whose source has ended may stop the agent as a signal does.
async fn await_exit(stopper: Stopper) {
    stopper.exit_asked().await;
    stopper.say();
}

/// The signals that the agent acts on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    resume: Signal,
    user: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("a signal cannot be listened for: {error}"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hang_up: listen(SignalKind::hangup())?,
            resume: listen(SignalKind::from_raw(libc::SIGCONT))?,
            user: listen(SignalKind::user_defined1())?,
        })
    }

    /// SIGTERM, SIGINT and SIGQUIT stop the agent gracefully, a second one at once; SIGCONT prints a dump.
    async fn obey(mut self, stopper: Stopper, dump: Dump, reloads: Rc<Reloads>) {
        let mut stopping = false;
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.hang_up.recv() => {
                    match reloads.ask() {
                        Ok(()) => {}
                        Err(true) => tracing::warn!("[reload] a reload is running already"),
                        Err(false) => tracing::warn!(
                            "[reload] hot reload is not enabled: nothing is changed; set hot_reload on in the service section"
                        ),
                    }
                    continue;
                }
                _ = self.resume.recv() => {
                    dump.print();
                    continue;
                }
                _ = self.user.recv() => {
                    dump.ledger.lines().iter().for_each(|line| tracing::info!("[memory] {line}"));
                    continue;
                }
            };
            if stopping {
                tracing::error!("[engine] caught signal ({name}) again: what is not delivered is given up");
                std::process::exit(1);
            }
            tracing::warn!("[engine] caught signal ({name})");
            stopper.say();
            stopping = true;
        }
    }
}

/// What SIGCONT prints to standard error.
struct Dump {
    metrics: Shown,
    ledger: Ledger,
}

impl Dump {
    fn print(&self) {
        let mut text = String::from("[engine] caught signal (SIGCONT)\nWeir dump\n\n===== Input =====\n");
        let mut line = |text_line: String| {
            text.push_str(&text_line);
            text.push('\n');
        };
        let metrics = self.metrics.borrow();
        for input in &metrics.inputs {
            line(input.name.clone());
            line(format!("├─ records    : {}", input.records.get()));
            line(format!("└─ bytes      : {}", input.bytes.get()));
        }
        line("\n===== Output =====".to_owned());
        for output in &metrics.outputs {
            line(output.name.clone());
            line(format!("├─ delivered  : {} records, {} bytes", output.records.get(), output.bytes.get()));
            line(format!("├─ retries    : {}, {} failed", output.retries.get(), output.retries_failed.get()));
            line(format!(
                "└─ dropped    : {} records, {} errors",
                output.dropped_records.get(),
                output.errors.get()
            ));
        }
        line("\n===== Memory =====".to_owned());
        self.ledger.lines().into_iter().for_each(line);
        eprintln!("{text}");
    }
}
