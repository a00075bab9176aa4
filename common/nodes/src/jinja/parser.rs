//! Reads a template's statements as Jinja2's parser does, with its error messages.
//!
//! Expressions are in [`super::expression`]. What the native engine leaves to the real Jinja2
//! (`include`, `import`, `extends`, `block`, `autoescape`, recursive loops) is refused here.

use std::sync::Arc;

use flowmill_engine::value::Name;

use super::ast::{Expr, For, Macro, Slot, Stmt};
use super::fail::{R, raise, refuse};
use super::lexer::{Lexer, Tok};

/// How deep blocks may nest; Python's own limit for loops is 20.
const MAX_BLOCKS: usize = 15;

/// A word that may end a list of statements.
type Ends = &'static [&'static str];

/// The tokens with one of look-ahead, and where in the template we are.
#[derive(Debug)]
pub(super) struct Parser {
    lexer: Lexer,
    pub(super) current: Tok,
    pub(super) line: u32,
    pushed: Option<(u32, Tok)>,
    ended: bool,
    tags: Vec<Name>,
    ends: Vec<Ends>,
    /// Depth of the expression being read.
    pub(super) depth: u32,
    /// Operators in the expression being read.
    pub(super) chain: u32,
}

impl Parser {
    /// Reads a whole template.
    pub(super) fn parse(text: &str) -> R<Vec<Stmt>> {
        let mut parser = Self {
            lexer: Lexer::new(text),
            current: Tok::Eof,
            line: 1,
            pushed: None,
            ended: false,
            tags: Vec::new(),
            ends: Vec::new(),
            depth: 0,
            chain: 0,
        };
        parser.next()?;
        parser.subparse(None)
    }

    /// Moves on; gives the token that was current.
    pub(super) fn next(&mut self) -> R<Tok> {
        if let Some((line, token)) = self.pushed.take() {
            self.line = line;
            return Ok(std::mem::replace(&mut self.current, token));
        }
        if self.ended {
            return Ok(self.current.clone());
        }
        let (line, token) = self.lexer.next()?;
        if token == Tok::Eof {
            // the end keeps the line of the token before it
            self.ended = true;
        } else {
            self.line = line;
        }
        Ok(std::mem::replace(&mut self.current, token))
    }

    /// The token after the current one.
    pub(super) fn look(&mut self) -> R<&Tok> {
        if self.pushed.is_none() {
            let (line, token) =
                if self.ended { (self.line, Tok::Eof) } else { self.lexer.next()? };
            self.ended = token == Tok::Eof;
            self.pushed = Some((line, token));
        }
        Ok(self.pushed.as_ref().map_or(&Tok::Eof, |(_, token)| token))
    }

    pub(super) fn is_op(&self, text: &str) -> bool {
        matches!(self.current, Tok::Op(op) if op == text)
    }

    pub(super) fn is_word(&self, text: &str) -> bool {
        matches!(&self.current, Tok::Name(name) if &**name == text)
    }

    pub(super) fn skip_op(&mut self, text: &str) -> R<bool> {
        let found = self.is_op(text);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(super) fn skip_word(&mut self, text: &str) -> R<bool> {
        let found = self.is_word(text);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(super) fn expect_op(&mut self, text: &'static str) -> R<()> {
        if self.skip_op(text)? { Ok(()) } else { self.expected(text) }
    }

    fn expect_word(&mut self, text: &'static str) -> R<()> {
        if self.skip_word(text)? { Ok(()) } else { self.expected(text) }
    }

    fn expect(&mut self, token: &Tok) -> R<()> {
        if self.current == *token {
            self.next()?;
            return Ok(());
        }
        self.expected(token.describe())
    }

    pub(super) fn expect_name(&mut self) -> R<Name> {
        let Tok::Name(name) = &self.current else { return self.expected("name") };
        let name = name.clone();
        self.next()?;
        Ok(name)
    }

    fn expected<T>(&self, what: &str) -> R<T> {
        match &self.current {
            Tok::Eof => syntax(format!("unexpected end of template, expected '{what}'.")),
            token => syntax(format!("expected token '{what}', got '{}'", token.describe())),
        }
    }

    fn at_end_word(&self, ends: Ends) -> bool {
        ends.iter().any(|word| self.is_word(word))
    }

    fn subparse(&mut self, ends: Option<Ends>) -> R<Vec<Stmt>> {
        if let Some(ends) = ends {
            if self.ends.len() >= MAX_BLOCKS {
                return refuse("more than 15 nested blocks");
            }
            self.ends.push(ends);
        }
        let mut body = Vec::new();
        while self.current != Tok::Eof {
            match &self.current {
                Tok::Data(text) => {
                    body.push(Stmt::Data(text.clone()));
                    self.next()?;
                }
                Tok::VarBegin => {
                    self.next()?;
                    body.push(Stmt::Print(self.tuple(true, false)?));
                    self.expect(&Tok::VarEnd)?;
                }
                _ => {
                    self.next()?;
                    if ends.is_some_and(|ends| self.at_end_word(ends)) {
                        break;
                    }
                    self.statement(&mut body)?;
                    self.expect(&Tok::BlockEnd)?;
                }
            }
        }
        // the stack is left alone at the end of the template: the caller reports it
        if ends.is_some() && self.current != Tok::Eof {
            self.ends.pop();
        }
        Ok(body)
    }

    /// Reads up to one of the words; the word is current afterwards.
    fn statements(&mut self, ends: Ends) -> R<Vec<Stmt>> {
        self.skip_op(":")?;
        self.expect(&Tok::BlockEnd)?;
        let body = self.subparse(Some(ends))?;
        if self.current == Tok::Eof { self.unknown(None) } else { Ok(body) }
    }

    /// Reads up to the word and over it.
    fn body(&mut self, end: Ends) -> R<Vec<Stmt>> {
        let body = self.statements(end)?;
        self.next()?;
        Ok(body)
    }

    /// An unknown tag, or the end of the template too early.
    fn unknown<T>(&self, name: Option<&str>) -> R<T> {
        let mut message = match name {
            None => "Unexpected end of template.".to_owned(),
            Some(name) => format!("Encountered unknown tag '{name}'."),
        };
        if let Some(looking) = self.ends.last() {
            let looking: Vec<String> = looking.iter().map(|word| format!("'{word}'")).collect();
            let looking = looking.join(" or ");
            let misplaced =
                name.is_some_and(|name| self.ends.iter().any(|ends| ends.contains(&name)));
            message.push_str(if misplaced {
                " You probably made a nesting mistake. Jinja is expecting this tag, but currently \
                 looking for "
            } else {
                " Jinja was looking for the following tags: "
            });
            message.push_str(&looking);
            message.push('.');
        }
        if let Some(tag) = self.tags.last() {
            message.push_str(" The innermost block that needs to be closed is '");
            message.push_str(tag);
            message.push_str("'.");
        }
        syntax(message)
    }

    fn statement(&mut self, body: &mut Vec<Stmt>) -> R<()> {
        let Tok::Name(tag) = &self.current else { return syntax("tag name expected") };
        let tag = tag.clone();
        self.tags.push(tag.clone());
        let statement = match &*tag {
            "for" => self.parse_for()?,
            "if" => self.parse_if()?,
            "set" => self.parse_set()?,
            "with" => self.parse_with()?,
            "macro" => self.parse_macro()?,
            "call" => self.parse_call_block()?,
            "filter" => self.parse_filter_block()?,
            "print" => {
                self.parse_print(body)?;
                self.tags.pop();
                return Ok(());
            }
            "block" | "extends" | "include" | "from" | "import" | "autoescape" => {
                return refuse(format!("`{tag}` blocks"));
            }
            _ => {
                self.tags.pop();
                return self.unknown(Some(&tag));
            }
        };
        self.tags.pop();
        body.push(statement);
        Ok(())
    }

    fn parse_print(&mut self, body: &mut Vec<Stmt>) -> R<()> {
        self.next()?;
        let mut first = true;
        while self.current != Tok::BlockEnd {
            if !first {
                self.expect_op(",")?;
            }
            first = false;
            body.push(Stmt::Print(self.expression()?));
        }
        Ok(())
    }

    fn parse_for(&mut self) -> R<Stmt> {
        self.next()?;
        let target = self.target(false)?;
        self.expect_word("in")?;
        let iter = self.tuple(false, false)?;
        let test = if self.skip_word("if")? { Some(self.expression()?) } else { None };
        if self.is_word("recursive") {
            return refuse("recursive loops");
        }
        let body = self.statements(&["endfor", "else"])?;
        let ended = self.is_word("endfor");
        self.next()?;
        let other = if ended { Vec::new() } else { self.body(&["endfor"])? };
        Ok(Stmt::For(Box::new(For {
            target,
            iter,
            body,
            other,
            test,
            extended: None,
            loads: Vec::new(),
            other_loads: Vec::new(),
            filter: None,
        })))
    }

    fn parse_if(&mut self) -> R<Stmt> {
        let mut branches = Vec::new();
        self.next()?;
        loop {
            let test = self.tuple(false, false)?;
            let body = self.statements(&["elif", "else", "endif"])?;
            branches.push((test, body));
            let token = self.next()?;
            match token {
                Tok::Name(word) if &*word == "elif" => {}
                Tok::Name(word) if &*word == "else" => {
                    return Ok(Stmt::If(branches, self.body(&["endif"])?));
                }
                _ => return Ok(Stmt::If(branches, Vec::new())),
            }
        }
    }

    fn parse_set(&mut self) -> R<Stmt> {
        self.next()?;
        let target = self.target(true)?;
        if self.skip_op("=")? {
            let value = self.tuple(true, false)?;
            return Ok(Stmt::Set(target, value));
        }
        let filter = self.filters(None)?;
        let body = self.body(&["endset"])?;
        Ok(Stmt::SetBlock { target, filter, body, loads: Vec::new() })
    }

    fn parse_with(&mut self) -> R<Stmt> {
        self.next()?;
        let mut pairs = Vec::new();
        while self.current != Tok::BlockEnd {
            if !pairs.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(false)?;
            self.expect_op("=")?;
            pairs.push((target, self.expression()?));
        }
        let body = self.body(&["endwith"])?;
        Ok(Stmt::With { pairs, body, loads: Vec::new() })
    }

    fn signature(&mut self, node: &mut Macro) -> R<()> {
        self.expect_op("(")?;
        while !self.is_op(")") {
            if !node.args.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.name_target()?;
            if node.args.iter().any(|(known, _)| *known == name) {
                return refuse("a macro with two parameters of one name");
            }
            if self.skip_op("=")? {
                node.defaults.push(self.expression()?);
            } else if !node.defaults.is_empty() {
                return syntax("non-default argument follows default argument");
            }
            node.args.push((name, 0));
        }
        self.expect_op(")")
    }

    fn parse_macro(&mut self) -> R<Stmt> {
        self.next()?;
        let mut node = Macro { name: Some(self.name_target()?), ..Macro::default() };
        self.signature(&mut node)?;
        node.body = self.body(&["endmacro"])?;
        Ok(Stmt::Macro(Arc::new(node), Slot::default()))
    }

    fn parse_call_block(&mut self) -> R<Stmt> {
        self.next()?;
        let mut node = Macro::default();
        if self.is_op("(") {
            self.signature(&mut node)?;
        }
        let call = self.expression()?;
        if !matches!(call, Expr::Call(_)) {
            return syntax("expected call");
        }
        node.body = self.body(&["endcall"])?;
        Ok(Stmt::CallBlock(Arc::new(node), call))
    }

    fn parse_filter_block(&mut self) -> R<Stmt> {
        self.next()?;
        let filter = self.filter_chain()?;
        let body = self.body(&["endfilter"])?;
        Ok(Stmt::FilterBlock { filter, body, loads: Vec::new() })
    }

    fn name_target(&mut self) -> R<Name> {
        let name = self.expect_name()?;
        if is_reserved(&name) {
            return syntax("can't assign to 'name'");
        }
        Ok(name)
    }

    /// What can be assigned to: names, tuples of them, members of a namespace.
    fn target(&mut self, members: bool) -> R<Expr> {
        let target = self.tuple_of_primaries(members)?;
        assignable(&target)?;
        Ok(target)
    }
}

fn is_reserved(name: &str) -> bool {
    matches!(name, "true" | "false" | "none" | "True" | "False" | "None")
}

fn assignable(target: &Expr) -> R<()> {
    if has_empty_tuple(target) {
        return refuse("assignment to an empty tuple");
    }
    match target {
        _ if can_assign(target) => Ok(()),
        Expr::Const(_) => syntax("can't assign to 'const'"),
        // the message names the whole target, not the part
        Expr::Tuple(_) => syntax("can't assign to 'tuple'"),
        _ => refuse("assignment to an expression"),
    }
}

fn can_assign(target: &Expr) -> bool {
    match target {
        Expr::Name(..) | Expr::Member(..) => true,
        Expr::Tuple(items) => items.iter().all(can_assign),
        _ => false,
    }
}

fn has_empty_tuple(target: &Expr) -> bool {
    match target {
        Expr::Tuple(items) => items.is_empty() || items.iter().any(has_empty_tuple),
        _ => false,
    }
}

/// Ends with a `TemplateSyntaxError`.
pub(super) fn syntax<T>(message: impl Into<String>) -> R<T> {
    raise("TemplateSyntaxError", message)
}
