//! Runs a template.

use std::rc::Rc;

use flowmill_engine::value::{Name, Value};
use indexmap::IndexMap;
use num_traits::Signed;

use super::activation::Activation;
use super::ast::{Binary, Compare, Const, Expr, For, Load, Loads, Slot, Stmt};
use super::call::{CallArgs, insert};
use super::fail::{R, raise, refuse, type_error};
use super::iter::{Iter, Work};
use super::looping::LoopState;
use super::scope::Program;
use super::value::{Dict, Global, MacroVal, Undef, Val};

/// Steps a render may take; about a tenth of a second.
const FUEL: u64 = 1_000_000;
/// Bytes of text a render may make, all together.
const MEMORY_BYTES: u64 = 64 << 20;
/// How deep evaluation may nest.
const MAX_DEPTH: u32 = 250;

/// A render in progress.
pub(super) struct Interp<'p> {
    program: &'p Program,
    context: &'p [(Name, Value)],
    /// The context's values as the template changes them; only in templates that do.
    owned: Vec<Option<Val>>,
    /// What was rendered.
    pub(super) out: String,
    fuel: u64,
    memory: u64,
    depth: u32,
    pub(super) frame: Rc<Activation>,
    /// Variables that a macro refers to: a circle that has to be broken in the end.
    kept: Vec<Rc<Activation>>,
}

impl Drop for Interp<'_> {
    fn drop(&mut self) {
        for frame in &self.kept {
            frame.clear();
        }
    }
}

impl<'p> Interp<'p> {
    pub(super) fn new(program: &'p Program, context: &'p [(Name, Value)]) -> Self {
        Self {
            program,
            context,
            owned: if program.mutates { vec![None; context.len()] } else { Vec::new() },
            out: String::new(),
            fuel: FUEL,
            memory: MEMORY_BYTES,
            depth: 0,
            frame: Rc::new(Activation::new(program.slots, None)),
            kept: Vec::new(),
        }
    }

    /// Renders the whole template.
    pub(super) fn render(mut self) -> R<String> {
        let program = self.program;
        self.enter(&program.loads);
        self.exec(&program.body)?;
        Ok(std::mem::take(&mut self.out))
    }

    /// Whether lists and dicts may be changed.
    pub(super) fn mutates(&self) -> bool {
        self.program.mutates
    }

    /// Counts steps against the limit.
    pub(super) fn spend(&mut self, steps: usize) -> R<()> {
        match self.fuel.checked_sub(steps as u64) {
            Some(left) => {
                self.fuel = left;
                Ok(())
            }
            None => refuse("more steps than the core may take"),
        }
    }

    /// Counts bytes of text, or of anything else of that size, against the limit.
    pub(super) fn allocate(&mut self, bytes: usize) -> R<()> {
        match self.memory.checked_sub(bytes as u64) {
            Some(left) => {
                self.memory = left;
                self.spend(bytes / 64)
            }
            None => refuse("more memory than the core may use"),
        }
    }

    /// Runs `work` with its nesting counted as `levels` of the limit.
    pub(super) fn nested<T>(&mut self, levels: u32, work: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        if self.depth + levels > MAX_DEPTH {
            return refuse("deeper nesting than the core may follow");
        }
        self.depth += levels;
        let result = work(self);
        self.depth -= levels;
        result
    }

    /// `enter_frame`
    pub(super) fn enter(&mut self, loads: &Loads) {
        for (slot, load) in loads {
            let value = match load {
                Load::Parameter => continue,
                Load::Undefined => None,
                Load::Resolve(name) => self.resolve(name),
                Load::Alias(slot) => self.read(*slot),
            };
            self.frame.set(*slot, value);
        }
    }

    fn leave(&mut self, loads: &Loads) {
        for (slot, _) in loads {
            self.frame.set(*slot, None);
        }
    }

    fn resolve(&mut self, name: &str) -> Option<Val> {
        let found = self.context.iter().position(|(known, _)| &**known == name);
        if let Some(at) = found {
            let value = &self.context[at].1;
            if !self.program.mutates {
                return Some(Val::from_value(value));
            }
            let owned = self.owned.get_mut(at)?;
            return Some(owned.get_or_insert_with(|| Val::owned_from(value)).clone());
        }
        Some(Val::Global(match name {
            "range" => Global::Range,
            "dict" => Global::Dict,
            "namespace" => Global::Namespace,
            "cycler" => Global::Cycler,
            "joiner" => Global::Joiner,
            "lipsum" => Global::Lipsum,
            _ => return None,
        }))
    }

    fn read(&self, slot: Slot) -> Option<Val> {
        let mut frame = &self.frame;
        for _ in 0..slot.up {
            frame = frame.outer()?;
        }
        frame.get(slot.index)
    }

    fn write(&mut self, slot: Slot, value: Val) -> R<()> {
        let mut frame = &self.frame;
        for _ in 0..slot.up {
            let Some(outer) = frame.outer() else { return refuse("an unknown scope") };
            frame = outer;
        }
        frame.set(slot.index, Some(value));
        Ok(())
    }

    pub(super) fn exec(&mut self, body: &[Stmt]) -> R<()> {
        for stmt in body {
            self.spend(1)?;
            self.stmt(stmt)?;
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &Stmt) -> R<()> {
        match stmt {
            Stmt::Data(text) => {
                self.allocate(text.len())?;
                self.out.push_str(text);
                Ok(())
            }
            Stmt::Print(expr) => {
                let value = self.eval(expr)?;
                self.print(&value)
            }
            Stmt::For(node) => self.nested(2, |interp| interp.for_loop(node)),
            Stmt::If(branches, other) => {
                for (test, body) in branches {
                    if self.eval(test)?.truthy() {
                        return self.nested(2, |interp| interp.exec(body));
                    }
                }
                self.nested(2, |interp| interp.exec(other))
            }
            Stmt::Set(target, value) => {
                self.check_namespaces(target)?;
                let value = self.eval(value)?;
                self.assign(target, value)
            }
            Stmt::SetBlock { target, filter, body, loads } => {
                self.enter(loads);
                let text = self.capture(body)?;
                let value = match filter {
                    Some(filter) => self.with_block(text, filter)?,
                    None => Val::str(text),
                };
                self.assign(target, value)?;
                self.leave(loads);
                Ok(())
            }
            Stmt::FilterBlock { filter, body, loads } => {
                self.enter(loads);
                let text = self.capture(body)?;
                let value = self.with_block(text, filter)?;
                self.print_text(&value)?;
                self.leave(loads);
                Ok(())
            }
            Stmt::With { pairs, body, loads } => {
                self.enter(loads);
                for (target, value) in pairs {
                    let value = self.eval(value)?;
                    self.assign(target, value)?;
                }
                self.nested(2, |interp| interp.exec(body))?;
                self.leave(loads);
                Ok(())
            }
            Stmt::Macro(node, slot) => {
                let value = self.macro_value(node);
                self.write(*slot, value)
            }
            Stmt::CallBlock(node, call) => {
                let caller = self.macro_value(node);
                let Expr::Call(call) = call else { return refuse("an unusual call block") };
                let callee = self.eval(&call.0)?;
                let mut args = self.args(&call.1)?;
                if args.named.iter().any(|(name, _)| &**name == "caller") {
                    return refuse("a call block with an argument `caller`");
                }
                args.named.push(("caller".into(), caller));
                let value = self.call(&callee, args)?;
                self.print_text(&value)
            }
        }
    }

    fn macro_value(&mut self, node: &std::sync::Arc<super::ast::Macro>) -> Val {
        if !self.kept.last().is_some_and(|kept| Rc::ptr_eq(kept, &self.frame)) {
            self.kept.push(self.frame.clone());
        }
        Val::Macro(Rc::new(MacroVal { node: node.clone(), outer: self.frame.clone() }))
    }

    /// Renders statements apart from the output.
    fn capture(&mut self, body: &[Stmt]) -> R<String> {
        let out = std::mem::take(&mut self.out);
        let result = self.nested(2, |interp| interp.exec(body));
        let text = std::mem::replace(&mut self.out, out);
        result.map(|()| text)
    }

    /// A chain of filters over what a block rendered.
    fn with_block(&mut self, text: String, filter: &Expr) -> R<Val> {
        let Expr::Filter(call) = filter else { return refuse("an unusual filter block") };
        let value = match &call.node {
            Some(inner) => self.nested(2, |interp| interp.with_block(text, inner))?,
            None => Val::str(text),
        };
        let args = self.args(&call.args)?;
        self.filter(call.filter, &call.name, value, &args)
    }

    fn for_loop(&mut self, node: &For) -> R<()> {
        let mut source = self.eval(&node.iter)?;
        if let Some(filter) = &node.filter {
            let (filter, outer) = (filter.clone(), self.frame.clone());
            source = Iter::lazy(source, Work::LoopIf { filter, outer, own: None });
        }
        let iter = self.iterate(&source)?;
        let state = node.extended.map(|slot| (slot, LoopState::new(source, iter.clone())));
        let mut empty = true;
        loop {
            let next = match &state {
                Some((_, state)) => self.loop_next(state)?,
                None => self.advance(&iter)?,
            };
            let Some(item) = next else { break };
            self.assign(&node.target, item)?;
            if let Some((slot, state)) = &state {
                self.frame.set(*slot, Some(Val::Loop(state.clone())));
            }
            self.enter(&node.loads);
            self.exec(&node.body)?;
            empty = false;
        }
        self.leave(&node.loads);
        if empty && !node.other.is_empty() {
            self.enter(&node.other_loads);
            self.exec(&node.other)?;
            self.leave(&node.other_loads);
        }
        Ok(())
    }

    /// Members can only be assigned to namespaces; this is checked before the value is computed.
    fn check_namespaces(&self, target: &Expr) -> R<()> {
        match target {
            Expr::Member(_, slot, _) => match self.read(*slot) {
                Some(Val::Namespace(_)) => Ok(()),
                _ => {
                    raise("TemplateRuntimeError", "cannot assign attribute on non-namespace object")
                }
            },
            Expr::Tuple(items) => items.iter().try_for_each(|item| self.check_namespaces(item)),
            _ => Ok(()),
        }
    }

    pub(super) fn assign(&mut self, target: &Expr, value: Val) -> R<()> {
        match target {
            Expr::Name(_, slot) => self.write(*slot, value),
            Expr::Member(_, slot, name) => {
                let Some(Val::Namespace(namespace)) = self.read(*slot) else {
                    return refuse("a member of something that is no namespace");
                };
                self.check_stored(&value, None)?;
                let old = namespace.data.borrow_mut().insert(name.clone(), value);
                drop(old);
                Ok(())
            }
            Expr::Tuple(targets) => {
                let values = self.unpack(&value, targets.len())?;
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
                Ok(())
            }
            _ => refuse("assignment to an expression"),
        }
    }

    fn unpack(&mut self, value: &Val, count: usize) -> R<Vec<Val>> {
        if matches!(value, Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_)) {
            let name = value.type_name();
            return type_error(format!("cannot unpack non-iterable {name} object"));
        }
        let iter = self.iterate(value)?;
        let mut values = Vec::new();
        while let Some(item) = self.advance(&iter)? {
            if values.len() == count {
                let message = format!("too many values to unpack (expected {count})");
                return raise("ValueError", message);
            }
            values.push(item);
        }
        let got = values.len();
        if got < count {
            let message = format!("not enough values to unpack (expected {count}, got {got})");
            return raise("ValueError", message);
        }
        Ok(values)
    }

    pub(super) fn eval(&mut self, expr: &Expr) -> R<Val> {
        self.spend(1)?;
        match expr {
            Expr::Const(value) => Ok(constant(value)),
            Expr::Name(name, slot) => match self.read(*slot) {
                Some(value) => Ok(value),
                None if slot.certain => refuse("a variable of a scope that has ended"),
                None => Ok(Val::Undef(Rc::new(Undef::Name(name.clone())))),
            },
            other => self.nested(1, |interp| interp.compound(other)),
        }
    }

    fn all(&mut self, items: &[Expr]) -> R<Vec<Val>> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn compound(&mut self, expr: &Expr) -> R<Val> {
        match expr {
            Expr::Tuple(items) => self.all(items).map(Val::tuple),
            Expr::List(items) => self.all(items).map(Val::list),
            Expr::Dict(items) => {
                let mut pairs = Vec::with_capacity(items.len());
                for (key, value) in items {
                    pairs.push((self.eval(key)?, self.eval(value)?));
                }
                let mut dict = IndexMap::new();
                for (key, value) in pairs {
                    insert(&mut dict, key, value)?;
                }
                Ok(Val::Dict(Dict::new(dict)))
            }
            Expr::Unary(op, inner) => {
                let value = self.eval(inner)?;
                self.unary(*op, &value)
            }
            Expr::Binary(op, pair) => {
                let left = self.eval(&pair.0)?;
                let right = self.eval(&pair.1)?;
                if *op == Binary::Pow && is_negative(&left) && !is_certain_power(pair) {
                    return refuse("a power of a negative constant");
                }
                self.binary(*op, &left, &right)
            }
            Expr::And(pair) => {
                let left = self.eval(&pair.0)?;
                if left.truthy() { self.eval(&pair.1) } else { Ok(left) }
            }
            Expr::Or(pair) => {
                let left = self.eval(&pair.0)?;
                if left.truthy() { Ok(left) } else { self.eval(&pair.1) }
            }
            Expr::Concat(parts) => {
                let parts = self.all(parts)?;
                let mut text = String::new();
                for part in &parts {
                    self.write_str(part, &mut text)?;
                }
                self.allocate(text.len())?;
                Ok(Val::str(text))
            }
            Expr::Compare(first, rest) => self.comparison(first, rest),
            other => self.lookup(other),
        }
    }

    /// Inline ifs, attributes, calls, filters and tests.
    fn lookup(&mut self, expr: &Expr) -> R<Val> {
        match expr {
            Expr::Cond(cond) => {
                if self.eval(&cond.test)?.truthy() {
                    return self.eval(&cond.then);
                }
                match &cond.other {
                    Some(other) => self.eval(other),
                    None => Ok(Val::undef(&format!(
                        "the inline if-expression on line {} evaluated to false and no else \
                         section was defined.",
                        cond.line
                    ))),
                }
            }
            Expr::Attr(inner, name) => {
                let value = self.eval(inner)?;
                self.getattr(&value, name)
            }
            Expr::Item(pair) => {
                let value = self.eval(&pair.0)?;
                let key = self.eval(&pair.1)?;
                self.getitem(&value, &key)
            }
            Expr::Slice(slice) => self.slice_expr(&slice.0, &slice.1),
            Expr::Call(call) => {
                let callee = self.eval(&call.0)?;
                let args = self.args(&call.1)?;
                self.call(&callee, args)
            }
            Expr::Filter(call) => {
                let Some(node) = &call.node else { return refuse("a filter of nothing") };
                let value = self.eval(node)?;
                let args = self.args(&call.args)?;
                self.filter(call.filter, &call.name, value, &args)
            }
            Expr::Test(call) => {
                let value = self.eval(&call.node)?;
                let args = self.args(&call.args)?;
                self.test(call.test, &call.name, &value, &args).map(Val::Bool)
            }
            _ => refuse("an unusual expression"),
        }
    }

    fn comparison(&mut self, first: &Expr, rest: &[(Compare, Expr)]) -> R<Val> {
        let mut left = self.eval(first)?;
        for (op, right) in rest {
            let right = self.eval(right)?;
            if !self.compare(*op, &left, &right)? {
                return Ok(Val::Bool(false));
            }
            left = right;
        }
        Ok(Val::Bool(true))
    }

    fn slice_expr(&mut self, base: &Expr, parts: &[Option<Expr>; 3]) -> R<Val> {
        let value = self.eval(base)?;
        let certain = is_variable(base);
        let mut bounds = [const { Val::None }; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *bound = self.eval(part)?;
            }
        }
        self.slice(&value, &bounds, certain)
    }

    /// What a block gives goes to the output as it is; Python stumbles later over anything else.
    fn print_text(&mut self, value: &Val) -> R<()> {
        if value.as_text().is_none() {
            return refuse("a block that gives something that is no text");
        }
        self.print(value)
    }

    /// `str(value)` at the end of the output.
    fn print(&mut self, value: &Val) -> R<()> {
        let mut out = std::mem::take(&mut self.out);
        let before = out.len();
        let result = self.write_str(value, &mut out);
        let added = out.len() - before;
        self.out = out;
        result?;
        self.allocate(added)
    }

    /// Calls a filter; an unknown one only fails when it is reached.
    pub(super) fn filter(
        &mut self,
        filter: Option<&super::filters::Filter>,
        name: &str,
        value: Val,
        args: &CallArgs,
    ) -> R<Val> {
        match filter {
            Some(filter) => (filter.run)(self, value, args),
            None if !args.named.is_empty() => refuse("keyword arguments of an unknown filter"),
            None => raise("TemplateRuntimeError", format!("No filter named '{name}' found.")),
        }
    }

    pub(super) fn test(
        &mut self,
        test: Option<&super::checks::Test>,
        name: &str,
        value: &Val,
        args: &CallArgs,
    ) -> R<bool> {
        match test {
            Some(test) => (test.run)(self, value, args),
            None if !args.named.is_empty() => refuse("keyword arguments of an unknown test"),
            None => raise("TemplateRuntimeError", format!("No test named '{name}' found.")),
        }
    }
}

fn is_negative(value: &Val) -> bool {
    match value {
        Val::Int(value) => value.to_big().is_negative(),
        Val::Float(value) => value.is_sign_negative(),
        _ => false,
    }
}

/// Jinja2 writes a constant base into its Python code without parentheses, so `-2 ** x` is
/// `-(2 ** x)` there; not so if it knows the exponent too, or does not know the base.
fn is_certain_power(pair: &(Expr, Expr)) -> bool {
    let literal = |expr: &Expr| match expr {
        Expr::Const(_) => true,
        Expr::Unary(_, inner) => matches!(**inner, Expr::Const(_)),
        _ => false,
    };
    is_variable(&pair.0) || (literal(&pair.0) && literal(&pair.1))
}

/// Whether Jinja2 surely does not know the value at compile time. If it does, it looks for a
/// slice more leniently than Python.
pub(super) fn is_variable(expr: &Expr) -> bool {
    match expr {
        Expr::Name(..) | Expr::Call(_) => true,
        Expr::Attr(inner, _) => is_variable(inner),
        Expr::Item(pair) => is_variable(&pair.0),
        Expr::Slice(slice) => is_variable(&slice.0),
        Expr::Filter(call) => call.node.as_ref().is_some_and(is_variable),
        _ => false,
    }
}

fn constant(value: &Const) -> Val {
    match value {
        Const::None => Val::None,
        Const::Bool(value) => Val::Bool(*value),
        Const::Int(value) => Val::Int(value.clone()),
        Const::Float(value) => Val::Float(*value),
        Const::Str(text) => Val::Str(text.clone()),
    }
}
