//! `random`: makes records with a random number, for trying out a configuration.
//!
//! ```text
//! [INPUT]
//!     name     random
//!     samples  10
//! ```
//!
//! Each record is `{"rand_value": N}` with 64 random bits.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::EventTime;
use options::{Options, Reader};

use crate::records::{Records, Value};
use crate::timer::{self, Interval};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "random", about: "makes random numbers", specs: RandomOptions::specs, open };

#[derive(Debug, Options)]
struct RandomOptions {
    /// Records to make in all; -1 for no end.
    #[option(default = "-1")]
    samples: i64,
    #[option(flatten)]
    /// How often.
    interval: Interval,
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Input>> {
    Some(Arc::new(Random { options: RandomOptions::read(reader)? }))
}

struct Random {
    options: RandomOptions,
}

impl Input for Random {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let mut timer = timer::every(self.options.interval.period());
            let mut records = Records::new(&out);
            let mut left = u64::try_from(self.options.samples).unwrap_or(u64::MAX);
            while left > 0 && timer::tick(&mut timer, &stop).await {
                // Keys from the system's randomness, drawn anew for each.
                let number = RandomState::new().build_hasher().finish();
                records.add(EventTime::now(), &[("rand_value", Value::U64(number))]).await;
                records.send().await;
                left -= 1;
            }
            Ok(())
        })
    }
}
