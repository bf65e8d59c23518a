//! What an output holds while it sends a batch: a constant that is set aside when the output opens.
//!
//! Each flush has a [`Slot`]: an account with a fixed share, so that neither a full ledger nor another flush of
//! the same output takes anything of it. [`Encoder`] turns a batch into blocks that fit the slot, one after the
//! other; the next one is made of the pages that the one before gave back. A batch of any size can therefore
//! always be sent, and sending is what makes room in a full ledger.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use budget::{Account, Buf, Full, Lease, Share};
use engine::{Batch, Outcome, Setup};
use formats::gzip;
use options::Reader;

use crate::rows::{BLOCK, Failed, Form, Rows};

/// Bytes of text after which others on the thread get their turn: about a millisecond of compressing.
const TURN: usize = 128 << 10;

/// How long a flush waits for pages that a connection of an earlier one still holds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// After this time a flush that found its slot in use is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// One account for each flush at a time.
pub(crate) struct Slots {
    /// Bytes of pages in each.
    pages: usize,
    gzip: Option<u32>,
    free: Mutex<Vec<Account>>,
}

/// The account of one flush, which has it until this is dropped.
pub(crate) struct Slot<'a> {
    slots: &'a Slots,
    account: Account,
}

impl Slots {
    /// Sets aside, for each purpose, `pages` bytes of pages, the block that text passes through and the
    /// compressor; `gzip` is its level, if there is one.
    pub(crate) fn open(
        purposes: &[&'static str],
        pages: usize,
        gzip: Option<u32>,
        setup: &Setup,
        reader: &mut Reader<'_>,
    ) -> Option<Slots> {
        let share = Slots::share(pages, gzip);
        let accounts: Option<Vec<Account>> =
            purposes.iter().map(|purpose| setup.account(purpose, share, reader)).collect();
        Some(Slots { pages, gzip, free: Mutex::new(accounts?) })
    }

    fn share(pages: usize, gzip: Option<u32>) -> Share {
        let state = if gzip.is_some() { gzip::Encoder::HELD } else { 0 };
        Share::fixed(BLOCK + state + pages)
    }

    /// One slot, in a budget that has room for nothing else.
    #[cfg(test)]
    pub(crate) fn one(pages: usize, gzip: Option<u32>) -> Slots {
        let share = Slots::share(pages, gzip);
        let budget = budget::Budget::new(share.guaranteed, 16_384).expect("address space");
        let account = budget.account("test.0", "slot", share).expect("room");
        Slots { pages, gzip, free: Mutex::new(vec![account]) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Account>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot. There is one for each flush that the engine runs at a time.
    pub(crate) fn take(&self) -> Result<Slot<'_>, Full> {
        let account = self.lock().pop().ok_or(Full)?;
        Ok(Slot { slots: self, account })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.lock().push(self.account.clone());
    }
}

impl Slot<'_> {
    /// A buffer of the slot's pages with the first of them, for which it waits so long.
    pub(crate) async fn buffer(&self, patience: Duration) -> Result<Buf, Full> {
        first_page(&self.account, patience).await
    }

    /// The pages of one block.
    pub(crate) fn pages(&self) -> usize {
        self.slots.pages
    }

    /// Begins to write a batch, in blocks as large as the slot has room for.
    pub(crate) fn encoder<'b, F: Form>(
        &self,
        form: &'b F,
        batch: &'b Batch,
        escape_unicode: bool,
    ) -> Result<Encoder<'b, F>, Full> {
        self.encoder_with(form, batch, escape_unicode, self.slots.gzip)
    }

    /// The same without compression.
    pub(crate) fn plain_encoder<'b, F: Form>(
        &self,
        form: &'b F,
        batch: &'b Batch,
        escape_unicode: bool,
    ) -> Result<Encoder<'b, F>, Full> {
        self.encoder_with(form, batch, escape_unicode, None)
    }

    fn encoder_with<'b, F: Form>(
        &self,
        form: &'b F,
        batch: &'b Batch,
        escape_unicode: bool,
        gzip: Option<u32>,
    ) -> Result<Encoder<'b, F>, Full> {
        let account = self.account.clone();
        let block = account.try_lease(BLOCK)?;
        let gzip = gzip.map(|level| {
            let lease = account.try_lease(gzip::Encoder::HELD)?;
            Ok((gzip::Encoder::new(level), lease))
        });
        let gzip = gzip.transpose()?;
        let rows = Rows::new(form, &batch.parts, escape_unicode);
        Ok(Encoder { rows, gzip, _block: block, account, most: self.slots.pages, raw: 0, complete: false })
    }
}

/// Turns a batch into blocks, compressed or not.
pub(crate) struct Encoder<'a, F> {
    rows: Rows<'a, F>,
    gzip: Option<(gzip::Encoder, Lease)>,
    _block: Lease,
    account: Account,
    /// Bytes of pages in one block.
    most: usize,
    raw: u64,
    complete: bool,
}

/// Why the encoder stopped.
enum Stop {
    /// The block is full, or the batch is complete.
    Block,
    /// Others on the thread wait.
    Turn,
}

impl<F: Form> Encoder<'_, F> {
    /// The same with blocks of a page, so that one is sent while the next is written. What is compressed comes
    /// in blocks as large as the slot has room for, because the compressor is stopped by nothing else.
    pub(crate) fn by_page(mut self) -> Self {
        self.most = self.account.page_size();
        self
    }

    /// Bytes written so far, before compression.
    pub(crate) fn raw(&self) -> u64 {
        self.raw
    }

    /// Whether the last block was made.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// The next block; `None` behind the last one. Waits so long for a page. The bytes of all blocks are the
    /// same whenever the batch is written, because the compressor is always given whole pages: see
    /// [`Encoder::fill`].
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Option<Buf>, Failed> {
        if self.complete {
            return Ok(None);
        }
        let mut out = first_page(&self.account, patience).await?;
        while let Stop::Turn = self.fill(&mut out)? {
            tokio::task::yield_now().await;
        }
        Ok(Some(out))
    }

    /// Writes until the block is full. That is only ever at the end of a page: where the compressor must stop
    /// for want of room has an influence on what it writes. It asks for pages itself, so the ledger stops it
    /// when the slot is used up, and counts that as a refusal of the slot's account.
    fn fill(&mut self, out: &mut Buf) -> Result<Stop, Failed> {
        let turn = self.raw + TURN as u64;
        while let Some(mut text) = self.rows.text()? {
            let before = text.len();
            let written = match &mut self.gzip {
                _ if out.room() == 0 && out.charged() + self.account.page_size() > self.most => Err(Full),
                Some((encoder, _)) => encoder.write(&mut text, out),
                None => copy(&mut text, out, self.most),
            };
            let taken = before - text.len();
            self.rows.take(taken);
            self.raw += taken as u64;
            match written {
                Err(Full) => return Ok(Stop::Block),
                Ok(()) if self.raw >= turn => return Ok(Stop::Turn),
                Ok(()) => {}
            }
        }
        let ended = self.gzip.as_mut().map_or(Ok(()), |(encoder, _)| encoder.finish(out));
        self.complete = ended.is_ok();
        Ok(Stop::Block)
    }
}

async fn first_page(account: &Account, patience: Duration) -> Result<Buf, Full> {
    let mut out = Buf::new(account);
    let page = account.lease(account.page_size());
    let page = tokio::time::timeout(patience, page).await.map_err(|_elapsed| Full)?;
    out.grow_with(page?);
    Ok(out)
}

/// Copies what fits into `most` bytes of pages; `text` shrinks by it.
fn copy(text: &mut &[u8], out: &mut Buf, most: usize) -> Result<(), Full> {
    while !text.is_empty() {
        if out.room() == 0 {
            if out.charged() + out.account().page_size() > most {
                return Err(Full);
            }
            out.grow()?;
        }
        let (now, later) = text.split_at(out.room().min(text.len()));
        out.write(now)?;
        *text = later;
    }
    Ok(())
}

/// What becomes of a batch that could not be written.
pub(crate) fn unwritten(failed: Failed, batch: &Batch) -> Outcome {
    match failed {
        // What a flush needs is set aside, so somebody still has it: a connection that is being closed.
        Failed::Full => Outcome::Retry {
            after: Some(AGAIN),
            why: "the memory that is set aside for a flush is still in use".to_owned(),
        },
        Failed::Corrupt if batch.records() > 1 => {
            Outcome::Split { why: "a record is not valid msgpack".to_owned() }
        }
        Failed::Corrupt => Outcome::Reject { why: "the record is not valid msgpack".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Dated, Layout};
    use crate::testing;
    use formats::json::DateFormat;

    const PAGES: usize = 4 * 16_384;

    fn lines() -> Dated {
        Dated::new(Layout::Lines, None, DateFormat::Double, true)
    }

    async fn blocks(slots: &Slots, batch: &Batch, by_page: bool) -> Vec<Vec<u8>> {
        let (slot, form) = (slots.take().unwrap(), lines());
        let mut encoder = slot.encoder(&form, batch, true).unwrap();
        if by_page {
            encoder = encoder.by_page();
        }
        let mut blocks = Vec::new();
        while let Some(block) = encoder.next(PATIENCE).await.unwrap() {
            assert!(block.charged() <= PAGES);
            blocks.push(block.to_vec());
        }
        blocks
    }

    #[tokio::test]
    async fn a_record_of_any_size_passes_through_a_slot_in_blocks_that_are_the_same_bytes_each_time() {
        let record = format!(r#"{{"text":"{}"}}"#, testing::random_hex(600_000));
        let batch = testing::batch("t", &[r#"{"a":1}"#, &record, "{}"]);
        let expected = format!("{{\"a\":1}}\n{record}\n{{}}\n");
        for gzip in [None, Some(1), Some(6), Some(9)] {
            let slots = Slots::one(PAGES, gzip);
            let large = blocks(&slots, &batch, false).await;
            let small = blocks(&slots, &batch, true).await;
            assert!(large.len() > 4 && small.len() >= large.len(), "{} and {}", large.len(), small.len());
            let bytes = large.concat();
            assert!(bytes == small.concat(), "level {gzip:?}: the same bytes, however they are cut");
            let plain = if gzip.is_some() { testing::gunzip(&bytes) } else { bytes };
            assert!(plain == expected.as_bytes(), "level {gzip:?}");
            assert_eq!(slots.take().unwrap().account.held(), 0);
        }
    }

    #[tokio::test]
    async fn a_slot_is_had_by_one_flush_at_a_time_and_waits_for_pages_that_linger() {
        let slots = Slots::one(PAGES, None);
        let slot = slots.take().unwrap();
        assert!(slots.take().is_err());
        let batch = testing::batch("t", &[&format!(r#"{{"text":"{}"}}"#, "x".repeat(2 * PAGES))]);
        let form = lines();
        let mut encoder = slot.encoder(&form, &batch, true).unwrap();
        let lingering = encoder.next(PATIENCE).await.unwrap().unwrap();
        assert_eq!(encoder.next(Duration::from_millis(1)).await.unwrap_err(), Failed::Full);
        drop(lingering);
        assert!(encoder.next(PATIENCE).await.unwrap().is_some());
    }

    #[test]
    fn a_batch_that_finds_no_room_is_tried_again_soon_and_only_corrupt_ones_are_taken_apart() {
        let (two, one) = (testing::batch("t", &["{}", "{}"]), testing::batch("t", &["{}"]));
        for batch in [&two, &one] {
            assert!(matches!(unwritten(Failed::Full, batch), Outcome::Retry { after: Some(AGAIN), .. }));
        }
        assert!(matches!(unwritten(Failed::Corrupt, &two), Outcome::Split { .. }));
        assert!(matches!(unwritten(Failed::Corrupt, &one), Outcome::Reject { .. }));
    }
}
