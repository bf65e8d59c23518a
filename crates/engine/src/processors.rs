//! Processors: filters that belong to one input or output.
//!
//! Those of an input are the first stages of its pass, in its lane. Those of an output run in its lane on what
//! it is about to flush, each time that is tried: a batch is copied as the processors leave it, and the memory
//! for one is set aside when the output opens, so that a full agent can still deliver.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use budget::{Account, Buf, Share};
use event::Events;
use options::{Options, Problem, Reader, Section};
use tokio::sync::Semaphore;

use crate::batch::{Batch, Part};
use crate::common::FilterCommon;
use crate::condition::Condition;
use crate::emit::Refused;
use crate::limits::{CHUNK_BYTES, PROCESSED_SLICE};
use crate::metrics::{FilterMetrics, Metrics};
use crate::pass::{Emits, Origin, Pass, Stage};
use crate::pipeline::Opening;
use crate::plugin::{Filter, Setup};
use crate::select::Select;

/// A filter or processor before it is in a lane.
pub(crate) struct Unit {
    pub(crate) filter: Box<dyn Filter>,
    pub(crate) pattern: Select,
    pub(crate) condition: Option<Condition>,
    pub(crate) metrics: Arc<FilterMetrics>,
    pub(crate) emits: Emits,
}

impl Unit {
    /// The same for one lane. Still to be sent to its thread.
    pub(crate) fn for_lane(&self) -> Unit {
        Unit {
            filter: self.filter.for_lane(),
            pattern: self.pattern.clone(),
            condition: self.condition.clone(),
            metrics: Arc::clone(&self.metrics),
            emits: self.emits.clone(),
        }
    }

    /// On the thread of its lane.
    pub(crate) fn stage(self) -> Rc<Stage> {
        let Unit { filter, pattern, condition, metrics, emits } = self;
        Rc::new(Stage { pattern, condition, filter: RefCell::new(filter), metrics, emits })
    }
}

/// What processors belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Input,
    Output,
}

impl Opening<'_> {
    /// The processors of an instance, in their order.
    pub(crate) fn processors(&mut self, of: Of, owner: &str, reader: &mut Reader<'_>) -> Vec<Unit> {
        let mut units = Vec::new();
        for group in reader.groups("processors").into_iter().flat_map(|processors| &processors.groups) {
            if group.kind != "logs" {
                let what = format!("there are no processors for {} yet", group.kind);
                self.problems.push(Problem::new(group.pos.clone(), what).of("processors"));
                continue;
            }
            let section = Section { kind: "processor".to_owned(), ..group.clone() };
            let number = units.len();
            units.extend(self.processor(of, owner, number, &section));
        }
        units
    }

    fn processor(&mut self, of: Of, owner: &str, number: usize, section: &Section) -> Option<Unit> {
        let plugin = match self.registry.find_processor(section) {
            Ok(plugin) => plugin,
            Err(problem) => {
                problem.into_iter().for_each(|problem| self.problems.push(problem));
                return None;
            }
        };
        let mut reader = Reader::new(section);
        let common = FilterCommon::read(&mut reader);
        let name = format!("{owner}.{}.{number}", plugin.name);
        let setup = self.setup(common.as_ref().and_then(|common| common.alias.as_deref()), &name);
        let filter = (plugin.open)(&mut reader, &setup);
        if let Some(filter) = &filter
            && of == Of::Output
            && (filter.emitter().is_some() || filter.interval().is_some())
        {
            let what = format!(
                "{} cannot be a processor of an output: it holds records back or sends them on under another tag",
                plugin.name
            );
            reader.refuse("name", what, Some("use it as a filter, or as a processor of an input".to_owned()));
        }
        let conditions = reader.groups("condition");
        let condition = conditions.first().map(|section| Condition::read(section, &mut self.problems));
        self.finish(reader, plugin.name);
        let common = common?;
        let pattern = Select::of(common.pattern.as_deref().or(Some("*")), common.match_regex)?;
        let condition = match condition {
            Some(condition) => Some(condition?),
            None => None,
        };
        let metrics = Metrics::filter(self.before.as_deref(), &setup.name);
        let filter = filter?;
        let emits = if filter.emitter().is_some() { Emits::AsInput } else { Emits::Nothing };
        Some(Unit { filter, pattern, condition, metrics, emits })
    }

    /// The processors of an output with what they need to run.
    pub(crate) fn output_processors(&mut self, setup: &Setup, reader: &mut Reader<'_>) -> Option<Processors> {
        let units = self.processors(Of::Output, &setup.name, reader);
        if units.is_empty() {
            return None;
        }
        let share = Share { guaranteed: CHUNK_BYTES + 2 * PROCESSED_SLICE, max: usize::MAX };
        let account = setup.account("processed", share, reader)?;
        let decode = setup.account("decode", Share::fixed(PROCESSED_SLICE), reader)?;
        Some(Processors { units, account, decode, turn: Arc::new(Semaphore::new(1)) })
    }
}

/// The processors of an output.
pub(crate) struct Processors {
    units: Vec<Unit>,
    account: Account,
    decode: Account,
    /// One batch is processed at a time: two that each have half of what is set aside would wait for each other.
    turn: Arc<Semaphore>,
}

impl Processors {
    /// The same for a lane. Still to be sent to its thread.
    pub(crate) fn for_lane(&self) -> Processors {
        Processors {
            units: self.units.iter().map(Unit::for_lane).collect(),
            account: self.account.clone(),
            decode: self.decode.clone(),
            turn: Arc::clone(&self.turn),
        }
    }

    /// On the thread of its lane.
    pub(crate) fn stages(self) -> Processing {
        let Processors { units, account, decode, turn } = self;
        let stages = units.into_iter().map(Unit::stage).collect::<Vec<_>>();
        let processors = stages.len();
        Processing { pass: Pass::new(stages, processors, decode), account, turn }
    }
}

/// The processors of an output in one of its lanes.
pub(crate) struct Processing {
    pass: Pass,
    account: Account,
    turn: Arc<Semaphore>,
}

impl Processing {
    /// The batch as the processors leave it; `None` when nothing is left of it.
    ///
    /// # Errors
    /// [`Refused`] when a record needs more memory than there can ever be.
    pub(crate) async fn apply(&self, batch: &Batch) -> Result<Option<Batch>, Refused> {
        let _turn = self.turn.acquire().await.map_err(|_| Refused::NoRoom)?;
        let mut parts = Vec::with_capacity(batch.parts.len());
        for part in &batch.parts {
            let mut result = Events { buf: Buf::new(&self.account), records: 0 };
            self.part(part, &mut result).await?;
            if result.records > 0 {
                parts.push(part.replaced(result));
            }
        }
        Ok((!parts.is_empty()).then(|| Batch { parts, ..batch.clone() }))
    }

    /// Slice by slice, so that the part and its result are never there as copies in full.
    async fn part(&self, part: &Part, result: &mut Events) -> Result<(), Refused> {
        let origin = Origin { input: part.input(), account: self.account.clone(), metrics: Arc::default() };
        let mut cursor = part.cursor().map_err(|_| Refused::NoRoom)?;
        let mut left = part.records();
        while left > 0 {
            let mut slice = Events { buf: Buf::new(&self.account), records: 0 };
            while left > 0 && slice.buf.len() < PROCESSED_SLICE {
                let start = cursor.clone();
                cursor.skip().map_err(|_| Refused::NoRoom)?;
                copy(start, cursor.offset(), &mut slice.buf).await?;
                slice.records += 1;
                left -= 1;
            }
            let mut work = self.pass.start(&origin, part.tag(), slice, None);
            while let Some(passed) = self.pass.next(&mut work).await? {
                result.records += passed.events.records;
                // Both are of one account, which makes it a matter of links.
                result.buf.append(passed.events.buf).map_err(|_| Refused::NoRoom)?;
            }
        }
        Ok(())
    }
}

/// Copies what lies between a cursor and an offset. A record that fits a page is not split.
async fn copy(mut from: event::Cursor<'_>, end: usize, to: &mut Buf) -> Result<(), Refused> {
    let size = end - from.offset();
    if size > to.room() && size <= to.page_capacity() {
        grow(to).await?;
    }
    while from.offset() < end {
        if to.room() == 0 {
            grow(to).await?;
        }
        let room = to.room();
        let piece = from.piece((end - from.offset()).min(room)).map_err(|_| Refused::NoRoom)?;
        to.write(piece).map_err(|_| Refused::NoRoom)?;
    }
    Ok(())
}

async fn grow(buf: &mut Buf) -> Result<(), Refused> {
    let account = buf.account().clone();
    buf.grow_with(account.lease(account.page_size()).await.map_err(|_| Refused::NoRoom)?);
    Ok(())
}
