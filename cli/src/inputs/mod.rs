//! A run's inputs as a command line gives them. What a workflow takes, and whether it takes these,
//! is `flowmill_workflow::inputs`.

mod local;
mod refusal;

pub(crate) use local::{FileArgument, LocalFiles, described};
pub(crate) use refusal::refusal;
