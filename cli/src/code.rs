//! How code nodes run: the flags, and what is said about their sandbox.

use flowmill_nodes::code::{CodeRunner, CodeSettings};

use crate::console::talk;

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct CodeFlags {
    /// Let Python code share interpreters instead of a clean one each: many times faster, but what
    /// one program leaves behind in modules the next one finds. Still in the sandbox.
    #[arg(long)]
    pub(crate) trusted_code: bool,
    /// Let Python code run without the sandbox, with your rights, files and network: where the
    /// sandbox cannot be set up, or holds code that you trust too tightly.
    #[arg(long)]
    pub(crate) unsafe_code: bool,
}

impl CodeFlags {
    pub(crate) fn settings(self) -> CodeSettings {
        let Self { trusted_code, unsafe_code } = self;
        CodeSettings { trusted_code, unsafe_code, ..CodeSettings::default() }
    }
}

/// Says what the sandbox lacked, if code ran in one that lacked anything.
pub(crate) fn warn(code: &CodeRunner) {
    let isolation = code.isolation().unwrap_or_default();
    for layer in isolation.lacking() {
        talk(format_args!("warning: the sandbox of code nodes is incomplete: {layer}"));
    }
}
