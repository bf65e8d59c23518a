//! Payload: a chain of leased pages.
//!
//! The links and the fill of a page stand in its first bytes, so a chain needs no memory outside the arena.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::Full;
use crate::ledger::{Account, Lease};

/// What stands at the start of each page.
#[repr(C)]
struct Header {
    next: Option<NonNull<Header>>,
    prev: Option<NonNull<Header>>,
    start: u32,
    end: u32,
}

const HEADER: usize = size_of::<Header>();

/// Bytes in a chain of pages, all charged to one account. Dropping it pays the pages back.
pub struct Buf {
    account: Account,
    head: Option<NonNull<Header>>,
    tail: Option<NonNull<Header>>,
    pages: u32,
    /// The size of a page, kept here because each write asks for it.
    page_size: u32,
    len: usize,
    /// Pays for the next page.
    prepaid: Option<Lease>,
}

// SAFETY: a Buf owns its pages alone; a shared reference only reads them.
unsafe impl Send for Buf {}
// SAFETY: as above.
unsafe impl Sync for Buf {}

/// A place in a [`Buf`]: the number of the page and the offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    page: u32,
    at: u32,
}

impl Buf {
    /// An empty chain. It holds no page.
    pub fn new(account: &Account) -> Buf {
        let page_size = account.page_size() as u32;
        Buf { account: account.clone(), head: None, tail: None, pages: 0, page_size, len: 0, prepaid: None }
    }

    /// The account that pays.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes charged: whole pages.
    pub fn charged(&self) -> usize {
        self.pages as usize * self.page_size as usize
    }

    /// Payload bytes that one page holds.
    pub fn page_capacity(&self) -> usize {
        self.page_size as usize - HEADER
    }

    /// Hands in a lease of [`Account::page_size`] bytes of the same account: the next page is paid with it. The
    /// way on after [`Full`]: a page that was waited for must not be lost to somebody who did not wait.
    pub fn prepay(&mut self, lease: Lease) {
        self.prepaid = Some(lease);
    }

    /// Adds an empty page at the end.
    ///
    /// # Errors
    /// [`Full`] when there is no room now. Nothing has changed then.
    pub fn grow(&mut self) -> Result<(), Full> {
        if let Some(lease) = self.prepaid.take() {
            self.grow_with(lease);
            return Ok(());
        }
        let budget = &self.account.inner.budget;
        let mut state = budget.lock();
        self.account.try_charge(&mut state, budget.page_size)?;
        let page = budget.take_page(&mut state).map(|id| budget.page_address(&state, id));
        drop(state);
        self.link_last(page);
        Ok(())
    }

    /// Adds an empty page at the end, paid with a lease of [`Account::page_size`] bytes of the same account.
    pub fn grow_with(&mut self, mut lease: Lease) {
        let budget = &self.account.inner.budget;
        assert_eq!(lease.bytes, budget.page_size, "a page is paid with a lease of its size");
        assert!(
            std::sync::Arc::ptr_eq(&lease.account.inner, &self.account.inner),
            "a lease of another account"
        );
        let mut state = budget.lock();
        state.unplain(lease.bytes);
        lease.bytes = 0;
        let page = budget.take_page(&mut state).map(|id| budget.page_address(&state, id));
        drop(state);
        self.link_last(page);
    }

    fn link_last(&mut self, page: Option<NonNull<u8>>) {
        // The arena is as long as the budget, so a paid page exists. Anything else is a bug in the ledger.
        let Some(page) = page else { panic!("the ledger charged a page that the arena does not have") };
        let page = self.initialise(page);
        self.link(page);
        self.tail = Some(page);
        self.pages += 1;
    }

    /// Links a chain of pages, of which `first` is the first, behind the last one.
    fn link(&mut self, mut first: NonNull<Header>) {
        match self.tail {
            // SAFETY: `tail` is a page of this chain, and `first` one that it takes over.
            Some(mut tail) => unsafe {
                tail.as_mut().next = Some(first);
                first.as_mut().prev = Some(tail);
            },
            None => self.head = Some(first),
        }
    }

    fn initialise(&self, page: NonNull<u8>) -> NonNull<Header> {
        let page = page.cast::<Header>();
        // SAFETY: the page was just handed to this chain: it is mapped, aligned to 4096 and nobody else's.
        unsafe { page.write(Header { next: None, prev: None, start: HEADER as u32, end: HEADER as u32 }) };
        page
    }

    /// Free bytes at the end of the last page.
    #[inline]
    pub fn room(&self) -> usize {
        // SAFETY: `tail` is a page of this chain.
        self.tail.map_or(0, |tail| (self.page_size - unsafe { tail.as_ref().end }) as usize)
    }

    /// The free bytes at the end of the last page, to be written and then claimed with [`Buf::advance`].
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let Some(tail) = self.tail else { return &mut [] };
        let size = self.page_size as usize;
        // SAFETY: the page is this chain's alone, `end <= size`, and the bytes behind `end` are mapped; they
        // may hold old payload but are initialised memory.
        unsafe {
            let end = tail.as_ref().end as usize;
            std::slice::from_raw_parts_mut(tail.cast::<u8>().as_ptr().add(end), size - end)
        }
    }

    /// Claims `bytes` bytes of [`Buf::spare`] as payload.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.room(), "advanced beyond the page");
        if let Some(mut tail) = self.tail {
            // SAFETY: `tail` is a page of this chain.
            unsafe { tail.as_mut().end += bytes as u32 };
            self.len += bytes;
        }
    }

    /// Appends bytes, growing as needed.
    ///
    /// # Errors
    /// [`Full`]: a part may have been written; callers that go on use [`Buf::mark`] and [`Buf::truncate`].
    #[inline]
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Full> {
        loop {
            let spare = self.spare();
            let take = spare.len().min(bytes.len());
            spare[..take].copy_from_slice(&bytes[..take]);
            self.advance(take);
            bytes = &bytes[take..];
            if bytes.is_empty() {
                return Ok(());
            }
            self.grow()?;
        }
    }

    /// Moves all pages of `other` to the end of this chain, without copying. Their charge moves along.
    ///
    /// # Errors
    /// [`Full`] with `other` given back, when it belongs to another account and this one has no room.
    pub fn append(&mut self, mut other: Buf) -> Result<(), (Full, Buf)> {
        if !std::sync::Arc::ptr_eq(&self.account.inner, &other.account.inner) {
            let bytes = other.charged();
            let mut state = self.account.inner.budget.lock();
            if self.account.try_charge(&mut state, bytes).is_err() {
                drop(state);
                return Err((Full, other));
            }
            drop(state);
            other.account.inner.budget.release(&other.account.inner, bytes, false, &mut |_| ());
            other.account = self.account.clone();
        }
        let Some(head) = other.head.take() else { return Ok(()) };
        self.link(head);
        self.tail = other.tail.take();
        self.pages += std::mem::take(&mut other.pages);
        self.len += std::mem::take(&mut other.len);
        Ok(())
    }

    /// The payload, page by page. Empty pages are left out.
    pub fn pages(&self) -> Pages<'_> {
        Pages { next: self.head, chain: PhantomData }
    }

    /// The payload of the first page that has any.
    pub fn front(&self) -> &[u8] {
        self.pages().next().unwrap_or(&[])
    }

    /// Drops `bytes` bytes at the front and gives emptied pages back.
    pub fn consume(&mut self, mut bytes: usize) {
        assert!(bytes <= self.len, "consumed more than there is");
        self.len -= bytes;
        while let Some(mut head) = self.head {
            // SAFETY: `head` is a page of this chain.
            let header = unsafe { head.as_mut() };
            let here = (header.end - header.start) as usize;
            if bytes < here {
                header.start += bytes as u32;
                return;
            }
            bytes -= here;
            self.drop_head();
        }
    }

    fn drop_head(&mut self) {
        let Some(head) = self.head else { return };
        // SAFETY: `head` is a page of this chain.
        self.head = unsafe { head.as_ref().next };
        match self.head {
            // SAFETY: as above.
            Some(mut head) => unsafe { head.as_mut().prev = None },
            None => self.tail = None,
        }
        self.pages -= 1;
        self.give_back(head, 1);
    }

    /// Gives back `first` and the `count - 1` pages linked behind it.
    fn give_back(&self, first: NonNull<Header>, count: u32) {
        let account = &self.account.inner;
        let bytes = count as usize * account.budget.page_size;
        account.budget.release(account, bytes, false, &mut |state| {
            let mut page = Some(first);
            for _ in 0..count {
                let Some(this) = page else { break };
                // SAFETY: a page of this chain; the link is read before the page goes back to the arena.
                page = unsafe { this.as_ref().next };
                account.budget.put_page(state, this.cast());
            }
        });
    }

    /// The end of the payload.
    #[inline]
    pub fn mark(&self) -> Mark {
        // SAFETY: `tail` is a page of this chain.
        let at = self.tail.map_or(HEADER as u32, |tail| unsafe { tail.as_ref().end });
        Mark { page: self.pages.saturating_sub(1), at }
    }

    /// The page with this number, from the nearer end of the chain.
    fn page_at(&self, number: u32) -> NonNull<Header> {
        let behind = self.pages.checked_sub(number + 1);
        let page = match behind {
            None => None,
            Some(behind) if behind < number => (0..behind).fold(self.tail, |page, _| {
                // SAFETY: pages of this chain.
                page.and_then(|page| unsafe { page.as_ref().prev })
            }),
            Some(_) => (0..number).fold(self.head, |page, _| {
                // SAFETY: pages of this chain.
                page.and_then(|page| unsafe { page.as_ref().next })
            }),
        };
        let Some(page) = page else { panic!("a mark of another chain") };
        page
    }

    /// Writes over payload that stands at `mark`.
    #[inline]
    pub fn patch(&mut self, mark: Mark, bytes: &[u8]) {
        match self.tail {
            Some(tail) if mark.page + 1 == self.pages => self.patch_from(tail, mark, bytes),
            _ => self.patch_from(self.page_at(mark.page), mark, bytes),
        }
    }

    #[inline]
    fn patch_from(&mut self, mut page: NonNull<Header>, mark: Mark, mut bytes: &[u8]) {
        let mut at = mark.at;
        // SAFETY: the page is this chain's alone, and the bytes written lie between its start and end. Apart from
        // the loop, because here the compiler knows how many there are.
        unsafe {
            let header = page.as_ref();
            if (header.start..=header.end).contains(&at) && bytes.len() <= (header.end - at) as usize {
                let to = page.cast::<u8>().as_ptr().add(at as usize);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                return;
            }
        }
        loop {
            // SAFETY: the page is this chain's alone, and the bytes written lie between its start and end.
            let next = unsafe {
                let header = page.as_ref();
                assert!((header.start..=header.end).contains(&at), "patched outside the payload");
                let here = bytes.len().min((header.end - at) as usize);
                let to = page.cast::<u8>().as_ptr().add(at as usize);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, here);
                bytes = &bytes[here..];
                header.next
            };
            match next {
                Some(next) if !bytes.is_empty() => (page, at) = (next, HEADER as u32),
                _ => break,
            }
        }
        assert!(bytes.is_empty(), "patched beyond the payload");
    }

    /// Drops everything behind `mark`, given by [`Buf::mark`] earlier, and the pages that this empties.
    pub fn truncate(&mut self, mark: Mark) {
        if self.pages == 0 {
            return;
        }
        let mut page = self.page_at(mark.page);
        // SAFETY: a page of this chain.
        let rest = unsafe { page.as_mut().next.take() };
        let mut dropped = 0;
        let mut at = rest;
        while let Some(page) = at {
            // SAFETY: a page of this chain.
            let header = unsafe { page.as_ref() };
            self.len -= (header.end - header.start) as usize;
            dropped += 1;
            at = header.next;
        }
        // SAFETY: a page of this chain.
        let header = unsafe { page.as_mut() };
        self.len -= (header.end - mark.at) as usize;
        header.end = mark.at;
        self.tail = Some(page);
        self.pages -= dropped;
        if let Some(rest) = rest {
            self.give_back(rest, dropped);
        }
    }

    /// Moves the bytes from `mark` to the end of the last page into a new page. The mark must lie in the last
    /// page. Used to keep a record in one page: see `event`.
    ///
    /// # Errors
    /// [`Full`] when there is no room for the page. Nothing has changed then.
    pub fn carry(&mut self, mark: Mark) -> Result<Mark, Full> {
        assert!(mark.page + 1 == self.pages, "only the last page can be carried over");
        let from = self.page_at(mark.page);
        self.grow()?;
        let mut from = from;
        // SAFETY: `from` is now the last but one page of this chain; the new page is another one, and as long.
        unsafe {
            let header = from.as_mut();
            let bytes = header.end - mark.at;
            let source = from.cast::<u8>().as_ptr().add(mark.at as usize);
            let spare = self.spare();
            std::ptr::copy_nonoverlapping(source, spare.as_mut_ptr(), bytes as usize);
            from.as_mut().end = mark.at;
            // The bytes are only moved, so the length stays.
            self.advance(bytes as usize);
            self.len -= bytes as usize;
        }
        Ok(Mark { page: mark.page + 1, at: HEADER as u32 })
    }

    /// Opens a gap of `bytes` zero bytes at `mark`. Marks behind it become invalid.
    ///
    /// # Errors
    /// [`Full`] when there is no room for a page. Nothing has changed then.
    pub fn insert(&mut self, mark: Mark, bytes: usize) -> Result<(), Full> {
        let mut page = self.page_at(mark.page);
        let size = self.page_size as usize;
        // SAFETY: a page of this chain.
        let (end, next) = unsafe { (page.as_ref().end, page.as_ref().next) };
        let rest = (end - mark.at) as usize;
        let base = page.cast::<u8>().as_ptr();
        if end as usize + bytes <= size {
            // SAFETY: source and target lie in the page.
            unsafe {
                let at = base.add(mark.at as usize);
                std::ptr::copy(at, at.add(bytes), rest);
                std::ptr::write_bytes(at, 0, bytes);
                page.as_mut().end += bytes as u32;
            }
            self.len += bytes;
            return Ok(());
        }
        assert!(rest + bytes <= self.page_capacity(), "the gap and what follows it fit a page");
        // A page behind this one takes the gap and the rest.
        let old_tail = self.tail;
        self.grow()?;
        let Some(mut added) = self.tail else { return Err(Full) };
        // SAFETY: `added` is the page just linked at the end; it is unlinked there and linked behind `page`.
        unsafe {
            let to = added.cast::<u8>().as_ptr().add(HEADER);
            std::ptr::write_bytes(to, 0, bytes);
            std::ptr::copy_nonoverlapping(base.add(mark.at as usize), to.add(bytes), rest);
            added.as_mut().end = (HEADER + bytes + rest) as u32;
            page.as_mut().end = mark.at;
            if let (Some(mut next), Some(mut tail)) = (next, old_tail) {
                tail.as_mut().next = None;
                self.tail = Some(tail);
                added.as_mut().next = Some(next);
                next.as_mut().prev = Some(added);
            }
            page.as_mut().next = Some(added);
            added.as_mut().prev = Some(page);
        }
        self.len += bytes;
        Ok(())
    }

    /// The payload in one vector. For tests and small things: the vector is not leased.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pages().collect::<Vec<_>>().concat()
    }
}

impl Mark {
    /// Where this mark is after [`Buf::carry`] moved everything from `from` on to `to`.
    pub fn carried(self, from: Mark, to: Mark) -> Mark {
        if self >= from { Mark { page: to.page, at: self.at - from.at + to.at } } else { self }
    }

    /// Whether both marks lie in the same page.
    pub fn same_page(self, other: Mark) -> bool {
        self.page == other.page
    }

    /// The mark `bytes` bytes later in the same page.
    pub fn plus(self, bytes: u32) -> Mark {
        Mark { page: self.page, at: self.at + bytes }
    }

    /// Whether the mark is at the very start of its page.
    pub fn at_page_start(self) -> bool {
        self.at as usize <= HEADER
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        self.len = 0;
        if let Some(head) = self.head.take() {
            self.give_back(head, self.pages);
        }
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes in {} pages)", self.len, self.pages)
    }
}

/// Iterator over the payload of a [`Buf`], page by page.
#[derive(Clone)]
pub struct Pages<'a> {
    next: Option<NonNull<Header>>,
    chain: PhantomData<&'a Buf>,
}

impl<'a> Iterator for Pages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(page) = self.next {
            // SAFETY: the chain is borrowed for 'a, so its pages stay and do not change; start <= end <= size.
            unsafe {
                let header = page.as_ref();
                self.next = header.next;
                if header.end > header.start {
                    let at = page.cast::<u8>().as_ptr().add(header.start as usize);
                    return Some(std::slice::from_raw_parts(at, (header.end - header.start) as usize));
                }
            }
        }
        None
    }
}

// SAFETY: it borrows a Buf, which is Sync.
unsafe impl Send for Pages<'_> {}
