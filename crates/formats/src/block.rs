//! A block of text on its way out.

/// A block of fixed size. What writes into it stops when it is full and goes on when it was cleared, so
/// whatever is written, only the block is in memory. The caller leases its capacity.
pub struct Block {
    bytes: Box<[u8]>,
    len: usize,
}

/// Texts up to this length are copied as if they had it, if what they stand in is long enough.
const SHORT: usize = 32;

impl Block {
    /// An empty block for `capacity` bytes, at least [`Printer::STEP`](crate::json::Printer::STEP).
    pub fn new(capacity: usize) -> Block {
        Block { bytes: vec![0; capacity.max(crate::json::Printer::STEP)].into(), len: 0 }
    }

    /// Bytes that fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for the next text, when this one was taken away.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Writes what fits; `text` shrinks by it.
    #[inline]
    pub fn write(&mut self, text: &mut &[u8]) {
        let (now, later) = text.split_at(self.room().min(text.len()));
        self.put(now);
        *text = later;
    }

    /// Writes text that is known to fit.
    #[inline]
    pub(crate) fn put(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    /// Writes one byte, for which there is room.
    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Writes the first `len` bytes of `text`, in quotes. There is room for it and for [`SHORT`] bytes more.
    #[inline]
    pub(crate) fn put_quoted(&mut self, text: &[u8], len: usize) {
        self.push(b'"');
        let room = self.bytes[self.len..].first_chunk_mut::<SHORT>();
        match (text.first_chunk::<SHORT>(), room) {
            // A copy of fixed size is two instructions, one of unknown size a call.
            (Some(text), Some(room)) if len <= SHORT => {
                *room = *text;
                self.len += len;
            }
            _ => self.put(&text[..len]),
        }
        self.push(b'"');
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} of {} bytes)", self.len, self.bytes.len())
    }
}

impl std::fmt::Write for Block {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.len() > self.room() {
            return Err(std::fmt::Error);
        }
        self.put(text.as_bytes());
        Ok(())
    }
}
