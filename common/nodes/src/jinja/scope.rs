//! Gives every name of a template its place, by the rules of Jinja2's `idtracking` and compiler.
//!
//! Jinja2 compiles a template to Python functions: one for the template, one for each macro, call
//! block and loop condition. What a name means is decided once per scope, when the scope begins,
//! so a name that is assigned anywhere at top level is never looked up in the context by a macro
//! that runs before the assignment. Looking names up while rendering would get such cases wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flowmill_engine::value::Name;

use super::ast::{Args, Expr, For, Load, Loads, LoopFilter, Macro, Slot, Stmt};
use super::fail::{R, raise, refuse};
use super::interp::is_variable;
use super::walk::{self, Use};

/// A Python variable: the level of its scope and its name.
type Ident = (u32, Name);

#[derive(Clone, Debug)]
enum Origin {
    Parameter,
    Resolve(Name),
    Alias(Ident),
    Undefined,
}

/// `idtracking.Symbols`.
#[derive(Clone, Debug, Default)]
struct Symbols {
    level: u32,
    refs: BTreeMap<Name, Ident>,
    loads: BTreeMap<Ident, Origin>,
    stores: BTreeSet<Name>,
}

impl Symbols {
    fn define(&mut self, name: &Name, origin: Origin) {
        let ident = (self.level, name.clone());
        self.refs.insert(name.clone(), ident.clone());
        self.loads.insert(ident, origin);
    }
}

/// A Python function: its variables have at least this level.
#[derive(Debug, Default)]
struct Function {
    level: u32,
    slots: BTreeMap<Ident, u32>,
}

/// A template whose names are resolved.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) body: Vec<Stmt>,
    pub(super) loads: Loads,
    pub(super) slots: u32,
    /// Whether it changes lists or dicts in place.
    pub(super) mutates: bool,
}

#[derive(Debug, Default)]
struct Scope {
    stack: Vec<Symbols>,
    functions: Vec<Function>,
    /// Jinja2's `soft_frame`: unknown filters are only reported when they are reached.
    soft: bool,
    in_defaults: bool,
    /// How many `and`, `or` and comparisons are around an expression: Jinja2 may drop parts of
    /// them before it looks for unknown filters.
    choices: u32,
}

/// Resolves the names of a parsed template.
pub(super) fn resolve(mut body: Vec<Stmt>) -> R<Program> {
    let mut scope = Scope::default();
    scope.functions.push(Function::default());
    scope.stack.push(Symbols::default());
    if walk::undeclared(&body, &["self"]).contains("self") {
        return refuse("`self`");
    }
    for stmt in &body {
        scope.track(stmt);
    }
    let loads = scope.loads();
    scope.block(&mut body)?;
    let slots = scope.functions.pop().map_or(0, |function| count(&function));
    let mutates = walk::mutates(&body);
    Ok(Program { body, loads, slots, mutates })
}

fn count(function: &Function) -> u32 {
    u32::try_from(function.slots.len()).unwrap_or(u32::MAX)
}

/// What `FrameSymbolVisitor` and `RootVisitor` do.
impl Scope {
    fn top(&mut self) -> &mut Symbols {
        if self.stack.is_empty() {
            self.stack.push(Symbols::default());
        }
        let last = self.stack.len() - 1;
        &mut self.stack[last]
    }

    fn find_ref(&self, name: &Name) -> Option<&Ident> {
        self.stack.iter().rev().find_map(|symbols| symbols.refs.get(name))
    }

    fn find_outer(&self, name: &Name) -> Option<Ident> {
        let outer = self.stack.len().saturating_sub(1);
        self.stack[..outer].iter().rev().find_map(|symbols| symbols.refs.get(name)).cloned()
    }

    fn store(&mut self, name: &Name) {
        let outer = self.find_outer(name);
        let top = self.top();
        top.stores.insert(name.clone());
        if !top.refs.contains_key(name) {
            top.define(name, outer.map_or(Origin::Undefined, Origin::Alias));
        }
    }

    fn load(&mut self, name: &Name) {
        if self.find_ref(name).is_none() {
            self.top().define(name, Origin::Resolve(name.clone()));
        }
    }

    fn declare(&mut self, name: &Name) {
        let top = self.top();
        top.stores.insert(name.clone());
        top.define(name, Origin::Parameter);
    }

    fn declare_targets(&mut self, target: &Expr) {
        let mut names = Vec::new();
        walk::target(target, &mut |name, _| names.push(name.clone()));
        for name in names {
            self.declare(&name);
        }
    }

    fn track_expr(&mut self, expr: &Expr) {
        walk::expr(expr, &mut |name, _| self.load(name));
    }

    fn track_target(&mut self, target: &Expr) {
        walk::target(target, &mut |name, used| match used {
            Use::Load => self.load(name),
            Use::Store => self.store(name),
        });
    }

    fn track(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Data(_) => {}
            Stmt::Print(expr) => self.track_expr(expr),
            Stmt::For(node) => self.track_expr(&node.iter),
            Stmt::If(branches, other) => self.track_if(branches, other),
            Stmt::Set(target, value) => {
                self.track_expr(value);
                self.track_target(target);
            }
            Stmt::SetBlock { target, .. } => self.track_target(target),
            Stmt::FilterBlock { filter, .. } => self.track_expr(filter),
            Stmt::With { pairs, .. } => {
                for (_, value) in pairs {
                    self.track_expr(value);
                }
            }
            Stmt::Macro(node, _) => {
                if let Some(name) = &node.name {
                    self.store(name);
                }
            }
            Stmt::CallBlock(_, call) => self.track_expr(call),
        }
    }

    fn track_if(&mut self, branches: &[(Expr, Vec<Stmt>)], other: &[Stmt]) {
        let Some(((test, body), elifs)) = branches.split_first() else { return };
        self.track_expr(test);
        let body = self.on_copy(|scope| scope.track_all(body));
        // each `elif` is an `if` of its own to Jinja2, all in one copy
        let elifs = self.on_copy(|scope| {
            for branch in elifs {
                scope.track_if(std::slice::from_ref(branch), &[]);
            }
        });
        let other = self.on_copy(|scope| scope.track_all(other));
        self.branch_update([body, elifs, other]);
    }

    fn track_all(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.track(stmt);
        }
    }

    fn on_copy(&mut self, visit: impl FnOnce(&mut Self)) -> Symbols {
        let original = self.top().clone();
        visit(self);
        std::mem::replace(self.top(), original)
    }

    fn branch_update(&mut self, branches: [Symbols; 3]) {
        let mut stores = BTreeSet::new();
        for branch in &branches {
            stores.extend(branch.stores.iter().cloned());
        }
        let top = self.top();
        stores.retain(|name| !top.stores.contains(name));
        for branch in branches {
            top.refs.extend(branch.refs);
            top.loads.extend(branch.loads);
            top.stores.extend(branch.stores);
        }
        for name in stores {
            let Some(target) = self.find_ref(&name).cloned() else { continue };
            let origin = match self.find_outer(&name) {
                Some(outer) => Origin::Alias(outer),
                None => Origin::Resolve(name),
            };
            self.top().loads.insert(target, origin);
        }
    }
}

/// What the code generator does.
impl Scope {
    fn push(&mut self) {
        let level = self.stack.last().map_or(0, |symbols| symbols.level + 1);
        self.stack.push(Symbols { level, ..Symbols::default() });
    }

    fn slot_of(&mut self, ident: &Ident) -> R<Slot> {
        let found = self.functions.iter().rev().position(|function| function.level <= ident.0);
        let Some(up) = found else { return refuse("an unknown scope") };
        let place = self.functions.len() - 1 - up;
        let slots = &mut self.functions[place].slots;
        let next = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let index = *slots.entry(ident.clone()).or_insert(next);
        Ok(Slot { up: u32::try_from(up).unwrap_or(u32::MAX), index, certain: false })
    }

    fn slot(&mut self, name: &Name) -> R<Slot> {
        let Some(ident) = self.find_ref(name).cloned() else {
            return refuse("a name that Jinja2's own compiler stumbles over");
        };
        let origin = self.stack.iter().rev().find_map(|symbols| symbols.loads.get(&ident));
        let certain = matches!(origin, Some(Origin::Parameter)) && !self.in_defaults;
        Ok(Slot { certain, ..self.slot_of(&ident)? })
    }

    /// `enter_frame` of the innermost scope. Fails never: what it names is known.
    fn loads(&mut self) -> Loads {
        let origins: Vec<(Ident, Origin)> =
            self.top().loads.iter().map(|(a, b)| (a.clone(), b.clone())).collect();
        let mut loads = Vec::new();
        for (ident, origin) in origins {
            let load = match origin {
                Origin::Parameter => Load::Parameter,
                Origin::Resolve(name) => Load::Resolve(name),
                Origin::Undefined => Load::Undefined,
                Origin::Alias(outer) => match self.slot_of(&outer) {
                    Ok(slot) => Load::Alias(slot),
                    Err(_) => Load::Undefined,
                },
            };
            if let Ok(slot) = self.slot_of(&ident) {
                loads.push((slot.index, load));
            }
        }
        loads
    }

    fn block(&mut self, body: &mut [Stmt]) -> R<()> {
        for stmt in body {
            self.stmt(stmt)?;
        }
        Ok(())
    }

    fn soft_block(&mut self, body: &mut [Stmt]) -> R<()> {
        let soft = std::mem::replace(&mut self.soft, true);
        self.block(body)?;
        self.soft = soft;
        Ok(())
    }

    /// Runs `visit` as a scope that is no longer "soft".
    fn hard<T>(&mut self, visit: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        let soft = std::mem::replace(&mut self.soft, false);
        let result = visit(self);
        self.soft = soft;
        result
    }

    fn stmt(&mut self, stmt: &mut Stmt) -> R<()> {
        match stmt {
            Stmt::Data(_) => Ok(()),
            Stmt::Print(expr) => self.expr(expr),
            Stmt::For(node) => self.for_loop(node),
            Stmt::If(branches, other) => {
                for (test, body) in branches {
                    let soft = std::mem::replace(&mut self.soft, true);
                    self.expr(test)?;
                    self.soft = soft;
                    self.soft_block(body)?;
                }
                self.soft_block(other)
            }
            Stmt::Set(target, value) => {
                self.target(target)?;
                self.expr(value)
            }
            Stmt::SetBlock { target, filter, body, loads } => {
                self.push();
                self.track_all(body);
                *loads = self.loads();
                self.hard(|scope| {
                    scope.block(body)?;
                    filter.as_mut().map_or(Ok(()), |filter| scope.expr(filter))
                })?;
                self.stack.pop();
                self.target(target)
            }
            Stmt::FilterBlock { filter, body, loads } => {
                self.push();
                self.track_all(body);
                self.track_expr(filter);
                *loads = self.loads();
                self.hard(|scope| {
                    scope.block(body)?;
                    scope.expr(filter)
                })?;
                self.stack.pop();
                Ok(())
            }
            Stmt::With { pairs, body, loads } => self.with(pairs, body, loads),
            Stmt::Macro(node, slot) => {
                self.macro_body(node)?;
                if let Some(name) = &node.name {
                    *slot = self.slot(name)?;
                }
                Ok(())
            }
            Stmt::CallBlock(node, call) => {
                self.macro_body(node)?;
                self.expr(call)
            }
        }
    }

    fn with(&mut self, pairs: &mut [(Expr, Expr)], body: &mut [Stmt], loads: &mut Loads) -> R<()> {
        for (_, value) in pairs.iter_mut() {
            self.expr(value)?;
        }
        self.push();
        for (target, _) in pairs.iter() {
            self.declare_targets(target);
        }
        self.track_all(body);
        *loads = self.loads();
        for (target, _) in pairs.iter_mut() {
            self.target(target)?;
        }
        self.hard(|scope| scope.block(body))?;
        self.stack.pop();
        Ok(())
    }

    fn for_loop(&mut self, node: &mut For) -> R<()> {
        let extended = walk::undeclared(&node.body, &["loop"]).contains("loop");
        self.push();
        let loop_name: Name = "loop".into();
        if extended {
            self.declare(&loop_name);
        }
        self.declare_targets(&node.target);
        self.track_all(&node.body);
        let loop_symbols = self.stack.pop().unwrap_or_default();

        if let Some(test) = node.test.take() {
            let filter = self.loop_filter(node.target.clone(), test, &loop_symbols)?;
            node.filter = Some(Arc::new(filter));
        }
        if walk::assigns_loop(node) {
            let message = "Can't assign to special loop variable in for-loop target";
            return raise("TemplateAssertionError", message);
        }
        self.expr(&mut node.iter)?;
        self.stack.push(loop_symbols);
        node.loads = self.loads();
        if extended {
            node.extended = Some(self.slot(&loop_name)?.index);
        }
        self.target(&mut node.target)?;
        self.hard(|scope| scope.block(&mut node.body))?;
        self.stack.pop();
        if !node.other.is_empty() {
            self.push();
            self.track_all(&node.other);
            node.other_loads = self.loads();
            self.hard(|scope| scope.block(&mut node.other))?;
            self.stack.pop();
        }
        Ok(())
    }

    fn loop_filter(
        &mut self,
        mut target: Expr,
        mut test: Expr,
        loop_symbols: &Symbols,
    ) -> R<LoopFilter> {
        self.functions.push(Function { level: loop_symbols.level, ..Function::default() });
        self.stack.push(loop_symbols.clone());
        self.target(&mut target)?;
        self.stack.pop();
        self.push();
        self.declare_targets(&target);
        self.track_expr(&test);
        let loads = self.loads();
        self.hard(|scope| scope.expr(&mut test))?;
        self.stack.pop();
        let slots = self.functions.pop().map_or(0, |function| count(&function));
        Ok(LoopFilter { target, test, loads, slots })
    }

    fn macro_body(&mut self, node: &mut Arc<Macro>) -> R<()> {
        let Some(node) = Arc::get_mut(node) else { return refuse("a shared macro") };
        self.push();
        let level = self.top().level;
        self.functions.push(Function { level, ..Function::default() });
        self.track_macro(node);
        let names = ["caller", "kwargs", "varargs"];
        let undeclared = walk::undeclared(&node.body, &names);
        let explicit = |name: &str| node.args.iter().position(|(arg, _)| &**arg == name);
        let mut special = [false; 3];
        for (index, name) in names.into_iter().enumerate() {
            if !undeclared.contains(name) {
                continue;
            }
            match explicit(name) {
                Some(place) if index == 0 => {
                    if place + node.defaults.len() < node.args.len() {
                        return raise(
                            "TemplateAssertionError",
                            "When defining macros or call blocks the special \"caller\" \
                             argument must be omitted or be given a default.",
                        );
                    }
                    return refuse("a macro with a parameter `caller`");
                }
                Some(_) => {}
                None => {
                    self.declare(&name.into());
                    special[index] = true;
                }
            }
        }
        if explicit("caller").is_some() {
            return refuse("a macro with a parameter `caller`");
        }
        self.track_macro(node);
        node.loads = self.loads();
        for arg in &mut node.args {
            arg.1 = self.slot(&arg.0)?.index;
        }
        let place = |scope: &mut Self, index: usize| {
            special[index].then(|| scope.slot(&names[index].into())).transpose()
        };
        node.caller = place(self, 0)?.map(|slot| slot.index);
        node.kwargs = place(self, 1)?.map(|slot| slot.index);
        node.varargs = place(self, 2)?.map(|slot| slot.index);
        self.hard(|scope| {
            scope.in_defaults = true;
            for default in &mut node.defaults {
                scope.expr(default)?;
            }
            scope.in_defaults = false;
            scope.block(&mut node.body)
        })?;
        self.stack.pop();
        node.slots = self.functions.pop().map_or(0, |function| count(&function));
        Ok(())
    }

    fn track_macro(&mut self, node: &Macro) {
        for (name, _) in &node.args {
            self.declare(name);
        }
        for default in &node.defaults {
            self.track_expr(default);
        }
        self.track_all(&node.body);
    }

    fn target(&mut self, target: &mut Expr) -> R<()> {
        match target {
            Expr::Name(name, slot) | Expr::Member(name, slot, _) => {
                *slot = self.slot(name)?;
                Ok(())
            }
            Expr::Tuple(items) => items.iter_mut().try_for_each(|item| self.target(item)),
            _ => refuse("assignment to an expression"),
        }
    }

    fn expr(&mut self, expr: &mut Expr) -> R<()> {
        match expr {
            Expr::Const(_) => Ok(()),
            Expr::Name(name, slot) | Expr::Member(name, slot, _) => {
                *slot = self.slot(name)?;
                Ok(())
            }
            Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => {
                items.iter_mut().try_for_each(|item| self.expr(item))
            }
            Expr::Dict(items) => items.iter_mut().try_for_each(|(key, value)| {
                // Jinja2 computes constant dicts early, where a bad key fails the whole template
                let hashable = matches!(key, Expr::Const(_) | Expr::Concat(_));
                if !hashable && !is_variable(key) {
                    return refuse("a dict with computed constants as keys");
                }
                self.expr(key)?;
                self.expr(value)
            }),
            Expr::Unary(_, inner) | Expr::Attr(inner, _) => self.expr(inner),
            Expr::Binary(_, pair) | Expr::Item(pair) => {
                self.expr(&mut pair.0)?;
                self.expr(&mut pair.1)
            }
            Expr::And(pair) | Expr::Or(pair) => self.choice(|scope| {
                scope.expr(&mut pair.0)?;
                scope.expr(&mut pair.1)
            }),
            Expr::Compare(first, rest) => self.choice(|scope| {
                scope.expr(first)?;
                rest.iter_mut().try_for_each(|(_, item)| scope.expr(item))
            }),
            Expr::Cond(cond) => {
                let soft = std::mem::replace(&mut self.soft, true);
                self.expr(&mut cond.then)?;
                self.expr(&mut cond.test)?;
                if let Some(other) = &mut cond.other {
                    self.expr(other)?;
                }
                self.soft = soft;
                Ok(())
            }
            Expr::Slice(slice) => {
                self.expr(&mut slice.0)?;
                slice.1.iter_mut().flatten().try_for_each(|part| self.expr(part))
            }
            Expr::Call(call) => {
                self.expr(&mut call.0)?;
                self.args(&mut call.1)
            }
            Expr::Filter(call) => {
                if call.filter.is_none() && !self.soft {
                    return self.unknown("filter", &call.name);
                }
                if let Some(node) = &mut call.node {
                    self.expr(node)?;
                }
                self.args(&mut call.args)
            }
            Expr::Test(call) => {
                if call.test.is_none() && !self.soft {
                    return self.unknown("test", &call.name);
                }
                self.expr(&mut call.node)?;
                self.args(&mut call.args)
            }
        }
    }

    fn choice(&mut self, visit: impl FnOnce(&mut Self) -> R<()>) -> R<()> {
        self.choices += 1;
        visit(self)?;
        self.choices -= 1;
        Ok(())
    }

    fn unknown(&self, what: &str, name: &str) -> R<()> {
        if self.choices > 0 {
            return refuse(format!("an unknown {what} that may be dropped"));
        }
        raise("TemplateAssertionError", format!("No {what} named '{name}'."))
    }

    fn args(&mut self, args: &mut Args) -> R<()> {
        args.positional.iter_mut().try_for_each(|arg| self.expr(arg))?;
        args.named.iter_mut().try_for_each(|(_, arg)| self.expr(arg))
    }
}
