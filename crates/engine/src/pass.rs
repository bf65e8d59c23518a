//! The filters: what they match is decoded once, goes through all of them and is encoded once.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use budget::Account;
use event::{Corrupt, Cursor, Entry, Events, Pattern, Progress, Record, SPARE_ENTRIES, Tag, Window, Writer};

use crate::emit::{PATIENCE, Refused, page};
use tokio::time::{Instant, timeout_at};

use crate::limits::{WINDOW_ENTRIES, WINDOW_RECORDS};
use crate::metrics::FilterMetrics;
use crate::plugin::Filter;

/// A filter in a lane, and the tags it applies to.
pub struct Stage {
    /// The tags.
    pub pattern: Pattern,
    /// The filter.
    pub filter: RefCell<Box<dyn Filter>>,
    /// Its counters.
    pub metrics: Arc<FilterMetrics>,
}

/// The filters of one lane, in the order of the configuration.
pub struct Pass {
    stages: Vec<Stage>,
    /// Pays for decoded entries and for records that must be put into one piece.
    decode: Account,
}

impl Pass {
    /// Filters in their order; decoding is charged to `decode`.
    pub fn new(stages: Vec<Stage>, decode: Account) -> Pass {
        Pass { stages, decode }
    }

    /// What is left of the records after the filters that match the tag. Without one nothing is decoded.
    ///
    /// # Errors
    /// [`Refused`] when there was no room for the result.
    pub async fn run(&self, tag: &Tag, events: Events) -> Result<Events, Refused> {
        if !self.stages.iter().any(|stage| stage.pattern.matches(tag.as_str())) {
            return Ok(events);
        }
        let account = events.buf.account().clone();
        let mut writer = Writer::new(&account);
        let mut source = events;
        let deadline = Instant::now() + PATIENCE;
        while source.records > 0 {
            let (records, bytes) = self.window(tag, &source, &mut writer, deadline).await?;
            source.records -= records;
            source.buf.consume(bytes);
        }
        Ok(writer.finish())
    }

    /// Takes a window of records from the front of `source` through the filters into `writer`. Returns how
    /// many records and bytes of the source that was.
    async fn window(
        &self,
        tag: &Tag,
        source: &Events,
        writer: &mut Writer,
        deadline: Instant,
    ) -> Result<(usize, usize), Refused> {
        // What filters may not see: bytes that are no records. Inputs write records, so this is a bug, and
        // passing on what cannot be read would cost the destination.
        let extent = Extent::of(source).map_err(corrupt)?;
        let lease = self.decode.lease(extent.entries * size_of::<Entry<'_>>() + extent.copied);
        let _lease = timeout_at(deadline, lease).await.map_err(|_| Refused)?.map_err(|_| Refused)?;
        let pieces: Result<Vec<Cow<'_, [u8]>>, Corrupt> = extent.records.iter().map(Piece::bytes).collect();
        let pieces = pieces.map_err(corrupt)?;
        let records: Result<Vec<Record<'_>>, Corrupt> = pieces.iter().map(|p| Record::decode(p)).collect();
        let mut window = Window { records: records.map_err(corrupt)? };
        for stage in self.stages.iter().filter(|stage| stage.pattern.matches(tag.as_str())) {
            stage.apply(tag, &mut window);
        }
        for record in &window.records {
            let mut progress = Progress::default();
            while record.encode(writer, &mut progress).is_err() {
                writer.prepay(page(writer.account(), deadline).await?);
            }
        }
        Ok((extent.records.len(), extent.bytes))
    }
}

fn corrupt(corrupt: Corrupt) -> Refused {
    tracing::error!("records of an input could not be read by the filters ({corrupt}): they are refused");
    Refused
}

impl Stage {
    fn apply(&self, tag: &Tag, window: &mut Window<'_>) {
        let before = window.records.len();
        self.metrics.records.add(before);
        self.filter.borrow_mut().logs(tag, window);
        let after = window.records.len();
        self.metrics.dropped.add(before.saturating_sub(after));
        self.metrics.added.add(after.saturating_sub(before));
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
    fn of(source: &'a Events) -> Result<Extent<'a>, Corrupt> {
        let mut extent = Extent { records: Vec::new(), bytes: 0, entries: 0, copied: 0 };
        let mut cursor = source.cursor();
        while extent.records.len() < WINDOW_RECORDS && !cursor.at_end() {
            let entries = cursor.record_entries()?;
            if extent.entries + entries > WINDOW_ENTRIES && !extent.records.is_empty() {
                break;
            }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};
    use event::{EventTime, Raw};

    struct DropEvenAndMark;

    impl Filter for DropEvenAndMark {
        fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
            window.records.retain(|record| record.time.seconds % 2 == 1);
            for record in &mut window.records {
                record.body.push(Entry { key: Raw::text("seen"), value: Raw::text("yes") });
            }
        }

        fn for_lane(&self) -> Box<dyn Filter> {
            Box::new(DropEvenAndMark)
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

    fn pass(budget: &Budget) -> Pass {
        let stage = Stage {
            pattern: Pattern::new("app.*"),
            filter: RefCell::new(Box::new(DropEvenAndMark)),
            metrics: Arc::default(),
        };
        Pass::new(vec![stage], budget.account("http.0", "decode", Share::COMMON).unwrap())
    }

    #[tokio::test]
    async fn filters_see_every_record_whatever_its_size_and_only_of_matching_tags() {
        let budget = Budget::new(8 << 20, 4096).unwrap();
        let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
        let pass = pass(&budget);
        for (tag, expected) in [("app.x", 100), ("db.x", 200)] {
            let mut writer = Writer::new(&account);
            for seconds in 0..200 {
                record(&mut writer, seconds, if seconds % 50 == 3 { 20_000 } else { 30 });
            }
            let events = pass.run(&Tag::new(tag), writer.finish()).await.unwrap();
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
}
