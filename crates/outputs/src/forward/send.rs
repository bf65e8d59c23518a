//! A chunk as one message: `[tag, entries, options]`, or with the entries compressed in a binary.

use budget::Buf;
use engine::{Batch, Part};
use event::msgpack::put_str;
use net::client::Stream;

use super::wire::{LOGS, acknowledged, flush, put_options, write};
use super::{Node, Undelivered};
use crate::counter::log_records;
use crate::payload::{Encoder, PATIENCE, Slot};
use crate::template::Template;

pub(super) async fn chunk(
    stream: &mut Stream,
    node: &Node,
    slot: &Slot<'_>,
    batch: &Batch,
    part: &Part,
    name: &str,
    escape_unicode: bool,
) -> Result<(), Undelivered> {
    let records = if node.entries.metadata { part.records() } else { log_records(part)? };
    let mut head = vec![if node.options { 0x93 } else { 0x92 }];
    put_str(&mut head, &tag(node.tag.as_ref(), part.tag().as_str()));
    if node.gzip {
        let (first, length) = length(slot.encoder(&node.entries, batch, escape_unicode)?).await?;
        head.push(0xc6);
        head.extend_from_slice(&(length as u32).to_be_bytes());
        write(stream, &head).await?;
        match first {
            Some(whole) => pages(stream, &whole).await?,
            None => blocks(stream, slot.encoder(&node.entries, batch, escape_unicode)?).await?,
        }
    } else {
        head.push(0xdd);
        head.extend_from_slice(&(records as u32).to_be_bytes());
        write(stream, &head).await?;
        blocks(stream, slot.encoder(&node.entries, batch, escape_unicode)?).await?;
    }
    if node.options {
        let mut options = Vec::new();
        put_options(&mut options, node, name, Some(records), LOGS, None);
        write(stream, &options).await?;
    }
    flush(stream).await?;
    if node.ack { acknowledged(stream, name).await } else { Ok(()) }
}

/// The tag to send, where it is the same for all records of a chunk.
fn tag(template: Option<&Template>, own: &str) -> String {
    template.map_or_else(|| own.to_owned(), |template| template.of_tag(own))
}

/// The length of the blocks, and they themselves if they are one.
async fn length(mut encoder: Encoder<'_, super::Entries>) -> Result<(Option<Buf>, usize), Undelivered> {
    let mut length = 0;
    while let Some(block) = encoder.next(PATIENCE).await? {
        length += block.len();
        if length == block.len() && encoder.complete() {
            return Ok((Some(block), length));
        }
    }
    Ok((None, length))
}

async fn blocks(stream: &mut Stream, mut encoder: Encoder<'_, super::Entries>) -> Result<(), Undelivered> {
    while let Some(block) = encoder.next(PATIENCE).await? {
        pages(stream, &block).await?;
    }
    Ok(())
}

async fn pages(stream: &mut Stream, block: &Buf) -> Result<(), Undelivered> {
    for page in block.pages() {
        write(stream, page).await?;
    }
    Ok(())
}
