//! Gzip decompression which counts members and does not take a cut stream for a whole one.
//!
//! RFC 1952 lets a file hold several members, one behind the other, and not each reader goes on after the
//! first. So the number of members is kept for the ingestion record. Bytes behind the last member which are
//! no further member are an error.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;

/// Reads the uncompressed bytes of all members of `R`.
pub(crate) struct Gunzip<R> {
    /// None after an error and after the end, which are final.
    decoder: Option<GzDecoder<R>>,
    ended: bool,
    members: Rc<Cell<u64>>,
}

impl<R: BufRead> Gunzip<R> {
    /// Starts at the first member; `members` shows how many were begun.
    pub(crate) fn new(reader: R, members: Rc<Cell<u64>>) -> Self {
        members.set(1);
        Self { decoder: Some(GzDecoder::new(reader)), ended: false, members }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Who reads lines asks again behind the end of the last one.
        if buf.is_empty() || self.ended {
            return Ok(0);
        }
        loop {
            let Some(mut decoder) = self.decoder.take() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the gzip stream has failed before"));
            };
            let read = decoder.read(buf)?;
            if read > 0 {
                self.decoder = Some(decoder);
                return Ok(read);
            }
            let mut reader = decoder.into_inner();
            if reader.fill_buf()?.is_empty() {
                self.ended = true;
                return Ok(0);
            }
            self.members.set(self.members.get() + 1);
            self.decoder = Some(GzDecoder::new(reader));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> (io::Result<String>, u64) {
        let members = Rc::new(Cell::new(0));
        let mut text = String::new();
        let result = Gunzip::new(bytes, Rc::clone(&members)).read_to_string(&mut text);
        (result.map(|_| text), members.get())
    }

    #[test]
    fn members_are_joined_and_counted() {
        let (text, members) = gunzip(&gzip("one"));
        assert_eq!((text.unwrap().as_str(), members), ("one", 1));
        let (text, members) = gunzip(&[gzip("one"), gzip(""), gzip("two")].concat());
        assert_eq!((text.unwrap().as_str(), members), ("onetwo", 3));
    }

    #[test]
    fn the_end_stays_the_end_however_often_it_is_asked_for() {
        let text = gzip("one");
        let mut reader = Gunzip::new(text.as_slice(), Rc::default());
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!((read.as_str(), reader.read(&mut [0; 8]).unwrap()), ("one", 0));
    }

    #[test]
    fn cut_streams_and_trailing_bytes_are_errors() {
        let whole = gzip("some text");
        for end in 1..whole.len() {
            assert!(gunzip(&whole[..end]).0.is_err(), "cut at {end}");
        }
        assert!(gunzip(&[whole, b"xyz".to_vec()].concat()).0.is_err());
        assert!(gunzip(b"plain text").0.is_err());
    }
}
