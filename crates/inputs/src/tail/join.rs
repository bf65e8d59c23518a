//! Lines that belong together: multiline parsers, and the two older ways.

use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Full};
use engine::Setup;
use event::EventTime;
use formats::multiline::{Joined, Joins, Multiline};
use formats::parser::{Leased, Parser};
use options::Reader;

use super::TailOptions;
use super::docker::Docker;
use super::firstline::{FirstLine, Parsers};

/// How the lines of a file are joined. Files share it.
pub(super) enum How {
    Multiline(Joins),
    FirstLine(Arc<Parsers>),
    Docker(Option<Arc<Parser>>),
}

/// A record, or a line that is to become one.
pub(super) enum Done {
    /// A record with the plugin's own keys behind.
    Joined(Joined),
    /// A record with the plugin's own keys in it.
    Record(Joined),
    /// A line.
    Line(Leased),
}

impl How {
    /// What the options ask for. `None` when something is wrong with them, `Some(None)` when lines are not joined.
    pub(super) fn open(options: &TailOptions, reader: &mut Reader<'_>, setup: &Setup) -> Option<Option<How>> {
        let more: Vec<(String, String)> = reader
            .prefixed("parser_")
            .iter()
            .map(|entry| (entry.key.value.clone(), entry.value.value.clone()))
            .collect();
        let names: Vec<String> = options.multiline_parsers.iter().flat_map(|list| list.0.clone()).collect();
        if !names.is_empty() {
            return setup.multiline("multiline.parser", &names, None, reader).map(How::Multiline).map(Some);
        }
        if options.docker_mode {
            let Some(name) = &options.docker_mode_parser else { return Some(Some(How::Docker(None))) };
            return setup.parser("docker_mode_parser", name, reader).map(Some).map(How::Docker).map(Some);
        }
        // As in Fluent Bit, a parser wins over `multiline`.
        let Some(name) = options.parser_firstline.as_ref().filter(|_| options.multiline) else {
            return Some(None);
        };
        if options.parser.is_some() {
            tracing::warn!(
                "[input:{}] multiline has no effect beside parser: remove one of them",
                setup.name
            );
            return Some(None);
        }
        let first = setup.parser("parser_firstline", name, reader);
        let more: Vec<_> = more.iter().map(|(key, name)| setup.parser(key, name, reader)).collect();
        let more = more.into_iter().collect::<Option<Vec<_>>>()?;
        let path_key = options.path_key.clone();
        Some(Some(How::FirstLine(Arc::new(Parsers { first: first?, more, path_key }))))
    }

    /// How long lines wait for the next one.
    pub(super) fn flush_timeout(&self, options: &TailOptions) -> Duration {
        match self {
            How::Multiline(joins) => joins.flush_timeout(),
            How::FirstLine(_) => options.multiline_flush.duration().max(Duration::from_secs(1)),
            How::Docker(_) => Duration::from_secs(u64::from(options.docker_mode_flush).max(1)),
        }
    }

    /// For a file, of which nothing was read.
    pub(super) fn begin(&self, path: &str, account: &Account) -> Join {
        match self {
            How::Multiline(joins) => Join::Multiline(Multiline::new(joins, account)),
            How::FirstLine(parsers) => Join::FirstLine(FirstLine::new(parsers, path, account)),
            How::Docker(first) => Join::Docker(Docker::new(first.clone(), account)),
        }
    }
}

/// Joins the lines of one file.
pub(super) enum Join {
    Multiline(Multiline),
    FirstLine(FirstLine),
    Docker(Docker),
}

/// A line that nothing else belongs to.
pub(super) fn whole(line: &[u8], account: &Account, out: &mut Vec<Done>) -> Result<(), Full> {
    let mut text = Leased::new(account);
    text.extend(line)?;
    out.push(Done::Line(text));
    Ok(())
}

impl Join {
    /// Takes a line; what is complete is appended to `out`, in its order.
    ///
    /// # Errors
    /// [`Full`] when there is no memory for the line: it was not taken.
    pub(super) fn line(&mut self, now: EventTime, text: &[u8], out: &mut Vec<Done>) -> Result<(), Full> {
        match self {
            Join::Multiline(join) => {
                let mut joined = Vec::new();
                let taken = join.line(now, text, &mut joined);
                out.extend(joined.into_iter().map(Done::Joined));
                taken
            }
            Join::FirstLine(join) => join.line(now, text, out),
            Join::Docker(join) => join.line(now, text, out),
        }
    }

    /// Everything that waits, as far as it came.
    pub(super) fn flush(&mut self, out: &mut Vec<Done>) {
        match self {
            Join::Multiline(join) => {
                let mut joined = Vec::new();
                join.flush(&mut joined);
                out.extend(joined.into_iter().map(Done::Joined));
            }
            Join::FirstLine(join) => join.flush(out),
            Join::Docker(join) => join.flush(out),
        }
    }

    /// Whether something waits for more.
    pub(super) fn is_waiting(&self) -> bool {
        match self {
            Join::Multiline(join) => join.is_waiting(),
            Join::FirstLine(join) => join.is_waiting(),
            Join::Docker(join) => join.is_waiting(),
        }
    }
}
