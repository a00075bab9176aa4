//! What is kept of a run's work when it runs again.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::fact::{Adopted, FramePath, Kept, Pass, Range};
use crate::plan::{Behaviour, NodeIx, Plan, ROOT, ScopeIx};
use crate::value::{Name, Value};
use crate::variables::Selector;

use super::history::{Container, Done, Frame, History};
use super::{Refused, What};

/// Goes through a run's frames from the root on.
pub(super) struct Chooser<'a> {
    plan: &'a Arc<Plan>,
    history: &'a History,
    what: &'a What,
    sets: &'a [(Selector, Value)],
    /// The node to begin at and the containers around it.
    chain: Vec<NodeIx>,
    adopted: Vec<Adopted>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        plan: &'a Arc<Plan>,
        history: &'a History,
        what: &'a What,
        sets: &'a [(Selector, Value)],
    ) -> Self {
        let mut chain = Vec::new();
        let mut next = match what {
            What::From(node) => plan.find(node),
            What::Failed | What::FailedItems => None,
        };
        while let Some(node) = next {
            chain.push(node);
            next = plan.scope(plan.node(node).scope).owner;
        }
        Self { plan, history, what, sets, chain, adopted: Vec::new() }
    }

    pub(super) fn choose(mut self) -> Result<Vec<Adopted>, Refused> {
        let root = FramePath::default();
        let frame = self.history.frame(&root);
        match self.what {
            What::From(_) => {}
            What::Failed => {
                let fails = |frame| !self.seeds(frame, ROOT).is_empty();
                if self.history.is_well() && !frame.is_some_and(fails) {
                    return Err(Refused::NothingFailed);
                }
            }
            What::FailedItems => {
                let mut containers = frame.into_iter().flat_map(|frame| &frame.containers);
                if !containers.any(|(node, held)| self.history.has_failed_items(node, held)) {
                    return Err(Refused::NoFailedItems);
                }
            }
        }
        if let Some(frame) = frame {
            self.frame(&root, frame, ROOT);
        }
        Ok(self.adopted)
    }

    /// Keeps what a frame did, but for where it begins again and what follows that.
    fn frame(&mut self, path: &FramePath, frame: &'a Frame, scope: ScopeIx) {
        let mut seeds = self.seeds(frame, scope);
        let enders = if path.is_root() { FxHashSet::default() } else { self.enders(scope) };
        seeds.extend(&enders);
        let followers = followers(self.plan, &seeds);
        for (node, done) in &frame.done {
            let again = self
                .plan
                .find(node)
                .is_none_or(|index| seeds.contains(&index) || followers.contains(&index));
            if !again {
                self.keep(path, frame, node, done);
            }
        }
        // what an iteration goes through may be other elements when something before it runs again
        let begins = |seed: &&NodeIx| !followers.contains(seed) && !enders.contains(seed);
        for seed in seeds.iter().filter(begins) {
            let node = self.plan.node(*seed);
            let (Some(container), Some(body)) = (frame.containers.get(&node.id), node.body) else {
                continue;
            };
            if self.may_keep_elements(*seed) {
                self.elements(path, &node.id, container, body);
            } else if self.may_keep_rounds(*seed, container) {
                self.rounds(path, &node.id, container, body);
            }
        }
    }

    fn keep(&mut self, path: &FramePath, frame: &Frame, node: &Name, done: &Done) {
        let (errors, errors_omitted) = self.history.errors_of(path, node, done);
        self.adopted.push(Adopted {
            from: self.history.run_id().clone(),
            frame: path.clone(),
            node: node.clone(),
            kept: Kept::Outcome(done.success.clone()),
            responses: frame.responses_inside(node, done),
            errors,
            errors_omitted,
        });
    }

    /// Where a frame begins again; also containers that did not come to their end.
    fn seeds(&self, frame: &Frame, scope: ScopeIx) -> FxHashSet<NodeIx> {
        let open = frame.containers.keys().filter(|node| !frame.done.contains_key(*node));
        let mut names: Vec<&Name> = open.collect();
        match self.what {
            What::From(_) => {}
            What::Failed => {
                names.extend(&frame.failed);
                let failed =
                    frame.done.iter().filter(|(node, done)| self.has_failed(frame, node, done));
                names.extend(failed.map(|(node, _)| node));
            }
            What::FailedItems => {
                let containers = frame.containers.iter();
                let failed =
                    containers.filter(|(node, held)| self.history.has_failed_items(node, held));
                names.extend(failed.map(|(node, _)| node));
            }
        }
        let mut seeds: FxHashSet<NodeIx> =
            names.into_iter().filter_map(|node| self.plan.find(node)).collect();
        let here = self.chain.iter().filter(|node| self.plan.node(**node).scope == scope);
        seeds.extend(here);
        seeds
    }

    /// Iterations that may end a round of a loop around them. What they gave does not say whether
    /// they did, so they run again.
    fn enders(&self, scope: ScopeIx) -> FxHashSet<NodeIx> {
        let nodes = self.plan.scope(scope).nodes.iter().copied();
        nodes.filter(|node| self.may_end_a_round(*node)).collect()
    }

    fn may_end_a_round(&self, node: NodeIx) -> bool {
        let node = self.plan.node(node);
        let Behaviour::Iteration(_) = node.behaviour else { return false };
        let inner = node.body.into_iter().flat_map(|body| &self.plan.scope(body).nodes);
        inner.copied().any(|node| self.plan.node(node).is_loop_end || self.may_end_a_round(node))
    }

    /// Whether a node that is done failed, or something inside of it.
    fn has_failed(&self, frame: &Frame, node: &Name, done: &Done) -> bool {
        let inside = |container| self.history.failures_inside(container) > 0;
        let taken_over = done.adopted.as_ref();
        done.is_handled
            || taken_over
                .is_some_and(|adopted| !adopted.errors.is_empty() || adopted.errors_omitted > 0)
            || frame.containers.get(node).is_some_and(inside)
    }

    /// Elements can be kept of an iteration that goes through the same list again.
    fn may_keep_elements(&self, node: NodeIx) -> bool {
        let Behaviour::Iteration(iteration) = &self.plan.node(node).behaviour else { return false };
        let input = iteration.input.variable();
        self.sets.iter().all(|(selector, _)| selector.variable() != input)
    }

    /// Rounds can be kept of a loop that begins alike. Where it has to begin at a node inside, only
    /// the run that did all rounds knows in which one that was.
    fn may_keep_rounds(&self, node: NodeIx, container: &Container) -> bool {
        let is_loop = matches!(self.plan.node(node).behaviour, Behaviour::Loop(_));
        let is_first = self.chain.first() == Some(&node);
        let is_around = self.chain.contains(&node);
        is_loop && self.sets.is_empty() && !is_first && (!is_around || container.kept_rounds == 0)
    }

    /// Keeps the rounds of a loop before the first in which something runs again, and of that one
    /// what does not run again.
    fn rounds(&mut self, path: &FramePath, node: &Name, container: &'a Container, body: ScopeIx) {
        let mut count = container.kept_rounds;
        while let Some(round) = container.passes.get(&count).and_then(|at| self.history.frame(at)) {
            if round.closed != Some(Pass::Next) || self.begins_again(round, body) {
                break;
            }
            count += 1;
        }
        if let Some(after) = container.after_rounds(count) {
            let passes = container.passes.range(..count).map(|(_, pass)| pass);
            let (mut errors, mut errors_omitted) = self.history.errors_in(passes);
            let (before, omitted_before) = container.kept_errors();
            errors.extend_from_slice(before);
            errors_omitted += omitted_before;
            self.adopted.push(Adopted {
                from: self.history.run_id().clone(),
                frame: path.clone(),
                node: node.clone(),
                kept: Kept::Rounds { count, writes: after.writes.clone() },
                responses: after.responses.clone(),
                errors,
                errors_omitted,
            });
        }
        if let Some(at) = container.passes.get(&count)
            && let Some(round) = self.history.frame(at)
        {
            self.frame(at, round, body);
        }
    }

    /// Whether something of a round runs again; a node to begin at may not have been reached in it.
    fn begins_again(&self, round: &Frame, body: ScopeIx) -> bool {
        let reached = |node: &NodeIx| {
            let id = &self.plan.node(*node).id;
            let fails = round.failed.contains(id);
            fails || round.done.contains_key(id) || round.containers.contains_key(id)
        };
        self.seeds(round, body).iter().any(|seed| !self.chain.contains(seed) || reached(seed))
    }

    /// Keeps elements of an iteration, whole where they need not run again, in part where they do.
    fn elements(&mut self, path: &FramePath, node: &Name, container: &'a Container, body: ScopeIx) {
        let opens_anew = self.chain.iter().any(|index| self.plan.node(*index).id == *node);
        let mut ranges: Vec<Range> = Vec::new();
        let mut kept_passes: Vec<&FramePath> = Vec::new();
        let mut responses = Vec::new();
        let numbers = container.passes.keys().chain(container.kept.keys());
        let numbers: std::collections::BTreeSet<u64> = numbers.copied().collect();
        for index in numbers {
            if let Some(value) = container.kept.get(&index).filter(|_| !opens_anew) {
                push(&mut ranges, index, value);
                continue;
            }
            let Some(pass_path) = container.passes.get(&index) else { continue };
            let Some(pass) = self.history.frame(pass_path) else { continue };
            let seeds = self.seeds(pass, body);
            match &pass.closed {
                Some(Pass::Value(value)) if !opens_anew && seeds.is_empty() => {
                    push(&mut ranges, index, value);
                    kept_passes.push(pass_path);
                    if index + 1 == container.length {
                        responses.clone_from(&pass.responses);
                    }
                }
                Some(Pass::Failed(_)) if *self.what == What::FailedItems && seeds.is_empty() => {}
                _ => self.frame(pass_path, pass, body),
            }
        }
        if ranges.is_empty() {
            return;
        }
        let last_is_kept = container.kept.contains_key(&container.length.saturating_sub(1));
        if last_is_kept {
            responses = container.responses();
        }
        let (mut errors, mut errors_omitted) = self.history.errors_in(kept_passes.into_iter());
        let (before, omitted_before) = container.kept_errors();
        errors.extend_from_slice(before);
        errors_omitted += omitted_before;
        self.adopted.push(Adopted {
            from: self.history.run_id().clone(),
            frame: path.clone(),
            node: node.clone(),
            kept: Kept::Elements(ranges),
            responses,
            errors,
            errors_omitted,
        });
    }
}

/// Adds an element to the last range, or begins another.
fn push(ranges: &mut Vec<Range>, index: u64, value: &Value) {
    match ranges.last_mut() {
        Some(range) if range.first + range.values.len() as u64 == index => {
            range.values.push(value.clone());
        }
        _ => ranges.push(Range { first: index, values: vec![value.clone()] }),
    }
}

/// All nodes to which edges lead from some nodes.
fn followers(plan: &Plan, nodes: &FxHashSet<NodeIx>) -> FxHashSet<NodeIx> {
    let mut found = FxHashSet::default();
    let targets =
        |node: NodeIx| plan.node(node).out_edges.iter().map(|edge| plan.edge(*edge).target);
    let mut pending: Vec<NodeIx> = Vec::new();
    #[expect(clippy::iter_over_hash_type, reason = "what is found is a set")]
    for node in nodes {
        pending.extend(targets(*node));
    }
    while let Some(node) = pending.pop() {
        if found.insert(node) {
            pending.extend(targets(node));
        }
    }
    found
}
