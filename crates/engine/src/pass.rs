//! Processors and filters: what they match is decoded once, goes through all of them and is encoded once.
//!
//! A pass belongs to an input in its lane. Its stages are the processors of the input and then the filters, which
//! the inputs of a lane share. What a filter sends under another tag becomes a [`Work`] of its own, charged to the
//! filter's emitter, and goes through the filters like everything else, except those that have sent it already: so
//! nothing goes round for ever.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use budget::Account;
use event::{Corrupt, Cursor, Entry, Events, Progress, Record, SPARE_ENTRIES, Tag, Window, Writer};
use tokio::time::{Instant, timeout_at};

use crate::condition::Condition;
use crate::direct::InputRoutes;
use crate::emit::Refused;
use crate::lane::Stop;
use crate::limits::{EMITTED_TAGS, WINDOW_BYTES, WINDOW_ENTRIES, WINDOW_RECORDS};
use crate::metrics::{FilterMetrics, InputMetrics};
use crate::plugin::Filter;
use crate::select::Select;

/// A processor or filter in a lane.
pub struct Stage {
    /// The tags it applies to.
    pub pattern: Select,
    /// The records it applies to; all without one.
    pub condition: Option<Condition>,
    /// The plugin.
    pub filter: RefCell<Box<dyn Filter>>,
    /// Its counters.
    pub metrics: Arc<FilterMetrics>,
    /// Where records come from that it sends under another tag.
    pub emits: Emits,
}

/// Where records come from that a filter sends under another tag.
#[derive(Debug, Clone)]
pub enum Emits {
    /// It sends none.
    Nothing,
    /// A processor's are the input's own.
    AsInput,
    /// A filter's come from its emitter.
    As(Origin),
}

impl Emits {
    /// How many tags may be gathered: each holds a page at least, some are being gathered while others are gone
    /// through and others are ready, and all of them together must fit what the emitter may hold.
    fn tags(&self) -> Option<usize> {
        match self {
            Emits::Nothing => None,
            Emits::AsInput => Some(EMITTED_TAGS),
            Emits::As(Origin { account, .. }) => {
                Some((account.share().max / account.page_size() / 4).clamp(1, EMITTED_TAGS))
            }
        }
    }
}

/// Who records are charged to, and counted for, from where they come in.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The number of the input, or of a filter's emitter, which is like one.
    pub input: usize,
    /// Pays for the records.
    pub account: Account,
    /// Counts them.
    pub metrics: Arc<InputMetrics>,
}

/// The stages of one input in its lane.
pub struct Pass {
    stages: Vec<Rc<Stage>>,
    /// How many of the stages are processors of the input.
    processors: usize,
    /// Pays for decoded entries and for records that must be put into one piece.
    decode: Account,
    /// How many times the bytes of a window filters may make of it.
    copies: usize,
    /// Tags under which records were sent that are gathered before they go on, if any stage sends some.
    tags: Option<usize>,
    /// Whom filters ask for the end of the agent.
    stop: Option<Stop>,
    /// Which outputs get which records of the input, if it says so itself.
    routes: Option<InputRoutes>,
}

/// Records on their way through a pass, with everything that was sent under another tag meanwhile.
pub struct Work {
    /// The last one is gone through next.
    jobs: Vec<Job>,
    /// What was sent, by stage, sender's way and tag.
    sent: Vec<Sent>,
    /// Records that are through, with routes of their own.
    routed: Vec<Passed>,
    pub(crate) deadline: Option<Instant>,
}

struct Job {
    origin: Origin,
    tag: Tag,
    /// The stages that apply to the tag.
    stages: Vec<usize>,
    /// Stages that have sent these records.
    via: Vec<usize>,
    /// Records and bytes that came in.
    taken: (usize, usize),
    source: Events,
    writer: Writer,
}

struct Sent {
    origin: Origin,
    tag: Tag,
    /// The stages that the records have to pass.
    from: usize,
    via: Vec<usize>,
    writer: Writer,
}

/// Records that have passed every stage.
pub struct Passed {
    /// Where they came in.
    pub origin: Origin,
    /// The tag that they travel under now.
    pub tag: Tag,
    /// What is left of them.
    pub events: Events,
    /// Records and bytes that came in.
    pub taken: (usize, usize),
}

impl Pass {
    /// `stages` in their order, of which the first are `processors` of the input; decoding is charged to
    /// `decode`.
    pub fn new(stages: Vec<Rc<Stage>>, processors: usize, decode: Account) -> Pass {
        let copies = stages.iter().map(|stage| stage.filter.borrow().copies()).sum();
        let tags = stages.iter().filter_map(|stage| stage.emits.tags()).min();
        Pass { stages, processors, decode, copies, tags, stop: None, routes: None }
    }

    /// The same with somebody whom filters can ask for the end of the agent.
    pub fn with_stop(self, stop: Stop) -> Pass {
        Pass { stop: Some(stop), ..self }
    }

    /// The same with routes of the input's own.
    pub(crate) fn with_routes(self, routes: Option<InputRoutes>) -> Pass {
        Pass { routes, ..self }
    }

    /// Tags under which records were sent that are gathered before they go on.
    pub(crate) fn tags(&self) -> usize {
        self.tags.unwrap_or(EMITTED_TAGS)
    }

    /// Starts with records that come in. What needs room waits for it until the deadline.
    pub fn start(&self, origin: &Origin, tag: &Tag, events: Events, deadline: Option<Instant>) -> Work {
        let mut work = Work { jobs: Vec::new(), sent: Vec::new(), routed: Vec::new(), deadline };
        // What it becomes is room for the same piece of work.
        let account = origin.account.on_behalf_of(events.buf.account());
        let origin = Origin { account, ..origin.clone() };
        work.jobs.push(self.job(origin, tag.clone(), events, 0, Vec::new()));
        work
    }

    fn job(&self, origin: Origin, tag: Tag, source: Events, from: usize, via: Vec<usize>) -> Job {
        let applies = |at: &usize| !via.contains(at) && self.stages[*at].pattern.matches(tag.as_str());
        let stages = (from..self.stages.len()).filter(applies).collect();
        let taken = (source.records, source.buf.len());
        let writer = Writer::new(&origin.account);
        Job { origin, tag, stages, via, taken, source, writer }
    }

    /// Goes on until the next records are through, or everything is.
    ///
    /// # Errors
    /// [`Refused`] when there was no room for the result.
    pub async fn next(&self, work: &mut Work) -> Result<Option<Passed>, Refused> {
        loop {
            if let Some(passed) = work.routed.pop() {
                return Ok(Some(passed));
            }
            // Each tag that was sent holds a page: when there are many, the oldest goes on at once.
            if work.sent.len() > self.tags() || work.jobs.is_empty() && !work.sent.is_empty() {
                let Sent { origin, tag, from, via, writer } = work.sent.remove(0);
                work.jobs.push(self.job(origin, tag, writer.finish(), from, via));
            }
            let Some(job) = work.jobs.last_mut() else { return Ok(None) };
            // Without a stage nothing is decoded.
            let untouched = job.stages.is_empty();
            if job.source.records > 0 && !untouched {
                self.step(job, &mut work.sent, work.deadline).await?;
                continue;
            }
            let Some(Job { origin, tag, source, writer, taken, via, .. }) = work.jobs.pop() else { continue };
            let events = if untouched { source } else { writer.finish() };
            let passed = Passed { origin, tag, events, taken };
            match &self.routes {
                Some(routes) if via.is_empty() => work.routed = routes.split(passed, work.deadline).await?,
                _ => return Ok(Some(passed)),
            }
        }
    }

    /// Takes a window of records from the front of the source through the stages into the writer.
    async fn step(
        &self,
        job: &mut Job,
        sent: &mut Vec<Sent>,
        deadline: Option<Instant>,
    ) -> Result<(), Refused> {
        let Job { origin, tag, stages, via, source, writer, taken } = job;
        // What filters may not see: bytes that are no records. Inputs write records, so this is a bug, and
        // passing on what cannot be read would cost the destination.
        // Each record may be sent under a tag of its own.
        let extent = Extent::of(source, self.tags.unwrap_or(WINDOW_RECORDS)).map_err(corrupt)?;
        let decode = self.decode.on_behalf_of(source.buf.account());
        let _lease = room(&decode, extent.bytes_needed(self.copies), deadline).await?;
        let pieces: Result<Vec<Cow<'_, [u8]>>, Corrupt> = extent.records.iter().map(Piece::bytes).collect();
        let pieces = pieces.map_err(corrupt)?;
        let records: Result<Vec<Record<'_>>, Corrupt> = pieces.iter().map(|p| Record::of_whole(p)).collect();
        let mut window = Window::new(origin.input, records.map_err(corrupt)?);
        window.more = source.records > extent.records.len();
        window.index = taken.0 - source.records;
        if !extent.marker {
            for at in stages.iter() {
                self.stages[*at].apply(tag, &mut window);
                self.send(*at, origin, via, &mut window, sent, deadline).await?;
            }
        }
        if let (Some(code), Some(stop)) = (window.exit_asked(), &self.stop) {
            stop.ask_exit(code);
        }
        for record in &window.records {
            write(record, writer, deadline).await?;
        }
        let (records, bytes) = (extent.records.len(), extent.bytes);
        drop(window);
        drop(pieces);
        source.records -= records;
        source.buf.consume(bytes);
        Ok(())
    }

    /// Puts what a stage has sent beside what it sent before.
    async fn send(
        &self,
        at: usize,
        origin: &Origin,
        via: &[usize],
        window: &mut Window<'_>,
        sent: &mut Vec<Sent>,
        deadline: Option<Instant>,
    ) -> Result<(), Refused> {
        for (tag, record) in window.take_emitted() {
            let (origin, from) = match &self.stages[at].emits {
                Emits::As(emitter) => (emitter, self.processors),
                Emits::AsInput => (origin, at + 1),
                Emits::Nothing => {
                    tracing::error!("{} sends records and has no emitter", self.stages[at].metrics.name);
                    continue;
                }
            };
            let same = |sent: &Sent| sent.tag == tag && sent.via.split_last() == Some((&at, via));
            let index = match sent.iter().rposition(same) {
                Some(index) => index,
                None => {
                    let via = [via, &[at]].concat();
                    let writer = Writer::new(&origin.account);
                    sent.push(Sent { origin: origin.clone(), tag, from, via, writer });
                    sent.len() - 1
                }
            };
            write(&record, &mut sent[index].writer, deadline).await?;
            self.stages[at].metrics.emitted.add(1);
        }
        Ok(())
    }

    /// The stages of the input's own, and those that its lane shares.
    pub(crate) fn own_and_shared(&self) -> (Range<usize>, Range<usize>) {
        (0..self.processors, self.processors..self.stages.len())
    }

    /// When the next of these stages wants its clock to tick.
    pub(crate) fn interval(&self, stages: Range<usize>) -> Option<std::time::Duration> {
        self.stages[stages].iter().filter_map(|stage| stage.filter.borrow().interval()).min()
    }

    /// Lets the clock of a stage tick and gathers what it sends. What a stage lets go of is nowhere else, so it
    /// waits for room as long as it takes.
    ///
    /// # Errors
    /// [`Refused`] when there can never be room.
    pub(crate) async fn tick(&self, at: usize, origin: &Origin, last: bool) -> Result<Work, Refused> {
        let mut work = Work { jobs: Vec::new(), sent: Vec::new(), routed: Vec::new(), deadline: None };
        let mut window = Window::new(origin.input, Vec::new());
        self.stages[at].filter.borrow_mut().tick(&mut window, last);
        self.send(at, origin, &[], &mut window, &mut work.sent, None).await?;
        Ok(work)
    }
}

/// Writes a record, waiting for pages as needed.
async fn write(record: &Record<'_>, writer: &mut Writer, deadline: Option<Instant>) -> Result<(), Refused> {
    let mut progress = Progress::default();
    while record.encode(writer, &mut progress).is_err() {
        writer.prepay(room(writer.account(), writer.account().page_size(), deadline).await?);
    }
    Ok(())
}

pub(crate) async fn room(
    account: &Account,
    bytes: usize,
    deadline: Option<Instant>,
) -> Result<budget::Lease, Refused> {
    let lease = account.lease(bytes);
    match deadline {
        Some(deadline) => {
            timeout_at(deadline, lease).await.map_err(|_| Refused::NoRoom)?.map_err(|_| Refused::NoRoom)
        }
        None => lease.await.map_err(|_| Refused::NoRoom),
    }
}

fn corrupt(corrupt: Corrupt) -> Refused {
    tracing::error!("records of an input could not be read by the filters ({corrupt}): they are refused");
    Refused::Dropped("they cannot be read".into())
}

impl Stage {
    fn apply(&self, tag: &Tag, window: &mut Window<'_>) {
        let before = window.records.len();
        self.metrics.records.add(before);
        match &self.condition {
            None => self.filter.borrow_mut().logs(tag, window),
            Some(condition) => self.apply_where(condition, tag, window),
        }
        let after = window.records.len();
        self.metrics.dropped.add(before.saturating_sub(after));
        self.metrics.added.add(after.saturating_sub(before));
    }

    /// The filter is shown runs of records for which the condition holds; the others stay where they are.
    fn apply_where<'a>(&self, condition: &Condition, tag: &Tag, window: &mut Window<'a>) {
        let mut filter = self.filter.borrow_mut();
        let records = std::mem::take(&mut window.records);
        let mut done: Vec<Record<'a>> = Vec::with_capacity(records.len());
        let mut show = |run: &mut Vec<Record<'a>>, done: &mut Vec<Record<'a>>| {
            if !run.is_empty() {
                std::mem::swap(&mut window.records, run);
                filter.logs(tag, window);
                done.append(&mut window.records);
            }
        };
        let mut run = Vec::new();
        for record in records {
            if condition.holds(&record) {
                run.push(record);
            } else {
                show(&mut run, &mut done);
                done.push(record);
            }
        }
        show(&mut run, &mut done);
        window.records = done;
    }
}

/// The records of a window before they are decoded.
struct Extent<'a> {
    records: Vec<Piece<'a>>,
    bytes: usize,
    /// Entries of all records, and the spare ones that each gets.
    entries: usize,
    /// Bytes that must be copied because their record lies over a page end.
    copied: usize,
    /// The window is one record that begins or ends a group: filters do not see it.
    marker: bool,
}

enum Piece<'a> {
    Page(&'a [u8]),
    Span(Cursor<'a>, usize),
}

impl<'a> Piece<'a> {
    fn bytes(&self) -> Result<Cow<'a, [u8]>, Corrupt> {
        match self {
            Piece::Page(bytes) => Ok(Cow::Borrowed(bytes)),
            Piece::Span(start, size) => start.clone().copy(*size).map(Cow::Owned),
        }
    }
}

impl<'a> Extent<'a> {
    fn of(source: &'a Events, records: usize) -> Result<Extent<'a>, Corrupt> {
        let mut extent = Extent { records: Vec::new(), bytes: 0, entries: 0, copied: 0, marker: false };
        let mut cursor = source.cursor();
        while extent.records.len() < records && !extent.marker && !cursor.at_end() {
            let entries = cursor.record_entries()?;
            let marker = cursor.at_group_marker();
            let full = extent.entries + entries > WINDOW_ENTRIES || cursor.offset() >= WINDOW_BYTES || marker;
            if full && !extent.records.is_empty() {
                break;
            }
            extent.marker = marker;
            extent.entries += entries + SPARE_ENTRIES;
            let start = cursor.clone();
            let piece = match cursor.whole()? {
                Some(bytes) => Piece::Page(bytes),
                None => {
                    let size = cursor.offset() - start.offset();
                    extent.copied += size;
                    Piece::Span(start, size)
                }
            };
            extent.records.push(piece);
        }
        extent.bytes = cursor.offset();
        Ok(extent)
    }

    /// What decoding may take.
    fn bytes_needed(&self, copies: usize) -> usize {
        self.entries * size_of::<Entry<'_>>() + self.copied + copies * self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};
    use event::{EventTime, Raw};

    struct DropEvenAndMark;

    impl Filter for DropEvenAndMark {
        fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
            window.records.retain(|record| record.time().seconds % 2 == 1);
            for record in &mut window.records {
                record.body_mut().push(Entry { key: Raw::text("seen"), value: Raw::text("yes") });
            }
        }

        fn for_lane(&self) -> Box<dyn Filter> {
            Box::new(DropEvenAndMark)
        }
    }

    /// Sends every record under a tag made of its own and of the second.
    struct Resend;

    impl Filter for Resend {
        fn logs(&mut self, tag: &Tag, window: &mut Window<'_>) {
            for record in std::mem::take(&mut window.records) {
                let tag = Tag::new(&format!("{tag}.{}", record.time().seconds % 40));
                window.emit(tag, record);
            }
        }

        fn for_lane(&self) -> Box<dyn Filter> {
            Box::new(Resend)
        }
    }

    fn record(writer: &mut Writer, seconds: u32, size: usize) {
        writer.begin_record(EventTime { seconds, nanoseconds: 0 }).unwrap();
        writer.begin_map().unwrap();
        writer.entry().unwrap();
        writer.str(b"text").unwrap();
        writer.begin_str().unwrap();
        writer.piece(&mut vec![b'x'; size].as_slice()).unwrap();
        writer.end_str();
        writer.end();
        writer.end_record();
    }

    fn origin(budget: &Budget, input: usize) -> Origin {
        let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
        Origin { input, account, metrics: Arc::default() }
    }

    fn stage(pattern: &str, filter: Box<dyn Filter>, emits: Emits) -> Rc<Stage> {
        let pattern = Select::from(event::Pattern::new(pattern));
        let filter = RefCell::new(filter);
        Rc::new(Stage { pattern, condition: None, filter, metrics: Arc::default(), emits })
    }

    fn pass(budget: &Budget, stages: Vec<Rc<Stage>>) -> Pass {
        Pass::new(stages, 0, budget.account("http.0", "decode", Share::COMMON).unwrap())
    }

    async fn all(pass: &Pass, origin: &Origin, tag: &str, events: Events) -> Vec<Passed> {
        let mut work =
            pass.start(origin, &Tag::new(tag), events, Some(Instant::now() + crate::emit::PATIENCE));
        let mut passed = Vec::new();
        while let Some(part) = pass.next(&mut work).await.unwrap() {
            passed.push(part);
        }
        passed
    }

    fn seconds(events: &Events) -> Vec<u32> {
        let mut cursor = events.cursor();
        (0..events.records)
            .map(|_| {
                let (time, _) = cursor.clone().record_head().unwrap();
                cursor.skip().unwrap();
                time.seconds
            })
            .collect()
    }

    #[tokio::test]
    async fn filters_see_every_record_whatever_its_size_and_only_of_matching_tags() {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let origin = origin(&budget, 0);
        let pass = pass(&budget, vec![stage("app.*", Box::new(DropEvenAndMark), Emits::Nothing)]);
        for (tag, expected) in [("app.x", 100), ("db.x", 200)] {
            let mut writer = Writer::new(&origin.account);
            for seconds in 0..200 {
                record(&mut writer, seconds, if seconds % 50 == 3 { 20_000 } else { 30 });
            }
            let passed = all(&pass, &origin, tag, writer.finish()).await;
            assert_eq!(passed.len(), 1);
            let events = &passed[0].events;
            assert_eq!(events.records, expected);
            let mut cursor = events.cursor();
            for _ in 0..expected {
                let bytes = {
                    let start = cursor.clone();
                    cursor.skip().unwrap();
                    start.clone().copy(cursor.offset() - start.offset()).unwrap()
                };
                let record = Record::decode(&bytes).unwrap();
                assert_eq!(record.get(b"seen").is_some(), tag == "app.x");
            }
            assert!(cursor.at_end());
        }
        assert!(budget.accounts().iter().all(|account| account.held == 0));
    }

    #[tokio::test]
    async fn what_is_sent_keeps_its_order_within_a_tag_and_passes_the_other_filters_but_not_its_sender_again()
    {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let (origin, emitter) = (origin(&budget, 0), origin(&budget, 7));
        let pass = pass(
            &budget,
            vec![
                stage("a.*", Box::new(DropEvenAndMark), Emits::Nothing),
                stage("*", Box::new(Resend), Emits::As(emitter)),
            ],
        );
        let mut writer = Writer::new(&origin.account);
        for seconds in 0..200 {
            record(&mut writer, seconds, 2_000);
        }
        let passed = all(&pass, &origin, "a", writer.finish()).await;
        let (own, sent): (Vec<_>, Vec<_>) = passed.into_iter().partition(|part| part.origin.input == 0);
        assert_eq!(own.iter().map(|part| part.events.records).sum::<usize>(), 0);
        let mut seen = Vec::new();
        for part in sent.iter().filter(|part| part.events.records > 0) {
            assert_eq!(part.origin.input, 7);
            let of_tag = seconds(&part.events);
            assert!(of_tag.is_sorted());
            assert!(of_tag.iter().all(|seconds| part.tag.as_str() == format!("a.{}", seconds % 40)));
            seen.extend(of_tag);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..200).filter(|seconds| seconds % 2 == 1).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn records_that_begin_or_end_a_group_pass_every_filter_untouched() {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let origin = origin(&budget, 0);
        let pass = pass(&budget, vec![stage("*", Box::new(DropEvenAndMark), Emits::Nothing)]);
        let mut writer = Writer::new(&origin.account);
        let times = [u32::MAX, 1, 2, 3, u32::MAX - 1, u32::MAX, u32::MAX - 1, 4, 5];
        times.into_iter().for_each(|seconds| record(&mut writer, seconds, 10));
        let passed = all(&pass, &origin, "a", writer.finish()).await;
        let left = [u32::MAX, 1, 3, u32::MAX - 1, u32::MAX, u32::MAX - 1, 5];
        assert_eq!(seconds(&passed[0].events), left);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_emitter_has_no_room_for_is_refused_after_a_wait_and_nothing_of_it_is_kept() {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let origin = origin(&budget, 0);
        let account = budget.account("emitter", "chunks", Share::at_most(4 * 4096)).unwrap();
        let emitter = Origin { input: 1, account, metrics: Arc::default() };
        let pass = pass(&budget, vec![stage("*", Box::new(Resend), Emits::As(emitter))]);
        let mut writer = Writer::new(&origin.account);
        (0..4).for_each(|_| record(&mut writer, 7, 7_000));
        let deadline = Some(Instant::now() + crate::emit::PATIENCE);
        let mut work = pass.start(&origin, &Tag::new("a"), writer.finish(), deadline);
        let mut refused = false;
        loop {
            match pass.next(&mut work).await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    refused = true;
                    break;
                }
            }
        }
        assert!(refused);
        drop(work);
        assert!(budget.accounts().iter().all(|account| account.held == 0));
    }

    /// Keeps every record until it is told that the end has come.
    #[derive(Default)]
    struct Hold(Vec<u32>);

    impl Filter for Hold {
        fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
            self.0.extend(window.records.drain(..).map(|record| record.time().seconds));
        }

        fn for_lane(&self) -> Box<dyn Filter> {
            Box::new(Hold::default())
        }

        fn interval(&self) -> Option<std::time::Duration> {
            Some(std::time::Duration::from_secs(1))
        }

        fn tick(&mut self, window: &mut Window<'_>, last: bool) {
            for seconds in self.0.drain(..).filter(|_| last) {
                let time = EventTime { seconds, nanoseconds: 0 };
                window.emit(Tag::new("late"), Record::new(time, Raw::Page(&[0x80]), Vec::new()));
            }
        }
    }

    #[tokio::test]
    async fn what_a_filter_held_back_passes_the_other_filters_at_the_end() {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let (first, emitter) = (origin(&budget, 0), origin(&budget, 1));
        let stages = vec![
            stage("a", Box::new(Hold::default()), Emits::As(emitter)),
            stage("late", Box::new(DropEvenAndMark), Emits::Nothing),
        ];
        let pass = pass(&budget, stages);
        let mut writer = Writer::new(&first.account);
        (0..6).for_each(|seconds| record(&mut writer, seconds, 10));
        let passed = all(&pass, &first, "a", writer.finish()).await;
        assert_eq!(passed.iter().map(|part| part.events.records).sum::<usize>(), 0);
        let mut work = pass.tick(0, &first, true).await.unwrap();
        let passed = pass.next(&mut work).await.unwrap().unwrap();
        assert_eq!((passed.tag.as_str(), passed.origin.input), ("late", 1));
        assert_eq!(seconds(&passed.events), [1, 3, 5]);
    }

    #[tokio::test]
    async fn a_filter_with_a_condition_changes_only_records_for_which_it_holds() {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let origin = origin(&budget, 0);
        let condition = Condition::with_rule("$text", "regex", "^x{20}");
        let filter = RefCell::new(Box::new(DropEvenAndMark) as Box<dyn Filter>);
        let pattern = Select::from(event::Pattern::new("*"));
        let stage = Stage {
            pattern,
            condition: Some(condition),
            filter,
            metrics: Arc::default(),
            emits: Emits::Nothing,
        };
        let pass = pass(&budget, vec![Rc::new(stage)]);
        let mut writer = Writer::new(&origin.account);
        for (seconds, size) in [(1, 5), (2, 5), (3, 25), (4, 25), (5, 25), (6, 5)] {
            record(&mut writer, seconds, size);
        }
        let passed = all(&pass, &origin, "a", writer.finish()).await;
        assert_eq!(seconds(&passed[0].events), [1, 2, 3, 5, 6], "4 is dropped, and 2 and 6 are not");
    }
}
