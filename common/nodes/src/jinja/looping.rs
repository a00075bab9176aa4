//! The `loop` of a for loop: Jinja2's `LoopContext`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::activation::Activation;
use super::ast::{Expr, LoopFilter};
use super::call::CallArgs;
use super::fail::{R, refuse, type_error};
use super::interp::Interp;
use super::iter::Iter;
use super::value::{Contents, Remains, Tuple, Val, bury};

/// Where a loop stands.
pub(super) struct LoopState {
    source: Val,
    iter: RefCell<Rc<Iter>>,
    /// The index of the current element; -1 before the first.
    index0: Cell<i64>,
    length: Cell<Option<i64>>,
    after: RefCell<Option<Val>>,
    current: RefCell<Option<Val>>,
    before: RefCell<Option<Val>>,
    changed: RefCell<Option<Val>>,
}

impl Drop for LoopState {
    fn drop(&mut self) {
        let held = [&mut self.after, &mut self.current, &mut self.before, &mut self.changed];
        let mut held: Vec<Val> =
            held.into_iter().filter_map(|cell| cell.get_mut().take()).collect();
        held.push(std::mem::replace(&mut self.source, Val::None));
        bury(|grave: &mut Vec<Remains>| held.bury(grave));
    }
}

impl LoopState {
    pub(super) fn new(source: Val, iter: Rc<Iter>) -> Rc<Self> {
        Rc::new(Self {
            source,
            iter: RefCell::new(iter),
            index0: Cell::new(-1),
            length: Cell::new(None),
            after: RefCell::default(),
            current: RefCell::default(),
            before: RefCell::default(),
            changed: RefCell::default(),
        })
    }
}

impl LoopState {
    /// The index of the current element.
    pub(super) fn index0(&self) -> i64 {
        self.index0.get()
    }
}

impl Interp<'_> {
    /// The next element of a loop.
    pub(super) fn loop_next(&mut self, state: &LoopState) -> R<Option<Val>> {
        let ahead = state.after.borrow_mut().take();
        let next = match ahead {
            Some(next) => Some(next),
            None => {
                let iter = state.iter.borrow().clone();
                self.advance(&iter)?
            }
        };
        let Some(next) = next else { return Ok(None) };
        state.index0.set(state.index0.get() + 1);
        let before = state.current.borrow_mut().replace(next.clone());
        *state.before.borrow_mut() = before;
        Ok(Some(next))
    }

    fn loop_peek(&mut self, state: &LoopState) -> R<Option<Val>> {
        if let Some(next) = &*state.after.borrow() {
            return Ok(Some(next.clone()));
        }
        let iter = state.iter.borrow().clone();
        let next = self.advance(&iter)?;
        (*state.after.borrow_mut()).clone_from(&next);
        Ok(next)
    }

    /// `loop.length`
    pub(super) fn loop_length(&mut self, state: &LoopState) -> R<i64> {
        if let Some(length) = state.length.get() {
            return Ok(length);
        }
        let count = match &state.source {
            Val::Iter(_) => {
                let iter = state.iter.borrow().clone();
                let items = self.drain(&iter)?;
                let left = i64::try_from(items.len()).unwrap_or(i64::MAX);
                *state.iter.borrow_mut() = Iter::fixed("list_iterator", items);
                let peeked = i64::from(state.after.borrow().is_some());
                left + state.index0.get() + 1 + peeked
            }
            source => i64::try_from(self.length(source)?).unwrap_or(i64::MAX),
        };
        state.length.set(Some(count));
        Ok(count)
    }

    /// An attribute of `loop`; None if there is none of this name.
    pub(super) fn loop_attr(&mut self, state: &Rc<LoopState>, name: &str) -> R<Option<Val>> {
        let index0 = state.index0.get();
        Ok(Some(match name {
            "index0" => Val::int(index0),
            "index" => Val::int(index0 + 1),
            "first" => Val::Bool(index0 == 0),
            "depth" => Val::int(1),
            "depth0" => Val::int(0),
            "length" => Val::int(self.loop_length(state)?),
            "revindex0" => Val::int(self.loop_length(state)? - index0 - 1),
            "revindex" => Val::int(self.loop_length(state)? - index0),
            "last" => Val::Bool(self.loop_peek(state)?.is_none()),
            "previtem" => {
                let before = state.before.borrow().clone();
                match before {
                    Some(before) if index0 != 0 => before,
                    _ => Val::undef("there is no previous item"),
                }
            }
            "nextitem" => match self.loop_peek(state)? {
                Some(next) => next,
                None => Val::undef("there is no next item"),
            },
            name if name.starts_with('_') => return refuse("an inner attribute of `loop`"),
            _ => return Ok(None),
        }))
    }

    /// `loop.cycle(…)`, `loop.changed(…)`
    pub(super) fn loop_method(&mut self, state: &LoopState, name: &str, args: &CallArgs) -> R<Val> {
        if !args.named.is_empty() {
            return refuse("keyword arguments of a method of `loop`");
        }
        if name == "cycle" {
            let count = i64::try_from(args.positional.len()).unwrap_or(i64::MAX);
            if count == 0 {
                return type_error("no items for cycling given");
            }
            let at = usize::try_from(state.index0.get().rem_euclid(count)).unwrap_or(0);
            return Ok(args.positional[at].clone());
        }
        let value = Val::Tuple(Rc::new(Tuple { items: args.positional.clone(), group: false }));
        let last = state.changed.borrow().clone();
        let same = match &last {
            Some(last) => self.equal(last, &value)?,
            None => false,
        };
        if !same {
            *state.changed.borrow_mut() = Some(value);
        }
        Ok(Val::Bool(!same))
    }

    /// A loop's `if` for one element; what the loop sees of it if it passes.
    pub(super) fn loop_if(
        &mut self,
        filter: &Arc<LoopFilter>,
        outer: &Rc<Activation>,
        own: &mut Option<Rc<Activation>>,
        item: Val,
    ) -> R<Option<Val>> {
        let fresh = own.is_none();
        let frame = own
            .get_or_insert_with(|| Rc::new(Activation::new(filter.slots, Some(outer.clone()))))
            .clone();
        let before = std::mem::replace(&mut self.frame, frame);
        if fresh {
            self.enter(&filter.loads);
        }
        let result = self.loop_passes(filter, item);
        self.frame = before;
        result
    }

    fn loop_passes(&mut self, filter: &LoopFilter, item: Val) -> R<Option<Val>> {
        self.assign(&filter.target, item)?;
        if !self.eval(&filter.test)?.truthy() {
            return Ok(None);
        }
        self.target_value(&filter.target).map(Some)
    }

    /// A target read back: tuples of names become tuples.
    fn target_value(&mut self, target: &Expr) -> R<Val> {
        match target {
            Expr::Tuple(items) => {
                let values: R<Vec<Val>> =
                    items.iter().map(|item| self.target_value(item)).collect();
                Ok(Val::tuple(values?))
            }
            other => self.eval(other),
        }
    }
}
