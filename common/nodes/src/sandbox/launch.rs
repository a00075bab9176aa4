//! What holds a process of ours that becomes a program of the operator's. It is the cage of
//! [`super::cage`] with room for a program: it may read and run what is named, and have processes
//! of its own, which end with it.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{Isolation, Layer, State, filters};

/// The user and the group that own nothing.
const NOBODY: u32 = 65534;

/// What Landlock knows to hold back; older kernels hold back less of it.
const NEWEST: ABI = ABI::V6;

/// The version from which Landlock holds back every change of a file.
const WHOLE: i32 = 3;

/// How many processes and threads the user of a command may have.
const MOST_PROCESSES: u64 = 1024;

/// How many files a command may have open.
const MOST_FILES: u64 = 256;

/// What the process may take in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
}

/// What became of a layer and what there is to say about it.
type Attempt = Result<(State, String), Box<dyn std::error::Error>>;

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
    if Uid::effective().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        // its capabilities go with it
        setresuid(user, user, user)?;
    }
    prctl::set_no_new_privs()?;
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
    let status = rules.restrict_self()?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.unwrap_or(effective_abi as i32)
        }
        LandlockStatus::NotEnabled => return Err("Landlock is not enabled".into()),
        LandlockStatus::NotImplemented => return Err("this kernel has no Landlock".into()),
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("Landlock holds nothing back".into());
    }
    if std::fs::read_dir("/").is_ok() {
        return Err("the root folder can still be read".into());
    }
    let detail = format!("Landlock version {version}");
    if version < WHOLE {
        return Ok((State::Partial, detail + "; from 3 on it holds back truncation too"));
    }
    Ok((State::Active, detail))
}

fn limit(bounds: Bounds) -> Attempt {
    let limits = [
        (Resource::RLIMIT_AS, bounds.memory_bytes),
        (Resource::RLIMIT_CPU, bounds.cpu_seconds),
        (Resource::RLIMIT_NPROC, MOST_PROCESSES),
        (Resource::RLIMIT_NOFILE, MOST_FILES),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit)?;
    }
    Ok((State::Active, String::new()))
}

fn filter() -> Attempt {
    seccompiler::apply_filter(&filters::one_program()?)?;
    match UnixDatagram::unbound() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Ok((State::Active, String::new()))
        }
        Ok(_) | Err(_) => Err("a socket can still be made".into()),
    }
}
