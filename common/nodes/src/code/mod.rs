//! `code`: runs a piece of Python or JavaScript and checks what its `main` returns
//! (spec/nodes.md §4.1).
//!
//! The program around the code, the reading of its result and all error texts are Dify's; what
//! the code itself can see differs where it must: Python has its standard library and nothing
//! else, JavaScript has neither `require` nor Node's own globals.

mod inputs;
#[cfg(feature = "javascript")]
mod javascript;
mod program;
mod python;
mod results;
mod runner;
mod spec;
mod zygote;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::Success;
use flowmill_engine::variables::{Selector, Variables};
use futures::future::BoxFuture;

pub use python::PythonSettings;
pub use runner::{CodeRunner, CodeSettings, JavaScriptSettings};

use crate::context::{Execute, NodeContext};
use spec::Spec;

/// A code node, ready to be executed.
#[derive(Debug)]
pub struct CodeNode {
    spec: Spec,
}

impl CodeNode {
    /// Reads a node's data. The node counts only if there is no error among the problems.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self { spec: Spec::read(fields) }
    }

    /// The variables it reads.
    pub fn reads(&self) -> Vec<Selector> {
        self.spec.inputs.iter().map(|input| input.selector.clone()).collect()
    }

    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { language, code, inputs, outputs } = &self.spec;
        let inputs = inputs::to_json(inputs, variables)?;
        let printed = context.code.run(*language, code, &inputs, context.timeout).await?;
        let result = program::result_of(&printed)?;
        Ok(Success::of(results::outputs(result, outputs)?))
    }
}

impl Execute for CodeNode {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
