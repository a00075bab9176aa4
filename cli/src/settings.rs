//! What is kept of how a run was begun, so that it can go on as it was.

use anyhow::Context as _;
use flowmill_engine::value::{Kind, Name};
use flowmill_engine::variables::Variable;
use flowmill_infra::sqlite::{Document, Origin};
use flowmill_nodes::mock::Mocks;
use serde_json::{Value as Json, json};

use crate::workflow::{Reading, Workflow, load};

/// How a run was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The text of its mocks.
    pub(crate) mocks: Option<String>,
    /// Whether Dify's limits hold.
    pub(crate) dify_limits: bool,
    /// Whether code nodes were allowed to run without a sandbox. It has to be said again.
    pub(crate) unsafe_code: bool,
}

impl Settings {
    /// All that a run needs beside its facts.
    pub(crate) fn origin(&self, workflow: &Workflow) -> Origin {
        let settings = json!({
            "mocks": self.mocks,
            "dify_limits": self.dify_limits,
            "unsafe_code": self.unsafe_code,
        });
        let document = Document {
            digest: workflow.digest.clone(),
            name: workflow.graph.name.clone(),
            text: workflow.text.clone(),
            has_secrets: workflow.plan.environment().iter().any(is_secret),
        };
        Origin { document, settings: settings.to_string().into() }
    }

    /// What was kept. Settings that a release does not know have no effect in it.
    fn read(text: &str) -> anyhow::Result<Self> {
        let kept: Json = serde_json::from_str(text).context("its settings are damaged")?;
        let is_set = |name: &str| kept[name].as_bool().unwrap_or(false);
        Ok(Self {
            mocks: kept["mocks"].as_str().map(str::to_owned),
            dify_limits: is_set("dify_limits"),
            unsafe_code: is_set("unsafe_code"),
        })
    }

    /// The workflow as the run's facts know it.
    pub(crate) fn workflow(origin: &Origin) -> anyhow::Result<(Self, Workflow)> {
        let settings = Self::read(&origin.settings)?;
        let mocks = match &settings.mocks {
            Some(text) => Mocks::parse(text).context("its mocks cannot be read")?,
            None => Mocks::default(),
        };
        let reading = Reading { dify_sizes: settings.dify_limits, ..Reading::default() };
        let workflow = load(&origin.document.text, reading, mocks)
            .context("its document cannot be read by this release")?;
        Ok((settings, workflow))
    }
}

fn is_secret((_, variable): &(Name, Variable)) -> bool {
    variable.kind == Kind::Secret
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "
app: {mode: workflow, name: Test}
kind: app
workflow:
  graph:
    nodes: [{id: s, data: {type: start, variables: []}}, {id: e, data: {type: end, outputs: []}}]
    edges: [{source: s, target: e}]
";

    #[test]
    fn a_run_comes_back_as_it_was_begun() {
        let settings = Settings {
            mocks: Some(r#"{"e": {"outputs": {}}}"#.to_owned()),
            dify_limits: true,
            unsafe_code: true,
        };
        let workflow = load(DOCUMENT, Reading::default(), Mocks::default()).unwrap();
        let origin = settings.origin(&workflow);
        let (read, again) = Settings::workflow(&origin).unwrap();
        assert_eq!((read, again.digest), (settings, workflow.digest));
        assert_eq!(Settings::read("{}").unwrap(), Settings::default());
    }
}
