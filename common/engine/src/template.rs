//! Text with references to variables: `{{#node.name#}}` (spec/engine.md §9).
//!
//! A template is read once, when a plan is compiled, and rendered often. It follows Dify's
//! matcher to the letter: whatever does not match is text, and a piece of text that happens to be
//! a variable's dotted path is replaced like a reference.

use std::borrow::Cow;

use crate::value::{Form, Name, RenderError};
use crate::variables::{Selector, Variable, Variables};

/// The most characters of a reference's first part, the node id.
const MAX_NODE: usize = 50;
/// The most characters of each further part.
const MAX_PART: usize = 30;
/// The most further parts.
const MAX_PARTS: usize = 10;

/// A text with references, split at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A stretch of a template; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as written. If it has a dot and its parts between the dots name a variable, that
    /// variable stands for it; [`Piece::lookup`] knows.
    Text(Name),
    /// A reference.
    Reference(Selector),
}

impl Template {
    /// Splits a text at its references. Never fails: what is no reference is text.
    pub fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut from = 0;
        let mut search = 0;
        while let Some(found) = text[search..].find("{{#") {
            let start = search + found;
            let Some(path) = reference(&text[start..]) else {
                // The next match may begin one character later.
                search = start + 1;
                continue;
            };
            if start > from {
                pieces.push(Piece::Text(text[from..start].into()));
            }
            pieces.push(Piece::Reference(Selector::from_dotted(path)));
            from = start + path.len() + "{{##}}".len();
            search = from;
        }
        if from < text.len() {
            pieces.push(Piece::Text(text[from..].into()));
        }
        Self { pieces }
    }

    /// Its pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether rendering gives the text as written, whatever the variables are.
    pub fn is_plain(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(text) if !text.contains('.')))
    }

    /// All it may read, in order: its references, and the whole variables that pieces of text
    /// with a dot would name. Most of the latter name nothing; the plan drops those.
    pub fn references(&self) -> impl Iterator<Item = Selector> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Reference(selector) => Some(selector.clone()),
            Piece::Text(text) => {
                let mut parts = text.split('.');
                let (node, name) = (parts.next()?, parts.next()?);
                Some(Selector::perhaps(node, name))
            }
        })
    }

    /// The variables that stand for its pieces, in order, missing ones left out.
    pub fn resolve<'a>(
        &'a self,
        variables: &'a Variables,
    ) -> impl Iterator<Item = Cow<'a, Variable>> + 'a {
        self.pieces.iter().filter_map(|piece| piece.lookup(variables))
    }

    /// Renders in the text form.
    pub fn render_text(&self, variables: &Variables) -> Result<Name, RenderError> {
        self.render(variables, Form::Text)
    }

    /// Renders in the markdown form.
    pub fn render_markdown(&self, variables: &Variables) -> Result<Name, RenderError> {
        self.render(variables, Form::Markdown)
    }

    /// Renders in the form for logs.
    pub fn render_log(&self, variables: &Variables) -> Result<Name, RenderError> {
        self.render(variables, Form::Log)
    }

    /// Renders in a form. A template that is one text or one variable that is text is not copied.
    pub fn render(&self, variables: &Variables, form: Form) -> Result<Name, RenderError> {
        if let [piece] = &*self.pieces {
            match (piece.lookup(variables), piece) {
                (Some(variable), _) => {
                    if let Some(text) = variable.bare_text(form) {
                        return Ok(text.clone());
                    }
                }
                (None, Piece::Text(text)) => return Ok(text.clone()),
                (None, Piece::Reference(_)) => {}
            }
        }
        let mut out = String::with_capacity(self.pieces.iter().map(Piece::likely_bytes).sum());
        self.write(&mut out, variables, form)?;
        Ok(out.into())
    }

    /// Appends a form of it.
    pub fn write(
        &self,
        out: &mut String,
        variables: &Variables,
        form: Form,
    ) -> Result<(), RenderError> {
        self.pieces.iter().try_for_each(|piece| piece.write(out, variables, form))
    }
}

impl Piece {
    /// The variable that stands for this piece, if there is one.
    pub fn lookup<'a>(&self, variables: &'a Variables) -> Option<Cow<'a, Variable>> {
        match self {
            Self::Text(text) => lookup(variables, text.split('.')),
            Self::Reference(selector) => {
                lookup(variables, selector.parts().iter().map(|part| &**part))
            }
        }
    }

    /// Appends a form of it: of its variable, or, if that is missing, its text or bare path.
    pub fn write(
        &self,
        out: &mut String,
        variables: &Variables,
        form: Form,
    ) -> Result<(), RenderError> {
        if let Some(variable) = self.lookup(variables) {
            return variable.write(out, form);
        }
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Reference(selector) => write_path(out, selector),
        }
        Ok(())
    }

    fn likely_bytes(&self) -> usize {
        const OF_A_VALUE: usize = 32;
        match self {
            Self::Text(text) => text.len(),
            Self::Reference(_) => OF_A_VALUE,
        }
    }
}

fn lookup<'a, 'b>(
    variables: &'a Variables,
    mut path: impl Iterator<Item = &'b str> + Clone,
) -> Option<Cow<'a, Variable>> {
    let (node, name) = (path.next()?, path.next()?);
    let variable = variables.variable(node, name)?;
    if path.clone().next().is_none() {
        return Some(Cow::Borrowed(variable));
    }
    variable.member(path).map(Cow::Owned)
}

fn write_path(out: &mut String, selector: &Selector) {
    for (at, part) in selector.parts().iter().enumerate() {
        if at > 0 {
            out.push('.');
        }
        out.push_str(part);
    }
}

/// The path inside the reference with which a text begins.
///
/// The expression never needs to go back: no part can take a dot or a `#`, so each part ends
/// where its characters end, and must then be within its length.
fn reference(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{#")?;
    let word = |from: usize| {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        inner.as_bytes()[from..].iter().take_while(|byte| word(byte)).count()
    };
    let node = word(0);
    if !(1..=MAX_NODE).contains(&node) {
        return None;
    }
    let mut end = node;
    let mut parts = 0;
    while inner.as_bytes().get(end) == Some(&b'.') {
        let length = word(end + 1);
        let digit_first = inner.as_bytes().get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(1..=MAX_PART).contains(&length) || digit_first {
            return None;
        }
        end += 1 + length;
        parts += 1;
    }
    let fits = (1..=MAX_PARTS).contains(&parts) && inner[end..].starts_with("#}}");
    fits.then(|| &inner[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn names(template: &str) -> Vec<String> {
        Template::parse(template).references().map(|selector| format!("{selector:?}")).collect()
    }

    #[test]
    fn references_and_dotted_text_are_declared() {
        assert_eq!(names("{{#a.b.c#}} d.e.f {{#a.b#}}"), ["a.b.c", " d.e.", "a.b"]);
        assert_eq!(names("no dot {{#a#}}"), [""; 0]);
    }

    #[test]
    fn only_text_without_dots_is_plain() {
        assert!(Template::parse("Hello {{name}}").is_plain());
        assert!(Template::parse("").is_plain());
        assert!(!Template::parse("Hello. World").is_plain());
        assert!(!Template::parse("{{#a.b#}}").is_plain());
    }

    #[test]
    fn one_text_variable_is_not_copied() {
        let mut variables = Variables::default();
        let text: Name = "held".into();
        variables.set(&"a".into(), &"b".into(), Variable::infer(Value::Str(text.clone())));
        let rendered = Template::parse("{{#a.b#}}").render_text(&variables).unwrap();
        assert!(std::sync::Arc::ptr_eq(&rendered, &text));
    }

    #[test]
    fn what_stands_for_the_pieces_is_listed_in_order() {
        let mut variables = Variables::default();
        for (name, value) in [("x", 1), ("y", 2)] {
            variables.set(&"a".into(), &name.into(), Variable::infer(Value::int(value)));
        }
        let template = Template::parse("{{#a.y#}}-{{#a.zz#}}-{{#a.x#}}");
        let found: Vec<Value> =
            template.resolve(&variables).map(|variable| variable.value().clone()).collect();
        assert_eq!(found, [Value::int(2), Value::int(1)]);
    }
}
