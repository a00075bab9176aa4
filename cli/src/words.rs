//! Words that several verbs use for the same thing.

use flowmill_engine::graph::Mode;
use flowmill_engine::plan::TaskClass;

/// `app.mode`.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Workflow => "workflow",
        Mode::Chat => "advanced-chat",
    }
}

/// A class of workers.
pub(crate) fn class(class: TaskClass) -> &'static str {
    match class {
        TaskClass::Light => "light",
        TaskClass::Code => "code",
        TaskClass::Http => "http",
        TaskClass::Llm => "llm",
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
