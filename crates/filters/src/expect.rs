//! `expect`: checks what records hold, and complains when it is something else.
//!
//! ```text
//! [FILTER]
//!     name               expect
//!     match              app.*
//!     key_exists         $kubernetes['pod']
//!     key_val_is_not_null level
//!     key_val_eq         env prod
//!     action             warn
//! ```
//!
//! The rules are checked in the order of the file; the first that does not hold is logged with the record.
//! `action` says what happens besides: nothing (`warn`), the agent stops with exit status 255 (`exit`), or the
//! record gets an entry in front, called `result_key`, that says whether every rule holds.
//!
//! `key_val_eq` compares strings: a value that is none passes, as in Fluent Bit. An array counts as not there.

use engine::{Filter, FilterDef, Setup};
use event::{Accessor, Cursor, Entry, Raw, Record, Tag, Token, Window, msgpack};
use formats::Block;
use formats::json::{Printer, Style};
use options::{Choice, Invalid, Kind, Options, Reader, Rules, Value};

use crate::words::{Place, Word, accessor};

/// The registry's entry.
pub static FILTER: FilterDef =
    FilterDef { name: "expect", about: "checks what records hold", specs: ExpectOptions::specs, open };

#[derive(Debug, Clone, Options)]
struct ExpectOptions {
    #[option(rules)]
    rules: Vec<Rule>,
    /// What happens when a rule does not hold.
    #[option(default = "warn")]
    action: Action,
    /// The key of the result, for `action result_key`.
    #[option(default = "matched")]
    result_key: Word,
}

#[derive(Debug, Clone, Rules)]
#[expect(clippy::enum_variant_names, reason = "they are the names of the options")]
enum Rule {
    /// The key is there.
    KeyExists(Place),
    /// The key is not there.
    KeyNotExists(Place),
    /// The key is there and its value is null.
    KeyValIsNull(Place),
    /// The key is there and its value is not null.
    KeyValIsNotNull(Place),
    /// The key is there and its value, if it is a string, is this text: a key, one blank, the text.
    KeyValEq(Equal),
}

#[derive(Debug, Clone)]
struct Equal(Accessor, String);

impl Value for Equal {
    const KIND: Kind = Kind::Words(2);

    fn parse(text: &str) -> Result<Equal, Invalid> {
        let (key, value) = text
            .split_once(' ')
            .ok_or_else(|| Invalid::not(text, "a key and a text, with a blank between"))?;
        Ok(Equal(accessor(key)?, value.trim().to_owned()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Action {
    Warn,
    Exit,
    #[choice(name = "result_key")]
    ResultKey,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Box<dyn Filter>> {
    Some(Box::new(Expect { options: ExpectOptions::read(reader)?, name: setup.name.clone() }))
}

#[derive(Clone)]
struct Expect {
    options: ExpectOptions,
    name: String,
}

impl Filter for Expect {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        let mut exit = false;
        for record in &mut window.records {
            let broken = self.options.rules.iter().enumerate().find(|(_, rule)| !rule.holds(record));
            if let Some((number, rule)) = broken {
                self.complain(number, rule, record);
                exit |= self.options.action == Action::Exit;
            }
            if self.options.action == Action::ResultKey {
                let value = Raw::made(|out| msgpack::put_bool(out, broken.is_none()));
                record.body_mut().insert(0, Entry { key: self.options.result_key.value.clone(), value });
            }
        }
        if exit {
            tracing::error!("[filter:{}] the agent stops with status 255 (action exit)", self.name);
            window.ask_exit(255);
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Expect {
    fn complain(&self, number: usize, rule: &Rule, record: &Record<'_>) {
        let says = match rule {
            Rule::KeyExists(_) => "'key_exists': the key is not there",
            Rule::KeyNotExists(_) => "'key_not_exists': the key is there",
            Rule::KeyValIsNull(_) => "'key_val_is_null': the key is not there or its value is not null",
            Rule::KeyValIsNotNull(_) => "'key_val_is_not_null': the key is not there or its value is null",
            Rule::KeyValEq(_) => "'key_val_eq': the key is not there or its value is another",
        };
        tracing::error!(
            "[filter:{}] exception on rule #{number} {says}. Record content: {}",
            self.name,
            shown(record)
        );
    }
}

/// The start of a record as JSON.
fn shown(record: &Record<'_>) -> String {
    let mut block = Block::new(4 * Printer::STEP);
    let mut printer = Printer::new(Style::Json { escape_unicode: false });
    let body = Raw::map(record.body());
    let _cut_or_done = printer.value(&mut Cursor::of(body.bytes()), &mut block);
    String::from_utf8_lossy(block.bytes()).into_owned()
}

impl Rule {
    fn holds(&self, record: &Record<'_>) -> bool {
        let value = |place: &Place| {
            place
                .0
                .find(record)
                .and_then(|value| value.token())
                .filter(|token| !matches!(token, Token::Array(_)))
        };
        match self {
            Rule::KeyExists(place) => value(place).is_some(),
            Rule::KeyNotExists(place) => value(place).is_none(),
            Rule::KeyValIsNull(place) => value(place) == Some(Token::Nil),
            Rule::KeyValIsNotNull(place) => value(place).is_some_and(|value| value != Token::Nil),
            Rule::KeyValEq(Equal(key, text)) => match key.find(record) {
                None => false,
                Some(value) => match value.token() {
                    Some(Token::Str(_)) => value.as_str() == Some(text.as_bytes()),
                    Some(Token::Array(_)) | None => false,
                    Some(_) => true,
                },
            },
        }
    }
}
