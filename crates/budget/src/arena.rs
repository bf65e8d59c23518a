//! One reserved range of addresses, cut into pages of one size.
//!
//! Because all pages are alike there is no fragmentation: the range is exactly as long as the limit, so what
//! is resident in it can never exceed the limit. Low pages are handed out first, so a small load keeps a
//! small, warm set of pages.

use std::io;
use std::ptr::NonNull;

/// The index of a page in the arena.
pub(crate) type PageId = u32;

pub(crate) struct Arena {
    base: NonNull<u8>,
    page_size: usize,
    free: Bitmap,
    /// Free pages that are still resident.
    dirty: Bitmap,
}

// SAFETY: the arena owns its mapping; nothing in it is tied to the thread that made it.
unsafe impl Send for Arena {}

impl Arena {
    /// Reserves `pages` pages of `page_size` bytes. Nothing becomes resident by that.
    pub(crate) fn reserve(pages: usize, page_size: usize) -> io::Result<Arena> {
        let len = pages * page_size;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len.max(page_size),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A huge page would make 2 MB resident for the first byte of 64 KiB. A kernel without huge pages
        // refuses the advice, which is as good.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) };
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(Arena { base, page_size, free: Bitmap::full(pages), dirty: Bitmap::empty(pages) })
    }

    pub(crate) fn address(&self, id: PageId) -> NonNull<u8> {
        // SAFETY: `id` came from `take`, so the offset lies inside the mapping.
        unsafe { self.base.add(id as usize * self.page_size) }
    }

    pub(crate) fn id_of(&self, address: NonNull<u8>) -> PageId {
        let offset = address.as_ptr() as usize - self.base.as_ptr() as usize;
        (offset / self.page_size) as PageId
    }

    /// Takes the lowest free page, a resident one if there is any. The flag tells whether it was resident.
    pub(crate) fn take(&mut self) -> Option<(PageId, bool)> {
        if let Some(id) = self.dirty.first() {
            self.dirty.clear(id);
            self.free.clear(id);
            return Some((id as PageId, true));
        }
        let id = self.free.first()?;
        self.free.clear(id);
        Some((id as PageId, false))
    }

    pub(crate) fn put(&mut self, id: PageId) {
        self.free.set(id as usize);
        self.dirty.set(id as usize);
    }

    pub(crate) fn dirty(&self) -> usize {
        self.dirty.count
    }

    /// Where the pages that are or were in use lie: nothing behind them is resident.
    pub(crate) fn extent(&self) -> (usize, usize) {
        let clean_behind = self.free.len - self.free.trailing().min(self.free.len);
        let pages = clean_behind.max(self.dirty.last().map_or(0, |last| last + 1));
        (self.base.as_ptr() as usize, pages * self.page_size)
    }

    /// Gives resident free pages back to the kernel, the highest first, until at most `keep` are left.
    /// Returns how many went.
    pub(crate) fn purge(&mut self, keep: usize) -> usize {
        let mut gone = 0;
        while self.dirty.count > keep {
            let Some(last) = self.dirty.last() else { break };
            // Neighbours go in one call.
            let mut first = last;
            while first > 0 && self.dirty.count - (last - first + 1) > keep && self.dirty.get(first - 1) {
                first -= 1;
            }
            for id in first..=last {
                self.dirty.clear(id);
            }
            let run = last - first + 1;
            // SAFETY: the pages are free, so nothing refers into them, and the range lies in the mapping.
            unsafe {
                let at = self.base.as_ptr().add(first * self.page_size);
                libc::madvise(at.cast(), run * self.page_size, libc::MADV_DONTNEED);
            }
            gone += run;
        }
        gone
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let len = self.free.len * self.page_size;
        // SAFETY: the last owner goes; every page handle holds the ledger alive, so none is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), len.max(self.page_size)) };
    }
}

/// A set of page indices that finds its lowest and highest member quickly.
struct Bitmap {
    words: Vec<u64>,
    len: usize,
    count: usize,
    /// No bit is set below this word.
    low: usize,
}

impl Bitmap {
    fn empty(len: usize) -> Bitmap {
        Bitmap { words: vec![0; len.div_ceil(64)], len, count: 0, low: 0 }
    }

    fn full(len: usize) -> Bitmap {
        let mut map = Bitmap::empty(len);
        for id in 0..len {
            map.set(id);
        }
        map
    }

    fn get(&self, id: usize) -> bool {
        self.words[id / 64] >> (id % 64) & 1 == 1
    }

    fn set(&mut self, id: usize) {
        debug_assert!(!self.get(id), "page {id} is in the set already");
        self.words[id / 64] |= 1 << (id % 64);
        self.count += 1;
        self.low = self.low.min(id / 64);
    }

    fn clear(&mut self, id: usize) {
        debug_assert!(self.get(id), "page {id} is not in the set");
        self.words[id / 64] &= !(1 << (id % 64));
        self.count -= 1;
    }

    fn first(&mut self) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        while self.words[self.low] == 0 {
            self.low += 1;
        }
        Some(self.low * 64 + self.words[self.low].trailing_zeros() as usize)
    }

    /// How many bits at the end are set without a gap.
    fn trailing(&self) -> usize {
        let whole = self.len % 64;
        let mut bits = 0;
        for (at, word) in self.words.iter().enumerate().rev() {
            let width = if at + 1 == self.words.len() && whole != 0 { whole } else { 64 };
            let ones = (word << (64 - width)).leading_ones() as usize;
            bits += ones.min(width);
            if ones < width {
                break;
            }
        }
        bits
    }

    fn last(&self) -> Option<usize> {
        let word = self.words.iter().rposition(|word| *word != 0)?;
        Some(word * 64 + 63 - self.words[word].leading_zeros() as usize)
    }
}
