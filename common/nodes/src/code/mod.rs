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
#[cfg(feature = "http")]
mod remote;
mod results;
mod runner;
#[cfg(feature = "javascript")]
mod script_host;
mod spec;
mod templates;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;

pub use crate::sandbox::{Guest, Isolation, Layer, PythonSettings, Ran, SandboxWatch, State};
#[cfg(feature = "http")]
pub use remote::{EndpointError, RemoteSettings};
pub use runner::{CodeRunner, CodeSettings, JavaScriptSettings};
pub use templates::JinjaSettings;
pub(crate) use templates::{Rendering, too_long};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use results::Limits;
use spec::Spec;

/// `code`
pub const TYPE: NodeType = NodeType {
    name: "code",
    version: "1",
    about: "Runs a piece of Python or JavaScript.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Code, false)),
    retries: true,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[output("<name>", "as declared", "each declared output")],
    example: spec::EXAMPLE,
    compile,
    needs: Needs::Nothing,
};

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    let spec = Spec::read(fields);
    let reads = spec.inputs.iter().map(|input| input.selector.clone()).collect();
    let limits = if source.dify_sizes { &Limits::DIFY } else { &Limits::OURS };
    Node::task(Code { spec, limits }, reads)
}

#[derive(Debug)]
struct Code {
    spec: Spec,
    /// How large its result may be.
    limits: &'static Limits,
}

impl Code {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let Spec { language, code, inputs, outputs } = &self.spec;
        let inputs = inputs::to_json(inputs, variables)?;
        let printed = context.code.run(*language, code, &inputs, context.timeout).await?;
        let result = results::read(program::result_of(&printed)?)?;
        drop(printed);
        Ok(Success::of(results::outputs(result, outputs, self.limits)?))
    }
}

impl Execute for Code {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.run(variables, context))
    }
}
