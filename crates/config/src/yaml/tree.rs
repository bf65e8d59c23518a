//! YAML text as a tree of nodes, each with the place it stands at.
//!
//! The events of the parser are built into a tree with a stack of open maps and lists, so that no input can exhaust
//! the stack of the thread. Nesting, nodes and the text that aliases copy are bounded.

use std::collections::HashMap;
use std::sync::Arc;

use options::{Pos, Problem, Problems, Text};
use saphyr_parser::{Event, Marker, Parser, ScanError, StrInput};

use crate::files::small;
use crate::limits::{MAX_BYTES, MAX_NESTING, MAX_NODES};

/// A value in the file.
#[derive(Clone)]
pub enum Node {
    Scalar(Text),
    List(List),
    Map(Map),
}

#[derive(Clone)]
pub struct List {
    pub pos: Pos,
    pub items: Vec<Node>,
}

#[derive(Clone)]
pub struct Map {
    pub pos: Pos,
    pub entries: Vec<(Text, Node)>,
}

impl Node {
    pub fn pos(&self) -> Pos {
        match self {
            Self::Scalar(text) => text.pos.clone(),
            Self::List(list) => list.pos.clone(),
            Self::Map(map) => map.pos.clone(),
        }
    }

    /// How messages call it.
    pub fn shape(&self) -> &'static str {
        match self {
            Self::Scalar(text) if text.value.is_empty() => "empty",
            Self::Scalar(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Nodes and bytes that a copy of this adds.
    fn weight(&self) -> (usize, u64) {
        let mut total = (0, 0);
        let mut add = |nodes: usize, bytes: usize| {
            total.0 += nodes;
            total.1 += bytes as u64;
        };
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            match node {
                Self::Scalar(text) => add(1, text.value.len()),
                Self::List(list) => {
                    add(1, 0);
                    open.extend(&list.items);
                }
                Self::Map(map) => {
                    add(1 + map.entries.len(), map.entries.iter().map(|(key, _)| key.value.len()).sum());
                    open.extend(map.entries.iter().map(|(_, node)| node));
                }
            }
        }
        total
    }
}

/// The first document of `text`; `None` when it is not YAML or too much of it, which is then on record.
pub fn parse(file: Arc<str>, text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder::new(file);
    let result = builder.run(Parser::new_from_str(text));
    problems.append(std::mem::take(&mut builder.problems));
    match result {
        Ok(()) => Some(builder.root.unwrap_or_else(|| Node::Scalar(Text::new("", builder.start)))),
        Err(problem) => {
            problems.push(problem.maybe_hint(builder.unclosed(text)));
            None
        }
    }
}

/// A map or list that has not ended.
enum Open {
    List { list: List, anchor: usize },
    Map { map: Map, anchor: usize, key: Option<Text>, seen: HashMap<String, Pos> },
}

struct Builder {
    start: Pos,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes_left: usize,
    bytes_left: u64,
    documents: usize,
    root: Option<Node>,
    problems: Problems,
}

impl Builder {
    fn new(file: Arc<str>) -> Self {
        Self {
            start: Pos::new(file, 1, 1),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes_left: MAX_NODES,
            bytes_left: MAX_BYTES,
            documents: 0,
            root: None,
            problems: Problems::new(),
        }
    }

    fn run(&mut self, mut parser: Parser<'_, StrInput<'_>>) -> Result<(), Problem> {
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            self.event(event, self.pos(&span.start))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, pos: Pos) -> Result<(), Problem> {
        match event {
            Event::Scalar(value, _, anchor, _) => {
                let node = Node::Scalar(Text::new(value, pos));
                self.spend(1, 0, &node.pos())?;
                self.add(node, anchor)
            }
            Event::Alias(anchor) => {
                let Some((nodes, bytes)) = self.anchors.get(&anchor).map(Node::weight) else {
                    return Err(Problem::new(pos, "an alias stands inside what it repeats"));
                };
                // Before the copy is made: a few lines of aliases can stand for more than the memory holds.
                self.spend(nodes, bytes, &pos)?;
                let Some(node) = self.anchors.get(&anchor).cloned() else { return Ok(()) };
                self.add(node, 0)
            }
            Event::SequenceStart(anchor, _) => {
                self.spend(1, 0, &pos)?;
                self.descend(Open::List { list: List { pos: pos.clone(), items: Vec::new() }, anchor }, &pos)
            }
            Event::MappingStart(anchor, _) => {
                self.spend(1, 0, &pos)?;
                let map = Map { pos: pos.clone(), entries: Vec::new() };
                self.descend(Open::Map { map, anchor, key: None, seen: HashMap::new() }, &pos)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { list, anchor }) => self.add(Node::List(list), anchor),
                Some(Open::Map { map, anchor, .. }) => self.add(Node::Map(map), anchor),
                None => Ok(()),
            },
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Problem::new(pos, "a second document in one file is not read"));
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn descend(&mut self, open: Open, pos: &Pos) -> Result<(), Problem> {
        if self.open.len() >= MAX_NESTING {
            return Err(Problem::new(pos.clone(), format!("nested deeper than {MAX_NESTING} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            // The copy is kept beside the tree, so it counts like one.
            let (nodes, bytes) = node.weight();
            self.spend(nodes, bytes, &node.pos())?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { list, .. }) => list.items.push(node),
            Some(Open::Map { map, key, seen, .. }) => match (key.take(), node) {
                (Some(key), node) => {
                    if let Some(first) = seen.insert(key.value.clone(), key.pos.clone()) {
                        let what = format!("key \"{}\" is already set at {first}", key.value);
                        self.problems.push(Problem::new(key.pos, what));
                    } else {
                        map.entries.push((key, node));
                    }
                }
                (None, Node::Scalar(text)) => *key = Some(text),
                (None, node) => {
                    return Err(Problem::new(
                        node.pos(),
                        format!("a key must be text, not {}", node.shape()),
                    ));
                }
            },
        }
        Ok(())
    }

    fn spend(&mut self, nodes: usize, bytes: u64, pos: &Pos) -> Result<(), Problem> {
        let left = self.nodes_left.checked_sub(nodes).zip(self.bytes_left.checked_sub(bytes));
        let Some((nodes, bytes)) = left else {
            let what = format!("more than {MAX_NODES} values or {MAX_BYTES} bytes, aliases expanded");
            return Err(Problem::new(pos.clone(), what));
        };
        self.nodes_left = nodes;
        self.bytes_left = bytes;
        Ok(())
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        Problem::new(self.pos(error.marker()), format!("not valid YAML: {}", error.info()))
    }

    /// A bracket that is still open, which most often is what a syntax error further down comes from.
    fn unclosed(&self, text: &str) -> Option<String> {
        let pos = match self.open.last()? {
            Open::List { list, .. } => &list.pos,
            Open::Map { map, .. } => &map.pos,
        };
        let line = text.lines().nth(pos.line as usize - 1)?;
        let bracket =
            line.chars().nth(pos.column as usize - 1).filter(|letter| matches!(letter, '[' | '{'))?;
        Some(format!("the \"{bracket}\" at {}:{} is not closed", pos.line, pos.column))
    }

    fn pos(&self, marker: &Marker) -> Pos {
        self.start.at(small(marker.line().max(1)), small(marker.col() + 1))
    }
}
