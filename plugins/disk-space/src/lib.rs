//! A filesystem is full, in bytes or in inodes: which one, and what fills it?
//!
//! 1. Name, `df` in KiB and in inodes. The alert's labels `mountpoint` or `device` choose the filesystem; without them it is
//!    the fullest one.
//! 2. `du` where it mostly grows and is quick to count (`/var/log`, `/tmp`), or on the mount point itself.
//! 3. `du` on the big ones (`/var`, then `/home` and `/opt`), while no directory explains half of what is used.
//! 4. One level deeper into the biggest, and the biggest files if it holds logs.
//!
//! A cause is a directory, and the confidence follows from its share of what is used.

use watchkeeper_sdk::diagnosis::{
    self, Case, Diagnosis, DirectorySize, Filesystem, Seen, Topic, bash, directory_sizes, filesystems,
    human_kib, is_plain_path,
};
use watchkeeper_sdk::{Alert, Briefing, Call, Error, Outcome, Playbook, Prompt, PromptBuilder, Report, Step};

/// Fuller than this, in percent, is full enough to alert.
const FULL: u32 = 80;

const TOPIC: Topic = Topic {
    names: &[
        "diskfull",
        "diskspacelow",
        "lowdiskspace",
        "diskspace",
        "diskusagehigh",
        "highdiskusage",
        "hostoutofdiskspace",
        "hostdiskwillfillin24hours",
        "hostoutofinodes",
        "hostinodeswillfillin24hours",
        "nodefilesystemalmostoutofspace",
        "nodefilesystemspacefillingup",
        "nodefilesystemalmostoutoffiles",
        "nodefilesystemfilesfillingup",
        "kubepersistentvolumefillingup",
        "kubepersistentvolumeinodesfillingup",
        "filesystemfull",
        "hostfilesystemfull",
    ],
    phrases: &[
        "disk space",
        "disk full",
        "disk usage",
        "disk is full",
        "out of space",
        "out of disk",
        "out of inodes",
        "no space left",
        "no space",
        "filesystem",
        "file system",
        "inodes",
        "volume filling up",
        "volume full",
        "disk will fill",
        "disk almost full",
    ],
    not: &["latency", "read only", "readonly", "device error", "memory", "cpu"],
};

const INSTRUCTIONS: &str = "\
You diagnose full filesystems on one Linux host, with read-only commands.
Establish, in this order, and cite the output that shows each:
1. Is this the host that the alert names? Compare the hostname with the labels instance, host and node. If it isn't, say so and stay unsure.
2. Which filesystem is it (labels mountpoint and device), how full is it now, and is it bytes or inodes? df -P -k, df -P -i.
3. What fills it? du -x -k -d 1, first where it is quick (/var/log, /tmp), never on / at once: a call is stopped after half a minute.
4. Does it still grow, and who writes it? Compare what du counts with what df says: the rest may be deleted files that are still open.
Recommend what a person should do; delete nothing. A confidence below 0.7 calls a person: give it when you aren't sure.";

/// The prompt builder and the playbook.
pub struct DiskSpace;

impl PromptBuilder for DiskSpace {
    fn score(alert: &Alert) -> u32 {
        TOPIC.score(alert)
    }

    fn build(briefing: &Briefing) -> Result<Prompt, Error> {
        Ok(diagnosis::prompt(briefing, INSTRUCTIONS, overview))
    }
}

impl Playbook for DiskSpace {
    fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
        let stages = [overview, quick_directories, var, other_directories, deeper];
        Ok(diagnosis::next(&Case::new(briefing, outcomes), &stages, conclude))
    }
}

watchkeeper_sdk::register! { prompt_builder: DiskSpace, playbook: DiskSpace }

fn df() -> Call {
    bash("df -P -k", "how full each filesystem is")
}

fn df_inodes() -> Call {
    bash("df -P -i", "how many inodes are left")
}

fn du(target: &Target, path: &str, depth: u32) -> Call {
    let unit = if target.by_inodes { "--inodes" } else { "-k" };
    bash(&format!("du -x {unit} -d {depth} {path}"), &format!("what takes the most in {path}"))
}

fn biggest_files(path: &str) -> Call {
    bash(&format!("ls -l -S {path} | head -n 15"), &format!("the biggest files in {path}"))
}

fn overview(case: &Case) -> Vec<Call> {
    let mut calls = case.host_calls();
    calls.extend([df(), df_inodes()]);
    calls
}

/// The filesystem that the alert is about.
struct Target<'a> {
    filesystem: Filesystem<'a>,
    all: Vec<Filesystem<'a>>,
    seen: Seen<'a>,
    /// It is inodes that are short; the figures are counts, then.
    by_inodes: bool,
    chosen_by_label: bool,
}

impl<'a> Target<'a> {
    fn of(case: &Case<'a>) -> Option<Target<'a>> {
        let bytes = Target::in_table(case, &df(), false);
        let inodes = Target::in_table(case, &df_inodes(), true);
        match (bytes, inodes) {
            (Some(bytes), Some(inodes)) => {
                let inodes_are_worse = inodes.percent() >= FULL && inodes.percent() > bytes.percent();
                Some(if inodes_are_worse { inodes } else { bytes })
            }
            (bytes, inodes) => bytes.or(inodes),
        }
    }

    fn in_table(case: &Case<'a>, call: &Call, by_inodes: bool) -> Option<Target<'a>> {
        let seen = case.seen(call)?;
        let all = filesystems(seen.text());
        let named = |filesystem: &&Filesystem| match named_filesystem(&case.briefing.alert) {
            Some(Named::Mountpoint(mountpoint)) => filesystem.mountpoint == mountpoint,
            Some(Named::Device(device)) => filesystem.device == device,
            None => false,
        };
        let labelled = named_filesystem(&case.briefing.alert).is_some();
        let filesystem = match labelled {
            true => all.iter().find(named)?.clone(),
            false => all
                .iter()
                .filter(|filesystem| !filesystem.is_virtual())
                .max_by_key(|filesystem| filesystem.percent)?
                .clone(),
        };
        Some(Target { filesystem, all, seen, by_inodes, chosen_by_label: labelled })
    }

    fn percent(&self) -> u32 {
        self.filesystem.percent.unwrap_or(0)
    }

    /// Is the path on this filesystem, and not on another one mounted below?
    fn has(&self, path: &str) -> bool {
        let holder = self
            .all
            .iter()
            .filter(|filesystem| filesystem.holds(path))
            .max_by_key(|filesystem| filesystem.mountpoint.len());
        holder.is_some_and(|holder| holder.mountpoint == self.filesystem.mountpoint)
    }

    fn amount(&self, size: u64) -> String {
        if self.by_inodes { format!("{size} inodes") } else { human_kib(size) }
    }

    fn share(&self, size: u64) -> f64 {
        size as f64 / self.filesystem.used.max(1) as f64
    }
}

#[derive(Clone, Copy)]
enum Named<'a> {
    Mountpoint(&'a str),
    Device(&'a str),
}

fn named_filesystem(alert: &Alert) -> Option<Named<'_>> {
    let label = |names: &[&str]| {
        names.iter().find_map(|name| alert.label(name)).filter(|value| value.starts_with('/'))
    };
    label(&["mountpoint", "mount_point", "mount", "path"])
        .map(Named::Mountpoint)
        .or_else(|| label(&["device", "dev"]).map(Named::Device))
}

fn full(case: &Case) -> Option<bool> {
    Target::of(case).map(|target| target.percent() >= FULL)
}

/// What is counted on this filesystem, in the order of the stages.
fn directories(target: &Target) -> [Vec<Call>; 3] {
    let mountpoint = target.filesystem.mountpoint;
    let on_it = |paths: &[&str]| -> Vec<Call> {
        paths.iter().filter(|path| target.has(path)).map(|path| du(target, path, 1)).collect()
    };
    match mountpoint {
        "/" => [on_it(&["/var/log", "/tmp"]), on_it(&["/var"]), on_it(&["/home", "/opt"])],
        "/var" => [on_it(&["/var/log"]), on_it(&["/var"]), Vec::new()],
        path if is_plain_path(path) => [vec![du(target, path, 2)], Vec::new(), Vec::new()],
        _ => Default::default(),
    }
}

fn quick_directories(case: &Case) -> Vec<Call> {
    stage(case, 0)
}

fn var(case: &Case) -> Vec<Call> {
    stage(case, 1)
}

fn other_directories(case: &Case) -> Vec<Call> {
    stage(case, 2)
}

/// Counting goes on while nothing explains half of it, and stops where counting takes too long.
fn stage(case: &Case, at: usize) -> Vec<Call> {
    let Some(target) = Target::of(case).filter(|target| target.percent() >= FULL) else {
        return Vec::new();
    };
    let stages = directories(&target);
    let earlier: Vec<Call> = stages[..at].iter().flatten().cloned().collect();
    let too_slow = earlier.iter().any(|call| case.failed(call));
    let explained = suspect(case, &target, &earlier).is_some_and(|(size, _)| target.share(size.size) >= 0.5);
    if too_slow || explained { Vec::new() } else { stages[at].clone() }
}

fn counted(target: &Target) -> Vec<Call> {
    directories(target).into_iter().flatten().collect()
}

/// One level down from the biggest that the stages before have shown.
fn deeper(case: &Case) -> Vec<Call> {
    let Some(target) = Target::of(case) else {
        return Vec::new();
    };
    let counted = counted(&target);
    let Some((biggest, _)) = suspect(case, &target, &counted) else {
        return Vec::new();
    };
    let mut calls = Vec::new();
    if is_plain_path(biggest.path) {
        if !counted.iter().any(|call| *call == du(&target, biggest.path, 1)) {
            calls.push(du(&target, biggest.path, 1));
        }
        if is_log(biggest.path) && !target.by_inodes {
            calls.push(biggest_files(biggest.path));
        }
    }
    calls
}

fn is_log(path: &str) -> bool {
    path == "/var/log" || path.starts_with("/var/log/")
}

/// The directory to blame, of those that the calls have counted: the deepest one that has half of all that is used, else
/// the biggest with no child that explains it, if it has a fifth.
fn suspect<'a>(case: &Case<'a>, target: &Target, calls: &[Call]) -> Option<(DirectorySize<'a>, Seen<'a>)> {
    let mut all: Vec<(DirectorySize, Seen)> = Vec::new();
    for seen in calls.iter().filter_map(|call| case.seen(call)) {
        all.extend(directory_sizes(seen.text()).into_iter().map(|size| (size, seen)));
    }
    all.retain(|(size, _)| size.path != target.filesystem.mountpoint);
    let half = all
        .iter()
        .filter(|(size, _)| target.share(size.size) >= 0.5)
        .max_by_key(|(size, _)| depth(size.path));
    let explained_by_child = |parent: &DirectorySize| {
        all.iter().any(|(child, _)| {
            child.path.strip_prefix(parent.path).is_some_and(|rest| rest.starts_with('/'))
                && child.size * 10 >= parent.size * 7
        })
    };
    let leaf = all.iter().filter(|(size, _)| !explained_by_child(size)).max_by_key(|(size, _)| size.size);
    half.or(leaf.filter(|(size, _)| target.share(size.size) >= 0.2)).copied()
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

fn conclude(case: &Case) -> Report {
    let mut diagnosis = Diagnosis::new();
    let summary = match (Target::of(case), full(case)) {
        (Some(target), Some(true)) => {
            describe(&target, &mut diagnosis);
            blame(case, &target, &mut diagnosis)
        }
        (Some(target), _) => {
            describe(&target, &mut diagnosis);
            not_full(&target, &mut diagnosis)
        }
        (None, _) => no_such_filesystem(case, &mut diagnosis),
    };
    diagnosis.consider_host(case.whereabouts());
    diagnosis.consider_failures(case);
    diagnosis.report(summary)
}

fn describe(target: &Target, diagnosis: &mut Diagnosis) {
    let Filesystem { mountpoint, device, total, used, available, line, .. } = &target.filesystem;
    let statement = format!(
        "{mountpoint} ({device}) is {} % full: {} of {} used, {} left.",
        target.percent(),
        target.amount(*used),
        target.amount(*total),
        target.amount(*available)
    );
    diagnosis.finding(statement, [target.seen.evidence(line)]);
}

fn not_full(target: &Target, diagnosis: &mut Diagnosis) -> String {
    diagnosis.no_cause(0.75);
    let mountpoint = target.filesystem.mountpoint;
    diagnosis.recommend(format!(
        "If the alert keeps firing, compare its threshold and its labels with {mountpoint} on this host."
    ));
    match target.chosen_by_label {
        true => format!(
            "{mountpoint} is not full now: space was freed since, or the alert predicts, or is of another host."
        ),
        false => {
            "No filesystem of this host is full now: space was freed since, or the alert is of another host."
                .to_owned()
        }
    }
}

fn no_such_filesystem(case: &Case, diagnosis: &mut Diagnosis) -> String {
    let Some(seen) = case.seen(&df()) else {
        return "How full the filesystems are could not be seen.".to_owned();
    };
    let named = match named_filesystem(&case.briefing.alert) {
        Some(Named::Mountpoint(name) | Named::Device(name)) => name,
        None => return "df shows no filesystem that could fill up.".to_owned(),
    };
    let evidence = seen.text().lines().skip(1).take(3).map(|line| seen.evidence(line));
    diagnosis.finding(format!("{named} is not among the filesystems that are mounted here."), evidence);
    diagnosis.doubt(0.4, "Most likely it is another host, or a volume that only a container sees.");
    diagnosis.recommend(format!("Look at {named} on the host, or in the container, that the alert names."));
    format!("The alert names the filesystem {named}, which isn't mounted here.")
}

fn blame(case: &Case, target: &Target, diagnosis: &mut Diagnosis) -> String {
    let mountpoint = target.filesystem.mountpoint;
    let short_of = if target.by_inodes { "inodes (very many small files)" } else { "space" };
    let mut calls = counted(target);
    let Some((first, _)) = suspect(case, target, &calls) else {
        diagnosis.finding("No directory that was counted has a fifth of what is used.", []);
        diagnosis.recommend("Count the rest (`du -x -d 1` on the mount point, as root), and look for deleted files that are still open (`lsof +L1`).");
        return format!("{mountpoint} is short of {short_of}; what fills it was not found.");
    };
    // The last stage may have found it one level deeper.
    calls.extend(is_plain_path(first.path).then(|| du(target, first.path, 1)));
    let (biggest, seen) =
        suspect(case, target, &calls).map_or((first, None), |(size, seen)| (size, Some(seen)));
    let share = target.share(biggest.size);
    let amount = target.amount(biggest.size);
    let statement =
        format!("{} has {amount}, {:.0} % of what is used on {mountpoint}.", biggest.path, share * 100.0);
    diagnosis.finding(statement, seen.map(|seen| seen.evidence(biggest.line)));
    report_files(case, &first, diagnosis);

    let confidence = if share >= 0.5 {
        0.85
    } else if share >= 0.3 {
        0.75
    } else {
        0.6
    };
    diagnosis.cause(
        format!("{} fills {mountpoint}: {amount}, {:.0} % of what is used", biggest.path, share * 100.0),
        confidence,
    );
    diagnosis.recommend(advice(biggest.path));
    diagnosis.recommend(format!(
        "Find out what writes to {}, and bound it, or give {mountpoint} more room.",
        biggest.path
    ));
    format!("{mountpoint} is short of {short_of}; {} has most of it.", biggest.path)
}

fn report_files(case: &Case, directory: &DirectorySize, diagnosis: &mut Diagnosis) {
    let Some(seen) = case.seen(&biggest_files(directory.path)) else {
        return;
    };
    let files: Vec<&str> = seen.text().lines().filter(|line| line.starts_with('-')).take(3).collect();
    if !files.is_empty() {
        diagnosis.finding(
            format!("The biggest files in {}:", directory.path),
            files.into_iter().map(|line| seen.evidence(line)),
        );
    }
}

/// What usually helps there.
fn advice(path: &str) -> String {
    let known = [
        (
            "/var/log/journal",
            "Shorten the journal (`journalctl --vacuum-size=1G`) and set SystemMaxUse= in journald.conf.",
        ),
        (
            "/var/log",
            "Check that logrotate runs and covers the file; find out why the program logs that much.",
        ),
        (
            "/var/lib/docker",
            "Remove images, containers and volumes that nobody uses (`docker system prune`), and bound container logs (max-size).",
        ),
        ("/var/lib/containerd", "Remove images that nobody uses (`crictl rmi --prune`)."),
        ("/var/cache/apt", "Empty the package cache (`apt-get clean`)."),
        ("/var/lib/mysql", "Look at the biggest tables and at old binary logs (PURGE BINARY LOGS)."),
        (
            "/var/lib/postgresql",
            "Look for a replication slot or an archive command that keeps the WAL, and for bloated tables.",
        ),
        ("/var/spool", "Look at the queue (mail, print, jobs): it isn't worked off."),
        ("/tmp", "Find the program that leaves files in /tmp, and let systemd-tmpfiles clean up."),
        ("/home", "Ask the owners of the biggest home directories."),
    ];
    let found = known.iter().find(|(prefix, _)| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    found.map_or_else(
        || format!("Free room in {path}: see what is old or needless there."),
        |(_, advice)| (*advice).to_owned(),
    )
}
