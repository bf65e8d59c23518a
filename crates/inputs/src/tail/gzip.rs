//! Files that are compressed with gzip.
//!
//! They are read from one member's start to its end; the offset is that of the compressed file and moves only at
//! the end. After a restart in the middle the file is read again from there.

use std::os::unix::fs::FileExt;

use budget::Lease;
use engine::Emitter;
use formats::inflate::{Decoder, Encoding, Step};

use super::Tail;
use super::file::{Buffer, TailFile, Turn};
use crate::records::Records;

/// Text that is decompressed before its lines are taken.
const TEXT_BYTES: usize = 128 << 10;

/// A compressed file that is being read.
pub(super) struct Gzip {
    out: Emitter,
    /// From the first byte of it to its last.
    reading: Option<Reading>,
}

struct Reading {
    decoder: Decoder,
    /// Up to where the file was fed to the decoder.
    fed: u64,
    /// Text that is no line yet, and where it starts.
    text: Vec<u8>,
    at: u64,
    _lease: Lease,
}

impl Gzip {
    pub(super) fn new(out: &Emitter) -> Gzip {
        Gzip { out: out.clone(), reading: None }
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        self.reading = None;
    }

    async fn begin(&mut self, offset: u64, longest: usize) -> Option<Reading> {
        if let Some(reading) = self.reading.take() {
            return Some(reading);
        }
        let bytes = longest + 2 * TEXT_BYTES;
        let lease = self.out.account().lease(bytes).await.ok()?;
        let decoder = Decoder::new(Encoding::Gzip);
        Some(Reading { decoder, fed: offset, text: Vec::with_capacity(bytes), at: 0, _lease: lease })
    }
}

impl TailFile {
    /// Reads a compressed file for one turn.
    pub(super) async fn read_compressed(
        &mut self,
        gzip: &mut Gzip,
        tail: &Tail,
        buffer: &mut Buffer,
    ) -> Turn {
        let Some(mut reading) = gzip.begin(self.offset, tail.rules.longest).await else {
            tracing::error!("[input:{}] {} needs more memory than there is", tail.name, self.name);
            return self.leave_alone();
        };
        let mut records = Records::new(&gzip.out);
        loop {
            let Ok(read) = self.file.read_at(buffer.bytes(), reading.fed) else { return self.leave_alone() };
            if read == 0 {
                break;
            }
            let decompressed =
                self.decompress(&mut reading, read, tail, buffer, &mut records, &gzip.out).await;
            match decompressed {
                Ok(true) => {}
                // There was no room for its records: it is read again later.
                Ok(false) => return Turn::End,
                Err(why) => {
                    tracing::error!("[input:{}] {} cannot be decompressed: {why}", tail.name, self.name);
                    return self.leave_alone();
                }
            }
            reading.fed += read as u64;
        }
        if reading.decoder.finish().is_err() {
            // The rest is still to be written.
            gzip.reading = Some(reading);
            return self.at_end();
        }
        let end = reading.fed;
        if end > self.offset {
            self.final_end = true;
            self.take_text(&mut reading, tail, &mut records).await;
            self.final_end = false;
            if !self.hand_over(end, &mut records, tail).await {
                return Turn::End;
            }
            self.offset = end;
        }
        self.at_end()
    }

    /// Decompresses what was read, and hands over what there is much of. False when there was no room for that.
    async fn decompress(
        &mut self,
        reading: &mut Reading,
        read: usize,
        tail: &Tail,
        buffer: &mut Buffer,
        records: &mut Records,
        out: &Emitter,
    ) -> Result<bool, String> {
        let mut piece = &buffer.bytes()[..read];
        loop {
            match reading.decoder.feed(&mut piece).map_err(|error| error.to_string())? {
                Step::NeedInput => return Ok(true),
                Step::Lease(bytes) => {
                    let lease = out.account().lease(bytes).await;
                    reading.decoder.prepay(lease.map_err(|full| full.to_string())?);
                }
                Step::Output => {
                    reading.text.extend_from_slice(reading.decoder.output());
                    if reading.text.len() >= TEXT_BYTES {
                        self.take_text(reading, tail, records).await;
                        // Not the end yet: these records move no offset.
                        if !self.hand_over(self.offset, records, tail).await {
                            return Ok(false);
                        }
                    }
                }
            }
        }
    }

    /// Takes the lines of what is decompressed.
    async fn take_text(&mut self, reading: &mut Reading, tail: &Tail, records: &mut Records) {
        let text = std::mem::take(&mut reading.text);
        let taken = self.lines(&text, reading.at, tail, records).await;
        reading.at += taken as u64;
        reading.text = text;
        reading.text.drain(..taken);
    }
}
