//! A frame's variables: node id → name → typed value, in layers that share what they have in
//! common (spec/engine.md §9).

use std::fmt;
use std::sync::Arc;

use archery::ArcTK;
use rpds::HashTrieMap;
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};

use crate::value::{Kind, Name, Value};

/// Where a variable is read: `[node, name, member…]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selector(Arc<[Name]>);

impl Selector {
    /// A selector of the given parts.
    pub fn new(parts: impl IntoIterator<Item = Name>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// Splits `a.b.c` at its dots.
    pub fn from_dotted(text: &str) -> Self {
        Self(text.split('.').map(Name::from).collect())
    }

    /// `[node, name]`.
    pub fn of(node: &Name, name: &str) -> Self {
        Self([node.clone(), name.into()].into())
    }

    /// Its parts.
    pub fn parts(&self) -> &[Name] {
        &self.0
    }

    /// What plain text with a dot may name: `host.docker.internal` may be a variable's path, but
    /// hardly ever is. A last part without letters, which no member has, marks it.
    pub(crate) fn perhaps(node: &str, name: &str) -> Self {
        Self([node.into(), name.into(), "".into()].into())
    }

    /// The variable that plain text may name; None for a selector that was meant as one.
    pub(crate) fn as_perhaps(&self) -> Option<(&Name, &Name)> {
        match &*self.0 {
            [node, name, mark] if mark.is_empty() => Some((node, name)),
            _ => None,
        }
    }

    /// Whether all its parts are words, as names are.
    pub fn is_of_words(&self) -> bool {
        let in_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
        self.0.iter().all(|part| !part.is_empty() && part.chars().all(in_word))
    }

    /// The whole variable it reads from: its first two parts, if it has as many.
    pub fn variable(&self) -> Option<(&Name, &Name)> {
        match &*self.0 {
            [node, name, ..] => Some((node, name)),
            _ => None,
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// As Python prints a list of strings, which is how Dify's errors name a selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Value::array(self.0.iter().cloned().map(Value::Str).collect());
        f.write_str(&shown.to_python())
    }
}

/// What a variable's content is held as.
///
/// A process holds every value itself; where values leave it, large ones become payloads
/// ([`crate::contents`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datum {
    /// The value itself.
    #[serde(rename = "inline")]
    Inline(Value),
}

impl Datum {
    /// The value.
    pub fn value(&self) -> &Value {
        match self {
            Self::Inline(value) => value,
        }
    }

    /// The value, to be changed.
    pub fn value_mut(&mut self) -> &mut Value {
        match self {
            Self::Inline(value) => value,
        }
    }
}

impl From<Value> for Datum {
    fn from(value: Value) -> Self {
        Self::Inline(value)
    }
}

/// A typed value under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its type tag; it outlives changes of the value.
    pub kind: Kind,
    /// Its content.
    pub datum: Datum,
    /// Where it was taken from, if another variable was taken over as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Arc<Origin>>,
}

/// Where a variable was taken from. What an aggregator or a list-operator gives is in Dify the very
/// variable that it found, and an assigner changes it where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// The variable that this one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<Selector>,
    /// The type and the home of its member [`GROUP_MEMBER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<(Kind, Selector)>,
}

/// Under which name a group of an aggregator holds what it found.
const GROUP_MEMBER: &str = "output";

impl Variable {
    /// A variable whose type is the one Dify infers from the value.
    pub fn infer(value: Value) -> Self {
        Self::typed(Kind::of(&value), value)
    }

    /// A variable with a declared type.
    pub fn typed(kind: Kind, value: Value) -> Self {
        Self { kind, datum: value.into(), origin: None }
    }

    /// An object that holds a variable as it is, as the groups of an aggregator do.
    pub fn group(found: &Self) -> Self {
        let value = Value::object([(GROUP_MEMBER.into(), found.value().clone())]);
        let member = found.home().map(|home| (found.kind, home.clone()));
        let origin = member.map(|member| Arc::new(Origin { home: None, member: Some(member) }));
        Self { origin, ..Self::infer(value) }
    }

    /// The variable that a change of this one changes, if it was taken over from there.
    pub fn home(&self) -> Option<&Selector> {
        self.origin.as_ref()?.home.as_ref()
    }

    /// The same variable with other content.
    #[must_use]
    pub fn with_value(&self, value: Value) -> Self {
        let home = self.home().cloned();
        let origin = home.map(|home| Arc::new(Origin { home: Some(home), member: None }));
        Self { origin, ..Self::typed(self.kind, value) }
    }

    /// The same, at home there unless it has a home already.
    fn at_home(mut self, selector: &[Name]) -> Self {
        let origin = Arc::make_mut(self.origin.get_or_insert_default());
        origin.home.get_or_insert_with(|| Selector::new(selector.iter().cloned()));
        self
    }

    /// Its value.
    pub fn value(&self) -> &Value {
        self.datum.value()
    }

    /// Which variable such a path ends at, when it is the member of a group.
    fn found(&self, path: &[Name]) -> Option<&(Kind, Selector)> {
        let member = self.origin.as_ref()?.member.as_ref();
        member.filter(|_| matches!(path, [name] if &**name == GROUP_MEMBER))
    }

    /// A member of an object or an attribute of a file; none of anything else. Whether it is one
    /// is a matter of the type tag (spec/engine.md §9).
    pub(crate) fn member<'a>(&self, mut path: impl Iterator<Item = &'a str>) -> Option<Self> {
        match (self.kind, self.value()) {
            (Kind::File, Value::File(file)) => file.attribute(path.next()?).map(Self::infer),
            (Kind::Object, value) => {
                let inner = path.try_fold(value, |value, key| match value {
                    Value::Object(members) => members.get(key),
                    _ => None,
                });
                inner.cloned().map(Self::infer)
            }
            _ => None,
        }
    }
}

type Map<V> = HashTrieMap<Name, V, ArcTK, FxBuildHasher>;

/// The variables of one frame. Cloning is a layer, not a copy: a clone shares everything with its
/// origin until one of them changes.
#[derive(Clone, Default)]
pub struct Variables {
    nodes: Map<Arc<Vec<(Name, Variable)>>>,
}

impl Variables {
    /// Reads a selector: a whole variable, a member of an object, an attribute of a file.
    /// Anything else is missing; lists cannot be indexed (spec/engine.md §9).
    pub fn get(&self, selector: &[Name]) -> Option<Variable> {
        let [node, name, rest @ ..] = selector else { return None };
        let variable = self.variable(node, name)?;
        if rest.is_empty() {
            return Some(variable.clone());
        }
        variable.member(rest.iter().map(|part| &**part)).map(|member| match variable.found(rest) {
            Some((kind, home)) => Variable { kind: *kind, ..member }.at_home(home.parts()),
            None => member,
        })
    }

    /// Reads a selector to hand on what is found as it is. A member is a value of its own.
    pub fn take(&self, selector: &[Name]) -> Option<Variable> {
        let found = self.get(selector)?;
        Some(if selector.len() == 2 { found.at_home(selector) } else { found })
    }

    /// A whole variable.
    pub fn variable(&self, node: &str, name: &str) -> Option<&Variable> {
        self.nodes.get(node)?.iter().find(|(key, _)| &**key == name).map(|(_, found)| found)
    }

    /// Writes a whole variable.
    pub fn set(&mut self, node: &Name, name: &Name, variable: Variable) {
        let Some(entry) = self.nodes.get_mut(node) else {
            self.nodes.insert_mut(node.clone(), Arc::new(vec![(name.clone(), variable)]));
            return;
        };
        let entry = Arc::make_mut(entry);
        match entry.iter_mut().find(|(key, _)| key == name) {
            Some((_, held)) => *held = variable,
            None => entry.push((name.clone(), variable)),
        }
    }

    /// Takes a whole variable away.
    pub fn unset(&mut self, node: &str, name: &str) {
        if let Some(entry) = self.nodes.get_mut(node) {
            Arc::make_mut(entry).retain(|(key, _)| &**key != name);
        }
    }

    /// Everything a node wrote, in the order of the first writes.
    pub fn of_node(&self, node: &str) -> &[(Name, Variable)] {
        self.nodes.get(node).map_or(&[], |entry| entry)
    }

    /// Everything, by node in the order of their ids; what a node wrote in the order of the first
    /// writes. Collecting the same again gives equal variables.
    pub fn sorted(&self) -> Vec<(&Name, &[(Name, Variable)])> {
        let mut nodes: Vec<_> = self.nodes.iter().map(|(node, held)| (node, &held[..])).collect();
        nodes.sort_unstable_by_key(|(node, _)| *node);
        nodes
    }
}

/// Variables of node, name and content; of two with the same name the later one counts.
impl FromIterator<(Name, Name, Variable)> for Variables {
    fn from_iter<T: IntoIterator<Item = (Name, Name, Variable)>>(all: T) -> Self {
        let mut variables = Self::default();
        for (node, name, variable) in all {
            variables.set(&node, &name, variable);
        }
        variables
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("nodes", &self.nodes.size()).finish()
    }
}
