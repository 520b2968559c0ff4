//! The launcher: the host's own binary, started once for each pipeline. It starts the programs, waits for them, and leaves
//! nothing of them behind.
//!
//! A program gets no more than the thread that starts it; so each is started by a thread of its own that first gives up what
//! the profile doesn't name, and the launcher itself stays free to wait, to answer for a peer, and to kill. No program can
//! send it a signal, trace it, or leave its process group.
//!
//! Its standard input is the order, and then stays open for as long as the host wants the pipeline; its standard output is the
//! pipeline's; its standard error is the report.

use std::fs::{self, File};
use std::io::{self, BufRead, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::broker::{self, Service};
use super::order::{ErrorsGo, Features, Order, Pipeline, Program, Report, User};
use super::restrict::{self, Step};
use super::syscalls::Filters;
use super::view::{self, Changeable, Peer};
use watchkeeper_domain::gate::{Profile, Reach, Widen};

/// The launcher could not do what it was told; the report says why.
pub const FAILED: u8 = 125;

/// The longest order.
const MAX_ORDER: u64 = 4 << 20;

/// How long killed processes are waited for. One that hangs in the kernel dies later.
const DYING: Duration = Duration::from_secs(2);

/// How often it is looked whether there are too many processes.
const COUNT: Duration = Duration::from_millis(25);

/// Who isn't root, where no user is configured: nobody, on every Linux.
const NOBODY: User = User { uid: 65534, gid: 65534 };

pub(super) fn run() -> ExitCode {
    match prepare().and_then(|order| match order {
        Order::Run(pipeline) => run_pipeline(&pipeline),
        Order::Probe => report(&Report::Probed(probe())),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Nobody reads it only if nobody waits any more.
            let _ = report(&Report::NotStarted { why });
            ExitCode::from(FAILED)
        }
    }
}

fn prepare() -> Step<Order> {
    // A group of its own is what everything is killed by at the end, so there is no going on without one.
    let own = rustix::process::setsid().map_err(|error| format!("a session of its own: {error}"))?;
    rustix::process::set_child_subreaper(Some(own))
        .map_err(|error| format!("to inherit orphans: {error}"))?;
    close_fds::set_fds_cloexec(3, &[]);
    // Another user has to find its way through a view that root makes.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_ORDER).read_line(&mut line);
    read.map_err(|error| format!("the order can't be read: {error}"))?;
    serde_json::from_str(&line).map_err(|error| format!("the order can't be read: {error}"))
}

fn report(report: &Report) -> Step {
    let line = serde_json::to_string(report).map_err(|error| error.to_string())?;
    writeln!(io::stderr(), "{line}").map_err(|error| error.to_string())
}

fn run_pipeline(order: &Pipeline) -> Step {
    let writes = order.programs.iter().any(|program| !program.profile.widen.is_empty());
    restrict::limit(&order.limits, writes)?;
    let (services, served) = channel();
    thread("broker", move || broker::serve(&served))?;
    thread("control", || {
        // It ends when the host wants no more of it, or is gone.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        end(None)
    })?;
    let most = order.limits.processes;
    thread("count", move || count(most))?;
    match start_all(order, &services) {
        Ok(started) => {
            let codes = wait_for(&started);
            end(Some(&Report::Ended { codes }))
        }
        Err(why) => end(Some(&Report::NotStarted { why })),
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Step {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map(drop).map_err(|error| format!("a thread for {name}: {error}"))
}

/// Starts every program of the pipeline, each reading what the one before writes.
fn start_all(order: &Pipeline, services: &Sender<Service>) -> Step<Vec<Pid>> {
    let mut started = Vec::new();
    let mut input: Option<PipeReader> = None;
    for (number, program) in order.programs.iter().enumerate() {
        let is_last = number + 1 == order.programs.len();
        let read = input.take();
        // On a thread that ends with it: what it gave up is gone for good.
        let begun = std::thread::scope(|scope| {
            let starting = scope.spawn(|| start(order, program, read, is_last, services));
            starting.join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))
        });
        let (pid, next) = begun
            .map_err(|why| format!("{}: not started, since its sandbox failed at {why}", program.argv[0]))?;
        started.push(pid);
        input = next;
    }
    Ok(started)
}

/// What a program's three descriptors are.
struct Ends {
    input: Stdio,
    output: Stdio,
    errors: Stdio,
}

impl Ends {
    fn new(
        program: &Program,
        input: Option<PipeReader>,
        is_last: bool,
        nothing: &File,
    ) -> io::Result<(Self, Option<PipeReader>)> {
        let shown = || io::stdout().as_fd().try_clone_to_owned();
        let (next, output) = if is_last {
            (None, shown()?)
        } else {
            let (reader, writer) = io::pipe()?;
            (Some(reader), writer.into())
        };
        let errors = match program.stderr {
            ErrorsGo::Out => shown()?,
            ErrorsGo::Nowhere => nothing.try_clone()?.into(),
            ErrorsGo::WithOutput => output.try_clone()?,
        };
        let input = match input {
            Some(reader) => Stdio::from(reader),
            None => Stdio::from(nothing.try_clone()?),
        };
        Ok((Self { input, output: output.into(), errors: errors.into() }, next))
    }
}

/// Gives up, in this order, all that the profile doesn't name; then starts the program. Gives what it writes, for the next.
fn start(
    order: &Pipeline,
    program: &Program,
    input: Option<PipeReader>,
    is_last: bool,
    services: &Sender<Service>,
) -> Step<(Pid, Option<PipeReader>)> {
    let profile = &program.profile;
    changeable(profile)?;
    peer(order, profile, services)?;
    // Opened in the program's own view, of which the mode and owner of /dev/null, too, may be none of its own to change.
    let ends = Ends::new(program, input, is_last, &restrict::nothing()?);
    let (ends, next) = ends.map_err(|error| format!("its pipe: {error}"))?;
    let scoped = holds_signals();
    let filters = Filters::new(profile, scoped).map_err(|error| format!("seccomp: {error}"))?;
    let rules = restrict::landlock(order, profile)?;
    let keeps = restrict::kept(profile);
    restrict::identity(user(order, profile), &order.groups, keeps)?;
    restrict::capabilities(keeps)?;
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
    rules.restrict_self().map_err(|error| format!("Landlock: {error}"))?;
    match filters.apply() {
        Err(error) if !order.weaker => return Err(format!("seccomp: {error}")),
        _ => {}
    }
    let variables = order.variables.iter().map(|(name, value)| (name, value)).chain(&profile.variables);
    let mut command = Command::new(&program.path);
    command.arg0(&program.argv[0]).args(&program.argv[1..]).env_clear().envs(variables).current_dir("/");
    command.stdin(ends.input).stdout(ends.output).stderr(ends.errors);
    let child = command.spawn().map_err(|error| format!("its own start: {error}"))?;
    let pid = Pid::from_raw(child.id() as i32).ok_or_else(|| "it has no process id".to_owned())?;
    Ok((pid, next))
}

/// Puts everything out of reach but what it may change the attributes of.
fn changeable(profile: &Profile) -> Step {
    let named = profile.widen.iter().filter_map(|widen| match widen {
        Widen::Attributes { path, beneath } => Some(Changeable { path: Path::new(path), beneath: *beneath }),
        Widen::Read { .. } | Widen::Write { .. } | Widen::Signal { .. } => None,
    });
    let named: Vec<Changeable> = named.collect();
    if named.is_empty() {
        return Ok(());
    }
    view::with_changeable(&named, restrict::always()).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("a view of its own, which takes a host that runs as root: {error}")
        }
        _ => format!("what it may change: {error}"),
    })
}

/// Puts the one peer in reach, and the others out of it.
fn peer(order: &Pipeline, profile: &Profile, services: &Sender<Service>) -> Step {
    let lacking = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("its peer: {error}"),
        _ => format!("a view of its own, which takes a host that runs as root: {error}"),
    };
    // Without it, a program says who holds what as far as it may look itself.
    if profile.holders && rustix::process::geteuid().is_root() {
        view::with_holders().map_err(lacking)?;
    }
    let shown: Vec<PathBuf> =
        order.listable.iter().cloned().chain(profile.read.iter().map(PathBuf::from)).collect();
    match &profile.reach {
        Reach::Nothing | Reach::Netlink => Ok(()),
        Reach::Socket { path, .. } => {
            let seen = view::with_socket(&Peer::Real(path.as_ref()), &shown).map(drop);
            if order.weaker { Ok(()) } else { seen.map_err(lacking) }
        }
        // No weaker way: without the view it would be the real socket, or none.
        Reach::Docker { path } => {
            let listener = view::with_socket(&Peer::Ours(path.as_ref()), &shown).map_err(lacking)?;
            let listener = listener.ok_or("a view without a socket")?;
            let service = Service::Docker { listener, daemon: path.into() };
            services.send(service).map_err(|error| error.to_string())
        }
        Reach::Tcp { address } => {
            let endpoint = address.parse().map_err(|error| format!("{address}: {error}"))?;
            match view::with_endpoint(endpoint) {
                Ok(listener) => {
                    services.send(Service::Tcp { listener, endpoint }).map_err(|error| error.to_string())
                }
                Err(_) if order.weaker => Ok(()),
                Err(error) => Err(lacking(error)),
            }
        }
    }
}

/// Never root for who talks to a socket, unless a person agreed.
fn user(order: &Pipeline, profile: &Profile) -> Option<User> {
    match profile.reach {
        Reach::Socket { as_host: true, .. } => None,
        Reach::Socket { .. } | Reach::Docker { .. } if rustix::process::geteuid().is_root() => {
            Some(order.user.unwrap_or(NOBODY))
        }
        _ => order.user,
    }
}

fn holds_signals() -> bool {
    use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.scope(Scope::Signal).and_then(Ruleset::create).is_ok()
}

/// Each program's exit code as a shell gives it: its own, or 128 and the signal that killed it.
fn wait_for(started: &[Pid]) -> Vec<i32> {
    let mut codes = vec![None; started.len()];
    while codes.iter().any(Option::is_none) {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                if let Some(number) = started.iter().position(|known| *known == pid) {
                    codes[number] = Some(code(status));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            // They were waited for where everything ends.
            Ok(None) | Err(_) => break,
        }
    }
    codes.into_iter().map(|code| code.unwrap_or(128 + libc::SIGKILL)).collect()
}

fn code(status: WaitStatus) -> i32 {
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0))
}

/// Kills whatever is left, says how it ended, and kills itself: its own group is killed in one stroke, which no process that
/// is being born escapes. The first who calls it, does it.
fn end(last: Option<&Report>) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
    let started = Instant::now();
    while started.elapsed() < DYING {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => continue,
            Err(rustix::io::Errno::CHILD) => break,
            Ok(None) | Err(_) => {}
        }
        // Whoever lost its parent is a child of this process; the children of those that are killed now, a moment later.
        for left in processes(|about| about.parent == own() || about.group == own()) {
            if left.as_raw_pid() != own() {
                let _ = rustix::process::kill_process(left, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(last) = last {
        let _ = report(last);
    }
    let _ = rustix::process::kill_current_process_group(Signal::KILL);
    std::process::exit(FAILED.into())
}

fn own() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

struct About {
    parent: i32,
    group: i32,
}

fn processes(wanted: impl Fn(&About) -> bool) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let found = entries.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // A program's name may hold anything, and stands in brackets; behind it are state, parent and group.
        let mut rest = stat.rsplit(')').next()?.split_whitespace().skip(1);
        let about = About { parent: rest.next()?.parse().ok()?, group: rest.next()?.parse().ok()? };
        wanted(&about).then(|| Pid::from_raw(pid)).flatten()
    });
    found.collect()
}

/// Ends everything once there are too many processes: the kernel's own limit doesn't count root's. The machine's total, which
/// is cheap to read, says when to count.
fn count(most: u64) {
    let total = || {
        let load = fs::read_to_string("/proc/loadavg").ok()?;
        load.split(['/', ' ']).nth(4)?.parse::<u64>().ok()
    };
    let before = total().unwrap_or(0);
    loop {
        std::thread::sleep(COUNT);
        if total().is_some_and(|now| now > before + most) {
            let processes = processes(|about| about.group == own()).len() as u64;
            if processes > most {
                end(Some(&Report::TooMany { processes }));
            }
        }
    }
}

/// Tries each feature as a program's start would.
fn probe() -> Features {
    let mut features = Features::default();
    let pipeline = |weaker| Pipeline {
        programs: Vec::new(),
        readable: Vec::new(),
        listable: Vec::new(),
        variables: Vec::new(),
        user: None,
        groups: Vec::new(),
        limits: super::order::Limits::default(),
        weaker,
    };
    let profile = Profile::default();
    let needed: [(&str, &(dyn Fn() -> Step + Sync)); 4] = [
        ("Landlock", &|| {
            let rules = restrict::landlock(&pipeline(false), &profile)?;
            rules.restrict_self().map(drop).map_err(|error| error.to_string())
        }),
        ("seccomp", &|| {
            let filters = Filters::new(&profile, true).map_err(|error| error.to_string())?;
            let new = rustix::thread::set_no_new_privs(true);
            new.map_err(|error| error.to_string())?;
            filters.apply().map_err(|error| error.to_string())
        }),
        ("capabilities", &|| restrict::capabilities(rustix::thread::CapabilitySet::empty())),
        ("no_new_privs", &|| rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string())),
    ];
    for (name, attempt) in needed {
        if let Err(why) = tried(attempt) {
            features.missing.push(format!("{name}: {why}"));
        }
    }
    let some: [(&str, &(dyn Fn() -> Step + Sync)); 2] = [
        ("`socket`, `docker` and `widen: [attributes]`", &|| {
            let shown = view::unshare(rustix::thread::UnshareFlags::NEWNS);
            shown.map_err(|error| format!("no view of its own: {error}"))
        }),
        ("`tcp`", &|| {
            let endpoint = std::net::SocketAddr::from(([10, 0, 0, 1], 443));
            let served = view::with_endpoint(endpoint).map(drop);
            served.map_err(|error| format!("no network of its own: {error}"))
        }),
    ];
    for (name, attempt) in some {
        if let Err(why) = tried(attempt) {
            features.without.push(format!("profiles with {name} can't run: {why}"));
        }
    }
    features
}

/// On a thread of its own, which is then no good for anything else.
fn tried(attempt: &(dyn Fn() -> Step + Sync)) -> Step {
    std::thread::scope(|scope| scope.spawn(attempt).join()).unwrap_or_else(|_| Err("it panicked".to_owned()))
}
