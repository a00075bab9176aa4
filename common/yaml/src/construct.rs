//! Nodes to values, by the rules of `PyYAML`'s safe constructor. Aliases are written out.

use std::collections::{BTreeMap, BTreeSet};

use flowmill_engine::graph::{Content, Item, Problem, Problems};
use flowmill_engine::value::{Integer, Name};

use super::node::{Node, NodeId, NodeKind, Tag};
use super::number::{is_base64, parse_float, parse_int};
use super::resolve::Timestamp;
use super::{Budget, Outcome, invalid_at, too_large};

/// More warnings would not be read.
const MOST_WARNINGS: usize = 100;

/// Makes the value of a document's root.
pub(super) fn construct(
    nodes: Vec<Node>,
    root: NodeId,
    budget: &Budget,
) -> Outcome<(Item, Problems)> {
    let states = vec![State::default(); nodes.len()];
    let mut constructor = Constructor { nodes, states, budget, made: 0, warnings: Vec::new() };
    let item = constructor.item(root, 0)?;
    Ok((item, constructor.warnings))
}

struct Constructor<'b> {
    nodes: Vec<Node>,
    states: Vec<State>,
    budget: &'b Budget,
    /// Values made so far, each alias counted anew.
    made: usize,
    warnings: Problems,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Its members are being made.
    open: bool,
    /// Its members were made once: problems are known.
    done: bool,
    /// Its `<<` are resolved.
    flat: bool,
}

/// A mapping's key as Python compares it: `1`, `1.0` and `true` are the same key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Null,
    Number(Integer),
    Float(u64),
    Text(Name),
    Other(&'static str, Name),
}

impl Constructor<'_> {
    fn item(&mut self, id: NodeId, depth: usize) -> Outcome<Item> {
        let line = self.line(id);
        self.count(line, 1)?;
        if depth > self.budget.depth {
            let limit = self.budget.depth;
            let message = format!("aliases nest values more than {limit} levels deep");
            return Err(too_large(line, message).into());
        }
        let content = match self.tag(id) {
            Tag::Seq => self.sequence(id, depth)?,
            Tag::Map => self.open(id, |this| Ok(Content::Map(this.members(id, depth)?)))?,
            Tag::Set => self.open(id, |this| this.set(id, depth))?,
            Tag::Omap | Tag::Pairs => self.open(id, |this| this.pairs(id, depth))?,
            tag => self.scalar(id, &tag)?,
        };
        Ok(Item { line, content })
    }

    fn line(&self, id: NodeId) -> u32 {
        self.nodes.get(id).map_or(0, |node| node.line)
    }

    fn tag(&self, id: NodeId) -> Tag {
        self.nodes.get(id).map_or(Tag::Null, |node| node.tag.clone())
    }

    fn count(&mut self, line: u32, values: usize) -> Outcome<()> {
        self.made += values;
        if self.made <= self.budget.nodes {
            return Ok(());
        }
        let message = format!("more than {} values, aliases written out", self.budget.nodes);
        Err(too_large(line, message).into())
    }

    /// Makes the members of a collection, unless that is being done already.
    fn open(
        &mut self,
        id: NodeId,
        make: impl FnOnce(&mut Self) -> Outcome<Content>,
    ) -> Outcome<Content> {
        let line = self.line(id);
        match self.states.get_mut(id) {
            Some(state) if state.open => {
                return Err(invalid_at(line, "a value that contains itself").into());
            }
            Some(state) => state.open = true,
            None => {}
        }
        let content = make(self)?;
        if let Some(state) = self.states.get_mut(id) {
            state.open = false;
            state.done = true;
        }
        Ok(content)
    }

    fn sequence(&mut self, id: NodeId, depth: usize) -> Outcome<Content> {
        self.open(id, |this| {
            let items = this.items_of(id, "a list")?;
            let items = items.into_iter().map(|item| this.item(item, depth + 1));
            Ok(Content::Seq(items.collect::<Outcome<_>>()?))
        })
    }

    fn items_of(&self, id: NodeId, wanted: &str) -> Outcome<Vec<NodeId>> {
        match self.nodes.get(id).map(|node| &node.kind) {
            Some(NodeKind::Sequence(items)) => Ok(items.clone()),
            _ => Err(self.mismatch(id, wanted).into()),
        }
    }

    fn mismatch(&self, id: NodeId, wanted: &str) -> Problem {
        let found = self.nodes.get(id).map_or("nothing", |node| node.kind.describe());
        let message = format!("the tag asks for {wanted}, but this is {found}");
        invalid_at(self.line(id), message)
    }

    fn set(&mut self, id: NodeId, depth: usize) -> Outcome<Content> {
        let members = self.members(id, depth)?;
        let keys: Vec<String> =
            members.iter().map(|(key, _)| key.to_value().to_python().clone()).collect();
        Ok(Content::Other("a set", keys.join(", ").into()))
    }

    /// A list of pairs, each written as a mapping of one.
    fn pairs(&mut self, id: NodeId, depth: usize) -> Outcome<Content> {
        let mut pairs = Vec::new();
        for item in self.items_of(id, "a list of mappings with one pair each")? {
            let pair = match self.nodes.get(item).map(|node| &node.kind) {
                Some(NodeKind::Mapping { pairs, .. }) if pairs.len() == 1 => pairs.first().copied(),
                _ => None,
            };
            let (key, value) = pair.ok_or_else(|| self.mismatch(item, "a mapping of one pair"))?;
            let line = self.line(key);
            let pair = vec![self.item(key, depth + 2)?, self.item(value, depth + 2)?];
            pairs.push(Item { line, content: Content::Seq(pair) });
        }
        Ok(Content::Seq(pairs))
    }

    fn members(&mut self, id: NodeId, depth: usize) -> Outcome<Vec<(Item, Item)>> {
        self.flatten(id, depth)?;
        let (pairs, merged) = match self.nodes.get(id).map(|node| &node.kind) {
            Some(NodeKind::Mapping { pairs, merged }) => (pairs.clone(), *merged),
            _ => return Err(self.mismatch(id, "a mapping").into()),
        };
        let mut members: Vec<(Item, Item)> = Vec::with_capacity(pairs.len());
        let mut places: BTreeMap<Key, (usize, usize)> = BTreeMap::new();
        for (index, (key_id, value_id)) in pairs.into_iter().enumerate() {
            let key = self.item(key_id, depth + 1)?;
            let Some(hashed) = Key::of(&key.content) else {
                let message = format!("{} cannot be a key", key.type_name());
                let hint = "put text that begins with '{' or '[' in quotes";
                return Err(invalid_at(key.line, message).hint(hint).into());
            };
            let value = self.item(value_id, depth + 1)?;
            match places.get_mut(&hashed) {
                None => {
                    places.insert(hashed, (members.len(), index));
                    members.push((key, value));
                }
                Some((place, last)) => {
                    if *last >= merged && index >= merged && !self.is_done(id) {
                        warn_of_duplicate(&mut self.warnings, &key);
                    }
                    *last = index;
                    if let Some(member) = members.get_mut(*place) {
                        member.1 = value;
                    }
                }
            }
        }
        Ok(members)
    }

    fn is_done(&self, id: NodeId) -> bool {
        self.states.get(id).is_some_and(|state| state.done)
    }

    /// Puts the pairs that `<<` names before a mapping's own. As in `PyYAML` 6.0.4, of several
    /// mappings in a list the last one wins, and a key written once (one character is always
    /// the same object in Python) counts only the first time.
    fn flatten(&mut self, id: NodeId, depth: usize) -> Outcome<()> {
        let line = self.line(id);
        if depth > self.budget.depth {
            return Err(too_large(line, "merge keys nest too deep").into());
        }
        let Some(state) = self.states.get_mut(id).filter(|state| !state.flat) else {
            return Ok(());
        };
        state.flat = true;
        let written = match self.nodes.get_mut(id).map(|node| &mut node.kind) {
            Some(NodeKind::Mapping { pairs, .. }) => std::mem::take(pairs),
            _ => return Ok(()),
        };
        let mut merge = Merge::default();
        let mut own = Vec::with_capacity(written.len());
        for (key, value) in written {
            match self.tag(key) {
                Tag::Merge => {
                    for source in self.merge_sources(value)? {
                        self.flatten(source, depth + 1)?;
                        self.merge(source, &mut merge, line)?;
                    }
                }
                tag => {
                    if let (Tag::Value, Some(node)) = (tag, self.nodes.get_mut(key)) {
                        node.tag = Tag::Str;
                    }
                    own.push((key, value));
                }
            }
        }
        if let Some(NodeKind::Mapping { pairs, merged }) =
            self.nodes.get_mut(id).map(|node| &mut node.kind)
        {
            *merged = merge.pairs.len();
            *pairs = merge.pairs;
            pairs.append(&mut own);
        }
        Ok(())
    }

    fn merge_sources(&self, value: NodeId) -> Outcome<Vec<NodeId>> {
        let sources = match self.nodes.get(value).map(|node| &node.kind) {
            Some(NodeKind::Sequence(items)) => items.clone(),
            _ => vec![value],
        };
        let is_mapping = |id: &NodeId| {
            matches!(self.nodes.get(*id).map(|node| &node.kind), Some(NodeKind::Mapping { .. }))
        };
        if sources.iter().all(is_mapping) {
            return Ok(sources);
        }
        let message = "'<<' needs a mapping or a list of mappings";
        Err(invalid_at(self.line(value), message).into())
    }

    fn merge(&mut self, source: NodeId, merge: &mut Merge, line: u32) -> Outcome<()> {
        let Some(Node { kind: NodeKind::Mapping { pairs, .. }, .. }) = self.nodes.get(source)
        else {
            return Ok(());
        };
        let pairs = pairs.clone();
        self.count(line, pairs.len())?;
        for (key, value) in pairs {
            let merge_key = match self.nodes.get(key).map(|node| &node.kind) {
                Some(NodeKind::Scalar(text)) if is_single_latin(text) => {
                    MergeKey::Short(text.clone())
                }
                _ => MergeKey::Node(key),
            };
            if merge.seen.insert(merge_key) {
                merge.pairs.push((key, value));
            }
        }
        Ok(())
    }

    /// The text of a scalar; of a mapping, what its key `=` holds.
    fn text_of(&self, id: NodeId, depth: usize) -> Outcome<Name> {
        match self.nodes.get(id).map(|node| &node.kind) {
            Some(NodeKind::Scalar(text)) => Ok(text.clone()),
            Some(NodeKind::Mapping { pairs, .. }) if depth < self.budget.depth => {
                let value = pairs.iter().find(|(key, _)| self.tag(*key) == Tag::Value);
                match value {
                    Some((_, value)) => self.text_of(*value, depth + 1),
                    None => Err(self.mismatch(id, "text").into()),
                }
            }
            _ => Err(self.mismatch(id, "text").into()),
        }
    }

    fn scalar(&self, id: NodeId, tag: &Tag) -> Outcome<Content> {
        if let Tag::Unknown(_) | Tag::Merge | Tag::Value = tag {
            return Err(self.unknown_tag(id, tag).into());
        }
        let text = self.text_of(id, 0)?;
        let content = match tag {
            Tag::Null => Some(Content::Null),
            Tag::Str => Some(Content::Str(text.clone())),
            Tag::Bool => match text.to_lowercase().as_str() {
                "yes" | "true" | "on" => Some(Content::Bool(true)),
                "no" | "false" | "off" => Some(Content::Bool(false)),
                _ => None,
            },
            Tag::Int => parse_int(&text).map(Content::Int),
            Tag::Float => parse_float(&text).map(Content::Float),
            Tag::Binary => is_base64(&text).then(|| Content::Other("bytes", text.clone())),
            _ => Timestamp::parse(&text).filter(Timestamp::exists).map(|stamp| {
                Content::Other(if stamp.is_date() { "a date" } else { "a timestamp" }, text.clone())
            }),
        };
        content.ok_or_else(|| {
            let short: String = text.chars().take(40).collect();
            let message = format!("{short:?} is no {}", type_word(tag));
            invalid_at(self.line(id), message).hint("put it in quotes if it is text").into()
        })
    }

    fn unknown_tag(&self, id: NodeId, tag: &Tag) -> Problem {
        let (name, hint) = match tag {
            Tag::Merge => ("<<", "put '<<' in quotes"),
            Tag::Value => ("=", "put '=' in quotes"),
            Tag::Unknown(name) => (name.as_ref(), "remove the tag, or put the text in quotes"),
            _ => ("", ""),
        };
        let problem = invalid_at(self.line(id), format!("the tag '{name}' is unknown"));
        problem.hint(hint)
    }
}

/// What `<<` brought into a mapping so far.
#[derive(Default)]
struct Merge {
    pairs: Vec<(NodeId, NodeId)>,
    seen: BTreeSet<MergeKey>,
}

/// What makes two merged keys the same object in Python.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum MergeKey {
    /// No character or one of Latin-1.
    Short(Name),
    Node(NodeId),
}

fn is_single_latin(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_none_or(|found| found <= '\u{ff}') && characters.next().is_none()
}

impl Key {
    /// None if Python cannot hash it.
    fn of(content: &Content) -> Option<Self> {
        Some(match content {
            Content::Null => Self::Null,
            Content::Bool(value) => Self::Number(Integer::from(i64::from(*value))),
            Content::Int(value) => Self::Number(value.clone()),
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
            Content::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                Self::Number(Integer::from(*value as i64))
            }
            Content::Float(value) => Self::Float(value.to_bits()),
            Content::Str(text) => Self::Text(text.clone()),
            Content::Other("a set", _) | Content::Seq(_) | Content::Map(_) => return None,
            Content::Other(name, text) => Self::Other(name, text.clone()),
        })
    }
}

fn type_word(tag: &Tag) -> &'static str {
    match tag {
        Tag::Bool => "boolean",
        Tag::Int => "integer that can be read",
        Tag::Float => "float",
        Tag::Binary => "base64 data",
        _ => "date that exists",
    }
}

fn warn_of_duplicate(warnings: &mut Problems, key: &Item) {
    if warnings.len() >= MOST_WARNINGS {
        return;
    }
    let name: String = key.to_value().to_python().chars().take(80).collect();
    let message = format!("the key '{name}' is given twice, the last one counts");
    let warning = Problem::warning("duplicate_key", key.line, message);
    warnings.push(warning.hint("remove one of them"));
}
