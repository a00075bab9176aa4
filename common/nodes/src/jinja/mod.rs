//! Jinja2 templates rendered as Dify renders them: `jinja2.Template(text).render(**context)`,
//! byte for byte (spec/nodes.md §3.8, `docs/adr/0002-jinja.md`).
//!
//! The rule of this module: a template renders to exactly what Jinja2 3.1.6 under Python 3.12
//! gives, fails with exactly its error, or is *refused*. It is never rendered differently. So
//! whatever is not sure to be the same is [`Fail::Refused`], with a word on why.

#![expect(
    clippy::unused_self,
    clippy::match_same_arms,
    clippy::single_match_else,
    reason = "operations have one shape, and one arm per kind of value whether it agrees or not"
)]

mod activation;
mod ast;
mod attr;
mod call;
mod checks;
mod context;
mod expression;
mod fail;
mod filters;
mod format;
mod format_spec;
mod interp;
mod iter;
mod json;
mod lexer;
mod looping;
mod methods;
mod ops;
mod parser;
mod repr;
mod scope;
mod text;
mod text_methods;
mod value;
mod walk;

pub use context::Context;
pub use fail::Fail;

use interp::Interp;
use parser::Parser;
use scope::Program;

/// A compiled template. It can be rendered any number of times, from any number of threads.
#[derive(Debug)]
pub struct Template {
    program: Result<Program, Box<Fail>>,
}

impl Template {
    /// Compiles a template. This cannot fail: as in Dify, a mistake in the text only shows when
    /// the template is rendered. Time and memory are linear in the text's length.
    pub fn compile(text: &str) -> Self {
        Self { program: Parser::parse(text).and_then(scope::resolve) }
    }

    /// Why this template is never rendered here: what it uses that only the real Jinja2 gives
    /// exactly. None if it may be rendered, though it can still be refused while it renders.
    pub fn refusal(&self) -> Option<&str> {
        match &self.program {
            Err(fail) => match &**fail {
                Fail::Refused(construct) => Some(construct),
                Fail::Raised { .. } => None,
            },
            Ok(_) => None,
        }
    }

    /// What is wrong with the text itself, if anything is.
    ///
    /// # Errors
    /// As [`Self::render`], whatever the context.
    pub fn check(&self) -> Result<(), Fail> {
        self.program.as_ref().map(|_| ()).map_err(|fail| (**fail).clone())
    }

    /// Renders the template. Bounded: at most a million steps and 64 MiB of text, beyond which it
    /// is refused.
    ///
    /// # Errors
    /// [`Fail::Raised`] where Jinja2 raises an exception, [`Fail::Refused`] where its exact
    /// answer is not known here.
    pub fn render(&self, context: &Context) -> Result<String, Fail> {
        let program = self.program.as_ref().map_err(|fail| (**fail).clone())?;
        Interp::new(program, context.values()).render().map_err(|fail| *fail)
    }
}
