//! Where a reader of some format puts the values of a record.

use budget::Full;

use crate::{EventTime, Writer};

/// Takes records value by value. What each call means is said at [`Writer`], which is one.
///
/// Every operation either happens or answers [`Full`] and can then be called again.
#[expect(missing_docs, reason = "each method is that of Writer")]
pub trait Sink {
    fn begin_record(&mut self, time: EventTime) -> Result<(), Full>;
    fn empty_record(&mut self, time: EventTime) -> Result<(), Full>;
    fn end_record(&mut self);
    fn begin_map(&mut self) -> Result<(), Full>;
    fn begin_array(&mut self) -> Result<(), Full>;
    fn entry(&mut self) -> Result<(), Full>;
    fn end(&mut self);
    fn str(&mut self, bytes: &[u8]) -> Result<(), Full>;
    fn begin_str(&mut self) -> Result<(), Full>;
    fn piece(&mut self, bytes: &mut &[u8]) -> Result<(), Full>;
    fn end_str(&mut self);
    fn raw(&mut self, bytes: &[u8]) -> Result<(), Full>;
    fn front_of(&mut self, block: &[u8; 9], len: usize) -> Result<(), Full> {
        self.raw(&block[..len])
    }
    fn reserve(&mut self, bytes: usize) -> Result<(), Full>;
    fn short_str(&mut self, block: &[u8; 32], len: usize) -> Result<(), Full> {
        self.str(&block[..len])
    }
    /// Bytes that can be written without [`Full`].
    fn room(&self) -> usize;

    /// Starts up to `count` arrays, each the first element of the one before it, and returns how many; the rest
    /// is started one by one.
    fn begin_arrays(&mut self, _count: usize) -> Result<usize, Full> {
        Ok(0)
    }

    /// Ends the innermost array, of which what was written last is the only element, and so on, for up to `count`
    /// arrays; returns how many. The rest is ended one by one.
    fn end_arrays(&mut self, _count: usize) -> usize {
        0
    }
}

impl Sink for Writer {
    fn begin_record(&mut self, time: EventTime) -> Result<(), Full> {
        Writer::begin_record(self, time)
    }

    fn empty_record(&mut self, time: EventTime) -> Result<(), Full> {
        Writer::empty_record(self, time)
    }

    fn end_record(&mut self) {
        Writer::end_record(self);
    }

    #[inline]
    fn begin_map(&mut self) -> Result<(), Full> {
        Writer::begin_map(self)
    }

    #[inline]
    fn begin_array(&mut self) -> Result<(), Full> {
        Writer::begin_array(self)
    }

    #[inline]
    fn entry(&mut self) -> Result<(), Full> {
        Writer::entry(self)
    }

    #[inline]
    fn end(&mut self) {
        Writer::end(self);
    }

    #[inline]
    fn str(&mut self, bytes: &[u8]) -> Result<(), Full> {
        Writer::str(self, bytes)
    }

    #[inline(always)]
    fn short_str(&mut self, block: &[u8; 32], len: usize) -> Result<(), Full> {
        Writer::short_str(self, block, len)
    }

    fn begin_str(&mut self) -> Result<(), Full> {
        Writer::begin_str(self)
    }

    fn piece(&mut self, bytes: &mut &[u8]) -> Result<(), Full> {
        Writer::piece(self, bytes)
    }

    fn end_str(&mut self) {
        Writer::end_str(self);
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        Writer::raw(self, bytes)
    }

    #[inline(always)]
    fn front_of(&mut self, block: &[u8; 9], len: usize) -> Result<(), Full> {
        Writer::front_of(self, block, len)
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Full> {
        Writer::reserve(self, bytes)
    }

    #[inline]
    fn room(&self) -> usize {
        Writer::room(self)
    }

    #[inline]
    fn begin_arrays(&mut self, count: usize) -> Result<usize, Full> {
        Writer::begin_arrays(self, count).map(|()| count)
    }

    #[inline]
    fn end_arrays(&mut self, count: usize) -> usize {
        Writer::end_arrays(self, count)
    }
}
