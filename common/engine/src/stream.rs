//! What the user of a chat sees while a run goes on: the texts of its response nodes, in the order
//! of their templates, although their sources run in any order (spec/engine.md §17).
//!
//! [`AnswerStream`] is a fold over a run's facts and the chunks of text that its nodes stream. It
//! looks at the root graph only and changes nothing: each reader runs its own, and all see the
//! same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::fact::{Event, Fact, FramePath, Kept, Then};
use crate::plan::{Category, EdgeIx, NodeIx, Outputs, Plan, ROOT};
use crate::run::{Run, State};
use crate::template;
use crate::value::{Name, Value};
use crate::variables::Selector;

/// Something to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The response node whose template it belongs to.
    pub node: Name,
    /// Where the text comes from; `[node, "answer"]` for the template's own text.
    pub selector: Selector,
    /// The text; may be empty.
    pub text: Name,
    /// Whether it is the last piece of its template or of its source's stream.
    pub is_final: bool,
}

/// Orders what response nodes show.
#[derive(Clone, Debug)]
pub struct AnswerStream {
    plan: Arc<Plan>,
    run: Run,
    /// Response nodes that may not show anything yet, by id.
    closed: BTreeMap<Name, Entrance>,
    /// The template that is being shown.
    active: Option<Session>,
    /// Templates that wait for their turn.
    queue: VecDeque<Session>,
    /// What was streamed so far, of selectors that a template uses.
    streams: BTreeMap<Selector, Stream>,
}

/// What must be taken before a response node may show anything: some path to it without a blocking
/// edge that was not taken.
#[derive(Clone, Debug)]
struct Entrance {
    node: NodeIx,
    /// Edges that need not, or no longer, be waited for.
    passable: Vec<bool>,
    /// Nodes that passable edges lead to from the root node.
    reached: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Session {
    node: NodeIx,
    /// How many pieces of its template are done with.
    done: usize,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    unread: VecDeque<(Name, bool)>,
    /// All that came, read or not.
    text: String,
    has_begun: bool,
    has_ended: bool,
}

impl AnswerStream {
    /// A stream that has seen nothing yet.
    pub fn new(plan: &Arc<Plan>) -> Self {
        let mut closed = BTreeMap::new();
        let mut streams = BTreeMap::new();
        for index in plan.scope(ROOT).nodes.iter().copied() {
            let node = plan.node(index);
            if node.category != Category::Response {
                continue;
            }
            closed.insert(node.id.clone(), Entrance::new(plan, index));
            for selector in references(&node.response) {
                streams.insert(selector.clone(), Stream::default());
            }
        }
        let run = Run::replay(Arc::clone(plan), []);
        Self { plan: Arc::clone(plan), run, closed, active: None, queue: VecDeque::new(), streams }
    }

    /// Takes the run's next fact.
    pub fn fact(&mut self, fact: &Fact) -> Vec<Piece> {
        self.run.follow(fact);
        let mut pieces = Vec::new();
        match &fact.event {
            Event::RunStarted(_) => self.open(&mut pieces),
            Event::NodeSucceeded(done) => {
                self.ended(&done.frame, &done.node, &done.success.outputs, &mut pieces);
            }
            Event::Adopted(adopted) => {
                if let Kept::Outcome(success) = &adopted.kept {
                    self.ended(&adopted.frame, &adopted.node, &success.outputs, &mut pieces);
                }
            }
            Event::NodeFailed(failed) => match failed.then {
                Then::DefaultValue | Then::FailBranch => {
                    self.ended(&failed.frame, &failed.node, &Outputs::new(), &mut pieces);
                }
                Then::RetryAt(_) | Then::Unhandled => {}
            },
            _ => {}
        }
        pieces
    }

    /// Takes a chunk of an output that a node streams while it runs. It must come before the fact
    /// that the node ended.
    pub fn chunk(
        &mut self,
        frame: &FramePath,
        node: &Name,
        output: &str,
        text: Name,
        is_final: bool,
    ) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let selector = Selector::of(node, output);
        if let Some(stream) = self.streams.get_mut(&selector).filter(|_| frame.is_root()) {
            stream.push(text, is_final);
            self.flush(&mut pieces);
        }
        pieces
    }

    /// Whether what a node thinks is to be shown: only while a template that uses its text is
    /// shown or waits for its turn.
    pub fn shows_reasoning(&self, node: &str) -> bool {
        let Some(index) = self.plan.find(node).filter(|index| self.plan.node(*index).scope == ROOT)
        else {
            return false;
        };
        let uses = |session: &Session| {
            references(&self.plan.node(session.node).response).any(|selector| {
                let found = selector.variable();
                found.is_some_and(|(source, name)| {
                    &**source == node && matches!(&**name, "text" | "reasoning_content")
                })
            })
        };
        self.run.root_node(index) != State::Skipped
            && self.active.iter().chain(&self.queue).any(uses)
    }

    /// Whether a template uses this output of a node, so that its chunks may be shown.
    pub fn streams(&self, node: &Name, output: &str) -> bool {
        self.streams.contains_key(&Selector::of(node, output))
    }

    /// Whether chunks came that were not shown so far, or whose end has not come.
    pub fn is_streaming(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.has_begun && !stream.has_ended || !stream.unread.is_empty())
    }

    /// What came out of the run so far, as its root graph has it.
    pub fn outputs(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.run.outputs()
    }

    /// Node attempts that were started in the root graph so far.
    pub fn root_steps(&self) -> u64 {
        self.run.root_steps()
    }

    /// A node of some frame ended: its edges may open templates, its outputs may be waited for.
    fn ended(
        &mut self,
        frame: &FramePath,
        node: &Name,
        outputs: &Outputs,
        pieces: &mut Vec<Piece>,
    ) {
        let plan = Arc::clone(&self.plan);
        if let Some(index) = plan.find(node).filter(|_| frame.is_root()) {
            self.complete_streams(node, outputs, pieces);
            let edges = plan.node(index).out_edges.iter().copied();
            let taken: Vec<EdgeIx> = edges.filter(|edge| self.run.is_taken(*edge)).collect();
            for edge in taken {
                for entrance in self.closed.values_mut() {
                    entrance.take(&plan, edge);
                }
                self.open(pieces);
            }
        }
        self.flush(pieces);
    }

    /// A stream that its node did not end is ended here: with what is missing of the output, if
    /// what came is its beginning.
    fn complete_streams(&mut self, node: &Name, outputs: &Outputs, pieces: &mut Vec<Piece>) {
        for (selector, stream) in &mut self.streams {
            let open = stream.has_begun && !stream.has_ended;
            let [source, name] = selector.parts() else { continue };
            if !open || source != node {
                continue;
            }
            let output = outputs.iter().find(|(key, _)| key == name).map(|(_, held)| held.value());
            let rest = match output {
                Some(Value::Str(text)) => text.strip_prefix(stream.text.as_str()).unwrap_or(""),
                _ => "",
            };
            stream.push(rest.into(), true);
        }
        self.flush(pieces);
    }

    /// Lets templates in whose way is free, in the order of their nodes' ids.
    fn open(&mut self, pieces: &mut Vec<Piece>) {
        let open = self.closed.extract_if(.., |_, entrance| entrance.is_open(&self.plan));
        let opened: Vec<NodeIx> = open.map(|(_, entrance)| entrance.node).collect();
        for node in opened {
            self.queue.push_back(Session { node, done: 0 });
            if self.active.is_none() {
                self.active = self.queue.pop_front();
                self.flush(pieces);
            }
        }
    }

    /// Shows all that can be shown now.
    fn flush(&mut self, pieces: &mut Vec<Piece>) {
        while let Some(session) = &self.active {
            let response = &self.plan.node(session.node).response;
            let is_last = session.done + 1 == response.len();
            let goes_on = match response.get(session.done).cloned() {
                None => {
                    self.active = self.queue.pop_front();
                    continue;
                }
                Some(template::Piece::Text(text)) => {
                    let id = &self.plan.node(session.node).id;
                    self.show(&Selector::of(id, "answer"), text, is_last, pieces);
                    true
                }
                Some(template::Piece::Reference(selector)) => {
                    self.show_source(&selector, is_last, pieces)
                }
            };
            if !goes_on {
                return;
            }
            if let Some(session) = &mut self.active {
                session.done += 1;
            }
        }
    }

    /// Shows what there is of a source. False when more is to come.
    fn show_source(&mut self, selector: &Selector, is_last: bool, pieces: &mut Vec<Piece>) -> bool {
        let source = selector.parts().first().and_then(|source| self.plan.find(source));
        if source.is_some_and(|source| self.run.root_node(source) == State::Skipped) {
            return true;
        }
        let Some(stream) = self.streams.get_mut(selector) else { return true };
        let (unread, has_begun, has_ended) =
            (std::mem::take(&mut stream.unread), stream.has_begun, stream.has_ended);
        for (text, is_final) in unread {
            self.show(selector, text, is_final, pieces);
        }
        if has_begun {
            return has_ended;
        }
        let variables = self.run.root_variables();
        let Some(value) = variables.and_then(|held| held.get(selector.parts())) else {
            return false;
        };
        // a value that cannot be rendered fails the response node itself
        let text = value.to_markdown().unwrap_or_default();
        self.show(selector, (&*text).into(), is_last, pieces);
        true
    }

    fn show(&self, selector: &Selector, text: Name, is_final: bool, pieces: &mut Vec<Piece>) {
        let Some(session) = &self.active else { return };
        let node = self.plan.node(session.node).id.clone();
        pieces.push(Piece { node, selector: selector.clone(), text, is_final });
    }
}

impl Stream {
    /// What comes after the end is late and is dropped.
    fn push(&mut self, text: Name, is_final: bool) {
        if self.has_ended {
            return;
        }
        self.text.push_str(&text);
        self.unread.push_back((text, is_final));
        self.has_begun = true;
        self.has_ended = is_final;
    }
}

impl Entrance {
    fn new(plan: &Plan, response: NodeIx) -> Self {
        let scope = plan.scope(ROOT);
        let uses: Vec<(&Name, &Name)> =
            references(&plan.node(response).response).filter_map(Selector::variable).collect();
        let passable = scope.edges.iter().map(|edge| !blocks(plan, *edge, &uses)).collect();
        let mut entrance =
            Self { node: response, passable, reached: vec![false; scope.nodes.len()] };
        if let Some(root) = plan.root() {
            entrance.reach(plan, root);
        }
        entrance
    }

    fn is_open(&self, plan: &Plan) -> bool {
        self.reached[plan.node(self.node).local as usize]
    }

    fn take(&mut self, plan: &Plan, edge: EdgeIx) {
        let edge = plan.edge(edge);
        self.passable[edge.local as usize] = true;
        if self.reached[plan.node(edge.source).local as usize] {
            self.reach(plan, edge.target);
        }
    }

    fn reach(&mut self, plan: &Plan, node: NodeIx) {
        let mut pending = vec![node];
        while let Some(index) = pending.pop() {
            let node = plan.node(index);
            if std::mem::replace(&mut self.reached[node.local as usize], true) {
                continue;
            }
            let edges = node.out_edges.iter().map(|edge| plan.edge(*edge));
            let passable = edges.filter(|edge| self.passable[edge.local as usize]);
            pending.extend(passable.map(|edge| edge.target));
        }
    }
}

/// Whether what comes behind an edge may depend on how its source ends: a branch may not take it,
/// containers and responses come first, an assigner changes a variable that is used.
fn blocks(plan: &Plan, edge: EdgeIx, uses: &[(&Name, &Name)]) -> bool {
    let source = plan.node(plan.edge(edge).source);
    match source.category {
        Category::Branch | Category::Container | Category::Response => true,
        Category::Root | Category::Executable | Category::BodyStart | Category::LoopEnd => {
            let mut writes = source.writes.iter();
            writes.any(|write| {
                uses.iter().any(|(node, name)| write.parts() == [(*node).clone(), (*name).clone()])
            })
        }
    }
}

fn references(template: &[template::Piece]) -> impl Iterator<Item = &Selector> {
    template.iter().filter_map(|piece| match piece {
        template::Piece::Reference(selector) => Some(selector),
        template::Piece::Text(_) => None,
    })
}
