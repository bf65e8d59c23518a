//! Builds the instances of a configuration and runs them.

mod core;
mod lanes;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use budget::{Account, Budget, Pressure, Share};
use event::{Entry, Tag};
use options::{Options, Problem, Problems, Reader, Section, Text};
use tokio::sync::{mpsc, oneshot, watch};

use self::core::Core;
use self::lanes::LaneInput;
use crate::common::{FilterCommon, InputCommon, OutputCommon, Service, WhenFull};
use crate::direct::{Directory, InputRoutes};
use crate::dispatch::{self, Answer, Dispatch, Target};
use crate::emit::Promise;
use crate::lane::{self, Ending, Stop};
use crate::limits::{CHUNK_BYTES, FLUSH_QUEUE, LEAST_PAGES, OWN_PART, SEALED_QUEUE, WINDOW_ENTRIES};
use crate::metrics::{Counters, InputMetrics, Metrics, OutputMetrics, Own};
use crate::parsers::Parsers;
use crate::pass::{Emits, Origin};
use crate::plugin::{Filter, Input, Output, Setup};
use crate::processors::{Of, Processors, Unit};
use crate::registry::{Named, Registry};
use crate::retry::Schedule;
use crate::select::Select;
use crate::storage;
use crate::storage::setup::{self, Plan};
use crate::store::ChunkIds;

/// The sections of a configuration that make a pipeline.
pub struct Sections<'a> {
    /// In their order.
    pub inputs: &'a [Section],
    /// In their order: records pass them like that.
    pub filters: &'a [Section],
    /// In their order.
    pub outputs: &'a [Section],
    /// What plugins may ask for by name: those of the parsers files first.
    pub parsers: &'a [Section],
    /// As the parsers.
    pub multiline_parsers: &'a [Section],
    /// Groups of servers that outputs may name in `upstream`.
    pub upstreams: &'a [Upstream],
}

/// A group of servers: an `upstream` section with its `node` groups.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// What outputs call it: the path of its file as they write it, or its name.
    pub called: String,
    /// The section.
    pub section: Section,
}

/// The instances of a valid configuration, not running yet.
pub struct Pipeline {
    inputs: Vec<LaneInput>,
    filters: Vec<Unit>,
    outputs: Vec<OutputInstance>,
    /// The outputs of routes that inputs have of their own.
    direct: Vec<(usize, Vec<usize>)>,
    metrics: Arc<Metrics>,
    budget: Budget,
    flush: Duration,
    grace: Option<Duration>,
    storage: Option<Plan>,
    pub(crate) rings: Vec<(Origin, usize)>,
}

struct InputInstance {
    input: Arc<dyn Input>,
    name: String,
    tag: Tag,
    origin: Origin,
    decode: Account,
    promise: Promise,
    threaded: bool,
    routable: bool,
    /// Dropped with the instance: its successor may begin then.
    alive: watch::Sender<()>,
    routes: Option<InputRoutes>,
}

struct OutputInstance {
    output: Arc<dyn Output>,
    pattern: Option<Select>,
    plan: Schedule,
    when_full: WhenFull,
    metrics: Arc<OutputMetrics>,
    processors: Option<Processors>,
    workers: Option<usize>,
    limit: Option<u64>,
}

/// What was opened, and what is to be said about it.
pub struct Opened {
    /// The pipeline, if there was no problem.
    pub pipeline: Option<Pipeline>,
    /// Everything wrong.
    pub problems: Problems,
    /// Options that Fluent Bit has and that have no effect here.
    pub unused: Vec<Unused>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// What a pipeline needs beside what its accounts set aside.
#[derive(Debug, Clone)]
pub struct Needs {
    /// Threads, the core's left out.
    pub lanes: usize,
    /// Connections at a time, over all inputs.
    pub connections: usize,
    /// What the kernel may hold for the socket of one.
    pub socket_bytes: usize,
    /// The largest piece that is taken whole or not at all.
    pub largest: Option<Largest>,
}

/// See [`Needs::largest`].
#[derive(Debug, Clone)]
pub struct Largest {
    /// The input.
    pub name: String,
    /// The option that allows it.
    pub option: &'static str,
    /// Its size.
    pub bytes: usize,
}

/// An option that Fluent Bit has and that has no effect here.
#[derive(Debug)]
pub struct Unused {
    /// The section it stands in, for example `output http`.
    pub section: String,
    /// Its name and position.
    pub key: Text,
    /// Its value.
    pub value: String,
}

/// Opens every instance and gathers all problems.
///
/// `before` are the counters of the pipeline that this one is to take the place of.
pub fn open(
    service: &Service,
    sections: &Sections<'_>,
    registry: Registry,
    budget: &Budget,
    before: Option<Arc<Metrics>>,
) -> Opened {
    let first = before.as_ref().map_or(0, |before| before.numbers);
    let (mut problems, mut warnings) = (Problems::new(), Vec::new());
    let limit = service.multiline_buffer_limit.0;
    let parsers = Arc::new(Parsers::open(sections, limit, &mut problems, &mut warnings));
    let mut opening = Opening {
        service,
        registry,
        budget,
        parsers,
        upstreams: sections.upstreams.into(),
        counters: Counters::default(),
        problems,
        unused: Vec::new(),
        warnings,
        emitters: Vec::new(),
        inputs: first + sections.inputs.len(),
        first,
        before,
        filtered: !sections.filters.is_empty(),
        directory: Directory::new(first),
        rings: Vec::new(),
    };
    let inputs: Vec<_> =
        numbered(sections.inputs).filter_map(|(n, section)| opening.input(n, section)).collect();
    let filters: Vec<_> =
        numbered(sections.filters).filter_map(|(n, section)| opening.filter(n, section)).collect();
    let single = sections.inputs.len() == 1 && sections.outputs.len() == 1;
    let outputs: Vec<_> =
        numbered(sections.outputs).filter_map(|(n, section)| opening.output(n, section, single)).collect();
    let names: Vec<&str> = outputs.iter().map(|output| output.metrics.name.as_str()).collect();
    let direct = std::mem::take(&mut opening.directory).resolve(&names, &mut opening.problems);
    let Opening { mut problems, unused, warnings, emitters, counters, rings, before, .. } = opening;
    let of_inputs: Vec<_> =
        inputs.iter().map(|input| &input.instance.origin.metrics).chain(&emitters).cloned().collect();
    let folders = folders(first, &of_inputs, direct.iter().map(|(number, _)| *number));
    let of_storage = before.as_ref().map(|before| Arc::clone(&before.storage)).unwrap_or_default();
    let storage = setup::plan(service, folders, outputs.len(), &of_storage, budget);
    let storage = storage.map_err(|problem| problems.push(problem)).ok().flatten();
    let metrics = Metrics {
        inputs: of_inputs,
        storage: of_storage,
        filters: filters.iter().map(|instance| Arc::clone(&instance.metrics)).collect(),
        outputs: outputs.iter().map(|instance| Arc::clone(&instance.metrics)).collect(),
        numbers: first + sections.inputs.len() + emitters.len(),
        ..Metrics::default()
    };
    let metrics = Arc::new(metrics);
    counters.set(Arc::clone(&metrics));
    let pipeline = problems.is_empty().then(|| Pipeline {
        inputs,
        filters,
        outputs,
        direct,
        metrics,
        budget: budget.clone(),
        flush: service.flush.0.max(Duration::from_millis(10)),
        grace: service.grace.0,
        storage,
        rings,
    });
    Opened { pipeline, problems, unused, warnings }
}

/// The folders of the storage, by number: one for each input, and one for each route, which has chunks of its own.
fn folders(
    first: usize,
    inputs: &[Arc<InputMetrics>],
    routes: impl Iterator<Item = usize>,
) -> Vec<(usize, String)> {
    let of_inputs = (first..).zip(inputs).map(|(number, input)| (number, input.name.clone()));
    // A route by its place in the configuration.
    of_inputs.chain(routes.map(|number| (number, format!("route.{}", number & 0xffff)))).collect()
}

fn numbered(sections: &[Section]) -> impl Iterator<Item = (usize, &Section)> {
    sections.iter().enumerate()
}

pub(crate) struct Opening<'a> {
    service: &'a Service,
    pub(crate) registry: Registry,
    budget: &'a Budget,
    parsers: Arc<Parsers>,
    upstreams: Arc<[Upstream]>,
    counters: Counters,
    pub(crate) problems: Problems,
    unused: Vec<Unused>,
    warnings: Vec<String>,
    /// Emitters of filters count like inputs, and are numbered behind them.
    emitters: Vec<Arc<InputMetrics>>,
    inputs: usize,
    /// The number of the first input: no two inputs of the process have the same, reloads included.
    first: usize,
    /// The counters of the pipeline before a reload.
    pub(crate) before: Option<Arc<Metrics>>,
    /// Whether there are filters.
    filtered: bool,
    directory: Directory,
    /// Inputs whose oldest records make room for new ones, with the bytes they may hold.
    rings: Vec<(Origin, usize)>,
}

impl Opening<'_> {
    fn find<D: Named>(&mut self, plugins: &'static [&'static D], section: &Section) -> Option<&'static D> {
        match self.registry.find(plugins, section) {
            Ok(plugin) => Some(plugin),
            Err(problem) => {
                problem.into_iter().for_each(|problem: Problem| self.problems.push(problem));
                None
            }
        }
    }

    pub(crate) fn setup(&self, alias: Option<&str>, name: &str) -> Setup {
        Setup {
            name: alias.unwrap_or(name).to_owned(),
            budget: self.budget.clone(),
            escape_unicode: self.service.escape_unicode,
            parsers: Arc::clone(&self.parsers),
            upstreams: Arc::clone(&self.upstreams),
            counters: self.counters.clone(),
        }
    }

    pub(crate) fn finish(&mut self, reader: Reader<'_>, plugin: &str) {
        let section = reader.section();
        let known = (self.registry.reference)(&section.kind, plugin).unwrap_or_default();
        let finished = reader.finish(&known);
        finished.problems.iter().for_each(|problem| self.problems.push(problem.clone()));
        self.unused.extend(finished.unused.into_iter().map(|key| {
            let value = section.get(&key.value).map(|text| text.value.clone()).unwrap_or_default();
            Unused { section: section.label(), key, value }
        }));
    }

    fn input(&mut self, number: usize, section: &Section) -> Option<LaneInput> {
        let plugin = self.find(self.registry.inputs, section)?;
        let mut reader = Reader::new(section);
        let common = InputCommon::read(&mut reader);
        let alias = common.as_ref().and_then(|common| common.alias.as_deref());
        let setup = self.setup(alias, &format!("{}.{number}", plugin.name));
        let input = (plugin.open)(&mut reader, &setup);
        let limit = common.as_ref().map_or(0, |common| common.mem_buf_limit.0 as usize);
        let promise = common.as_ref().map(|common| setup::promise(common, self.service, &mut reader));
        let ring = promise.is_some_and(|promise| promise.ring);
        let share = self.share("mem_buf_limit", limit, &mut reader);
        // What is stored need not be in memory, and a ring makes room before it is full.
        let share = if ring || promise.is_some_and(|promise| promise.stored) { Share::COMMON } else { share };
        // With several inputs each has a part that no other can take, so that a dead output stops those that it is
        // fed by and nobody else.
        let own = if self.inputs > 1 { self.budget.stat().size / OWN_PART / self.inputs } else { 0 };
        let share = Share { guaranteed: own.min(share.max), ..share };
        let chunks = setup.account("chunks", share, &mut reader);
        let window =
            if self.inputs > 1 && self.filtered { WINDOW_ENTRIES * size_of::<Entry<'_>>() } else { 0 };
        let decode = setup.account("decode", Share { guaranteed: window, ..Share::COMMON }, &mut reader);
        let processors = self.processors(Of::Input, &setup.name, &mut reader);
        let routes = self.directory.read(&mut reader, &mut self.problems);
        self.finish(reader, plugin.name);
        let common = common?;
        let metrics = Metrics::input(self.before.as_deref(), &setup.name);
        let tag = Tag::new(common.tag.as_deref().unwrap_or(&setup.name));
        let origin = Origin { input: self.first + number, account: chunks?, metrics };
        if ring {
            self.rings.push((origin.clone(), limit));
        }
        let InputCommon { threaded, routable, .. } = common;
        let instance = InputInstance {
            input: input?,
            name: setup.name,
            tag,
            origin,
            decode: decode?,
            promise: promise?,
            threaded,
            routable,
            alive: watch::Sender::new(()),
            routes,
        };
        Some(LaneInput { instance: Arc::new(instance), processors, predecessor: None })
    }

    fn filter(&mut self, number: usize, section: &Section) -> Option<Unit> {
        let plugin = self.find(self.registry.filters, section)?;
        let mut reader = Reader::new(section);
        let common = FilterCommon::read(&mut reader);
        let alias = common.as_ref().and_then(|common| common.alias.as_deref());
        let setup = self.setup(alias, &format!("{}.{number}", plugin.name));
        let filter = (plugin.open)(&mut reader, &setup);
        let emits = filter.as_deref().map(|filter| self.emitter(filter, &setup, &mut reader));
        self.finish(reader, plugin.name);
        let common = common?;
        if !common.active {
            return None;
        }
        let Some(pattern) = Select::of(common.pattern.as_deref(), common.match_regex) else {
            self.warnings
                .push(format!("{}: filter {} has no match: it sees nothing", section.pos, setup.name));
            return None;
        };
        let metrics = Metrics::filter(self.before.as_deref(), &setup.name);
        Some(Unit { filter: filter?, pattern, condition: None, metrics, emits: emits? })
    }

    /// The emitter of a filter, if it has one.
    fn emitter(&mut self, filter: &dyn Filter, setup: &Setup, reader: &mut Reader<'_>) -> Emits {
        let Some(emitting) = filter.emitter() else { return Emits::Nothing };
        let name = emitting.name.unwrap_or_else(|| format!("emitter_for_{}", setup.name));
        if self.emitters.iter().any(|emitter| emitter.name == name) {
            let what = format!("emitter_name \"{name}\" is taken by another filter");
            reader.refuse("emitter_name", what, None);
        }
        let setup = self.setup(Some(&name), "");
        let share = self.share("emitter_mem_buf_limit", emitting.mem_buf_limit, reader);
        let Some(account) = setup.account("chunks", share, reader) else { return Emits::Nothing };
        let metrics = Metrics::input(self.before.as_deref(), &name);
        self.emitters.push(Arc::clone(&metrics));
        Emits::As(Origin { input: self.inputs + self.emitters.len() - 1, account, metrics })
    }

    /// At most `limit` bytes, or no limit for 0.
    fn share(&self, option: &str, limit: usize, reader: &mut Reader<'_>) -> Share {
        let least = LEAST_PAGES * self.budget.page_size();
        if limit == 0 {
            return Share::COMMON;
        }
        if limit < least {
            let what = format!("option \"{option}\": {limit} bytes are too few to take anything");
            reader.refuse(option, what, Some(format!("set it to {least} or more, or remove it")));
        }
        Share::at_most(limit)
    }

    fn output(&mut self, number: usize, section: &Section, single: bool) -> Option<OutputInstance> {
        let plugin = self.find(self.registry.outputs, section)?;
        let mut reader = Reader::new(section);
        let common = OutputCommon::read(&mut reader);
        let alias = common.as_ref().and_then(|common| common.alias.as_deref());
        let setup = self.setup(alias, &format!("{}.{number}", plugin.name));
        let output = (plugin.open)(&mut reader, &setup);
        let processors = self.output_processors(&setup, &mut reader);
        self.finish(reader, plugin.name);
        let common = common?;
        let always = common.pattern.is_none() && common.match_regex.is_none() && single;
        let pattern = if always { Some("*") } else { common.pattern.as_deref() };
        let pattern = Select::of(pattern, common.match_regex.clone());
        if pattern.is_none() {
            self.warnings
                .push(format!("{}: output {} has no match: it receives nothing", section.pos, setup.name));
        }
        let plan = Schedule {
            base: Duration::from_secs(self.service.scheduler_base),
            cap: Duration::from_secs(self.service.scheduler_cap),
            limit: common.retry_limit.and_then(|limit| limit.0),
        };
        let own = Own(output.clone());
        let metrics = Arc::new(OutputMetrics { name: setup.name, own, ..OutputMetrics::default() });
        let limit = common.storage_total_limit.and_then(|limit| limit.0);
        let (when_full, workers) = (common.when_full, common.workers);
        let output = output?;
        Some(OutputInstance { output, pattern, plan, when_full, metrics, processors, workers, limit })
    }
}

impl Pipeline {
    /// The counters, for whoever shows them.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// What it needs beside what its accounts set aside.
    pub fn needs(&self) -> Needs {
        let inputs: Vec<_> =
            self.inputs.iter().map(|input| (&input.instance.name, input.instance.input.needs())).collect();
        let largest = inputs.iter().filter_map(|(name, needs)| {
            let (bytes, option) = needs.largest?;
            Some(Largest { name: (*name).clone(), option, bytes })
        });
        Needs {
            lanes: self.inputs.iter().map(|input| input.instance.input.lanes()).sum::<usize>()
                + self.outputs.iter().map(|output| output.output.drive().lanes).sum::<usize>(),
            connections: inputs.iter().map(|(_, needs)| needs.connections).sum(),
            socket_bytes: inputs.iter().map(|(_, needs)| needs.socket_bytes).max().unwrap_or(0),
            largest: largest.max_by_key(|largest| largest.bytes),
        }
    }

    /// Binds what inputs and outputs bind: the last moment to refuse to start.
    ///
    /// # Errors
    /// One line for each instance that cannot start.
    pub fn start(&self) -> Result<(), Vec<String>> {
        if let Some(plan) = self.storage.as_ref().filter(|plan| plan.fresh) {
            storage::prepare(&plan.layout).map_err(|problem| vec![problem])?;
        }
        let outputs = self.outputs.iter().map(|o| (&o.metrics.name, o.output.start()));
        let inputs = self.inputs.iter().map(|i| (&i.instance.name, i.instance.input.start()));
        let failed =
            outputs.chain(inputs).filter_map(|(name, result)| Some(format!("{name}: {}", result.err()?)));
        let failed: Vec<String> = failed.collect();
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Runs until `stop`, then drains within the grace; what comes out of `switches` takes its place meanwhile.
    /// Must be called in a [`LocalSet`](tokio::task::LocalSet). Returns how many batches and chunks were left undelivered.
    ///
    /// # Errors
    /// The system's, when a lane's thread cannot be made.
    pub async fn run(self, stop: Stop, switches: mpsc::Receiver<Switch>) -> std::io::Result<usize> {
        let (answers, answered) = mpsc::channel(FLUSH_QUEUE);
        let (sealer, sealed) = mpsc::channel(SEALED_QUEUE);
        let (ends, ending) = Ending::new();
        let mut core = Core {
            dispatch: Dispatch::new(Arc::clone(&self.metrics), seed()),
            sealer: Some(sealer),
            sealed: Some(sealed),
            answers,
            answered,
            ends,
            ending,
            disk: None,
            told: None,
            ids: ChunkIds::default(),
            budget: self.budget.clone(),
            pressure: watch::Sender::new(Pressure::Calm),
            said: None,
            grace: self.grace,
            deadline: None,
            inputs: stop.apart(),
            alive: Vec::new(),
            running: Vec::new(),
        };
        core.switch(self)?;
        Ok(core.run(stop, switches).await)
    }
}

/// A pipeline that is to take the place of the running one.
pub struct Switch {
    /// It has been started.
    pub pipeline: Pipeline,
    /// Told when it has taken over, or why it could not; then nothing has changed.
    pub done: oneshot::Sender<std::io::Result<()>>,
}

/// Unique over restarts with overwhelming likelihood: nanoseconds since 1970, mixed with the process id.
fn seed() -> u64 {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    nanoseconds ^ u64::from(std::process::id()) << 48
}

fn open_lanes(
    instance: OutputInstance,
    index: usize,
    answers: &mpsc::Sender<Answer>,
    ending: &Ending,
) -> std::io::Result<Target> {
    let OutputInstance { output, plan, when_full, metrics, processors, workers, limit, .. } = instance;
    let mut drive = output.drive();
    drive.lanes = workers.unwrap_or(drive.lanes);
    if processors.is_some() {
        // What is set aside for a processed batch is as large as a chunk.
        drive.batch_bytes = drive.batch_bytes.min(CHUNK_BYTES);
    }
    let mut lanes = Vec::new();
    for number in 0..drive.lanes.max(1) {
        let (jobs, receiver) = mpsc::channel(drive.concurrency.clamp(1, FLUSH_QUEUE));
        let (output, answers, ending) = (Arc::clone(&output), answers.clone(), ending.clone());
        let processors = processors.as_ref().map(Processors::for_lane);
        let serve = move || {
            let processing = processors.map(Processors::stages);
            dispatch::serve(output, processing, index, receiver, answers, ending)
        };
        if drive.lanes == 0 {
            tokio::task::spawn_local(serve());
        } else {
            lane::spawn(format!("out:{}:{number}", metrics.name), serve)?;
        }
        lanes.push(jobs);
    }
    Ok(Target { metrics, plan, drive, when_full, signals: output.signals(), lanes, limit })
}
