//! The variables of one Python function while it runs.

use std::cell::RefCell;
use std::rc::Rc;

use super::value::Val;

/// The variables of one call of a Python function.
pub(super) struct Activation {
    slots: RefCell<Vec<Option<Val>>>,
    outer: Option<Rc<Activation>>,
}

impl Activation {
    pub(super) fn new(slots: u32, outer: Option<Rc<Self>>) -> Self {
        Self { slots: RefCell::new(vec![None; slots as usize]), outer }
    }

    pub(super) fn get(&self, slot: u32) -> Option<Val> {
        self.slots.borrow().get(slot as usize).cloned().flatten()
    }

    pub(super) fn set(&self, slot: u32, value: Option<Val>) {
        let old = match self.slots.borrow_mut().get_mut(slot as usize) {
            Some(place) => std::mem::replace(place, value),
            None => None,
        };
        // only now, as its drop may reach other variables
        drop(old);
    }
    pub(super) fn outer(&self) -> Option<&Rc<Self>> {
        self.outer.as_ref()
    }

    /// Forgets all variables.
    pub(super) fn clear(&self) {
        let slots = self.slots.take();
        drop(slots);
    }
}
