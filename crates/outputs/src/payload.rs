//! Text gathered in leased pages, compressed or as it is.

use budget::{Account, Buf, Full, Lease};
use engine::{Batch, Outcome};
use event::Cursor;
use formats::gzip;

use crate::rows::{Failed, Sink};

/// Bytes that the compressor holds beside the pages.
pub(crate) const GZIP_STATE: usize = gzip::Encoder::HELD;

/// What a batch becomes before it is sent.
pub(crate) struct Payload {
    pages: Buf,
    gzip: Option<(gzip::Encoder, Lease)>,
    raw: u64,
}

impl Payload {
    /// An empty payload; `gzip` is the level if it is to be compressed. `account` pays for the compressor and
    /// for the pages.
    pub(crate) fn new(account: &Account, gzip: Option<u32>) -> Result<Payload, Full> {
        let gzip = gzip.map(|level| {
            let lease = account.try_lease(GZIP_STATE)?;
            Ok((gzip::Encoder::new(level), lease))
        });
        Ok(Payload { pages: Buf::new(account), gzip: gzip.transpose()?, raw: 0 })
    }

    /// Bytes taken, before compression.
    pub(crate) fn raw(&self) -> u64 {
        self.raw
    }

    /// The pages, and the bytes they had before compression.
    pub(crate) fn finish(mut self) -> Result<(Buf, u64), Full> {
        if let Some((encoder, _)) = &mut self.gzip {
            encoder.finish(&mut self.pages)?;
        }
        Ok((self.pages, self.raw))
    }
}

impl Sink for Payload {
    fn take(&mut self, mut text: &[u8]) -> Result<(), Full> {
        self.raw += text.len() as u64;
        match &mut self.gzip {
            Some((encoder, _)) => encoder.write(&mut text, &mut self.pages),
            None => self.pages.write(text),
        }
    }
}

/// Copies the record at the cursor as it lies.
pub(crate) fn copy_record(cursor: &mut Cursor<'_>, out: &mut impl Sink) -> Result<(), Failed> {
    let mut from = cursor.clone();
    cursor.skip()?;
    let end = cursor.here().as_ptr() as usize;
    while !from.at_end() {
        let here = from.here();
        let left = end.wrapping_sub(here.as_ptr() as usize);
        if !cursor.at_end() && left < here.len() {
            return Ok(out.take(&here[..left])?);
        }
        out.take(from.piece(here.len())?)?;
    }
    Ok(())
}

/// What becomes of a batch that no payload could be made of.
pub(crate) fn unwritten(failed: Failed, batch: &Batch) -> Outcome {
    let alone = batch.records() == 1;
    match failed {
        Failed::Full if !alone => Outcome::Split { why: format!("its body does not fit: {Full}") },
        // To retry would count, and the record is not at fault.
        Failed::Full => Outcome::Hold { why: format!("the body of one record does not fit: {Full}") },
        Failed::Corrupt if !alone => Outcome::Split { why: "a record is not valid msgpack".to_owned() },
        Failed::Corrupt => Outcome::Reject { why: "the record is not valid msgpack".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use budget::{Budget, Share};

    #[test]
    fn a_record_is_copied_as_it_lies_wherever_pages_end() {
        struct Out(Vec<u8>);
        impl Sink for Out {
            fn take(&mut self, text: &[u8]) -> Result<(), Full> {
                self.0.extend_from_slice(text);
                Ok(())
            }
        }
        let account = Budget::new(4 << 20, 4096).unwrap().account("x.0", "y", Share::COMMON).unwrap();
        let records: [&[u8]; 3] = [b"\x92\x01\x80", b"\x92\x02\x81\xa1a\xa3xyz", b"\x92\x03\x80"];
        let all = records.concat();
        for step in 1..=all.len() {
            let mut chain = Buf::new(&account);
            for piece in all.chunks(step) {
                let mut page = Buf::new(&account);
                page.write(piece).unwrap();
                chain.append(page).unwrap();
            }
            let mut cursor = Cursor::new(&chain);
            for record in records {
                let mut out = Out(Vec::new());
                copy_record(&mut cursor, &mut out).unwrap();
                assert_eq!(out.0, record, "pages of {step} bytes");
            }
            assert!(cursor.at_end());
        }
    }

    #[test]
    fn a_batch_without_room_is_split_and_a_single_record_is_held_never_dropped() {
        let (two, one) = (testing::batch("t", &["{}", "{}"]), testing::batch("t", &["{}"]));
        assert!(matches!(unwritten(Failed::Full, &two), Outcome::Split { .. }));
        assert!(matches!(unwritten(Failed::Full, &one), Outcome::Hold { .. }));
        assert!(matches!(unwritten(Failed::Corrupt, &two), Outcome::Split { .. }));
        assert!(matches!(unwritten(Failed::Corrupt, &one), Outcome::Reject { .. }));
    }
}
