//! Records as the entries of a message.

use event::msgpack::put_u64;
use event::{Corrupt, Cursor, EventTime};

use crate::rows::{Body, Form, is_mark};

/// How an entry is written.
pub(super) struct Entries {
    /// With its metadata, which is as it lies: `[[time, metadata], body]`. Without: `[time, body]`.
    pub(super) metadata: bool,
    /// The time as whole seconds.
    pub(super) whole_seconds: bool,
}

impl Entries {
    pub(super) fn put_time(&self, time: EventTime, out: &mut Vec<u8>) {
        match self.whole_seconds {
            true => put_u64(out, u64::from(time.seconds)),
            false => out.extend_from_slice(&time.to_msgpack()),
        }
    }
}

impl Form for Entries {
    fn head(
        &self,
        _first: bool,
        _tag: &[u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Body, Corrupt> {
        if !self.metadata {
            let (time, with_metadata) = cursor.record_head()?;
            if with_metadata {
                cursor.skip()?;
            }
            if is_mark(time) {
                cursor.skip()?;
                return Ok(Body::Nothing);
            }
            out.push(0x92);
            self.put_time(time, out);
        }
        let mut end = cursor.clone();
        end.skip()?;
        Ok(Body::Copy(end.offset()))
    }
}
