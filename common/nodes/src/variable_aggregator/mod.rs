//! `variable-aggregator`: the first of several variables that there is (spec/nodes.md §3.2).

mod spec;

use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Evaluation, Inline, Source};
use flowmill_engine::variables::{Selector, Variable, Variables};

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::shared::Named;

use spec::Spec;

/// `variable-aggregator`
pub(crate) const TYPE: NodeType = NodeType {
    name: "variable-aggregator",
    version: "1",
    about: "Gives the first of several variables that exists, such as the one of the branch taken.",
    category: Category::Executable,
    runs: Runs::Inline,
    retries: false,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("output", "that of the variable", "the first variable found; absent when none is"),
        output("<group>", "object", "with groups: `{output: value}` for each that found one"),
    ],
    example: r#"{"output_type": "string", "variables": [["a", "x"], ["b", "x"]],
        "advanced_settings": {"group_enabled": false, "groups": [
            {"group_name": "Group1", "output_type": "string", "variables": [["a", "x"]]}]}}"#,
    compile,
};

#[derive(Debug)]
struct Aggregator(Spec);

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let spec = spec::read(fields);
    let reads = match &spec {
        Spec::One(selectors) => selectors.clone(),
        Spec::Groups(groups) => {
            groups.iter().flat_map(|(_, selectors)| selectors).cloned().collect()
        }
    };
    Node::inline(Aggregator(spec), reads)
}

impl Inline for Aggregator {
    fn run(&self, variables: &Variables) -> Evaluation {
        let mut outputs = Named::default();
        match &self.0 {
            Spec::One(selectors) => {
                if let Some(found) = first(selectors, variables) {
                    outputs.put(&"output".into(), found);
                }
            }
            Spec::Groups(groups) => {
                for (name, selectors) in groups {
                    if let Some(found) = first(selectors, variables) {
                        outputs.put(name, Variable::group(&found));
                    }
                }
            }
        }
        Evaluation::Succeeded(outputs.success())
    }
}

/// The first that exists; a null counts. It keeps its type tag, and where it lies.
fn first(selectors: &[Selector], variables: &Variables) -> Option<Variable> {
    selectors.iter().find_map(|selector| variables.take(selector.parts()))
}
