//! What holds a process of ours that reads what strangers wrote: the layers that `confine.py` puts
//! around programs, tighter, because such a process needs nothing but its three streams. It opens
//! no file, makes no socket, process or thread, and no memory of it becomes code.
//!
//! A process enters its cage while it has one thread, starts the thread that works, and that one
//! seals the cage for both before it reads a byte.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetStatus, Scope,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{Isolation, Layer, State, filters};

/// The user and the group that own nothing.
const NOBODY: u32 = 65534;

/// What Landlock knows to hold back; older kernels hold back less of it.
pub(super) const NEWEST: ABI = ABI::V6;

/// The version from which Landlock holds back every change of a file.
const WHOLE: i32 = 3;

/// What the process may take in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
}

/// What became of a layer and what there is to say about it.
pub(super) type Attempt = Result<(State, String), Box<dyn std::error::Error>>;

/// The layers that threads inherit; the last one is missing yet.
#[derive(Debug)]
pub(crate) struct Cage {
    layers: Vec<Layer>,
    waived: bool,
}

impl Cage {
    /// Sets up all but the last layer. Where the sandbox is waived, only limits are set.
    pub(crate) fn enter(bounds: Bounds, waived: bool) -> Self {
        let mut cage = Self { layers: Vec::new(), waived };
        if !waived {
            cage.attempt("privileges", drop_privileges);
            cage.attempt("files", close_files);
        }
        cage.attempt("limits", || limit(bounds));
        cage
    }

    /// Sets up the last layer, for all threads there are; no further one can be made.
    pub(crate) fn seal(mut self) -> Isolation {
        if !self.waived {
            self.attempt("system calls", filter);
        }
        Isolation { layers: self.layers }
    }

    fn attempt(&mut self, name: &str, work: impl FnOnce() -> Attempt) {
        let (state, detail) = work().unwrap_or_else(|error| (State::Missing, error.to_string()));
        self.layers.push(Layer { name: name.to_owned(), state, detail });
    }
}

/// A process of the system's user becomes one of nobody, and none can become more again.
pub(super) fn become_nobody() -> nix::Result<()> {
    if Uid::effective().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        // Its capabilities go with it.
        setresuid(user, user, user)?;
    }
    prctl::set_no_new_privs()
}

fn drop_privileges() -> Attempt {
    become_nobody()?;
    // Nobody of the same user may look into this process.
    prctl::set_dumpable(false)?;
    Ok((State::Active, format!("uid {}", Uid::effective())))
}

/// No rule follows, so nothing can be opened, started, connected to or signalled.
fn close_files() -> Attempt {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    holds(&status)
}

/// Whether Landlock holds what it was told, and nothing of the disk can be read any more.
pub(super) fn holds(status: &RestrictionStatus) -> Attempt {
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
    refused(std::fs::read_dir("/").map(drop), "the root folder can still be read")?;
    let detail = format!("Landlock version {version}");
    if version < WHOLE {
        return Ok((State::Partial, detail + "; from 3 on it holds back truncation too"));
    }
    Ok((State::Active, detail))
}

/// Memory and time, and no files, dumps, locked memory or queues.
pub(super) fn limit(bounds: Bounds) -> Attempt {
    let limits = [
        (Resource::RLIMIT_AS, bounds.memory_bytes),
        (Resource::RLIMIT_CPU, bounds.cpu_seconds),
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
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    seccompiler::apply_filter_all_threads(&filters::streams_only()?)?;
    makes_no_socket()
}

/// Whether sockets are refused.
pub(super) fn makes_no_socket() -> Attempt {
    refused(UnixDatagram::unbound().map(drop), "a socket can still be made")?;
    Ok((State::Active, String::new()))
}

fn refused(tried: std::io::Result<()>, otherwise: &str) -> Result<(), String> {
    match tried {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Ok(()) | Err(_) => Err(otherwise.to_owned()),
    }
}
