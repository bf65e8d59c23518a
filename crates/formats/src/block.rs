//! A block of text on its way out.

/// A block of fixed size. What writes into it stops when it is full and goes on when it was cleared, so
/// whatever is written, only the block is in memory. The caller leases its capacity.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// An empty block for `capacity` bytes, at least [`Printer::STEP`](crate::json::Printer::STEP).
    pub fn new(capacity: usize) -> Block {
        Block { bytes: Vec::with_capacity(capacity.max(crate::json::Printer::STEP)) }
    }

    /// Bytes that fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes room for the next text, when this one was taken away.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Writes what fits; `text` shrinks by it.
    #[inline]
    pub fn write(&mut self, text: &mut &[u8]) {
        let (now, later) = text.split_at(self.room().min(text.len()));
        self.bytes.extend_from_slice(now);
        *text = later;
    }

    /// Writes text that is known to fit.
    #[inline]
    pub(crate) fn put(&mut self, text: &[u8]) {
        debug_assert!(text.len() <= self.room(), "more text than room");
        self.bytes.extend_from_slice(text);
    }
}

impl std::fmt::Write for Block {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.len() > self.room() {
            return Err(std::fmt::Error);
        }
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
