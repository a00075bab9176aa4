//! Which system calls the processes of programs may make. Two filters, the second on top of the
//! first: what no process of ours needs once it is set up is refused to all, and a program may
//! make only those calls that computing takes. A process that only reads and writes its streams
//! has a third, which allows still less. Whatever is not allowed is refused with EPERM, calls of
//! future kernels included.

use std::fmt::Write as _;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule,
};

use super::filter_tree::{Rules, compile};

/// The filter of a process that starts programs, then that of each program, as the kernel reads
/// them, in hexadecimal digits. They reach the process as text.
pub(super) fn both() -> Result<[String; 2], seccompiler::BackendError> {
    let refused = DENIED_TO_ALL.iter().map(|call| (*call, Vec::new())).collect();
    let mut allowed: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    allowed.extend(ALLOWED_OLD.iter().map(|call| (*call, Vec::new())));
    allowed.extend(allowed_in_part()?);
    let errno = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    Ok([
        digits(&compile(refused, SeccompAction::Allow, errno.clone())?),
        digits(&compile(allowed, errno, SeccompAction::Allow)?),
    ])
}

/// The filter of a process that becomes a program of the operator's: as for all, but that it may run
/// programs, and may not leave the group by which it is ended.
pub(super) fn one_program() -> Result<BpfProgram, seccompiler::BackendError> {
    let is_refused = |call: &&i64| ![libc::SYS_execve, libc::SYS_execveat].contains(*call);
    let refused = DENIED_TO_ALL.iter().filter(is_refused).copied();
    let refused = refused.chain([libc::SYS_setsid, libc::SYS_setpgid]);
    let refused = refused.map(|call| (call, Vec::new())).collect();
    compile(refused, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM.unsigned_abs()))
}

/// The filter of a process of ours that turns what it reads from its stdin into what it writes to
/// its stdout.
pub(super) fn streams_only() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut allowed: Rules = STREAMS.iter().map(|call| (*call, Vec::new())).collect();
    // No memory becomes code.
    let executable = SeccompCmpOp::MaskedEq(number(libc::PROT_EXEC));
    let data = SeccompCondition::new(2, SeccompCmpArgLen::Dword, executable, 0)?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allowed.insert(call, vec![SeccompRule::new(vec![data.clone()])?]);
    }
    compile(allowed, SeccompAction::Errno(libc::EPERM.unsigned_abs()), SeccompAction::Allow)
}

fn digits(program: &BpfProgram) -> String {
    let mut text = String::with_capacity(program.len() * 16);
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            // Text takes everything.
            let _ = write!(text, "{byte:02x}");
        }
    };
    for instruction in program {
        add(&instruction.code.to_ne_bytes());
        add(&[instruction.jt, instruction.jf]);
        add(&instruction.k.to_ne_bytes());
    }
    text
}

/// Calls of which a program may make some.
fn allowed_in_part() -> Result<Rules, seccompiler::BackendError> {
    let equal = |argument: u8, value: u64| {
        let width = SeccompCmpArgLen::Dword;
        SeccompCondition::new(argument, width, SeccompCmpOp::Eq, value)
    };
    let one_of = |argument: u8, values: &[u64]| -> Result<Vec<_>, seccompiler::BackendError> {
        values.iter().map(|value| SeccompRule::new(vec![equal(argument, *value)?])).collect()
    };
    let stream = SeccompCondition::new(
        1,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(0xf),
        number(libc::SOCK_STREAM),
    )?;
    Ok(Rules::from([
        // What reads and sets flags; nothing that sends signals.
        (libc::SYS_fcntl, one_of(1, &FCNTL.map(number))?),
        (libc::SYS_ioctl, one_of(1, &IOCTL)?),
        // Its own limits only.
        (libc::SYS_prlimit64, one_of(0, &[0])?),
        // Two ends of one pipe, as event loops need it; a datagram could be sent elsewhere.
        (
            libc::SYS_socketpair,
            vec![SeccompRule::new(vec![equal(0, number(libc::AF_UNIX))?, stream])?],
        ),
    ]))
}

fn number(constant: i32) -> u64 {
    u64::from(constant.unsigned_abs())
}

const FCNTL: [i32; 9] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_GETPIPE_SZ,
];

const IOCTL: [u64; 5] =
    [libc::TCGETS, libc::FIOCLEX, libc::FIONCLEX, libc::FIONBIO, libc::FIONREAD];

/// Other programs, other processes, the network, the system as a whole, and the corners of the
/// kernel that most of its holes were found in.
const DENIED_TO_ALL: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_connect,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_listen,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_memfd_create,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_socket,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    libc::SYS_vmsplice,
];

/// What computing takes: memory, time, open files, its own signals and numbers.
const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_chdir,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fchdir,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_sendfile,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setitimer,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Memory, the streams that are open, and what the end of a thread and of the process take.
const STREAMS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older forms of the same that newer machines never had.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[i64] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_into_the_kernel() {
        let filters = both().unwrap();
        for filter in filters {
            assert_eq!(filter.len() % 16, 0);
            assert!((50..400).contains(&(filter.len() / 16)), "{}", filter.len() / 16);
        }
        assert!((30..200).contains(&streams_only().unwrap().len()));
    }
}
