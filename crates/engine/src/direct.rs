//! Routes of an input: which outputs get which of its records, whatever their tag.
//!
//! ```yaml
//! routes:
//!   logs:
//!     - name: errors
//!       condition: {op: and, rules: [{field: "$level", op: eq, value: error}]}
//!       to: {outputs: [pager, archive]}
//!     - name: rest
//!       condition: {default: true}
//!       to: {outputs: [archive]}
//! ```
//!
//! A record goes to every route whose condition holds for it, and to the default ones if there is none. Each route
//! has chunks of its own, as if it were an input; records that begin or end a group go to all of them. A record
//! that no route takes is dropped and counted as unrouted. What filters send on under another tag is routed by it.

use std::borrow::Cow;
use std::sync::Arc;

use event::{Progress, Record, Writer};
use options::{Options, Problem, Problems, Reader, Section, Text, did_you_mean};

use crate::condition::Condition;
use crate::emit::Refused;
use crate::pass::{Passed, room};

/// From here on numbers of inputs are those of routes.
pub(crate) const FIRST: usize = 1 << 32;

/// Routes of all inputs: the names of their outputs.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// The number of the first route.
    base: usize,
    outputs: Vec<Vec<Way>>,
}

/// An output by its name, and the one to take when there is none of that name.
#[derive(Debug)]
struct Way {
    name: Text,
    fallback: Option<Text>,
}

impl From<Text> for Way {
    fn from(name: Text) -> Way {
        Way { name, fallback: None }
    }
}

/// The routes of one input.
#[derive(Debug, Clone)]
pub(crate) struct InputRoutes {
    routes: Arc<[InputRoute]>,
    /// The number of the route that goes nowhere.
    nowhere: usize,
}

#[derive(Debug)]
struct InputRoute {
    number: usize,
    /// For which records; all without one.
    condition: Option<Condition>,
    /// For those that no other takes.
    default: bool,
}

/// Only `to` is looked at, and by its positions: a mistyped name must be pointed at.
#[derive(Debug, Options)]
#[expect(dead_code, reason = "read to be known")]
struct RouteOptions {
    /// What it is called in messages.
    name: Option<String>,
    /// Records always go their ways one by one here.
    #[option(default = "off")]
    per_record_routing: bool,
    /// The outputs, by alias or as for example `http.0`.
    to: Vec<String>,
}

#[derive(Debug, Options)]
struct DefaultOptions {
    /// The route takes what no other takes.
    #[option(default = "off")]
    default: bool,
}

impl Directory {
    /// No routes yet, for a configuration whose first input has this number: no two routes of the process have the
    /// same, reloads included.
    pub(crate) fn new(first_input: usize) -> Directory {
        Directory { base: FIRST + (first_input << 16), outputs: Vec::new() }
    }

    /// Adds a route to outputs; its number.
    fn add(&mut self, outputs: Vec<Way>) -> usize {
        self.outputs.push(outputs);
        self.base + self.outputs.len() - 1
    }

    /// Reads the routes of an input.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>, problems: &mut Problems) -> Option<InputRoutes> {
        let mut routes = Vec::new();
        for group in reader.groups("routes").into_iter().flat_map(|routes| &routes.groups) {
            if group.kind == "logs" {
                routes.extend(self.route(group, problems));
            } else {
                let what = format!("there are no routes for {} yet", group.kind);
                problems.push(Problem::new(group.pos.clone(), what).of("routes"));
            }
        }
        if routes.is_empty() {
            return None;
        }
        Some(InputRoutes { routes: routes.into(), nowhere: self.add(Vec::new()) })
    }

    fn route(&mut self, section: &Section, problems: &mut Problems) -> Option<InputRoute> {
        let mut reader = Reader::new(section);
        let _read = RouteOptions::read(&mut reader);
        let mut outputs: Vec<Way> = values(section, "to").into_iter().map(Way::from).collect();
        for to in reader.groups("to") {
            outputs.extend(values(to, "outputs").into_iter().map(Way::from));
            let named = |output: &Section| {
                let fallback = output.get("fallback").cloned();
                output.name().map(|name| Way { name: name.clone(), fallback })
            };
            outputs.extend(to.groups.iter().filter_map(named));
        }
        if outputs.is_empty() {
            let what = "a route needs outputs";
            problems.push(
                Problem::new(section.pos.clone(), what).of("routes").hint("write to: {outputs: [...]}"),
            );
        }
        let condition = reader.groups("condition").into_iter().next();
        problems.append(reader.finish(&[]).problems);
        let (condition, default) = match condition {
            None => (None, false),
            Some(section) => {
                let mut reader = Reader::new(section);
                let default = DefaultOptions::read(&mut reader)?.default;
                let rules = section.groups.iter().any(|group| group.kind == "rules");
                if !rules && default {
                    (None, true)
                } else {
                    (Some(Condition::read(&without_default(section.clone()), problems)?), default)
                }
            }
        };
        Some(InputRoute { number: self.add(outputs), condition, default })
    }

    /// The outputs of every route by their place in the configuration.
    pub(crate) fn resolve(self, names: &[&str], problems: &mut Problems) -> Vec<(usize, Vec<usize>)> {
        let called = |text: &Text| names.iter().position(|name| *name == text.value);
        let mut place = |Way { name: text, fallback }: &Way| {
            let found = called(text).or_else(|| called(fallback.as_ref()?));
            if found.is_none() {
                let what = format!("there is no output \"{}\"", text.value);
                let hint = did_you_mean(&text.value, names.iter().copied())
                    .unwrap_or_else(|| format!("outputs are {}", names.join(", ")));
                problems.push(Problem::new(text.pos.clone(), what).of("routes").hint(hint));
            }
            found
        };
        let outputs = self.outputs.iter().map(|outputs| outputs.iter().filter_map(&mut place).collect());
        (self.base..).zip(outputs).collect()
    }
}

fn values(section: &Section, key: &str) -> Vec<Text> {
    let entries = section.entries.iter().filter(|entry| entry.key.value == key);
    entries.map(|entry| entry.value.clone()).collect()
}

fn without_default(mut section: Section) -> Section {
    section.entries.retain(|entry| entry.key.value != "default");
    section
}

impl InputRoutes {
    /// Sends records their ways. What needs room waits for it until the deadline.
    ///
    /// # Errors
    /// [`Refused`] when there was none.
    pub(crate) async fn split(
        &self,
        passed: Passed,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Vec<Passed>, Refused> {
        let Passed { origin, tag, events, taken } = passed;
        let mut writers: Vec<Writer> = self.routes.iter().map(|_| Writer::new(&origin.account)).collect();
        let mut nowhere = Writer::new(&origin.account);
        let mut source = events;
        while source.records > 0 {
            let mut cursor = source.cursor();
            let marker = cursor.at_group_marker();
            let start = cursor.clone();
            let whole = cursor.whole().map_err(|_| corrupt())?;
            let size = cursor.offset();
            // One that lies over a page end is put into one piece, which is paid for.
            let _lease = room(&origin.account, if whole.is_some() { 0 } else { size }, deadline).await?;
            let bytes = match whole {
                Some(bytes) => Cow::Borrowed(bytes),
                None => Cow::Owned(start.clone().copy(size).map_err(|_| corrupt())?),
            };
            let record = Record::of_whole(&bytes).map_err(|_| corrupt())?;
            let taken = self.takers(&record, marker);
            let ways = writers.iter_mut().zip(&taken).filter(|(_, takes)| **takes).map(|(writer, _)| writer);
            let mut ways: Vec<&mut Writer> = ways.collect();
            if ways.is_empty() {
                ways.push(&mut nowhere);
            }
            for writer in ways {
                let mut progress = Progress::default();
                while writer.whole_record(&bytes, &mut progress).is_err() {
                    writer.prepay(room(writer.account(), writer.account().page_size(), deadline).await?);
                }
            }
            drop(bytes);
            source.records -= 1;
            source.buf.consume(size);
        }
        let numbers = self.routes.iter().map(|route| route.number).chain([self.nowhere]);
        let mut parts = Vec::new();
        for (number, writer) in numbers.zip(writers.into_iter().chain([nowhere])) {
            if writer.records() > 0 {
                let origin = crate::pass::Origin { input: number, ..origin.clone() };
                // What came in is counted once.
                let taken = if parts.is_empty() { taken } else { (0, 0) };
                parts.push(Passed { origin, tag: tag.clone(), events: writer.finish(), taken });
            }
        }
        if parts.is_empty() {
            parts.push(Passed { origin, tag, events: source, taken });
        }
        Ok(parts)
    }

    /// Which routes take a record.
    fn takers(&self, record: &Record<'_>, marker: bool) -> Vec<bool> {
        let holds =
            |route: &InputRoute| route.condition.as_ref().is_none_or(|condition| condition.holds(record));
        let takes = |route: &InputRoute| marker || !route.default && holds(route);
        let mut taken: Vec<bool> = self.routes.iter().map(takes).collect();
        if !taken.contains(&true) {
            taken = self.routes.iter().map(|route| route.default && holds(route)).collect();
        }
        taken
    }
}

fn corrupt() -> Refused {
    Refused::Dropped("they cannot be read".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Account, Budget, Share};
    use event::{EventTime, Tag};
    use options::{Entry, Pos};

    use crate::pass::Origin;

    fn section(kind: &str, entries: &[(&str, &str)], groups: Vec<Section>) -> Section {
        let pos = Pos::new("test", 1, 1);
        let mut section = Section::new(kind, pos.clone());
        for (key, value) in entries {
            section
                .entries
                .push(Entry { key: Text::new(*key, pos.clone()), value: Text::new(*value, pos.clone()) });
        }
        section.groups = groups;
        section
    }

    fn route(name: &str, output: &str, condition: Option<Section>) -> Section {
        let mut groups = vec![section("to", &[("outputs", output)], Vec::new())];
        groups.extend(condition);
        section("logs", &[("name", name)], groups)
    }

    fn when(level: &str) -> Option<Section> {
        let rule = section("rules", &[("field", "$level"), ("op", "eq"), ("value", level)], Vec::new());
        Some(section("condition", &[("op", "and")], vec![rule]))
    }

    fn otherwise() -> Option<Section> {
        Some(section("condition", &[("default", "true")], Vec::new()))
    }

    fn read(routes: Vec<Section>) -> (Option<InputRoutes>, Vec<Vec<usize>>, String) {
        let input = section("input", &[], vec![section("routes", &[], routes)]);
        let (mut directory, mut problems) = (Directory::new(0), Problems::new());
        let mut reader = Reader::new(&input);
        let routes = directory.read(&mut reader, &mut problems);
        problems.append(reader.finish(&[]).problems);
        let outputs = directory.resolve(&["pager", "archive"], &mut problems);
        let outputs = outputs.into_iter().map(|(_, outputs)| outputs).collect();
        (routes, outputs, problems.to_string())
    }

    fn record(writer: &mut Writer, seconds: u32, level: &str) {
        writer.begin_record(EventTime { seconds, nanoseconds: 0 }).unwrap();
        writer.begin_map().unwrap();
        writer.entry().unwrap();
        writer.str(b"level").unwrap();
        writer.str(level.as_bytes()).unwrap();
        writer.end();
        writer.end_record();
    }

    async fn split(
        routes: &InputRoutes,
        account: &Account,
        records: &[(u32, &str)],
    ) -> Vec<(usize, Vec<u32>)> {
        let mut writer = Writer::new(account);
        records.iter().for_each(|(seconds, level)| record(&mut writer, *seconds, level));
        let origin = Origin { input: 0, account: account.clone(), metrics: Arc::default() };
        let passed =
            Passed { origin, tag: Tag::new("a"), events: writer.finish(), taken: (records.len(), 1) };
        let parts = routes.split(passed, None).await.unwrap();
        assert_eq!(parts.iter().map(|part| part.taken.0).sum::<usize>(), records.len());
        let seconds = |part: &Passed| {
            let mut cursor = part.events.cursor();
            let next = |_| {
                let time = cursor.clone().record_head().unwrap().0;
                cursor.skip().unwrap();
                time.seconds
            };
            (0..part.events.records).map(next).collect()
        };
        parts.iter().map(|part| (part.origin.input - FIRST, seconds(part))).collect()
    }

    #[tokio::test]
    async fn a_record_goes_to_every_route_that_takes_it_or_else_to_the_default() {
        let (routes, outputs, problems) = read(vec![
            route("errors", "pager", when("error")),
            route("errors too", "archive", when("error")),
            route("warnings", "archive", when("warn")),
            route("rest", "archive", otherwise()),
        ]);
        assert_eq!(problems, "");
        assert_eq!(outputs, [vec![0], vec![1], vec![1], vec![1], vec![]]);
        let budget = Budget::new(4 << 20, 4096).unwrap();
        let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
        let records =
            [(1, "error"), (2, "info"), (3, "warn"), (4, "error"), (u32::MAX, "group"), (5, "info")];
        let parts = split(&routes.unwrap(), &account, &records).await;
        let group = u32::MAX;
        assert_eq!(
            parts,
            [(0, vec![1, 4, group]), (1, vec![1, 4, group]), (2, vec![3, group]), (3, vec![2, group, 5])]
        );
    }

    #[tokio::test]
    async fn what_no_route_takes_goes_nowhere_and_is_not_forgotten() {
        let (routes, outputs, _) = read(vec![route("errors", "pager", when("error"))]);
        let budget = Budget::new(4 << 20, 4096).unwrap();
        let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
        let parts = split(&routes.unwrap(), &account, &[(1, "info"), (2, "error")]).await;
        assert_eq!(parts, [(0, vec![2]), (1, vec![1])]);
        assert_eq!(outputs, [vec![0], vec![]]);
    }

    #[test]
    fn an_output_that_is_not_there_has_its_fallback() {
        let named = section("outputs", &[("name", "pagr"), ("fallback", "archive")], Vec::new());
        let to = section("to", &[], vec![named]);
        let (_, outputs, problems) = read(vec![section("logs", &[("name", "x")], vec![to])]);
        assert_eq!((outputs, problems.as_str()), (vec![vec![1], vec![]], ""));
    }

    #[test]
    fn a_route_to_nothing_or_to_an_output_that_is_not_there_is_refused() {
        assert!(read(vec![route("x", "pagr", None)]).2.contains("did you mean \"pager\"?"));
        let (_, _, problems) = read(vec![section("logs", &[("name", "x")], Vec::new())]);
        assert!(problems.contains("a route needs outputs"), "{problems}");
        let (_, _, problems) = read(vec![section("metrics", &[("name", "x")], Vec::new())]);
        assert!(problems.contains("no routes for metrics"), "{problems}");
    }
}
