//! A workflow's validated, executable form.

mod behaviour;
mod containers;

pub use behaviour::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Iteration, Loop, LoopValue,
    LoopVariable, OnItemError, Outputs, Source, Success, TaskClass, TaskNode, Write,
};
pub use containers::flatten;
