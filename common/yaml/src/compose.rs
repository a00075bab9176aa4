//! Tokens to nodes, by the grammar of `PyYAML`'s parser and composer.

use std::collections::BTreeMap;

use super::cursor::Mark;
use super::node::{Node, NodeId, NodeKind, Tag};
use super::resolve::resolve;
use super::scanner::Scanner;
use super::token::{Token, TokenKind};
use super::{Budget, Outcome, Problem, invalid, too_large};

/// Reads the only document of a text. No node if there is no document.
pub(super) fn compose(text: &str, budget: &Budget) -> Outcome<(Vec<Node>, Option<NodeId>)> {
    let mut composer = Composer::new(text, budget)?;
    let root = composer.stream()?;
    Ok((composer.nodes, root))
}

/// Reads the documents of a text one after the other.
pub(super) struct Documents<'t> {
    composer: Composer<'t>,
    first: bool,
}

impl<'t> Documents<'t> {
    pub(super) fn new(text: &'t str, budget: &'t Budget) -> Outcome<Self> {
        Ok(Self { composer: Composer::new(text, budget)?, first: true })
    }

    /// The next document; None behind the last.
    pub(super) fn next(&mut self) -> Outcome<Option<(Vec<Node>, NodeId)>> {
        let composer = &mut self.composer;
        composer.handles.clear();
        composer.anchors.clear();
        composer.reset_handles();
        while composer.take_if(|kind| matches!(kind, TokenKind::DocumentEnd))?.is_some() {}
        let next = &composer.scanner.peek()?.kind;
        let explicit = next.is_directive() || matches!(next, TokenKind::DocumentStart);
        if matches!(next, TokenKind::StreamEnd) {
            return Ok(None);
        }
        let root = if explicit || !self.first {
            composer.explicit_document()?
        } else {
            composer.node(Place::Block, 0)?
        };
        self.first = false;
        Ok(Some((std::mem::take(&mut composer.nodes), root)))
    }
}

struct Composer<'t> {
    scanner: Scanner<'t>,
    budget: &'t Budget,
    nodes: Vec<Node>,
    anchors: BTreeMap<String, NodeId>,
    aliases: usize,
    /// What tag handles stand for.
    handles: BTreeMap<String, String>,
}

/// What may stand before a node's content.
#[derive(Default)]
struct Properties {
    start: Option<Mark>,
    anchor: Option<String>,
    tag: Option<String>,
}

/// Where a node stands, which decides what it can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Flow,
    Block,
    /// In a block mapping, where a list needs no indentation.
    Pair,
}

impl<'t> Composer<'t> {
    fn new(text: &'t str, budget: &'t Budget) -> Outcome<Self> {
        Ok(Self {
            scanner: Scanner::new(text)?,
            budget,
            nodes: Vec::new(),
            anchors: BTreeMap::new(),
            aliases: 0,
            handles: BTreeMap::new(),
        })
    }

    fn stream(&mut self) -> Outcome<Option<NodeId>> {
        self.reset_handles();
        let first = &self.scanner.peek()?.kind;
        let explicit = first.is_directive() || matches!(first, TokenKind::DocumentStart);
        let root = if explicit {
            self.explicit_document()?
        } else if matches!(first, TokenKind::StreamEnd) {
            return Ok(None);
        } else {
            self.node(Place::Block, 0)?
        };
        while self.take_if(|kind| matches!(kind, TokenKind::DocumentEnd))?.is_some() {}
        let rest = self.scanner.peek()?;
        match rest.kind {
            TokenKind::StreamEnd => Ok(Some(root)),
            TokenKind::DocumentStart => {
                let message = "a second document begins here, only one is allowed";
                Err(invalid(rest.start, message).hint("remove the line '---'").into())
            }
            _ => Err(unexpected(rest, "the end of the document").into()),
        }
    }

    fn explicit_document(&mut self) -> Outcome<NodeId> {
        let mut version = false;
        let mut handles = BTreeMap::new();
        while let Some(token) = self.take_if(TokenKind::is_directive)? {
            match token.kind {
                TokenKind::VersionDirective { .. } if version => {
                    return Err(invalid(token.start, "a second %YAML line").into());
                }
                TokenKind::VersionDirective { major } => {
                    if major != 1 {
                        return Err(invalid(token.start, "only YAML 1 can be read").into());
                    }
                    version = true;
                }
                TokenKind::TagDirective { handle, .. } if handles.contains_key(&handle) => {
                    return Err(invalid(token.start, "a second %TAG line for a handle").into());
                }
                TokenKind::TagDirective { handle, prefix } => {
                    handles.insert(handle, prefix);
                }
                _ => {}
            }
        }
        self.handles.extend(handles);
        if self.take_if(|kind| matches!(kind, TokenKind::DocumentStart))?.is_none() {
            return Err(unexpected(self.scanner.peek()?, "'---'").into());
        }
        let next = self.scanner.peek()?;
        let empty = next.kind.is_directive()
            || matches!(
                next.kind,
                TokenKind::DocumentStart | TokenKind::DocumentEnd | TokenKind::StreamEnd
            );
        let mark = next.start;
        if empty { self.empty_at(mark) } else { self.node(Place::Block, 0) }
    }

    fn reset_handles(&mut self) {
        self.handles.insert("!".to_owned(), "!".to_owned());
        self.handles.insert("!!".to_owned(), "tag:yaml.org,2002:".to_owned());
    }

    fn take_if(&mut self, wanted: impl Fn(&TokenKind) -> bool) -> Outcome<Option<Token>> {
        if wanted(&self.scanner.peek()?.kind) { self.scanner.take().map(Some) } else { Ok(None) }
    }

    fn node(&mut self, place: Place, depth: usize) -> Outcome<NodeId> {
        let next = self.scanner.peek()?;
        if depth > self.budget.depth {
            let limit = self.budget.depth;
            let message = format!("values are nested more than {limit} levels deep");
            return Err(too_large(next.start.line, message).into());
        }
        if matches!(next.kind, TokenKind::Alias(_)) {
            return self.alias();
        }
        let properties = self.properties()?;
        let next = self.scanner.peek()?;
        let start = properties.start.unwrap_or(next.start);
        match &next.kind {
            TokenKind::BlockEntry if place == Place::Pair => {
                let id = self.open(start, properties, &Shape::Sequence)?;
                self.indentless_sequence(id, depth)?;
                Ok(id)
            }
            TokenKind::Scalar { text, plain } => {
                let shape = Shape::Scalar { text: text.clone(), plain: *plain };
                self.scanner.take()?;
                self.open(start, properties, &shape)
            }
            TokenKind::FlowSequenceStart => {
                let id = self.open(start, properties, &Shape::Sequence)?;
                self.flow_sequence(id, depth)?;
                Ok(id)
            }
            TokenKind::FlowMappingStart => {
                let id = self.open(start, properties, &Shape::Mapping)?;
                self.flow_mapping(id, depth)?;
                Ok(id)
            }
            TokenKind::BlockSequenceStart if place != Place::Flow => {
                let id = self.open(start, properties, &Shape::Sequence)?;
                self.block_sequence(id, depth)?;
                Ok(id)
            }
            TokenKind::BlockMappingStart if place != Place::Flow => {
                let id = self.open(start, properties, &Shape::Mapping)?;
                self.block_mapping(id, depth)?;
                Ok(id)
            }
            _ if properties.start.is_some() => {
                self.open(start, properties, &Shape::Scalar { text: "".into(), plain: true })
            }
            _ => Err(unexpected(next, "a value").into()),
        }
    }

    fn alias(&mut self) -> Outcome<NodeId> {
        let token = self.scanner.take()?;
        let TokenKind::Alias(name) = token.kind else {
            return Err(invalid(token.start, "expected an alias").into());
        };
        self.aliases += 1;
        if self.aliases > self.budget.aliases {
            let message = format!("more than {} aliases", self.budget.aliases);
            return Err(too_large(token.start.line, message).into());
        }
        self.anchors.get(&name).copied().ok_or_else(|| {
            invalid(token.start, format!("the alias *{name} has no anchor &{name} before it"))
                .hint("put the text in quotes if no alias is meant")
                .into()
        })
    }

    fn properties(&mut self) -> Outcome<Properties> {
        let mut properties = Properties::default();
        loop {
            let wanted = |kind: &TokenKind| match kind {
                TokenKind::Anchor(_) => properties.anchor.is_none(),
                TokenKind::Tag { .. } => properties.tag.is_none(),
                _ => false,
            };
            let Some(token) = self.take_if(wanted)? else { return Ok(properties) };
            properties.start = properties.start.or(Some(token.start));
            match token.kind {
                TokenKind::Anchor(name) => properties.anchor = Some(name),
                TokenKind::Tag { handle, suffix } => {
                    properties.tag = Some(self.expand_tag(token.start, handle, &suffix)?);
                }
                _ => {}
            }
        }
    }

    fn expand_tag(&self, start: Mark, handle: Option<String>, suffix: &str) -> Outcome<String> {
        let Some(handle) = handle else { return Ok(suffix.to_owned()) };
        let prefix = self
            .handles
            .get(&handle)
            .ok_or_else(|| invalid(start, format!("the tag handle {handle} is not declared")))?;
        Ok(format!("{prefix}{suffix}"))
    }

    /// Adds a node; a collection's members follow.
    fn open(&mut self, start: Mark, properties: Properties, shape: &Shape) -> Outcome<NodeId> {
        if self.nodes.len() >= self.budget.nodes {
            let message = format!("more than {} values", self.budget.nodes);
            return Err(too_large(start.line, message).into());
        }
        let tag = match properties.tag.as_deref() {
            Some("!") => shape.default_tag(true),
            Some(tag) => Tag::from_uri(tag),
            None => shape.default_tag(false),
        };
        let id = self.nodes.len();
        self.nodes.push(Node { line: start.line, tag, kind: shape.kind() });
        let Some(anchor) = properties.anchor else { return Ok(id) };
        if self.anchors.contains_key(&anchor) {
            return Err(invalid(start, format!("the anchor &{anchor} is given twice")).into());
        }
        self.anchors.insert(anchor, id);
        Ok(id)
    }

    /// What stands for a value that was left out.
    fn empty_at(&mut self, mark: Mark) -> Outcome<NodeId> {
        self.open(mark, Properties::default(), &Shape::Scalar { text: "".into(), plain: true })
    }

    fn add_item(&mut self, id: NodeId, item: NodeId) {
        if let Some(Node { kind: NodeKind::Sequence(items), .. }) = self.nodes.get_mut(id) {
            items.push(item);
        }
    }

    fn add_pair(&mut self, id: NodeId, key: NodeId, value: NodeId) {
        if let Some(Node { kind: NodeKind::Mapping { pairs, .. }, .. }) = self.nodes.get_mut(id) {
            pairs.push((key, value));
        }
    }

    fn block_sequence(&mut self, id: NodeId, depth: usize) -> Outcome<()> {
        self.scanner.take()?;
        while let Some(token) = self.take_if(|kind| matches!(kind, TokenKind::BlockEntry))? {
            let empty = |kind: &_| matches!(kind, TokenKind::BlockEntry | TokenKind::BlockEnd);
            let item = self.node_unless(empty, token.end, Place::Block, depth)?;
            self.add_item(id, item);
        }
        let end = self.scanner.take()?;
        match end.kind {
            TokenKind::BlockEnd => Ok(()),
            _ => Err(unexpected(&end, "a list item or the end of the list").into()),
        }
    }

    fn indentless_sequence(&mut self, id: NodeId, depth: usize) -> Outcome<()> {
        while let Some(token) = self.take_if(|kind| matches!(kind, TokenKind::BlockEntry))? {
            let empty =
                |kind: &_| matches!(kind, TokenKind::BlockEntry) || ends_block_pair_part(kind);
            let item = self.node_unless(empty, token.end, Place::Block, depth)?;
            self.add_item(id, item);
        }
        Ok(())
    }

    fn block_mapping(&mut self, id: NodeId, depth: usize) -> Outcome<()> {
        self.scanner.take()?;
        while let Some(token) = self.take_if(|kind| matches!(kind, TokenKind::Key))? {
            let key = self.node_unless(ends_block_pair_part, token.end, Place::Pair, depth)?;
            let value = self.value_unless(ends_block_pair_part, Place::Pair, depth)?;
            self.add_pair(id, key, value);
        }
        let end = self.scanner.take()?;
        match end.kind {
            TokenKind::BlockEnd => Ok(()),
            _ => Err(unexpected(&end, "a key or the end of the mapping").into()),
        }
    }

    fn flow_sequence(&mut self, id: NodeId, depth: usize) -> Outcome<()> {
        self.scanner.take()?;
        let mut first = true;
        while !self.ends_flow(|kind| matches!(kind, TokenKind::FlowSequenceEnd), &mut first)? {
            let item = match self.take_if(|kind| matches!(kind, TokenKind::Key))? {
                Some(token) => self.flow_pair(&token, depth)?,
                None => self.node(Place::Flow, depth + 1)?,
            };
            self.add_item(id, item);
        }
        Ok(())
    }

    /// `[a: b]`, a mapping of one pair within a list.
    fn flow_pair(&mut self, token: &Token, depth: usize) -> Outcome<NodeId> {
        let ends_key = |kind: &_| matches!(kind, TokenKind::Value) || ends_item(kind);
        let id = self.open(token.start, Properties::default(), &Shape::Mapping)?;
        let key = self.node_unless(ends_key, token.end, Place::Flow, depth + 1)?;
        let value = self.value_unless(ends_item, Place::Flow, depth + 1)?;
        self.add_pair(id, key, value);
        Ok(id)
    }

    fn flow_mapping(&mut self, id: NodeId, depth: usize) -> Outcome<()> {
        let ends_value =
            |kind: &_| matches!(kind, TokenKind::FlowEntry | TokenKind::FlowMappingEnd);
        let ends_key = |kind: &_| matches!(kind, TokenKind::Value) || ends_value(kind);
        self.scanner.take()?;
        let mut first = true;
        while !self.ends_flow(|kind| matches!(kind, TokenKind::FlowMappingEnd), &mut first)? {
            let token = self.take_if(|kind| matches!(kind, TokenKind::Key))?;
            let (key, value) = if let Some(token) = token {
                let key = self.node_unless(ends_key, token.end, Place::Flow, depth)?;
                (key, self.value_unless(ends_value, Place::Flow, depth)?)
            } else {
                let key = self.node(Place::Flow, depth + 1)?;
                let mark = self.scanner.peek()?.start;
                (key, self.empty_at(mark)?)
            };
            self.add_pair(id, key, value);
        }
        Ok(())
    }

    /// Takes the sign that ends a flow collection or, but for the first member, the comma before
    /// the next member, after which the end may still follow.
    fn ends_flow(&mut self, end: fn(&TokenKind) -> bool, first: &mut bool) -> Outcome<bool> {
        if self.take_if(end)?.is_some() {
            return Ok(true);
        }
        if *first {
            *first = false;
            return Ok(false);
        }
        if self.take_if(|kind| matches!(kind, TokenKind::FlowEntry))?.is_none() {
            return Err(unexpected(self.scanner.peek()?, "',' or the closing bracket").into());
        }
        Ok(self.take_if(end)?.is_some())
    }

    /// A node, or an empty one if the next token says that there is none.
    fn node_unless(
        &mut self,
        empty: impl Fn(&TokenKind) -> bool,
        mark: Mark,
        place: Place,
        depth: usize,
    ) -> Outcome<NodeId> {
        if empty(&self.scanner.peek()?.kind) {
            self.empty_at(mark)
        } else {
            self.node(place, depth + 1)
        }
    }

    /// What follows a key: `:` and a node, `:` alone, or nothing.
    fn value_unless(
        &mut self,
        empty: impl Fn(&TokenKind) -> bool,
        place: Place,
        depth: usize,
    ) -> Outcome<NodeId> {
        if let Some(token) = self.take_if(|kind| matches!(kind, TokenKind::Value))? {
            return self.node_unless(empty, token.end, place, depth);
        }
        let mark = self.scanner.peek()?.start;
        self.empty_at(mark)
    }
}

fn ends_block_pair_part(kind: &TokenKind) -> bool {
    matches!(kind, TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd)
}

fn ends_item(kind: &TokenKind) -> bool {
    matches!(kind, TokenKind::FlowEntry | TokenKind::FlowSequenceEnd)
}

fn unexpected(found: &Token, wanted: &str) -> Problem {
    let problem =
        invalid(found.start, format!("expected {wanted}, but found {}", found.kind.describe()));
    problem.hint("check the indentation, brackets and quotes here and on the line before")
}

/// A node's kind before its members are known.
enum Shape {
    Scalar { text: flowmill_engine::value::Name, plain: bool },
    Sequence,
    Mapping,
}

impl Shape {
    fn kind(&self) -> NodeKind {
        match self {
            Self::Scalar { text, .. } => NodeKind::Scalar(text.clone()),
            Self::Sequence => NodeKind::Sequence(Vec::new()),
            Self::Mapping => NodeKind::Mapping { pairs: Vec::new(), merged: 0 },
        }
    }

    /// The tag `!` makes text in quotes plain, as in `PyYAML`.
    fn default_tag(&self, as_plain: bool) -> Tag {
        match self {
            Self::Scalar { text, plain } if *plain || as_plain => resolve(text),
            Self::Scalar { .. } => Tag::Str,
            Self::Sequence => Tag::Seq,
            Self::Mapping => Tag::Map,
        }
    }
}
