//! What a request adds to its records, and what a record says about its tag: `add_remote_addr`, `tag_key`.

use std::sync::Arc;

use engine::Emitter;
use engine::emit::{PATIENCE, Refused};
use event::{Accessor, Entry, Events, Progress, Raw, Record, Tag, Writer};
use net::server::Head;
use options::Reader;
use tokio::time::{Instant, timeout_at};

use super::{HttpOptions, clean_tag};
use crate::records::Extent;

/// The longest client address that is added. The header is the client's to write.
const ADDRESS_BYTES: usize = 256;

/// The options, read.
#[derive(Clone)]
pub(super) struct Marking {
    tag: Option<Arc<Accessor>>,
    address_key: Option<Arc<str>>,
}

impl Marking {
    /// Reports an accessor that is none.
    pub(super) fn new(options: &HttpOptions, reader: &mut Reader<'_>) -> Option<Marking> {
        let tag = match &options.tag_key {
            None => None,
            Some(text) if text.starts_with('$') => match Accessor::parse(text) {
                Ok(accessor) => Some(accessor),
                Err(why) => {
                    reader.refuse("tag_key", format!("option \"tag_key\": {text} {why}"), why.hint.clone());
                    return None;
                }
            },
            Some(name) => Some(Accessor::key(name)),
        };
        let address_key = options.add_remote_addr.then(|| options.remote_addr_key.as_str().into());
        Some(Marking { tag: tag.map(Arc::new), address_key })
    }

    /// What is to be done with the records of a request; `None` for nothing.
    pub(super) fn of(&self, head: &Head<'_>) -> Option<Marks> {
        let address = self.address_key.as_ref().and_then(|key| {
            let first = head.header("x-forwarded-for")?.split(',').next().unwrap_or("").trim();
            let fits = !first.is_empty() && first.len() <= ADDRESS_BYTES;
            fits.then(|| Entry { key: Raw::text(key), value: Raw::text(first) })
        });
        (address.is_some() || self.tag.is_some()).then(|| Marks { tag: self.tag.clone(), address })
    }
}

/// What is to be done with the records of one request.
pub(super) struct Marks {
    tag: Option<Arc<Accessor>>,
    address: Option<Entry<'static>>,
}

impl Marks {
    /// Gives the records with the address, parted by their tags. `tag` is that of records that do not
    /// say another one.
    pub(super) async fn apply(
        &self,
        out: &Emitter,
        tag: Tag,
        mut events: Events,
    ) -> Result<Vec<(Tag, Events)>, Refused> {
        let deadline = Instant::now() + PATIENCE;
        let mut parts: Vec<(Tag, Writer)> = Vec::new();
        while events.records > 0 {
            let extent = Extent::of(&events).map_err(|_| Refused::NoRoom)?;
            let lease = timeout_at(deadline, out.account().lease(extent.decoded + extent.copied));
            let _lease = lease.await.map_err(|_| Refused::NoRoom)?.map_err(|_| Refused::NoRoom)?;
            let copied;
            let mut cursor = events.cursor();
            let bytes = match cursor.clone().whole().map_err(|_| Refused::NoRoom)? {
                Some(bytes) => bytes,
                None => {
                    copied = cursor.copy(extent.size).map_err(|_| Refused::NoRoom)?;
                    &copied
                }
            };
            let mut record = Record::decode(bytes).map_err(|_| Refused::NoRoom)?;
            let own = self.tag_of(&record).unwrap_or_else(|| tag.clone());
            let at = parts.iter().rposition(|(tag, _)| *tag == own).unwrap_or_else(|| {
                // Each holds a page, so there are no more than the budget has.
                parts.push((own, Writer::new(out.account())));
                parts.len() - 1
            });
            let writer = &mut parts[at].1;
            self.add_address(&mut record);
            let mut progress = Progress::default();
            while record.encode(writer, &mut progress).is_err() {
                writer.prepay(out.page(deadline).await?);
            }
            drop(record);
            events.buf.consume(extent.size);
            events.records -= 1;
        }
        Ok(parts.into_iter().map(|(tag, writer)| (tag, writer.finish())).collect())
    }

    fn tag_of(&self, record: &Record<'_>) -> Option<Tag> {
        let value = self.tag.as_ref()?.find(record)?;
        clean_tag(value.as_str()?)
    }

    /// A record that has the key already keeps its own value.
    fn add_address(&self, record: &mut Record<'_>) {
        if let Some(entry) = &self.address
            && let Some(key) = entry.key.as_str()
            && record.position(key).is_none()
        {
            record.body_mut().push(entry.clone());
        }
    }
}
