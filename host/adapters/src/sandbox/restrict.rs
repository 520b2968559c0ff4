//! What is taken from a thread before it starts a program: a program has no more than the thread that started it.
//!
//! Invariant: each step that fails ends the start. Where the operator accepts a weaker sandbox, a step that the kernel lacks is
//! left out, and no other.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::CapabilitySet;
use watchkeeper_domain::gate::{Profile, Reach, Widen};

use super::order::{Limits, Pipeline, User};
use super::view::open_named;

/// What every kernel that we run on without being told to accept less has: files, truncation, device controls, TCP ports,
/// abstract sockets and signals. Linux 6.12.
const NEEDED: ABI = ABI::V6;
/// What newer kernels hold besides is taken where it is there.
const NEWEST: ABI = ABI::V10;

/// Programs and their libraries: run and read.
const RUN: [&str; 15] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
];

/// What any program may look at: nothing here is anyone's secret.
const READ: [&str; 24] = [
    "/usr/share",
    "/usr/local/share",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/services",
    "/etc/protocols",
    "/etc/machine-id",
    "/etc/os-release",
    "/etc/iproute2",
    "/etc/ssl/certs",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
    "/run/utmp",
    "/run/udev/data",
    "/run/systemd/units",
    "/var/lib/systemd/catalog",
];

/// What every program has.
pub(super) fn always() -> impl Iterator<Item = &'static str> {
    RUN.into_iter().chain(READ).chain(["/dev/null"])
}

/// Folders of which only names are looked at.
const LIST: [&str; 1] = ["/dev"];

/// What the kernel refuses to do, or its name and why.
pub(super) type Step<T = ()> = Result<T, String>;

fn step<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Step<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Of the process, and so of all that it starts.
pub(super) fn limit(limits: &Limits, writes: bool) -> Step {
    let file = if writes { limits.file } else { 0 };
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::As, limits.memory),
        (Resource::Nofile, limits.open_files),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, file),
    ] {
        // Nobody but root may raise what was lowered before.
        let known = rustix::process::getrlimit(resource).maximum;
        let most = Some(known.map_or(most, |known| known.min(most)));
        let new = Rlimit { current: most, maximum: most };
        step(&format!("a limit of {resource:?}"), rustix::process::setrlimit(resource, new))?;
    }
    Ok(())
}

/// Files, ports, abstract sockets and signals, not yet in force. Built while the thread can still open every path.
pub(super) fn landlock(order: &Pipeline, profile: &Profile) -> Step<RulesetCreated> {
    step(
        "Landlock (Linux 6.12 or newer, with `landlock` among the kernel's `lsm=`)",
        try_landlock(order, profile),
    )
}

fn try_landlock(order: &Pipeline, profile: &Profile) -> Result<RulesetCreated, landlock::RulesetError> {
    let needed = if order.weaker { CompatLevel::BestEffort } else { CompatLevel::HardRequirement };
    let signals = profile.widen.iter().any(|widen| matches!(widen, Widen::Signal { .. }));
    let scopes = if signals { Scope::AbstractUnixSocket.into() } else { Scope::from_all(NEEDED) };
    let mut rules = Ruleset::default()
        .set_compatibility(needed)
        .handle_access(AccessFs::from_all(NEEDED))?
        .handle_access(AccessNet::from_all(NEEDED))?
        .scope(scopes)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .create()?
        .set_compatibility(CompatLevel::BestEffort);
    let file = AccessFs::ReadFile;
    let tree = file | AccessFs::ReadDir;
    let permit = |rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>| match PathFd::new(path) {
        Ok(opened) => {
            let folder = is_folder(&opened);
            let access = if folder { access } else { access & AccessFs::from_file(NEWEST) };
            rules.add_rule(PathBeneath::new(opened, access))
        }
        // Not there, or gone by now: then there is nothing to permit.
        Err(_) => Ok(rules),
    };
    for path in RUN {
        rules = permit(rules, Path::new(path), tree | AccessFs::Execute)?;
    }
    for path in READ {
        rules = permit(rules, Path::new(path), tree)?;
    }
    rules = permit(rules, Path::new("/dev/null"), file | AccessFs::WriteFile | AccessFs::Truncate)?;
    for path in LIST.iter().map(Path::new).chain(order.listable.iter().map(PathBuf::as_path)) {
        rules = permit(rules, path, AccessFs::ReadDir.into())?;
    }
    for path in &order.readable {
        rules = permit(rules, path, tree)?;
    }
    for path in &profile.list {
        rules = permit(rules, Path::new(path), AccessFs::ReadDir.into())?;
    }
    for path in &profile.read {
        rules = permit(rules, Path::new(path), tree)?;
    }
    if profile.kernel_log {
        rules = permit(rules, Path::new("/dev/kmsg"), file.into())?;
    }
    for widen in &profile.widen {
        let path = match widen {
            Widen::Signal { .. } => continue,
            Widen::Read { path } => {
                rules = permit_named(rules, Path::new(path))?;
                continue;
            }
            Widen::Attributes { path, beneath: true } => {
                rules = permit(rules, Path::new(path), AccessFs::ReadDir.into())?;
                continue;
            }
            Widen::Attributes { beneath: false, .. } => continue,
            Widen::Write { path } => Path::new(path),
        };
        if path.is_dir() {
            rules = permit(rules, path, tree | writing(true))?;
        } else {
            rules = permit(rules, path, file | AccessFs::WriteFile | AccessFs::Truncate)?;
        }
        // To make or remove a name is a right on its folder; the kernel knows no narrower one.
        if let Some(folder) = path.parent() {
            rules =
                permit(rules, folder, writing(path.is_dir()) & !(AccessFs::WriteFile | AccessFs::Truncate))?;
        }
    }
    match &profile.reach {
        Reach::Socket { path, .. } | Reach::Docker { path } => {
            permit(rules, Path::new(path), AccessFs::ResolveUnix.into())
        }
        Reach::Tcp { address } => match address.parse::<std::net::SocketAddr>() {
            Ok(address) => rules.add_rule(NetPort::new(address.port(), AccessNet::ConnectTcp)),
            Err(_) => Ok(rules),
        },
        Reach::Nothing | Reach::Netlink => Ok(rules),
    }
}

/// What a person saw. Of a folder, names alone: what is in it may be secret.
fn permit_named(rules: RulesetCreated, path: &Path) -> Result<RulesetCreated, landlock::RulesetError> {
    let Ok(opened) = open_named(path) else { return Ok(rules) };
    let access = if is_folder(&opened) { AccessFs::ReadDir } else { AccessFs::ReadFile };
    rules.add_rule(PathBeneath::new(opened, access))
}

fn writing(folders: bool) -> BitFlags<AccessFs> {
    let files = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    if folders { files | AccessFs::MakeDir | AccessFs::RemoveDir | AccessFs::MakeSym } else { files }
}

fn is_folder(opened: &impl AsFd) -> bool {
    rustix::fs::fstat(opened).is_ok_and(|about| rustix::fs::FileType::from_raw_mode(about.st_mode).is_dir())
}

/// Groups and user, if this process may change them.
pub(super) fn identity(user: Option<User>, groups: &[u32], keeps: CapabilitySet) -> Step {
    let privileged = rustix::process::geteuid().is_root();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if !privileged {
        return match user {
            Some(user) if (user.uid, user.gid) != (uid, gid) => {
                Err("another user needs a host that runs as root: leave `sandbox.user` out".to_owned())
            }
            _ => Ok(()),
        };
    }
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    step("its groups", rustix::thread::set_thread_groups(&groups))?;
    let User { uid, gid } = user.unwrap_or(User { uid, gid });
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    step("its group", rustix::thread::set_thread_res_gid(gid, gid, gid))?;
    step("keeping capabilities", rustix::thread::set_keep_capabilities(!keeps.is_empty()))?;
    step("its user", rustix::thread::set_thread_res_uid(uid, uid, uid))
}

/// What a profile needs: to signal another user's process, to read the kernel's messages, to change the attributes of another
/// user's file.
pub(super) fn kept(profile: &Profile) -> CapabilitySet {
    let mut kept = CapabilitySet::empty();
    if profile.kernel_log {
        kept |= CapabilitySet::SYSLOG;
    }
    for widen in &profile.widen {
        match widen {
            Widen::Signal { .. } => kept |= CapabilitySet::KILL,
            Widen::Attributes { beneath, .. } => {
                kept |= CapabilitySet::FOWNER | CapabilitySet::CHOWN;
                if *beneath {
                    // To go through another user's folders.
                    kept |= CapabilitySet::DAC_READ_SEARCH;
                }
            }
            Widen::Read { .. } | Widen::Write { .. } => {}
        }
    }
    kept
}

/// Every set loses every capability that isn't kept.
pub(super) fn capabilities(keeps: CapabilitySet) -> Step {
    let before = step("its capabilities", rustix::thread::capabilities(None))?;
    let keeps = keeps & before.permitted;
    // A process that may not shrink it has nothing to gain from it either: no program gives privileges any more.
    let shrinks = before.effective.contains(CapabilitySet::SETPCAP);
    // As many as the kernel knows; one more is an invalid argument.
    for capability in (0..64).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) if shrinks && !keeps.contains(capability) => {
                step("the bounding set", rustix::thread::remove_capability_from_bounding_set(capability))?;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    step("the ambient set", rustix::thread::clear_ambient_capability_set())?;
    let sets = rustix::thread::CapabilitySets { effective: keeps, permitted: keeps, inheritable: keeps };
    step("its capabilities", rustix::thread::set_capabilities(None, sets))?;
    for capability in keeps.iter() {
        step("the ambient set", rustix::thread::configure_capability_in_ambient_set(capability, true))?;
    }
    let after = step("its capabilities", rustix::thread::capabilities(None))?;
    if after.permitted == keeps && after.effective == keeps {
        Ok(())
    } else {
        Err("its capabilities are still there".to_owned())
    }
}

/// The file that programs read and write instead of nothing.
pub(super) fn nothing() -> Step<File> {
    step("/dev/null", File::options().read(true).write(true).open("/dev/null"))
}
