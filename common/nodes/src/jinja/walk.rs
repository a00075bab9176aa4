//! Walks over a template's names in the order in which Jinja2's visitors do.

use std::collections::BTreeSet;

use flowmill_engine::value::Name;

use super::ast::{Args, Expr, For, Stmt};

/// What is done with a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Use {
    Load,
    Store,
}

type Visit<'a> = dyn FnMut(&Name, Use) + 'a;

/// The names that an expression reads.
pub(super) fn expr(expr: &Expr, visit: &mut Visit<'_>) {
    each(expr, &mut |expr| {
        if let Expr::Name(name, _) = expr {
            visit(name, Use::Load);
        }
    });
}

/// Every part of an expression, outer before inner.
fn each(expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
    visit(expr);
    match expr {
        Expr::Const(_) | Expr::Name(..) | Expr::Member(..) => {}
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => {
            for item in items {
                each(item, visit);
            }
        }
        Expr::Dict(items) => {
            for (key, value) in items {
                each(key, visit);
                each(value, visit);
            }
        }
        Expr::Unary(_, inner) | Expr::Attr(inner, _) => each(inner, visit),
        Expr::Binary(_, pair) | Expr::And(pair) | Expr::Or(pair) | Expr::Item(pair) => {
            each(&pair.0, visit);
            each(&pair.1, visit);
        }
        Expr::Compare(first, rest) => {
            each(first, visit);
            for (_, item) in rest {
                each(item, visit);
            }
        }
        Expr::Cond(cond) => {
            each(&cond.test, visit);
            each(&cond.then, visit);
            if let Some(other) = &cond.other {
                each(other, visit);
            }
        }
        Expr::Slice(slice) => {
            each(&slice.0, visit);
            slice.1.iter().flatten().for_each(|part| each(part, visit));
        }
        Expr::Call(call) => {
            each(&call.0, visit);
            each_arg(&call.1, visit);
        }
        Expr::Filter(call) => {
            if let Some(node) = &call.node {
                each(node, visit);
            }
            each_arg(&call.args, visit);
        }
        Expr::Test(call) => {
            each(&call.node, visit);
            each_arg(&call.args, visit);
        }
    }
}

fn each_arg(args: &Args, visit: &mut dyn FnMut(&Expr)) {
    for arg in &args.positional {
        each(arg, visit);
    }
    for (_, arg) in &args.named {
        each(arg, visit);
    }
}

/// The names of a target: stored, or a namespace that is read.
pub(super) fn target(target: &Expr, visit: &mut Visit<'_>) {
    each(target, &mut |expr| match expr {
        Expr::Name(name, _) => visit(name, Use::Store),
        Expr::Member(name, ..) => visit(name, Use::Load),
        _ => {}
    });
}

/// A part of a statement, as [`statement`] meets it.
enum Part<'a> {
    Expr(&'a Expr),
    Target(&'a Expr),
    Parameter(&'a Name),
}

/// All parts of a statement and of the statements within, in the order of Jinja2's node fields.
fn statement<'a>(stmt: &'a Stmt, visit: &mut dyn FnMut(Part<'a>)) {
    let block = |body: &'a [Stmt], visit: &mut dyn FnMut(Part<'a>)| {
        for stmt in body {
            statement(stmt, visit);
        }
    };
    match stmt {
        Stmt::Data(_) => {}
        Stmt::Print(expr) => visit(Part::Expr(expr)),
        Stmt::For(node) => for_loop(node, visit),
        Stmt::If(branches, other) => {
            for (test, body) in branches {
                visit(Part::Expr(test));
                block(body, visit);
            }
            block(other, visit);
        }
        Stmt::Set(target, value) => {
            visit(Part::Target(target));
            visit(Part::Expr(value));
        }
        Stmt::SetBlock { target, filter, body, .. } => {
            visit(Part::Target(target));
            if let Some(filter) = filter {
                visit(Part::Expr(filter));
            }
            block(body, visit);
        }
        Stmt::FilterBlock { filter, body, .. } => {
            block(body, visit);
            visit(Part::Expr(filter));
        }
        Stmt::With { pairs, body, .. } => {
            for (target, _) in pairs {
                visit(Part::Target(target));
            }
            for (_, value) in pairs {
                visit(Part::Expr(value));
            }
            block(body, visit);
        }
        Stmt::Macro(node, _) => {
            for (name, _) in &node.args {
                visit(Part::Parameter(name));
            }
            for default in &node.defaults {
                visit(Part::Expr(default));
            }
            block(&node.body, visit);
        }
        Stmt::CallBlock(node, call) => {
            visit(Part::Expr(call));
            for (name, _) in &node.args {
                visit(Part::Parameter(name));
            }
            for default in &node.defaults {
                visit(Part::Expr(default));
            }
            block(&node.body, visit);
        }
    }
}

fn for_loop<'a>(node: &'a For, visit: &mut dyn FnMut(Part<'a>)) {
    visit(Part::Target(&node.target));
    visit(Part::Expr(&node.iter));
    for stmt in &node.body {
        statement(stmt, visit);
    }
    for stmt in &node.other {
        statement(stmt, visit);
    }
    let resolved = node.filter.as_ref().map(|filter| &filter.test);
    if let Some(test) = node.test.as_ref().or(resolved) {
        visit(Part::Expr(test));
    }
}

/// Which of the names are read before anything is assigned to them (`find_undeclared`).
pub(super) fn undeclared(body: &[Stmt], names: &[&str]) -> BTreeSet<String> {
    let mut open: BTreeSet<&str> = names.iter().copied().collect();
    let mut found = BTreeSet::new();
    let mut done = false;
    let mut visit = |name: &Name, used: Use| {
        // Jinja2 stops as soon as all names that are left were found
        if done {
            return;
        }
        if used == Use::Load && open.contains(&**name) {
            found.insert(name.to_string());
            done = open.iter().all(|name| found.contains(*name)) && found.len() == open.len();
        } else {
            open.remove(&**name);
        }
    };
    for stmt in body {
        statement(stmt, &mut |part| match part {
            Part::Expr(part) => expr(part, &mut visit),
            // a namespace's name in a target is no name to this visitor
            Part::Target(part) => target(part, &mut |name, used| {
                if used == Use::Store {
                    visit(name, used);
                }
            }),
            Part::Parameter(name) => visit(name, Use::Store),
        });
    }
    found
}

/// Whether something in a loop assigns to `loop`.
pub(super) fn assigns_loop(node: &For) -> bool {
    let mut found = false;
    let check = &mut |name: &Name, used: Use| {
        found |= used == Use::Store && &**name == "loop";
    };
    target(&node.target, check);
    for stmt in node.body.iter().chain(&node.other) {
        assigns(stmt, check);
    }
    found
}

/// The names a statement stores; parameters and `with` are no stores.
fn assigns(stmt: &Stmt, visit: &mut Visit<'_>) {
    match stmt {
        Stmt::Data(_) | Stmt::Print(_) => {}
        Stmt::For(node) => {
            target(&node.target, visit);
            node.body.iter().chain(&node.other).for_each(|stmt| assigns(stmt, visit));
        }
        Stmt::If(branches, other) => {
            let bodies = branches.iter().flat_map(|(_, body)| body);
            bodies.chain(other).for_each(|stmt| assigns(stmt, visit));
        }
        Stmt::Set(node, _) => target(node, visit),
        Stmt::SetBlock { target: node, body, .. } => {
            target(node, visit);
            for stmt in body {
                assigns(stmt, visit);
            }
        }
        Stmt::FilterBlock { body, .. } | Stmt::With { body, .. } => {
            for stmt in body {
                assigns(stmt, visit);
            }
        }
        Stmt::Macro(node, _) | Stmt::CallBlock(node, _) => {
            for stmt in &node.body {
                assigns(stmt, visit);
            }
        }
    }
}

/// Methods that change their list or dict.
pub(super) const MUTATORS: [&str; 10] = [
    "append",
    "extend",
    "insert",
    "remove",
    "clear",
    "update",
    "setdefault",
    "pop",
    "sort",
    "reverse",
];

/// Whether a template names a method that changes a list or dict.
pub(super) fn mutates(body: &[Stmt]) -> bool {
    let mut found = false;
    for stmt in body {
        statement(stmt, &mut |part| {
            let (Part::Expr(part) | Part::Target(part)) = part else { return };
            each(part, &mut |expr| {
                found |= match expr {
                    Expr::Attr(_, name) => MUTATORS.contains(&&**name),
                    // a computed name may be anything
                    Expr::Item(_) => false,
                    _ => false,
                };
            });
        });
    }
    found
}
