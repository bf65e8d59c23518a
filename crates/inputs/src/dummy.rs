//! `dummy`: makes records, for trying out a configuration.
//!
//! ```text
//! [INPUT]
//!     name   dummy
//!     dummy  {"message": "hello"}
//!     rate   10
//! ```

use std::sync::Arc;
use std::time::Duration;

use budget::{Budget, Share};
use engine::emit::PATIENCE;
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::{EventTime, Progress, Writer};
use formats::json::{Step, Transcoder};
use options::{Invalid, Kind, Options, Reader, Value};

use crate::records::hand_over;

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "dummy", about: "makes records", specs: DummyOptions::specs, open };

/// The longest text of a record.
const TEXT_BYTES: usize = 1 << 20;

#[derive(Debug, Options)]
struct DummyOptions {
    /// The record, a JSON object.
    #[option(default = "{\"message\":\"dummy\"}")]
    dummy: JsonMap,
    /// The record's metadata, a JSON object.
    #[option(default = "{}")]
    metadata: JsonMap,
    /// Records per second.
    #[option(default = "1", min = "1", max = "1000000")]
    rate: u32,
    /// Records to make in all; 0 for no end.
    #[option(default = "0")]
    samples: u64,
    /// Records per event of the timer.
    #[option(default = "1", min = "1", max = "100000")]
    copies: u32,
    /// Seconds between events of the timer, in place of `rate`.
    #[option(default = "0")]
    interval_sec: u64,
    /// Nanoseconds between events of the timer, added to `interval_sec`.
    #[option(default = "0", max = "999999999")]
    interval_nsec: u64,
    /// The time of the records, in seconds since 1970; the time of the clock if negative.
    #[option(default = "-1")]
    start_time_sec: i64,
    /// Nanoseconds added to `start_time_sec`.
    #[option(default = "-1")]
    start_time_nsec: i64,
    /// Make the first records at once instead of after the first interval.
    #[option(default = "off")]
    flush_on_startup: bool,
}

/// A JSON object as msgpack.
#[derive(Debug, Clone)]
struct JsonMap(Vec<u8>);

impl Value for JsonMap {
    const KIND: Kind = Kind::Other("JSON object");

    fn parse(text: &str) -> Result<JsonMap, Invalid> {
        if text.len() > TEXT_BYTES {
            return Err(Invalid::new(format!("the text is longer than {TEXT_BYTES} bytes")));
        }
        let wrong = |why: String| {
            Invalid::not(text, format!("a JSON object: {why}")).hint("write {\"key\": \"value\"}")
        };
        // A ledger of its own: this happens before the pipeline's exists.
        let budget = Budget::new(16 * TEXT_BYTES, 65_536).map_err(|error| wrong(error.to_string()))?;
        let account =
            budget.account("dummy", "parse", Share::COMMON).map_err(|full| wrong(full.to_string()))?;
        let mut transcoder = Transcoder::new(&account, EventTime::default());
        match transcoder.feed(&mut text.as_bytes()) {
            Ok(Step::NeedInput) => {}
            Ok(Step::Full) => return Err(wrong("it is too large".to_owned())),
            Err(error) => return Err(wrong(error.to_string())),
        }
        let events = transcoder.finish().map_err(|error| wrong(error.to_string()))?;
        if events.records != 1 {
            return Err(wrong(format!("it holds {} objects", events.records)));
        }
        let mut cursor = events.cursor();
        let body = cursor.record_head().and_then(|_| cursor.skip()).and_then(|()| {
            let start = cursor.clone();
            cursor.skip()?;
            start.clone().copy(cursor.offset() - start.offset())
        });
        body.map(JsonMap).map_err(|corrupt| wrong(corrupt.to_string()))
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Input>> {
    Some(Arc::new(Dummy { options: DummyOptions::read(reader)? }))
}

struct Dummy {
    options: DummyOptions,
}

impl Input for Dummy {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let interval = self.options.interval();
            let start = tokio::time::Instant::now()
                + if self.options.flush_on_startup { Duration::ZERO } else { interval };
            let mut timer = tokio::time::interval_at(start, interval);
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut made = 0;
            while self.options.samples == 0 || made < self.options.samples {
                tokio::select! {
                    _ = timer.tick() => {}
                    () = stop.requested() => break,
                }
                let left = if self.options.samples == 0 { u64::MAX } else { self.options.samples - made };
                let count = u64::from(self.options.copies).min(left);
                self.make(count, &out).await;
                made += count;
            }
            Ok(())
        })
    }
}

impl DummyOptions {
    fn interval(&self) -> Duration {
        let given = Duration::new(self.interval_sec, self.interval_nsec as u32);
        if given.is_zero() { Duration::from_secs(1) / self.rate } else { given }
    }

    fn time(&self) -> EventTime {
        if self.start_time_sec < 0 && self.start_time_nsec < 0 {
            return EventTime::now();
        }
        EventTime {
            seconds: self.start_time_sec.max(0) as u32,
            nanoseconds: self.start_time_nsec.clamp(0, 999_999_999) as u32,
        }
    }
}

impl Dummy {
    /// Waits for room as long as it takes: nobody else holds these records.
    async fn make(&self, count: u64, out: &Emitter) {
        let time = self.options.time();
        let mut writer = Writer::new(out.account());
        for _ in 0..count {
            let mut progress = Progress::default();
            let part = |index: usize| match index {
                0 => Some(self.options.metadata.0.as_slice()),
                1 => Some(self.options.dummy.0.as_slice()),
                _ => None,
            };
            while writer.record(time, part, &mut progress).is_err() {
                let deadline = tokio::time::Instant::now() + PATIENCE;
                if let Ok(page) = out.page(deadline).await {
                    writer.prepay(page);
                }
            }
        }
        hand_over(writer.finish(), out).await;
    }
}
