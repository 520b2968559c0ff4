//! Which system calls a program may make: those named here, and no other.
//!
//! Landlock knows files, TCP ports, abstract sockets and signals. All else that could change something beyond the program
//! itself (modes, owners, attributes, times of files; mounts, name spaces, clocks, keys, modules, other processes' memory and
//! priority, shared memory, queues) is not in the list. Modes, owners, attributes and times are for a program in whose view
//! nothing can be changed but what was named. A call that isn't fails with EPERM; one by which libraries only try
//! whether the kernel is new enough, and whose arguments can't be looked at, with ENOSYS. Calls by another architecture's
//! numbers end the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use watchkeeper_domain::gate::{Profile, Reach, Widen};

/// Calls that can do nothing beyond what the process has, or may open by Landlock's leave.
const ALWAYS: &[i64] = &[
    // Open files
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_flock,
    libc::SYS_umask,
    libc::SYS_name_to_handle_at,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Its own memory
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    libc::SYS_get_mempolicy,
    // Its own signals and time
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    // Who and what it is
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrlimit,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_prctl,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_getpriority,
    libc::SYS_ioprio_get,
    libc::SYS_getcpu,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_getattr,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_getrandom,
    libc::SYS_pidfd_open,
    // Its threads and children
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Waiting
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    // On sockets that it has
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // statmount and listmount, which the newest findmnt uses; libc has no names for them yet
    457,
    458,
];

/// The older spellings of the above.
#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[i64] = &[];

/// What a program needs besides that may write somewhere; Landlock says where.
const WRITING: &[i64] = &[
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fallocate,
];
#[cfg(target_arch = "x86_64")]
const WRITING_HERE: &[i64] = &[
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
];
#[cfg(not(target_arch = "x86_64"))]
const WRITING_HERE: &[i64] = &[libc::SYS_renameat2];

/// What a program needs besides that may change files' owners, times and extended attributes; its view says whose.
const CHANGING: &[i64] = &[
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];
#[cfg(target_arch = "x86_64")]
const CHANGING_HERE: &[i64] =
    &[libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const CHANGING_HERE: &[i64] = &[];

/// And their modes, each with the argument that is the mode.
const CHANGING_MODES: &[(i64, u8)] =
    &[(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2)];
#[cfg(target_arch = "x86_64")]
const CHANGING_MODES_HERE: &[(i64, u8)] = &[(libc::SYS_chmod, 1)];
#[cfg(not(target_arch = "x86_64"))]
const CHANGING_MODES_HERE: &[(i64, u8)] = &[];

/// To run as a file's owner or group: no program gives that to a file, whoever agreed.
const SET_ID: u64 = 0o6000;

/// What a program needs that may open a socket.
const TALKING: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_setsockopt,
];

/// To send a signal. Landlock keeps it to the program's own children.
const SIGNALLING: &[i64] = &[libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill];

/// Their flags lie in memory, where no filter can look; libraries then use the older call.
const NOT_IMPLEMENTED: &[i64] = &[libc::SYS_clone3, libc::SYS_openat2];

/// What may be asked of a terminal, a pipe, or a file's attributes: nothing that changes one.
const IOCTLS: &[u64] = &[
    libc::TCGETS,
    0x802c_542a,
    libc::TIOCGWINSZ,
    libc::TIOCGPGRP,
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONCLEX,
    0x8008_6601,
];

/// And of a network interface: the SIOCGIF… that only look.
const INTERFACE_IOCTLS: &[u64] =
    &[0x8906, 0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8942];

/// Every kind of name space, and to be a child of one's parent or traced by its tracer.
const NOT_CLONED: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PARENT
    | libc::CLONE_PTRACE
    | libc::CLONE_UNTRACED
    | 0x80) as u32 as u64;

/// A socket's type is its low bits; beside them are flags.
const TYPE: u64 = 0xf;

/// The two filters, in the order in which they are to be applied.
pub(super) struct Filters {
    not_implemented: BpfProgram,
    allowed: BpfProgram,
}

impl Filters {
    /// `scoped`: Landlock holds signals.
    pub(super) fn new(profile: &Profile, scoped: bool) -> Result<Self, seccompiler::Error> {
        let not_implemented = NOT_IMPLEMENTED.iter().map(|call| (*call, Vec::new())).collect();
        let (errno, allow) = (|code: i32| SeccompAction::Errno(code as u32), SeccompAction::Allow);
        Ok(Self {
            // Of two filters the stricter action counts, so what this one lets pass is the other's to judge.
            not_implemented: compile(not_implemented, allow.clone(), errno(libc::ENOSYS))?,
            allowed: compile(allowed(profile, scoped)?, errno(libc::EPERM), allow)?,
        })
    }

    /// To this thread, and so to what it starts.
    pub(super) fn apply(&self) -> Result<(), seccompiler::Error> {
        seccompiler::apply_filter(&self.not_implemented)?;
        seccompiler::apply_filter(&self.allowed)
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, matched, architecture)?.try_into()?)
}

fn allowed(profile: &Profile, scoped: bool) -> Result<Rules, seccompiler::Error> {
    let mut rules = Rules::new();
    let mut always = |calls: &[i64]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    always(ALWAYS);
    always(ALWAYS_HERE);
    // The second of the two filters is applied through this one's own call; the first has no word in it.
    always(NOT_IMPLEMENTED);
    let writes = profile.widen.iter().any(|widen| matches!(widen, Widen::Write { .. }));
    if writes {
        always(WRITING);
        always(WRITING_HERE);
    }
    let changes = profile.widen.iter().any(|widen| matches!(widen, Widen::Attributes { .. }));
    if changes {
        always(CHANGING);
        always(CHANGING_HERE);
    }
    let talks = profile.reach != Reach::Nothing;
    if talks {
        always(TALKING);
    }
    let signalled: Vec<i32> = profile
        .widen
        .iter()
        .filter_map(|widen| match widen {
            Widen::Signal { process } => Some(*process),
            Widen::Read { .. } | Widen::Write { .. } | Widen::Attributes { .. } => None,
        })
        .collect();
    if signalled.is_empty() && scoped {
        always(SIGNALLING);
    }

    let mut when = |call: i64, conditions: Vec<Vec<SeccompCondition>>| {
        let alternatives = conditions.into_iter().map(SeccompRule::new).collect::<Result<Vec<_>, _>>()?;
        rules.insert(call, alternatives);
        Ok::<_, seccompiler::Error>(())
    };
    // A process that is named may be sent a signal; then Landlock's scope is off, so it is that one alone.
    if !signalled.is_empty() {
        let named = signalled.iter().map(|process| Ok(vec![is(0, *process as u32 as u64)?]));
        when(libc::SYS_kill, named.collect::<Result<_, seccompiler::Error>>()?)?;
    }
    if changes {
        for (call, mode) in CHANGING_MODES.iter().chain(CHANGING_MODES_HERE) {
            when(*call, vec![vec![masked(*mode, SET_ID, 0)?]])?;
        }
    }
    if writes {
        // Where nothing is created there need be no mode.
        let creates = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;
        let open = |flags| {
            let modes = vec![vec![masked(flags, creates, 0)?], vec![masked(flags + 1, SET_ID, 0)?]];
            Ok::<_, seccompiler::Error>(modes)
        };
        when(libc::SYS_openat, open(2)?)?;
        #[cfg(target_arch = "x86_64")]
        {
            when(libc::SYS_open, open(1)?)?;
            when(libc::SYS_creat, vec![vec![masked(1, SET_ID, 0)?]])?;
        }
    }
    when(libc::SYS_clone, vec![vec![masked(0, NOT_CLONED, 0)?]])?;
    when(libc::SYS_prlimit64, vec![vec![is(0, 0)?]])?;
    when(libc::SYS_personality, vec![vec![is(0, 0xffff_ffff)?], vec![is(0, 0)?]])?;
    when(libc::SYS_fcntl, fcntls()?)?;
    let interfaces: &[u64] = if profile.reach == Reach::Netlink { INTERFACE_IOCTLS } else { &[] };
    let ioctls = IOCTLS.iter().chain(interfaces).map(|request| Ok(vec![is(1, *request)?]));
    when(libc::SYS_ioctl, ioctls.collect::<Result<_, seccompiler::Error>>()?)?;
    if profile.kernel_log {
        // To read all, and the two sizes; not to clear, nor to silence the console.
        let reads = [3, 9, 10].map(|action| Ok(vec![is(0, action)?]));
        when(libc::SYS_syslog, reads.into_iter().collect::<Result<_, seccompiler::Error>>()?)?;
    }
    // A pair of datagram sockets could send to any other; streams are bound to each other.
    let stream = libc::SOCK_STREAM as u64;
    when(libc::SYS_socketpair, vec![vec![is(0, libc::AF_UNIX as u64)?, masked(1, TYPE, stream)?]])?;
    let sockets = sockets(&profile.reach)?;
    if !sockets.is_empty() {
        when(libc::SYS_socket, sockets)?;
    }
    // Fast open connects with no call to connect.
    let fast = libc::MSG_FASTOPEN as u64;
    when(libc::SYS_sendto, vec![vec![masked(3, fast, 0)?]])?;
    when(libc::SYS_sendmsg, vec![vec![masked(2, fast, 0)?]])?;
    when(libc::SYS_sendmmsg, vec![vec![masked(3, fast, 0)?]])?;
    Ok(rules)
}

/// All but leases, and signals for what happens to a file.
fn fcntls() -> Result<Vec<Vec<SeccompCondition>>, seccompiler::Error> {
    let mut commands = vec![vec![compare(1, SeccompCmpOp::Le, libc::F_SETLKW as u64)?]];
    for command in [libc::F_GETOWN, 16, 36, 37, 38, 1030, 1031, 1032, 1034] {
        commands.push(vec![is(1, command as u64)?]);
    }
    Ok(commands)
}

fn sockets(reach: &Reach) -> Result<Vec<Vec<SeccompCondition>>, seccompiler::Error> {
    let stream = || masked(1, TYPE, libc::SOCK_STREAM as u64);
    Ok(match reach {
        Reach::Nothing => Vec::new(),
        Reach::Netlink => {
            let netlink = libc::AF_NETLINK as u64;
            let kinds = [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG]
                .map(|kind| Ok(vec![is(0, netlink)?, is(2, kind as u64)?]));
            kinds.into_iter().collect::<Result<_, seccompiler::Error>>()?
        }
        Reach::Socket { .. } | Reach::Docker { .. } => vec![vec![is(0, libc::AF_UNIX as u64)?, stream()?]],
        // Not MPTCP and SCTP, which are streams, too.
        Reach::Tcp { .. } => {
            let mut kinds = Vec::new();
            for family in [libc::AF_INET, libc::AF_INET6] {
                for protocol in [0, libc::IPPROTO_TCP] {
                    kinds.push(vec![is(0, family as u64)?, stream()?, is(2, protocol as u64)?]);
                }
            }
            kinds
        }
    })
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::Error> {
    compare(argument, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, seccompiler::Error> {
    compare(argument, SeccompCmpOp::MaskedEq(mask), value)
}

/// By the lower half of an argument, which is all that the kernel takes of these.
fn compare(argument: u8, by: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, by, value)?)
}
