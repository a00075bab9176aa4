//! What holds a process of ours that becomes a program of the operator's. It is the cage of
//! [`super::cage`] with room for a program: it may read and run what is named, and have processes
//! of its own, which end with it.

use std::path::Path;

use landlock::{
    Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use super::cage::{self, Attempt, Bounds, NEWEST, become_nobody, holds, makes_no_socket};
use super::{Isolation, Layer, State, filters};

/// How many processes and threads the user of a command may have.
const MOST_PROCESSES: u64 = 1024;

/// How many files a command may have open.
const MOST_FILES: u64 = 256;

/// Sets up all layers, for good. Where the sandbox is waived, only limits are set.
pub(crate) fn confine(bounds: Bounds, readable: &[&Path], sink: &Path, waived: bool) -> Isolation {
    let mut layers = Vec::new();
    let mut attempt = |name: &str, done: Attempt| {
        let (state, detail) = done.unwrap_or_else(|error| (State::Missing, error.to_string()));
        layers.push(Layer { name: name.to_owned(), state, detail });
    };
    if !waived {
        attempt("privileges", drop_privileges());
        attempt("files", close_files(readable, sink));
    }
    attempt("limits", limit(bounds));
    if !waived {
        attempt("system calls", filter());
    }
    Isolation { layers }
}

fn drop_privileges() -> Attempt {
    become_nobody()?;
    // a worker that is killed cannot end it
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok((State::Active, format!("uid {}", Uid::effective())))
}

fn close_files(readable: &[&Path], sink: &Path) -> Attempt {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let write: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let named = readable.iter().map(|path| (*path, read)).chain([(sink, write)]);
    for (path, access) in named {
        // what is not there needs no rule
        let Ok(file) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        rules = rules.add_rule(PathBeneath::new(file, access))?;
    }
    holds(&rules.restrict_self()?)
}

/// The cage's own limits, and room for some processes.
fn limit(bounds: Bounds) -> Attempt {
    setrlimit(Resource::RLIMIT_NPROC, MOST_PROCESSES, MOST_PROCESSES)?;
    setrlimit(Resource::RLIMIT_NOFILE, MOST_FILES, MOST_FILES)?;
    cage::limit(bounds)
}

fn filter() -> Attempt {
    seccompiler::apply_filter(&filters::one_program()?)?;
    makes_no_socket()
}
