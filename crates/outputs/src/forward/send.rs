//! A chunk as one message: `[tag, entries, options]`, or with the entries compressed in a binary.

use budget::Buf;
use engine::{Batch, Part};
use event::EventTime;
use event::msgpack::put_str;
use net::client::Stream;

use super::entries::Entries;
use super::wire::{LOGS, METRICS, acknowledged, flush, put_options, write};
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
        put_array(&mut head, records);
        write(stream, &head).await?;
        blocks(stream, slot.plain_encoder(&node.entries, batch, escape_unicode)?).await?;
    }
    if node.options {
        let mut options = Vec::new();
        put_options(&mut options, node, name, Some(records), LOGS, None);
        write(stream, &options).await?;
    }
    flush(stream).await?;
    if node.ack { acknowledged(stream, name).await } else { Ok(()) }
}

/// Appends the header of an array.
fn put_array(out: &mut Vec<u8>, values: usize) {
    match values {
        0..=15 => out.push(0x90 | values as u8),
        16..=0xffff => {
            out.push(0xdc);
            out.extend_from_slice(&(values as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&(values as u32).to_be_bytes());
        }
    }
}

/// The whole maps of a chunk of metrics, as they lie.
static MAPS: Entries = Entries { metadata: true, whole_seconds: false };

/// A chunk of metrics: the maps as they lie in a binary, or for Fluentd as entries.
pub(super) async fn metrics(
    stream: &mut Stream,
    node: &Node,
    slot: &Slot<'_>,
    batch: &Batch,
    part: &Part,
    name: &str,
) -> Result<(), Undelivered> {
    let mut head = vec![0x93];
    put_str(&mut head, &tag(node.tag.as_ref(), part.tag().as_str()));
    if node.fluentd && !node.gzip {
        head.extend_from_slice(&[0x91, 0x92]);
        head.extend_from_slice(&EventTime::now().to_msgpack());
        put_array(&mut head, part.records());
        write(stream, &head).await?;
        blocks(stream, slot.plain_encoder(&MAPS, batch, false)?).await?;
    } else {
        let maps = || match node.gzip {
            true => slot.encoder(&MAPS, batch, false),
            false => slot.plain_encoder(&MAPS, batch, false),
        };
        let (first, length) = length(maps()?).await?;
        head.push(0xc6);
        head.extend_from_slice(&(length as u32).to_be_bytes());
        write(stream, &head).await?;
        match first {
            Some(whole) => pages(stream, &whole).await?,
            None => blocks(stream, maps()?).await?,
        }
    }
    let mut options = Vec::new();
    put_options(&mut options, node, name, None, METRICS, None);
    write(stream, &options).await?;
    flush(stream).await?;
    if node.ack { acknowledged(stream, name).await } else { Ok(()) }
}

/// The tag to send, where it is the same for all records of a chunk.
fn tag(template: Option<&Template>, own: &str) -> String {
    template.map_or_else(|| own.to_owned(), |template| template.of_tag(own))
}

/// The length of the blocks, and they themselves if they are one.
async fn length(mut encoder: Encoder<'_, Entries>) -> Result<(Option<Buf>, usize), Undelivered> {
    let mut length = 0;
    while let Some(block) = encoder.next(PATIENCE).await? {
        length += block.len();
        if length == block.len() && encoder.complete() {
            return Ok((Some(block), length));
        }
    }
    Ok((None, length))
}

async fn blocks(stream: &mut Stream, mut encoder: Encoder<'_, Entries>) -> Result<(), Undelivered> {
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
