//! A vector of bytes that pays for its capacity.

use budget::{Account, Full, Lease};

/// The least that is paid for at a time.
const STEP: usize = 4096;

/// Bytes in one piece, charged to an account before they exist.
#[derive(Debug)]
pub struct Leased {
    account: Account,
    // The bytes are freed before their lease.
    bytes: Vec<u8>,
    lease: Option<Lease>,
    /// What the account had no room for.
    wanted: usize,
}

impl Leased {
    /// No bytes, and nothing charged.
    pub fn new(account: &Account) -> Leased {
        Leased { account: account.clone(), bytes: Vec::new(), lease: None, wanted: 0 }
    }

    /// The account that pays.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that fit what is paid.
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Makes `more` bytes fit.
    ///
    /// # Errors
    /// [`Full`] when the account has no room for them. Nothing has changed then.
    #[inline]
    pub fn ensure(&mut self, more: usize) -> Result<(), Full> {
        if self.room() >= more { Ok(()) } else { self.grow(more) }
    }

    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), Full> {
        let bytes = (self.bytes.len() + more).next_power_of_two().max(STEP);
        match self.account.try_lease(bytes) {
            Ok(lease) => {
                self.prepay(lease);
                Ok(())
            }
            Err(full) => {
                self.wanted = bytes;
                Err(full)
            }
        }
    }

    /// The bytes that a lease must have after [`Full`]; 0 if there was none.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes a lease of the same account in place of the one there is, and grows to it.
    pub fn prepay(&mut self, lease: Lease) {
        if lease.bytes() > self.bytes.capacity() {
            self.bytes.reserve_exact(lease.bytes() - self.bytes.len());
            self.lease = Some(lease);
        }
        self.wanted = 0;
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Full`]; nothing was appended then.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.ensure(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a msgpack string that `make` writes, at most `most` bytes.
    ///
    /// # Errors
    /// [`Full`]; nothing was appended then.
    pub(super) fn made_str(&mut self, most: usize, make: impl FnOnce(&mut Vec<u8>)) -> Result<(), Full> {
        self.ensure(most + 5)?;
        let at = self.bytes.len();
        self.extend(&[0xdb, 0, 0, 0, 0])?;
        self.made(most, make)?;
        let size = (self.bytes.len() - at - 5) as u32;
        self.patch(at + 1, &size.to_be_bytes());
        Ok(())
    }

    /// Appends what `make` writes, at most `most` bytes.
    ///
    /// # Errors
    /// [`Full`]; nothing was appended then.
    pub(super) fn made(&mut self, most: usize, make: impl FnOnce(&mut Vec<u8>)) -> Result<(), Full> {
        self.ensure(most)?;
        let before = self.bytes.len();
        make(&mut self.bytes);
        debug_assert!(self.bytes.len() - before <= most, "it is longer than was said");
        Ok(())
    }

    /// Writes over bytes that are there.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Opens a gap of `size` zero bytes.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn insert(&mut self, at: usize, size: usize) -> Result<(), Full> {
        self.ensure(size)?;
        self.bytes.splice(at..at, std::iter::repeat_n(0, size));
        Ok(())
    }

    /// Takes bytes out.
    pub fn remove(&mut self, range: std::ops::Range<usize>) {
        self.bytes.drain(range);
    }

    /// Drops all behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Drops the bytes and keeps what was paid, for the next ones.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Drops the bytes and gives what paid for them.
    pub fn into_lease(mut self) -> Option<Lease> {
        self.bytes = Vec::new();
        self.lease.take()
    }

    /// Drops the bytes and pays back.
    pub fn release(&mut self) {
        self.bytes = Vec::new();
        self.lease = None;
    }
}
