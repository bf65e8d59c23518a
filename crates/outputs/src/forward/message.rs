//! Each record as a message of its own, with a tag that has values of the record: `[tag, time, body, options]`.

use engine::Part;
use event::Cursor;
use event::msgpack::str_header;
use net::client::Stream;

use super::wire::{LOGS, acknowledged, flush, put_options, write};
use super::{Node, Undelivered};
use crate::rows::is_mark;

/// Bytes of a tag; longer ones are cut.
const TAG: usize = 1_024;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 8 << 10;

/// Bytes of metadata that are sent along.
const METADATA: usize = 8 << 10;

pub(super) async fn send(
    stream: &mut Stream,
    node: &Node,
    part: &Part,
    name: &str,
) -> Result<(), Undelivered> {
    let mut cursor = part.cursor()?;
    let mut text = Vec::new();
    for number in 0..part.records() {
        let (time, with_metadata) = cursor.record_head()?;
        let mut metadata = Vec::new();
        if with_metadata {
            let start = cursor.clone();
            cursor.skip()?;
            let size = cursor.offset() - start.offset();
            if (2..=METADATA).contains(&size) {
                metadata = start.clone().copy(size)?;
            }
        }
        if is_mark(time) {
            cursor.skip()?;
            continue;
        }
        text.push(0x94);
        put_tag(&mut text, node, part.tag().as_str(), &cursor)?;
        node.entries.put_time(time, &mut text);
        body(stream, &mut cursor, &mut text).await?;
        let chunk = format!("{name}{number}");
        let metadata = Some(metadata.as_slice()).filter(|metadata| !metadata.is_empty());
        put_options(&mut text, node, &chunk, None, LOGS, metadata);
        if node.ack || text.len() >= GATHERED {
            write(stream, &text).await?;
            text.clear();
        }
        if node.ack {
            flush(stream).await?;
            acknowledged(stream, &chunk).await?;
        }
    }
    write(stream, &text).await?;
    flush(stream).await
}

/// Appends the body that the cursor stands at, and writes what becomes too much.
async fn body(stream: &mut Stream, cursor: &mut Cursor<'_>, text: &mut Vec<u8>) -> Result<(), Undelivered> {
    let mut end = cursor.clone();
    end.skip()?;
    while cursor.offset() < end.offset() {
        let piece = cursor.piece((end.offset() - cursor.offset()).min(GATHERED))?;
        text.extend_from_slice(piece);
        if text.len() >= GATHERED {
            write(stream, text).await?;
            text.clear();
        }
    }
    Ok(())
}

/// Appends the tag; where a value is missing, its place is empty.
fn put_tag(out: &mut Vec<u8>, node: &Node, own: &str, body: &Cursor<'_>) -> Result<(), Undelivered> {
    let mut tag = Vec::new();
    match &node.tag {
        Some(template) => {
            template.fill(own, body, &mut tag, TAG)?;
            tag.truncate(TAG);
        }
        None => tag.extend_from_slice(own.as_bytes()),
    }
    let (header, size) = str_header(tag.len());
    out.extend_from_slice(&header[..size]);
    out.extend_from_slice(&tag);
    Ok(())
}
