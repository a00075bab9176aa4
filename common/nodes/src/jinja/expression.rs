//! Reads expressions as Jinja2's parser does.

use super::ast::{Args, Binary, Compare, Cond, Const, Expr, FilterCall, Slot, TestCall, Unary};
use super::checks;
use super::fail::{R, refuse};
use super::filters;
use super::lexer::Tok;
use super::parser::{Parser, syntax};

/// How deep expressions may nest.
const MAX_DEPTH: u32 = 30;
/// How deep the tree of a whole expression may be: chains of filters and operators count too.
const MAX_HEIGHT: u32 = 60;
/// How many operators one expression may hold.
const MAX_CHAIN: u32 = 1000;

impl Parser {
    /// Any expression, the inline `if` included.
    pub(super) fn expression(&mut self) -> R<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return refuse("an expression nested deeper than 30 levels");
        }
        let expr = self.cond()?;
        self.finish(expr)
    }

    fn finish(&mut self, expr: Expr) -> R<Expr> {
        self.depth -= 1;
        if self.depth == 0 {
            self.chain = 0;
            if too_high(&expr, MAX_HEIGHT) {
                return refuse("an expression nested deeper than 60 levels");
            }
        }
        Ok(expr)
    }

    fn cond(&mut self) -> R<Expr> {
        let mut line = self.line;
        let mut expr = self.or()?;
        while self.skip_word("if")? {
            self.count()?;
            let test = self.or()?;
            let other = if self.skip_word("else")? { Some(self.nested_cond()?) } else { None };
            expr = Expr::Cond(Box::new(Cond { test, then: expr, other, line }));
            line = self.line;
        }
        Ok(expr)
    }

    fn nested_cond(&mut self) -> R<Expr> {
        self.expression()
    }

    fn or(&mut self) -> R<Expr> {
        let mut left = self.and()?;
        while self.skip_word("or")? {
            self.count()?;
            left = Expr::Or(Box::new((left, self.and()?)));
        }
        Ok(left)
    }

    fn and(&mut self) -> R<Expr> {
        let mut left = self.not()?;
        while self.skip_word("and")? {
            self.count()?;
            left = Expr::And(Box::new((left, self.not()?)));
        }
        Ok(left)
    }

    fn not(&mut self) -> R<Expr> {
        let mut count = 0;
        while self.skip_word("not")? {
            count += 1;
            if count > MAX_DEPTH {
                return refuse("an expression nested deeper than 30 levels");
            }
        }
        let mut expr = self.compare()?;
        for _ in 0..count {
            expr = Expr::Unary(Unary::Not, Box::new(expr));
        }
        Ok(expr)
    }

    fn compare(&mut self) -> R<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let op = match &self.current {
                Tok::Op("==") => Compare::Eq,
                Tok::Op("!=") => Compare::Ne,
                Tok::Op("<") => Compare::Lt,
                Tok::Op("<=") => Compare::Le,
                Tok::Op(">") => Compare::Gt,
                Tok::Op(">=") => Compare::Ge,
                Tok::Name(word) if &**word == "in" => Compare::In,
                Tok::Name(word) if &**word == "not" => {
                    let follows = matches!(self.look()?, Tok::Name(word) if &**word == "in");
                    if !follows {
                        break;
                    }
                    self.next()?;
                    Compare::NotIn
                }
                _ => break,
            };
            self.next()?;
            rest.push((op, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> R<Expr> {
        let mut left = self.concat()?;
        loop {
            let op = match self.current {
                Tok::Op("+") => Binary::Add,
                Tok::Op("-") => Binary::Sub,
                _ => return Ok(left),
            };
            self.next()?;
            left = self.binary(op, left, Self::concat)?;
        }
    }

    fn binary(&mut self, op: Binary, left: Expr, right: fn(&mut Self) -> R<Expr>) -> R<Expr> {
        let right = right(self)?;
        // a long chain of operators is a deep tree
        self.count()?;
        Ok(Expr::Binary(op, Box::new((left, right))))
    }

    /// Bounds how high a tree can grow before its height is looked at.
    fn count(&mut self) -> R<()> {
        if self.chain > MAX_CHAIN {
            return refuse("an expression with more than 1000 operators");
        }
        self.chain += 1;
        Ok(())
    }

    fn concat(&mut self) -> R<Expr> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_op("~")? {
            parts.push(self.product()?);
        }
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> R<Expr> {
        let mut left = self.power()?;
        loop {
            let op = match self.current {
                Tok::Op("*") => Binary::Mul,
                Tok::Op("/") => Binary::Div,
                Tok::Op("//") => Binary::FloorDiv,
                Tok::Op("%") => Binary::Mod,
                _ => return Ok(left),
            };
            self.next()?;
            left = self.binary(op, left, Self::power)?;
        }
    }

    fn power(&mut self) -> R<Expr> {
        let mut left = self.unary(true)?;
        while self.skip_op("**")? {
            left = self.binary(Binary::Pow, left, |parser| parser.unary(true))?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filter: bool) -> R<Expr> {
        let op = match self.current {
            Tok::Op("-") => Some(Unary::Neg),
            Tok::Op("+") => Some(Unary::Pos),
            _ => None,
        };
        let node = match op {
            Some(op) => {
                self.next()?;
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return refuse("an expression nested deeper than 30 levels");
                }
                let inner = self.unary(false)?;
                self.depth -= 1;
                Expr::Unary(op, Box::new(inner))
            }
            None => self.primary(false)?,
        };
        let node = self.postfix(node)?;
        if with_filter { self.filter_expr(node) } else { Ok(node) }
    }

    fn primary(&mut self, members: bool) -> R<Expr> {
        let expr = match &self.current {
            Tok::Name(name) => {
                let name = name.clone();
                self.next()?;
                return self.named(name, members);
            }
            Tok::Str(_) => return self.string(),
            Tok::Int(value) => Expr::Const(Const::Int(value.clone())),
            Tok::Float(value) => Expr::Const(Const::Float(*value)),
            Tok::Op("(") => {
                self.next()?;
                let tuple = self.tuple(true, true)?;
                self.expect_op(")")?;
                return Ok(tuple);
            }
            Tok::Op("[") => return self.list(),
            Tok::Op("{") => return self.dict(),
            token => return syntax(format!("unexpected {}", quoted(token.describe()))),
        };
        self.next()?;
        Ok(expr)
    }

    fn named(&mut self, name: flowmill_engine::value::Name, members: bool) -> R<Expr> {
        Ok(match &*name {
            "true" | "True" => Expr::Const(Const::Bool(true)),
            "false" | "False" => Expr::Const(Const::Bool(false)),
            "none" | "None" => Expr::Const(Const::None),
            _ if members && self.is_op(".") => {
                self.next()?;
                let attr = self.expect_name()?;
                Expr::Member(name, Slot::default(), attr)
            }
            _ => Expr::Name(name, Slot::default()),
        })
    }

    fn string(&mut self) -> R<Expr> {
        let mut text = String::new();
        while let Tok::Str(part) = &self.current {
            text.push_str(part);
            self.next()?;
        }
        Ok(Expr::Const(Const::Str(text.into())))
    }

    /// A tuple without parentheses, or its only element.
    pub(super) fn tuple(&mut self, with_cond: bool, parentheses: bool) -> R<Expr> {
        self.tuple_by(parentheses, |parser| {
            if with_cond { parser.expression() } else { parser.guarded_or() }
        })
    }

    fn guarded_or(&mut self) -> R<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return refuse("an expression nested deeper than 30 levels");
        }
        let expr = self.or()?;
        self.finish(expr)
    }

    /// A tuple of what can stand as a target.
    pub(super) fn tuple_of_primaries(&mut self, members: bool) -> R<Expr> {
        self.tuple_by(false, |parser| parser.primary(members))
    }

    fn tuple_by(
        &mut self,
        parentheses: bool,
        mut read: impl FnMut(&mut Self) -> R<Expr>,
    ) -> R<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            let ended = matches!(self.current, Tok::VarEnd | Tok::BlockEnd | Tok::Op(")"));
            if ended {
                break;
            }
            items.push(read(self)?);
            if !self.is_op(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(only) = items.pop() {
                return Ok(only);
            }
            if !parentheses {
                let found = quoted(self.current.describe());
                return syntax(format!("Expected an expression, got {found}"));
            }
        }
        Ok(Expr::Tuple(items))
    }

    fn list(&mut self) -> R<Expr> {
        self.next()?;
        let mut items = Vec::new();
        while !self.is_op("]") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op("]") {
                break;
            }
            items.push(self.expression()?);
        }
        self.expect_op("]")?;
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> R<Expr> {
        self.next()?;
        let mut items = Vec::new();
        while !self.is_op("}") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op("}") {
                break;
            }
            let key = self.expression()?;
            self.expect_op(":")?;
            items.push((key, self.expression()?));
        }
        self.expect_op("}")?;
        Ok(Expr::Dict(items))
    }

    fn postfix(&mut self, mut node: Expr) -> R<Expr> {
        for _ in 0..MAX_DEPTH {
            node = match self.current {
                Tok::Op(".") => self.dot(node)?,
                Tok::Op("[") => self.subscript(node)?,
                Tok::Op("(") => self.call(node)?,
                _ => return Ok(node),
            };
        }
        refuse("a chain of more than 30 subscripts and calls")
    }

    fn filter_expr(&mut self, mut node: Expr) -> R<Expr> {
        for _ in 0..MAX_DEPTH {
            node = match &self.current {
                Tok::Op("|") => self.filter(node)?,
                Tok::Name(word) if &**word == "is" => self.test(node)?,
                Tok::Op("(") => self.call(node)?,
                _ => return Ok(node),
            };
        }
        refuse("a chain of more than 30 filters")
    }

    fn dot(&mut self, node: Expr) -> R<Expr> {
        self.next()?;
        match self.next()? {
            Tok::Name(name) => Ok(Expr::Attr(Box::new(node), name)),
            Tok::Int(index) => Ok(Expr::Item(Box::new((node, Expr::Const(Const::Int(index)))))),
            _ => syntax("expected name or number"),
        }
    }

    fn subscript(&mut self, node: Expr) -> R<Expr> {
        self.next()?;
        let mut args = Vec::new();
        let mut slice = None;
        while !self.is_op("]") {
            if !args.is_empty() || slice.is_some() {
                self.expect_op(",")?;
            }
            match self.subscribed()? {
                Ok(expr) => args.push(expr),
                Err(parts) if args.is_empty() && slice.is_none() => slice = Some(parts),
                Err(_) => return refuse("slices in more than one dimension"),
            }
        }
        self.expect_op("]")?;
        match (slice, args.len()) {
            (Some(parts), 0) => Ok(Expr::Slice(Box::new((node, parts)))),
            (Some(_), _) => refuse("slices in more than one dimension"),
            (None, 1) => {
                let arg = args.pop().unwrap_or(Expr::Const(Const::None));
                Ok(Expr::Item(Box::new((node, arg))))
            }
            (None, _) => Ok(Expr::Item(Box::new((node, Expr::Tuple(args))))),
        }
    }

    fn subscribed(&mut self) -> R<Result<Expr, [Option<Expr>; 3]>> {
        let start = if self.is_op(":") {
            None
        } else {
            let expr = self.expression()?;
            if !self.is_op(":") {
                return Ok(Ok(expr));
            }
            Some(expr)
        };
        self.next()?;
        let stop = if self.is_op(":") || self.is_op("]") || self.is_op(",") {
            None
        } else {
            Some(self.expression()?)
        };
        let mut step = None;
        if self.skip_op(":")? && !self.is_op("]") && !self.is_op(",") {
            step = Some(self.expression()?);
        }
        Ok(Err([start, stop, step]))
    }

    fn args(&mut self) -> R<Args> {
        self.expect_op("(")?;
        let mut args = Args::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            if self.is_op("*") || self.is_op("**") {
                return refuse("`*` and `**` in calls");
            }
            let keyword = match &self.current {
                Tok::Name(name) => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = keyword
                && *self.look()? == Tok::Op("=")
            {
                self.next()?;
                self.next()?;
                if args.named.iter().any(|(known, _)| *known == name) || name.starts_with('_') {
                    return refuse("unusual keyword arguments");
                }
                args.named.push((name, self.expression()?));
                continue;
            }
            if !args.named.is_empty() {
                return syntax("invalid syntax for function call expression");
            }
            args.positional.push(self.expression()?);
        }
        self.expect_op(")")?;
        Ok(args)
    }

    fn call(&mut self, node: Expr) -> R<Expr> {
        let args = self.args()?;
        Ok(Expr::Call(Box::new((node, args))))
    }

    fn dotted_name(&mut self) -> R<flowmill_engine::value::Name> {
        let name = self.expect_name()?;
        if !self.is_op(".") {
            return Ok(name);
        }
        let mut name = name.to_string();
        while self.skip_op(".")? {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        Ok(name.into())
    }

    fn filter(&mut self, node: Expr) -> R<Expr> {
        self.next()?;
        self.filter_named(Some(node))
    }

    fn filter_named(&mut self, node: Option<Expr>) -> R<Expr> {
        let name = self.dotted_name()?;
        let args = if self.is_op("(") { self.args()? } else { Args::default() };
        let filter = filters::find(&name);
        if let Some(why) = filter.and_then(|filter| filter.never) {
            return refuse(why);
        }
        Ok(Expr::Filter(Box::new(FilterCall { node, name, filter, args })))
    }

    /// Filters that follow each other, each behind a `|`; None if there is none.
    pub(super) fn filters(&mut self, node: Option<Expr>) -> R<Option<Expr>> {
        let mut node = node;
        for _ in 0..MAX_DEPTH {
            if !self.is_op("|") {
                return Ok(node);
            }
            self.next()?;
            node = Some(self.filter_named(node)?);
        }
        refuse("a chain of more than 30 filters")
    }

    /// The filters of a filter block: the first without a `|`.
    pub(super) fn filter_chain(&mut self) -> R<Expr> {
        let first = self.filter_named(None)?;
        match self.filters(Some(first))? {
            Some(chain) => Ok(chain),
            None => refuse("an empty filter block"),
        }
    }

    fn test(&mut self, node: Expr) -> R<Expr> {
        self.next()?;
        let negated = self.skip_word("not")?;
        let name = self.dotted_name()?;
        let args = self.test_args()?;
        let test = checks::find(&name);
        let test = Expr::Test(Box::new(TestCall { node, name, test, args }));
        Ok(if negated { Expr::Unary(Unary::Not, Box::new(test)) } else { test })
    }

    fn test_args(&mut self) -> R<Args> {
        match &self.current {
            Tok::Op("(") => return self.args(),
            Tok::Name(word) if matches!(&**word, "else" | "or" | "and") => {
                return Ok(Args::default());
            }
            Tok::Name(word) if &**word == "is" => {
                return syntax("You cannot chain multiple tests with is");
            }
            Tok::Name(_) | Tok::Str(_) | Tok::Int(_) | Tok::Float(_) | Tok::Op("[" | "{") => {}
            _ => return Ok(Args::default()),
        }
        let arg = self.primary(false)?;
        let arg = self.postfix(arg)?;
        Ok(Args { positional: vec![arg], named: Vec::new() })
    }
}

/// As Python quotes it; token names hold no quote.
fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// Whether the tree is higher than `limit`; looks no deeper than that.
fn too_high(expr: &Expr, limit: u32) -> bool {
    let Some(limit) = limit.checked_sub(1) else { return true };
    let high = |expr: &Expr| too_high(expr, limit);
    match expr {
        Expr::Const(_) | Expr::Name(..) | Expr::Member(..) => false,
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => items.iter().any(high),
        Expr::Dict(items) => items.iter().any(|(key, value)| high(key) || high(value)),
        Expr::Unary(_, inner) | Expr::Attr(inner, _) => high(inner),
        Expr::Binary(_, pair) | Expr::And(pair) | Expr::Or(pair) | Expr::Item(pair) => {
            high(&pair.0) || high(&pair.1)
        }
        Expr::Compare(first, rest) => high(first) || rest.iter().any(|(_, expr)| high(expr)),
        Expr::Cond(cond) => {
            high(&cond.test) || high(&cond.then) || cond.other.as_ref().is_some_and(high)
        }
        Expr::Slice(slice) => high(&slice.0) || slice.1.iter().flatten().any(high),
        Expr::Call(call) => high(&call.0) || call.1.any(high),
        Expr::Filter(call) => call.node.as_ref().is_some_and(high) || call.args.any(high),
        Expr::Test(call) => high(&call.node) || call.args.any(high),
    }
}
