//! A parsed template. Names carry the place that [`super::scope`] gives them.

use std::sync::Arc;

use flowmill_engine::value::{Integer, Name};

use super::checks::Test;
use super::filters::Filter;

/// Where a variable lives: so many functions out, at this index.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Slot {
    pub(super) up: u32,
    pub(super) index: u32,
    /// Jinja2 does not look whether it is missing.
    pub(super) certain: bool,
}

/// How a variable gets its first value when its scope begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Load {
    Parameter,
    Resolve(Name),
    Alias(Slot),
    Undefined,
}

/// What to do when a scope begins; the same slots are missing again when it ends.
pub(super) type Loads = Vec<(u32, Load)>;

#[derive(Clone, Debug)]
pub(super) enum Const {
    None,
    Bool(bool),
    Int(Integer),
    Float(f64),
    Str(Name),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unary {
    Not,
    Neg,
    Pos,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Name, Expr)>,
}

impl Args {
    pub(super) fn any(&self, mut check: impl FnMut(&Expr) -> bool) -> bool {
        self.positional.iter().any(&mut check) || self.named.iter().any(|(_, expr)| check(expr))
    }
}

#[derive(Clone, Debug)]
pub(super) struct FilterCall {
    /// None: what the block around it rendered.
    pub(super) node: Option<Expr>,
    pub(super) name: Name,
    pub(super) filter: Option<&'static Filter>,
    pub(super) args: Args,
}

#[derive(Clone, Debug)]
pub(super) struct TestCall {
    pub(super) node: Expr,
    pub(super) name: Name,
    pub(super) test: Option<&'static Test>,
    pub(super) args: Args,
}

#[derive(Clone, Debug)]
pub(super) struct Cond {
    pub(super) test: Expr,
    pub(super) then: Expr,
    pub(super) other: Option<Expr>,
    pub(super) line: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Const(Const),
    Name(Name, Slot),
    /// `ns.attr` as a target.
    Member(Name, Slot, Name),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<(Expr, Expr)>),
    And(Box<(Expr, Expr)>),
    Or(Box<(Expr, Expr)>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    Cond(Box<Cond>),
    Attr(Box<Expr>, Name),
    Item(Box<(Expr, Expr)>),
    Slice(Box<(Expr, [Option<Expr>; 3])>),
    Call(Box<(Expr, Args)>),
    Filter(Box<FilterCall>),
    Test(Box<TestCall>),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Expr,
    pub(super) iter: Expr,
    pub(super) body: Vec<Stmt>,
    pub(super) other: Vec<Stmt>,
    pub(super) test: Option<Expr>,
    /// Whether the body looks at `loop`.
    pub(super) extended: Option<u32>,
    pub(super) loads: Loads,
    pub(super) other_loads: Loads,
    pub(super) filter: Option<Arc<LoopFilter>>,
}

/// The function that a loop's `if` becomes; it has variables of its own.
#[derive(Debug)]
pub(super) struct LoopFilter {
    pub(super) target: Expr,
    pub(super) test: Expr,
    pub(super) loads: Loads,
    pub(super) slots: u32,
}

/// The body of a macro or of a call block.
#[derive(Debug, Default)]
pub(super) struct Macro {
    pub(super) name: Option<Name>,
    pub(super) args: Vec<(Name, u32)>,
    pub(super) defaults: Vec<Expr>,
    pub(super) body: Vec<Stmt>,
    pub(super) loads: Loads,
    pub(super) slots: u32,
    pub(super) caller: Option<u32>,
    pub(super) kwargs: Option<u32>,
    pub(super) varargs: Option<u32>,
}

#[derive(Debug)]
pub(super) enum Stmt {
    Data(Name),
    Print(Expr),
    For(Box<For>),
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    Set(Expr, Expr),
    SetBlock { target: Expr, filter: Option<Expr>, body: Vec<Stmt>, loads: Loads },
    FilterBlock { filter: Expr, body: Vec<Stmt>, loads: Loads },
    With { pairs: Vec<(Expr, Expr)>, body: Vec<Stmt>, loads: Loads },
    Macro(Arc<Macro>, Slot),
    CallBlock(Arc<Macro>, Expr),
}
