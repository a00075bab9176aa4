//! Words that several verbs use for the same thing.

use flowmill_engine::graph::Mode;

/// `app.mode`.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Workflow => "workflow",
        Mode::Chat => "advanced-chat",
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
