//! A host is short of memory: is it, and who has it?
//!
//! 1. Name, `/proc/meminfo`, pressure, the swap counters, the processes by memory.
//! 2. The counters again, the cgroup's own limit (inside of a container), and what the biggest process says of itself.
//! 3. Its unit's recent log.
//!
//! Shortage is little `MemAvailable`, or stalls for want of memory. Memory is had by processes, by shared memory and tmpfs,
//! by huge pages, or by the kernel; the biggest of these is the cause, and the confidence follows from its share.

use watchkeeper_sdk::diagnosis::{
    self, Case, Diagnosis, Meminfo, ProcessGroup, Seen, Topic, bash, by_name, counters, human_kib, init,
    is_plain, processes, read_file, systemd_unit,
};
use watchkeeper_sdk::{Alert, Briefing, Call, Error, Outcome, Playbook, Prompt, PromptBuilder, Report, Step};

/// Less than this share of memory available is shortage.
const SHORT: f64 = 0.10;

/// Programs that stall more than this, in percent of the last 10 s, for want of memory: shortage, too.
const STALLS: f64 = 10.0;

/// Swap used beyond this share is worth a finding.
const SWAPPED: f64 = 0.5;

const TOPIC: Topic = Topic {
    names: &[
        "highmemory",
        "highmemoryusage",
        "memoryhigh",
        "memoryusagehigh",
        "lowmemory",
        "hostoutofmemory",
        "hosthighmemoryusage",
        "hostmemoryundermemorypressure",
        "nodememoryhighutilization",
        "nodememorymajorpagesfaults",
        "hostswapisfillingup",
        "containerhighmemoryusage",
        "nodememorypressure",
        "memorypressure",
        "instancelowmemory",
        "highswapusage",
    ],
    phrases: &["memory", "ram", "swap"],
    not: &[
        "oom",
        "killed",
        "oom killer",
        "shared memory segment",
        "ecc",
        "edac",
        "correctable",
        "disk",
        "gpu",
    ],
};

const INSTRUCTIONS: &str = "\
You diagnose memory shortage on one Linux host, with read-only commands.
Establish, in this order, and cite the output that shows each:
1. Is this the host that the alert names? Compare the hostname with the labels instance, host and node. If it isn't, say so and stay unsure.
2. Is it short of memory now? MemAvailable in /proc/meminfo counts, not MemFree; /proc/pressure/memory tells whether programs stall.
3. Who has it? Processes by RSS (workers of one name together), shared memory and tmpfs (Shmem), huge pages, the kernel (SUnreclaim).
4. Does it swap now? Two samples of pswpin and pswpout in /proc/vmstat. Used swap alone is no trouble.
5. Why did it grow? The biggest one's unit and its recent log lines; a cgroup's own limit in memory.max.
Recommend what a person should do; change nothing. A confidence below 0.7 calls a person: give it when you aren't sure.";

/// The prompt builder and the playbook.
pub struct Memory;

impl PromptBuilder for Memory {
    fn score(alert: &Alert) -> u32 {
        TOPIC.score(alert)
    }

    fn build(briefing: &Briefing) -> Result<Prompt, Error> {
        Ok(diagnosis::prompt(briefing, INSTRUCTIONS, overview))
    }
}

impl Playbook for Memory {
    fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
        Ok(diagnosis::next(&Case::new(briefing, outcomes), &[overview, closer, its_log], conclude))
    }
}

watchkeeper_sdk::register! { prompt_builder: Memory, playbook: Memory }

fn meminfo() -> Call {
    read_file("/proc/meminfo", "how much memory there is, and what has it")
}

fn pressure() -> Call {
    bash("cat /proc/pressure/memory", "whether programs stall for want of memory")
}

fn swapping() -> Call {
    bash("grep -E \"^(pswpin|pswpout|oom_kill) \" /proc/vmstat", "a sample of the swap counters")
}

fn ps() -> Call {
    bash("ps -eo pid,user,pmem,rss,etime,comm --sort=-rss | head -n 30", "the processes with the most memory")
}

fn own_limit() -> Call {
    bash("head -n 2 /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.current", "a container's own limit")
}

fn status_of(pid: u32) -> Call {
    bash(&format!("cat /proc/{pid}/status"), "the biggest process's memory, swapped parts included")
}

fn cgroup_of(pid: u32) -> Call {
    bash(&format!("cat /proc/{pid}/cgroup"), "which unit the biggest process belongs to")
}

fn overview(case: &Case) -> Vec<Call> {
    let mut calls = case.host_calls();
    calls.extend([meminfo(), pressure(), swapping(), ps()]);
    calls
}

fn closer(case: &Case) -> Vec<Call> {
    let mut calls = vec![own_limit(), init()];
    if let Some((group, _)) = biggest(case) {
        let pid = group.first().pid;
        calls.extend([status_of(pid), cgroup_of(pid)]);
    }
    calls.push(swapping());
    calls
}

fn its_log(case: &Case) -> Vec<Call> {
    unit_log(case).into_iter().collect()
}

fn unit_log(case: &Case) -> Option<Call> {
    let (group, _) = biggest(case)?;
    let unit = systemd_unit(case.seen(&cgroup_of(group.first().pid))?.text())?;
    (case.has_journal() && is_plain(unit)).then(|| {
        bash(&format!("journalctl --no-pager -n 50 -u {unit}"), "what the biggest program said lately")
    })
}

/// The program with the most resident memory, all of its processes together.
fn biggest<'a>(case: &Case<'a>) -> Option<(ProcessGroup<'a>, Seen<'a>)> {
    let seen = case.seen(&ps())?;
    let group = by_name(&processes(seen.text())).into_iter().max_by_key(|group| group.rss_kib())?;
    (group.rss_kib() > 0).then_some((group, seen))
}

fn conclude(case: &Case) -> Report {
    let mut diagnosis = Diagnosis::new();
    let summary = match case.seen(&meminfo()).and_then(|seen| Some((Meminfo::read(seen.text())?, seen))) {
        Some((memory, seen)) => weigh(case, &memory, seen, &mut diagnosis),
        None => "How much memory the host has left could not be read.".to_owned(),
    };
    diagnosis.consider_host(case.whereabouts());
    diagnosis.consider_failures(case);
    diagnosis.report(summary)
}

fn weigh(case: &Case, memory: &Meminfo, seen: Seen, diagnosis: &mut Diagnosis) -> String {
    let statement = format!(
        "{:.0} % of {} are available ({}).",
        memory.available() * 100.0,
        human_kib(memory.kib("MemTotal")),
        human_kib(memory.kib("MemAvailable"))
    );
    diagnosis.finding(
        statement,
        [seen.evidence(memory.line("MemAvailable")), seen.evidence(memory.line("MemTotal"))],
    );
    let stalls = report_stalls(case, diagnosis);
    let swaps = report_swap(case, memory, seen, diagnosis);
    let limited = report_own_limit(case, diagnosis);
    if memory.available() < SHORT || stalls >= STALLS || limited.is_some() {
        blame(case, memory, seen, swaps, limited, diagnosis)
    } else {
        enough(case, memory, diagnosis)
    }
}

/// The share of the last 10 s in which some program waited for memory, in percent.
fn report_stalls(case: &Case, diagnosis: &mut Diagnosis) -> f64 {
    let Some(seen) = case.seen(&pressure()).filter(|seen| seen.succeeded()) else {
        return 0.0;
    };
    let Some(line) = seen.text().lines().find(|line| line.starts_with("some ")) else {
        return 0.0;
    };
    let stalls =
        line.split_once("avg10=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or(0.0);
    diagnosis.finding(
        format!("Programs waited for memory {stalls} % of the last 10 seconds."),
        [seen.evidence(line)],
    );
    stalls
}

/// Does it swap just now? Pages that were swapped out long ago harm nobody.
fn report_swap(case: &Case, memory: &Meminfo, seen: Seen, diagnosis: &mut Diagnosis) -> bool {
    let (total, free) = (memory.kib("SwapTotal"), memory.kib("SwapFree"));
    let used = total.saturating_sub(free);
    if total > 0 && used as f64 >= SWAPPED * total as f64 {
        let statement = format!("{} of {} swap are used.", human_kib(used), human_kib(total));
        diagnosis.finding(statement, [seen.evidence(memory.line("SwapFree"))]);
    }
    let (Some(before), Some(after)) = (case.nth(&swapping(), 0), case.nth(&swapping(), 1)) else {
        return false;
    };
    let moved = |name: &str| {
        let count = |seen: Seen| counters(seen.text()).get(name).copied().unwrap_or(0);
        count(after).saturating_sub(count(before))
    };
    let (r#in, out) = (moved("pswpin"), moved("pswpout"));
    let line = |seen: Seen<'_>, name: &str| {
        let line = seen.text().lines().find(|line| line.starts_with(name)).unwrap_or_default();
        seen.evidence(line)
    };
    if r#in + out > 0 {
        let statement = format!("It swaps now: {out} pages out and {} in between two samples.", r#in);
        diagnosis
            .finding(statement, [line(before, "pswpout"), line(after, "pswpout"), line(after, "pswpin")]);
    }
    r#in > 0 && out > 0
}

/// Inside of a container the host's memory isn't the limit; the cgroup's is. The limit in KiB, if it is reached.
fn report_own_limit(case: &Case, diagnosis: &mut Diagnosis) -> Option<u64> {
    let seen = case.seen(&own_limit())?;
    let value = |file: &str| {
        let mut lines = seen.text().lines().skip_while(|line| !line.contains(file));
        lines.nth(1).and_then(|line| line.trim().parse::<u64>().ok().map(|bytes| (line, bytes)))
    };
    let ((limit_line, limit), (used_line, used)) = (value("memory.max")?, value("memory.current")?);
    let statement = format!(
        "This container uses {} of its limit of {}.",
        human_kib(used / 1024),
        human_kib(limit / 1024)
    );
    diagnosis.finding(statement, [seen.evidence(used_line), seen.evidence(limit_line)]);
    (used as f64 >= (1.0 - SHORT) * limit as f64).then_some(limit / 1024)
}

fn enough(case: &Case, memory: &Meminfo, diagnosis: &mut Diagnosis) -> String {
    diagnosis.no_cause(if memory.available() >= 0.2 { 0.75 } else { 0.6 });
    if let Some((group, seen)) = biggest(case) {
        let statement =
            format!("The biggest program is {} with {}.", group.describe(), human_kib(group.rss_kib()));
        diagnosis.finding(statement, [seen.evidence(group.first().line)]);
    }
    diagnosis.recommend("If the alert keeps firing, check that its expression uses MemAvailable, not MemFree: a cache is no shortage.");
    "The host is not short of memory now; the alert is over, or counts caches, or is of another host."
        .to_owned()
}

/// Where memory can go, with what helps there.
struct Holder<'a> {
    what: String,
    kib: u64,
    line: &'a str,
    advice: &'static str,
}

fn blame(
    case: &Case,
    memory: &Meminfo,
    seen: Seen,
    swaps: bool,
    limited: Option<u64>,
    diagnosis: &mut Diagnosis,
) -> String {
    let total = limited.unwrap_or_else(|| memory.kib("MemTotal"));
    let group = biggest(case);
    let program = group.as_ref().map_or(0, |(group, _)| group.rss_kib());
    let holder = holders(memory)
        .into_iter()
        .max_by_key(|holder| holder.kib)
        // The figures are the host's, and say nothing about a container's own limit.
        .filter(|holder| limited.is_none() && holder.kib > program && holder.kib * 5 >= total);
    let mut summary = match (holder, &group) {
        (Some(holder), _) => blame_holder(&holder, total, seen, diagnosis),
        (None, Some((group, table))) => blame_program(case, group, *table, total, diagnosis),
        (None, None) => {
            diagnosis.recommend(
                "Look at the processes on the host itself: no table of them could be read from here.",
            );
            "The host is short of memory, but who has it could not be seen.".to_owned()
        }
    };
    if limited.is_some() {
        summary.push_str(" The container's own limit is reached.");
    }
    if swaps {
        summary.push_str(" It swaps in and out all the time, which slows everything down.");
    }
    summary
}

fn holders<'a>(memory: &Meminfo<'a>) -> [Holder<'a>; 3] {
    [
        Holder {
            what: "shared memory and tmpfs".to_owned(),
            kib: memory.kib("Shmem"),
            line: memory.line("Shmem"),
            advice: "Look for big files in tmpfs (df -t tmpfs, /dev/shm) and for shared segments that nobody uses (ipcs -m).",
        },
        Holder {
            what: "the kernel's own structures (unreclaimable slab)".to_owned(),
            kib: memory.kib("SUnreclaim"),
            line: memory.line("SUnreclaim"),
            advice: "Look at /proc/slabinfo (slabtop) as root: a driver or very many files, sockets or cgroups may leak there.",
        },
        Holder {
            what: "huge pages".to_owned(),
            kib: memory.kib("HugePages_Total") * memory.kib("Hugepagesize"),
            line: memory.line("HugePages_Total"),
            advice: "Reserve fewer huge pages (vm.nr_hugepages): they are taken from everybody, used or not.",
        },
    ]
}

fn blame_holder(holder: &Holder, total: u64, seen: Seen, diagnosis: &mut Diagnosis) -> String {
    let share = holder.kib as f64 / total as f64;
    let what = &holder.what;
    diagnosis.finding(format!("{} are held by {what}.", human_kib(holder.kib)), [seen.evidence(holder.line)]);
    diagnosis.cause(
        format!("{what} hold {} of {} ({:.0} %)", human_kib(holder.kib), human_kib(total), share * 100.0),
        sure(share),
    );
    diagnosis.recommend(holder.advice);
    format!("The host is short of memory; most of it is held by {what}.")
}

fn blame_program(
    case: &Case,
    group: &ProcessGroup,
    table: Seen,
    total: u64,
    diagnosis: &mut Diagnosis,
) -> String {
    let who = group.describe();
    let (amount, share) = (human_kib(group.rss_kib()), group.rss_kib() as f64 / total as f64);
    let evidence = group.members.iter().take(3).map(|process| table.evidence(process.line));
    diagnosis.finding(format!("{who} has {amount}, {:.0} % of all memory.", share * 100.0), evidence);
    report_status(case, group, diagnosis);
    let trouble = report_log(case, diagnosis);
    diagnosis.cause(
        format!("{who} has {amount} of {} ({:.0} %)", human_kib(total), share * 100.0),
        sure(share) + if trouble { 0.05 } else { 0.0 },
    );
    if share < 0.25 {
        diagnosis.doubt(0.55, "No single program has a quarter of it: the load is spread.");
    }
    diagnosis.recommend(format!(
        "Find out whether {} has grown: compare with its usual size, and with what it was asked to do.",
        group.name
    ));
    diagnosis.recommend(format!("Bound it (heap, cache, number of workers, MemoryMax=), or restart {} once its state is saved, before the kernel kills something.", group.name));
    format!("The host is short of memory; {who} has the most of it.")
}

/// Confidence from the share of all memory.
fn sure(share: f64) -> f64 {
    if share >= 0.5 {
        0.85
    } else if share >= 0.35 {
        0.78
    } else if share >= 0.25 {
        0.7
    } else {
        0.55
    }
}

fn report_status(case: &Case, group: &ProcessGroup, diagnosis: &mut Diagnosis) {
    let Some(seen) = case.seen(&status_of(group.first().pid)).filter(|seen| seen.succeeded()) else {
        return;
    };
    let line = |name: &str| seen.text().lines().find(|line| line.starts_with(name)).unwrap_or_default();
    if !line("VmRSS:").is_empty() {
        let evidence = ["VmHWM:", "VmRSS:", "VmSwap:", "Threads:"].map(|name| seen.evidence(line(name)));
        diagnosis.finding("Its biggest process, in its own figures (HWM: the most it ever had):", evidence);
    }
}

fn report_log(case: &Case, diagnosis: &mut Diagnosis) -> bool {
    let Some(seen) = unit_log(case).and_then(|call| case.seen(&call)) else {
        return false;
    };
    diagnosis.trouble_in_log(seen)
}
