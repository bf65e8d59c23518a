//! `rewrite_tag`: sends records on under another tag.
//!
//! ```text
//! [FILTER]
//!     name   rewrite_tag
//!     match  http.*
//!     rule   $level ^(error|fatal)$ alert.$TAG[1].$1 true
//! ```
//!
//! A rule is a key or record accessor, a pattern in Ruby's syntax, the new tag and whether the record is kept under
//! the old one too. The first rule whose pattern matches the value, which must be a string, decides. The new
//! tag may hold record accessors (`$level`), `$TAG`, its parts (`$TAG[0]`) and what groups of the pattern matched
//! (`$0` to `$9`). A word with blanks stands in quotes.
//!
//! What is sent on goes through all filters and the routes again, as if an input called `emitter_name` had taken
//! it, before the input is answered. It is not shown to the filter that sent it again, so that nothing goes round
//! for ever. Its memory is bounded by `emitter_mem_buf_limit`; when that is used up the input waits, and is refused
//! then: nothing is dropped. As a processor of an input it sends records on to the next processor, as the input's.

use engine::{Emitting, Filter, FilterDef, Setup};
use event::{Accessor, Record, Tag, Window};
use formats::ruby::RubyRegex;
use formats::template::Template;
use options::{Choice, Invalid, Kind, Options, Reader, Size, Value};

use crate::words::{accessor, exactly, template, words};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "rewrite_tag",
    about: "sends records on under another tag",
    specs: RewriteTagOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
#[options(check = RewriteTagOptions::check)]
struct RewriteTagOptions {
    /// A key or record accessor, a pattern, the new tag, and whether the record is kept under the old one.
    rule: Vec<Rule>,
    /// The name that records sent on are counted under; emitter_for_ and the filter's name if not set.
    emitter_name: Option<String>,
    /// Where records sent on are kept.
    #[option(name = "emitter_storage.type", default = "memory")]
    storage: Storage,
    /// The most memory that records sent on may hold; 0 for no limit but the process's.
    #[option(default = "10M")]
    emitter_mem_buf_limit: Size,
}

impl RewriteTagOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.storage == Storage::Filesystem {
            reader.without_effect("emitter_storage.type");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Storage {
    Memory,
    Filesystem,
}

#[derive(Debug, Clone)]
struct Rule {
    key: Accessor,
    pattern: RubyRegex,
    tag: Template,
    keep: bool,
}

impl Value for Rule {
    const KIND: Kind = Kind::Words(4);

    fn parse(text: &str) -> Result<Rule, Invalid> {
        let [key, pattern, tag, keep] = exactly("it", words(text)?)?;
        Ok(Rule {
            key: accessor(&key)?,
            pattern: RubyRegex::parse(&pattern)?,
            tag: template(&tag)?,
            keep: bool::parse(&keep)?,
        })
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    let options = RewriteTagOptions::read(reader)?;
    if options.rule.is_empty() {
        reader.refuse("rule", "there is no rule: no record would be sent on", None);
    }
    Some(Box::new(RewriteTag { options, text: Vec::new() }))
}

struct RewriteTag {
    options: RewriteTagOptions,
    /// The tag that is being put together.
    text: Vec<u8>,
}

impl Filter for RewriteTag {
    fn logs(&mut self, tag: &Tag, window: &mut Window<'_>) {
        let mut index = 0;
        while let Some(record) = window.records.get(index) {
            match self.decide(tag, record) {
                Some((tag, true)) => {
                    let copy = record.clone();
                    window.emit(tag, copy);
                    index += 1;
                }
                Some((tag, false)) => {
                    let record = window.records.remove(index);
                    window.emit(tag, record);
                }
                None => index += 1,
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(RewriteTag { options: self.options.clone(), text: Vec::new() })
    }

    fn emitter(&self) -> Option<Emitting> {
        Some(Emitting {
            name: self.options.emitter_name.clone(),
            mem_buf_limit: self.options.emitter_mem_buf_limit.0 as usize,
            filesystem: self.options.storage == Storage::Filesystem,
        })
    }
}

impl RewriteTag {
    /// The new tag of a record, and whether it is kept under the old one.
    fn decide(&mut self, tag: &Tag, record: &Record<'_>) -> Option<(Tag, bool)> {
        for rule in &self.options.rule {
            let Some(value) = rule.key.find(record) else { continue };
            let Some(groups) = value.as_str().and_then(|text| rule.pattern.captures(text)) else { continue };
            self.text.clear();
            rule.tag.render(
                tag,
                record,
                |group| groups.get(group),
                engine::limits::TAG_BYTES,
                &mut self.text,
            );
            return Some((Tag::new(&String::from_utf8_lossy(&self.text)), rule.keep));
        }
        None
    }
}
