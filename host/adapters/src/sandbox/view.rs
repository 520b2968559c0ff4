//! A machine in which one program finds no peer but its own, or no file to change but what was named: what it could reach
//! otherwise isn't there.
//!
//! A file-system view for a Unix socket, since no filter sees the path of a connect and Landlock learns of it only in the
//! newest kernels; one for changes of modes and owners, which neither knows; a network of its own for a TCP endpoint, since
//! Landlock knows ports but no addresses.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

/// What is there of the real machine, beside the allowed directories.
const SHOWN: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/proc",
    "/sys",
    "/run/utmp",
    "/run/udev",
    "/run/log",
];
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// Where the new root is put together. Any folder that is always there would do: nobody else sees it.
const STAGE: [&str; 3] = ["/mnt", "/tmp", "/opt"];

/// systemctl looks for it to know whether systemd runs.
const BOOTED: &str = "/run/systemd/system";

/// What lies at the one path.
pub(super) enum Peer<'a> {
    /// The real socket.
    Real(&'a Path),
    /// One of ours, which is answered from outside.
    Ours(&'a Path),
}

/// Moves this thread into a view with one socket in it. Gives the listener, if it is ours.
pub(super) fn with_socket(peer: &Peer, shown: &[PathBuf]) -> io::Result<Option<UnixListener>> {
    let stage = begin()?;
    // Opened first: the stage may hide it.
    let real = match peer {
        Peer::Real(path) => {
            let opened = rustix::fs::open(*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            Some(
                opened
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?,
            )
        }
        Peer::Ours(_) => None,
    };
    empty(stage, c"mode=0755,size=1m")?;
    for path in SHOWN.iter().map(Path::new).chain(shown.iter().map(PathBuf::as_path)) {
        show(stage, path)?;
    }
    for path in DEVICES {
        show(stage, Path::new(path))?;
    }
    if Path::new(BOOTED).is_dir() {
        fs::create_dir_all(beneath(stage, Path::new(BOOTED)))?;
    }
    let listener = match (peer, real) {
        (Peer::Real(path), Some(real)) => {
            let target = beneath(stage, path);
            make_file(&target)?;
            rustix::mount::mount_bind(opened(&real), &target)?;
            None
        }
        (Peer::Real(path) | Peer::Ours(path), _) => {
            let target = beneath(stage, path);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            let listener = UnixListener::bind(&target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o666))?;
            Some(listener)
        }
    };
    enter(stage)?;
    Ok(listener)
}

/// Mounts that nobody else sees, and the folder in which a new root is put together.
fn begin() -> io::Result<&'static Path> {
    unshare(UnshareFlags::NEWNS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let stage = STAGE.iter().map(Path::new).find(|path| path.is_dir());
    stage.ok_or_else(|| io::Error::other("there is none of /mnt, /tmp and /opt to build it in"))
}

fn empty(stage: &Path, options: &std::ffi::CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("tmpfs", stage, "tmpfs", flags, Some(options))?)
}

/// The stage is all that there is from now on.
fn enter(stage: &Path) -> io::Result<()> {
    rustix::process::chdir(stage)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// What is open, as a path that leads nowhere else.
fn opened(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn beneath(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

/// The same thing at the same place; a link as a link.
fn show(stage: &Path, path: &Path) -> io::Result<()> {
    let Ok(about) = path.symlink_metadata() else {
        return Ok(());
    };
    let target = beneath(stage, path);
    if target.symlink_metadata().is_ok_and(|there| !there.is_dir() || is_mounted(&target)) {
        return Ok(());
    }
    if about.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(path)?, target);
    }
    if about.is_dir() {
        fs::create_dir_all(&target)?
    } else {
        make_file(&target)?
    }
    Ok(rustix::mount::mount_bind_recursive(path, &target)?)
}

/// An allowed directory inside of what is shown already.
fn is_mounted(target: &Path) -> bool {
    fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some())
}

fn make_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create(path).map(drop)
}

/// What a program may change the attributes of.
pub(super) struct Changeable<'a> {
    pub path: &'a Path,
    /// Of all in this folder, too.
    pub beneath: bool,
}

/// Moves this thread into a view in which the attributes of what is named can be changed, and of nothing else: the rest is
/// mounted read-only, or isn't there. It is the mount by which the kernel refuses a new mode, owner or time, whatever way leads
/// to the file. There is no /proc in it, whose links lead to other views.
pub(super) fn with_changeable<'a>(
    named: &[Changeable],
    shown: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let stage = begin()?;
    // Opened first: the stage may hide it. In the order of their paths: a folder would hide what was put into it before.
    let mut found = Vec::new();
    for named in named {
        match changeable(named) {
            Ok(file) => found.push((named, file)),
            // The program itself will say so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::other(format!("{}: {error}", named.path.display()))),
        }
    }
    found.sort_by_key(|(named, _)| named.path);
    empty(stage, c"mode=0755,size=1m")?;
    for path in shown.map(Path::new) {
        let target = beneath(stage, path);
        if make(path, &target)? {
            bind_read_only(path, &target)?;
        }
    }
    for (named, file) in found {
        let target = beneath(stage, named.path);
        if is_folder(&file)? {
            fs::create_dir_all(&target)?;
        } else if !target.exists() {
            make_file(&target)?;
        }
        rustix::mount::mount_bind(opened(&file), &target)?;
        if is_folder(&file)? && !named.beneath {
            let inside = protect(stage, &target);
            inside.map_err(|error| io::Error::other(format!("{}: {error}", named.path.display())))?;
        }
    }
    rustix::mount::mount_remount(stage, MountFlags::BIND | READ_ONLY | MountFlags::NODEV, "")?;
    enter(stage)
}

const READ_ONLY: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID);

/// Folders have that many entries where only their own attributes are to be changed: each is mounted for itself.
const MAX_ENTRIES: usize = 4096;

/// Opened without following any link: what a person saw is a path, and where a link leads is another.
pub(super) fn open_named(path: &Path) -> io::Result<OwnedFd> {
    let how = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    rustix::fs::openat2(rustix::fs::CWD, path, how.0, how.1, how.2).map_err(|error| match error {
        rustix::io::Errno::LOOP => {
            io::Error::other("it is a link, or there is one on its way: name where it leads")
        }
        other => other.into(),
    })
}

fn changeable(named: &Changeable) -> io::Result<OwnedFd> {
    let file = open_named(named.path)?;
    if rustix::fs::fstatfs(&file)?.f_type == libc::PROC_SUPER_MAGIC {
        return Err(io::Error::other("what is in /proc isn't changed by its attributes"));
    }
    if named.beneath
        && let Some(inside) = mounted_beneath(named.path)?
    {
        let inside = inside.display();
        return Err(io::Error::other(format!(
            "another file system is mounted in it, at {inside}: name its folders one by one"
        )));
    }
    Ok(file)
}

/// A bind mount leaves out what is mounted further in.
fn mounted_beneath(path: &Path) -> io::Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    Ok(points.map(PathBuf::from).find(|point| point.starts_with(path) && point != path))
}

/// As the kernel writes paths into its tables: a blank is \040.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn is_folder(file: &impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode).is_dir())
}

/// The same kind of thing in the view, for the thing itself to be mounted on: `false` where there is none, or a link was made of
/// a link.
fn make(path: &Path, target: &Path) -> io::Result<bool> {
    let Ok(about) = path.symlink_metadata() else {
        return Ok(false);
    };
    if about.is_dir() {
        fs::create_dir_all(target)?;
    } else if about.is_symlink() {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        std::os::unix::fs::symlink(fs::read_link(path)?, target)?;
    } else {
        make_file(target)?;
    }
    Ok(!about.is_symlink())
}

fn bind_read_only(path: &Path, target: &Path) -> io::Result<()> {
    rustix::mount::mount_bind(path, target)?;
    let kept = rustix::fs::statvfs(target)?.f_flag;
    let mut flags = MountFlags::BIND | READ_ONLY;
    flags.set(MountFlags::NODEV, kept.contains(StatVfsMountFlags::NODEV));
    flags.set(MountFlags::NOEXEC, kept.contains(StatVfsMountFlags::NOEXEC));
    Ok(rustix::mount::mount_remount(target, flags, "")?)
}

/// Mounts each entry of a folder over itself, read-only. A link can't be, and has no mode; what comes into the folder later
/// isn't held.
fn protect(stage: &Path, folder: &Path) -> io::Result<()> {
    let held = stage.join(".held");
    fs::create_dir(&held)?;
    bind_read_only(folder, &held)?;
    for (number, entry) in fs::read_dir(folder)?.enumerate() {
        if number == MAX_ENTRIES {
            return Err(io::Error::other(format!(
                "more than {MAX_ENTRIES} entries are in it, to be left as they are"
            )));
        }
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            continue;
        }
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        match (open(&held.join(entry.file_name())), open(&entry.path())) {
            // It is read-only as what it comes from is.
            (Ok(source), Ok(target)) => rustix::mount::mount_bind(opened(&source), opened(&target))?,
            (Err(rustix::io::Errno::NOENT), _) | (_, Err(rustix::io::Errno::NOENT)) => {}
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        }
    }
    rustix::mount::unmount(&held, UnmountFlags::DETACH)?;
    fs::remove_dir(&held)
}

/// Moves this thread into a view in which /proc/*/fd shows every process's sockets, and nothing else of what it has open.
///
/// The kernel lets nobody in a Landlock domain look at the open files of who isn't; so they are looked at here, before, and
/// shown as they were.
pub(super) fn with_holders() -> io::Result<()> {
    let stage = begin()?;
    empty(stage, c"mode=0755,size=64m")?;
    for process in fs::read_dir("/proc")?.flatten().filter(|entry| is_number(&entry.file_name())) {
        // A process that ends meanwhile has nothing to show.
        let _ = show_sockets(stage, &process.path());
    }
    // What was bound stays.
    Ok(rustix::mount::unmount(stage, UnmountFlags::DETACH)?)
}

fn is_number(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

fn show_sockets(stage: &Path, process: &Path) -> io::Result<()> {
    let open = process.join("fd");
    let links = fs::read_dir(&open)?
        .flatten()
        .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)));
    let sockets: Vec<_> =
        links.filter(|(_, link)| link.as_os_str().as_encoded_bytes().starts_with(b"socket:")).collect();
    if sockets.is_empty() {
        return Ok(());
    }
    let shown = stage.join(process.file_name().unwrap_or_default());
    fs::create_dir(&shown)?;
    for (number, link) in sockets {
        std::os::unix::fs::symlink(link, shown.join(number))?;
    }
    Ok(rustix::mount::mount_bind(&shown, &open)?)
}

/// Moves this thread into a network with one endpoint in it, which is answered from outside.
pub(super) fn with_endpoint(endpoint: SocketAddr) -> io::Result<TcpListener> {
    unshare(UnshareFlags::NEWNET)?;
    // Of netlink's protocols, routes are number 0.
    let kernel =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // Up: struct ifinfomsg of the first interface, which is the loopback.
    let up = [&[0_u8; 4][..], &1_i32.to_ne_bytes(), &1_u32.to_ne_bytes(), &1_u32.to_ne_bytes()].concat();
    ask(&kernel, RTM_NEWLINK, 0, &up)?;
    if !endpoint.ip().is_loopback() {
        let (family, octets) = match endpoint.ip() {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        // struct ifaddrmsg, without duplicate detection, which would take a second; then the address, twice.
        let mut address = vec![family as u8, octets.len() as u8 * 8, IFA_F_NODAD, 0];
        address.extend(1_u32.to_ne_bytes());
        for kind in [IFA_LOCAL, IFA_ADDRESS] {
            address.extend((octets.len() as u16 + 4).to_ne_bytes());
            address.extend(kind.to_ne_bytes());
            address.extend(&octets);
        }
        ask(&kernel, RTM_NEWADDR, NLM_F_CREATE_EXCL, &address)?;
    }
    TcpListener::bind(endpoint)
}

/// From `linux/rtnetlink.h`, `linux/netlink.h` and `linux/if_addr.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST_ACK: u16 = 0x5;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;

/// One request, and the kernel's answer: an error number, or 0.
fn ask(kernel: &std::os::fd::OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let mut message = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::send(kernel, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (bytes, _) = rustix::net::recv(kernel, &mut answer[..], RecvFlags::empty())?;
    match answer[..bytes].get(16..20).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}

/// rustix has a new name for this, for the one flag that takes file descriptors apart; it isn't used here.
#[expect(deprecated, reason = "what its successor is about is a flag that is not used here")]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}
