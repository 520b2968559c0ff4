//! The kernel killed a process for want of memory: which one, was it the host's memory or a cgroup's limit, and is it the
//! kill that the alert is about?
//!
//! 1. Name, the kernel's messages in `dmesg`, its counter of kills, uptime and memory.
//! 2. Without a kill there: the journal's kernel messages (where systemd runs), else which log files there are.
//! 3. Without systemd: the kernel's log file.
//! 4. The victim's cgroup (its limit and events), its unit's log, and who uses memory now.
//!
//! A kill in the kernel's own words is sure; less so if it is far from the alert's start, or its time can't be told.

use watchkeeper_sdk::diagnosis::{
    self, Case, Diagnosis, Meminfo, Seen, Topic, bash, by_name, counters, human_kib, init, is_plain,
    is_plain_path, log_files, processes, read_file, systemd_unit, var_log,
};
use watchkeeper_sdk::{Alert, Briefing, Call, Error, Outcome, Playbook, Prompt, PromptBuilder, Report, Step};

/// A kill within this many seconds of the alert's start is the alert's.
const NEAR: f64 = 3600.0;

const TOPIC: Topic = Topic {
    names: &[
        "oomkill",
        "oomkilled",
        "oomkilldetected",
        "hostoomkilldetected",
        "hostoomkill",
        "kubernetescontaineroomkiller",
        "kubepodoomkilled",
        "containeroomkilled",
        "podoomkilled",
        "processoomkilled",
    ],
    phrases: &[
        "oom",
        "oom killer",
        "oom kill",
        "oom killed",
        "out of memory killed",
        "out of memory kill",
        "killed process",
    ],
    not: &[],
};

const INSTRUCTIONS: &str = "\
You diagnose kills for want of memory (OOM kills) on one Linux host, with read-only commands.
Establish, in this order, and cite the output that shows each:
1. Is this the host that the alert names? Compare the hostname with the labels instance, host and node. If it isn't, say so and stay unsure.
2. Which process was killed, when, and how much memory had it? dmesg, or journalctl -k, or /var/log/kern.log: \"Killed process\".
3. Was it a cgroup's limit (\"Memory cgroup out of memory\", CONSTRAINT_MEMCG) or the host's memory? Read the cgroup's memory.max and memory.events.
4. Is the victim the one that grew, or did it die for another's growth? Look at who uses memory now, and at its log.
Recommend what a person should do; change nothing. A confidence below 0.7 calls a person: give it when you aren't sure.";

/// The prompt builder and the playbook.
pub struct OomKill;

impl PromptBuilder for OomKill {
    fn score(alert: &Alert) -> u32 {
        TOPIC.score(alert)
    }

    fn build(briefing: &Briefing) -> Result<Prompt, Error> {
        Ok(diagnosis::prompt(briefing, INSTRUCTIONS, overview))
    }
}

impl Playbook for OomKill {
    fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
        let stages = [overview, journal, log_file, victim];
        Ok(diagnosis::next(&Case::new(briefing, outcomes), &stages, conclude))
    }
}

watchkeeper_sdk::register! { prompt_builder: OomKill, playbook: OomKill }

const WORDS: &str = r#"grep -i -E "out of memory|oom-kill|killed process""#;

fn dmesg() -> Call {
    bash(&format!("dmesg | {WORDS}"), "the kernel's messages about kills")
}

fn kernel_journal() -> Call {
    bash(
        &format!(r#"journalctl --no-pager -k --since "24 hours ago" | {WORDS}"#),
        "the kernel's messages of the last day",
    )
}

fn kernel_log(file: &str) -> Call {
    bash(&format!("{WORDS} /var/log/{file} | tail -n 60"), "the kernel's messages in its log file")
}

fn kill_counter() -> Call {
    bash("grep oom_kill /proc/vmstat", "how many kills there were since boot")
}

fn uptime() -> Call {
    read_file("/proc/uptime", "the kernel's clock, to date its messages")
}

fn meminfo() -> Call {
    read_file("/proc/meminfo", "how much memory there is now")
}

fn ps() -> Call {
    bash("ps -eo pid,user,pmem,rss,etime,comm --sort=-rss | head -n 15", "who uses the most memory now")
}

fn limits_of(cgroup: &str) -> Call {
    let root = format!("/sys/fs/cgroup{}", cgroup.trim_end_matches('/'));
    bash(
        &format!("head -n 20 {root}/memory.max {root}/memory.events"),
        "the limit that was hit, and how often",
    )
}

fn log_of(unit: &str) -> Call {
    bash(&format!("journalctl --no-pager -n 50 -u {unit}"), "what the victim's unit said")
}

fn overview(case: &Case) -> Vec<Call> {
    let mut calls = case.host_calls();
    calls.extend([init(), dmesg(), kill_counter(), uptime(), meminfo()]);
    calls
}

fn journal(case: &Case) -> Vec<Call> {
    match kills_in(case, &dmesg()).is_empty() {
        true if case.has_journal() => vec![kernel_journal()],
        true => vec![var_log()],
        false => Vec::new(),
    }
}

fn log_file(case: &Case) -> Vec<Call> {
    kernel_log_file(case).map(kernel_log).into_iter().collect()
}

fn kernel_log_file<'a>(case: &Case<'a>) -> Option<&'a str> {
    let files = log_files(case.seen(&var_log())?.text());
    ["kern.log", "messages", "syslog"]
        .iter()
        .find_map(|wanted| files.iter().find(|file| *file == wanted))
        .copied()
}

fn victim(case: &Case) -> Vec<Call> {
    let mut calls = Vec::new();
    if let Some(kill) = last_kill(case) {
        calls.extend(kill.cgroup.filter(|cgroup| is_plain_path(cgroup)).map(limits_of));
        if case.has_journal() {
            calls.extend(kill.unit().filter(|unit| is_plain(unit)).map(log_of));
        }
    }
    calls.push(ps());
    calls
}

/// One kill, as the kernel tells it.
struct Kill<'a> {
    pid: &'a str,
    name: &'a str,
    /// Its own memory in KiB, without what it shared; 0 if not told.
    rss_kib: u64,
    by_cgroup: bool,
    /// The victim's cgroup, where the kernel names it (since 4.19).
    cgroup: Option<&'a str>,
    /// Seconds after boot, in `dmesg` alone.
    at: Option<f64>,
    line: &'a str,
    seen: Seen<'a>,
}

impl<'a> Kill<'a> {
    fn read(line: &'a str, constraint: Option<&'a str>, seen: Seen<'a>) -> Option<Kill<'a>> {
        let (before, rest) = line.split_once("illed process ")?;
        let (pid, rest) = rest.split_once([' ', ','])?;
        let name = rest.split_once('(')?.1;
        let name = name.split_once(") total-vm").or_else(|| name.split_once(')'))?.0;
        pid.bytes().all(|b| b.is_ascii_digit()).then(|| Kill {
            pid,
            name,
            rss_kib: figure(line, "anon-rss:").unwrap_or(0),
            by_cgroup: before.contains("emory cgroup")
                || constraint.is_some_and(|line| line.contains("CONSTRAINT_MEMCG")),
            cgroup: constraint.and_then(|line| value(line, "task_memcg=")),
            at: line.strip_prefix('[').and_then(|rest| rest.split(']').next()?.trim().parse().ok()),
            line,
            seen,
        })
    }

    fn unit(&self) -> Option<&'a str> {
        self.cgroup.and_then(systemd_unit)
    }

    fn describe(&self) -> String {
        let memory = if self.rss_kib > 0 {
            format!(", {} of its own memory", human_kib(self.rss_kib))
        } else {
            String::new()
        };
        format!("{} (process {}{memory})", self.name, self.pid)
    }
}

fn figure(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(name)?.1.split(',').next().map(str::trim)
}

/// All kills in one output. The line with the constraint comes before, for the same process.
fn kills_in<'a>(case: &Case<'a>, call: &Call) -> Vec<Kill<'a>> {
    let Some(seen) = case.seen(call) else {
        return Vec::new();
    };
    let mut constraint = None;
    let mut kills = Vec::new();
    for line in seen.text().lines() {
        if line.contains("oom-kill:constraint=") {
            constraint = Some(line);
        } else {
            let of_same =
                |kill: &Kill| constraint.and_then(|line: &str| value(line, "pid=")) == Some(kill.pid);
            let plain = Kill::read(line, None, seen);
            let belongs = plain.as_ref().is_some_and(of_same);
            kills.extend(if belongs { Kill::read(line, constraint, seen) } else { plain });
        }
    }
    kills
}

fn kills<'a>(case: &Case<'a>) -> Vec<Kill<'a>> {
    let file = kernel_log_file(case).map(kernel_log);
    let calls = [Some(dmesg()), Some(kernel_journal()), file];
    calls
        .iter()
        .flatten()
        .map(|call| kills_in(case, call))
        .find(|kills| !kills.is_empty())
        .unwrap_or_default()
}

fn last_kill<'a>(case: &Case<'a>) -> Option<Kill<'a>> {
    kills(case).pop()
}

fn conclude(case: &Case) -> Report {
    let mut diagnosis = Diagnosis::new();
    let kills = kills(case);
    let summary = match kills.last() {
        Some(kill) => killed(case, &kills, kill, &mut diagnosis),
        None => not_seen(case, &mut diagnosis),
    };
    report_memory(case, &mut diagnosis);
    diagnosis.consider_host(case.whereabouts());
    diagnosis.consider_failures(case);
    diagnosis.report(summary)
}

fn killed(case: &Case, kills: &[Kill], kill: &Kill, diagnosis: &mut Diagnosis) -> String {
    let who = kill.describe();
    diagnosis.finding(format!("The kernel killed {who}."), [kill.seen.evidence(kill.line)]);
    let again: Vec<&Kill> = kills.iter().filter(|other| other.name == kill.name).collect();
    if again.len() > 1 {
        let evidence = again.iter().rev().skip(1).take(3).map(|kill| kill.seen.evidence(kill.line));
        diagnosis.finding(
            format!("It killed {} {} times in what its log still holds.", kill.name, again.len()),
            evidence,
        );
    }
    let cause = match kill.by_cgroup {
        true => format!(
            "{} reached {}, so the kernel killed {who}",
            cgroup_name(kill),
            limit(case, kill, diagnosis)
        ),
        false => format!("the host ran out of memory, and the kernel killed {who}"),
    };
    diagnosis.cause(cause, if kill.by_cgroup { 0.88 } else { 0.82 });
    report_log(case, kill, diagnosis);
    weigh_time(case, kill, diagnosis);
    recommend_for(kill, diagnosis);
    match kill.by_cgroup {
        true => format!("A cgroup's memory limit was reached; the kernel killed {who}."),
        false => format!("The host ran out of memory; the kernel killed {who}."),
    }
}

fn cgroup_name(kill: &Kill) -> String {
    kill.cgroup.map_or("its cgroup".to_owned(), |cgroup| format!("the cgroup {cgroup}"))
}

fn limit(case: &Case, kill: &Kill, diagnosis: &mut Diagnosis) -> String {
    const UNKNOWN: &str = "its memory limit";
    let Some(seen) = kill.cgroup.and_then(|cgroup| case.seen(&limits_of(cgroup))) else {
        return UNKNOWN.to_owned();
    };
    let events = seen.text().lines().find(|line| line.starts_with("oom_kill "));
    if let Some(events) = events {
        diagnosis.finding("Kills in this cgroup so far:", [seen.evidence(events)]);
    }
    // `head` writes `==> …/memory.max <==`, then the limit in bytes, or `max`.
    let mut lines = seen.text().lines().skip_while(|line| !line.contains("memory.max"));
    match lines.nth(1).and_then(|line| Some((line, line.trim().parse::<u64>().ok()?))) {
        Some((line, bytes)) => {
            diagnosis.finding(format!("Its limit is {}.", human_kib(bytes / 1024)), [seen.evidence(line)]);
            format!("its memory limit of {}", human_kib(bytes / 1024))
        }
        None => UNKNOWN.to_owned(),
    }
}

fn report_log(case: &Case, kill: &Kill, diagnosis: &mut Diagnosis) {
    if let Some(seen) = kill.unit().and_then(|unit| case.seen(&log_of(unit))) {
        diagnosis.trouble_in_log(seen);
    }
}

/// `dmesg` counts from boot; with the uptime that dates the kill, and with the alert's start it tells whether it is meant.
fn weigh_time(case: &Case, kill: &Kill, diagnosis: &mut Diagnosis) {
    let uptime =
        case.seen(&uptime()).and_then(|seen| seen.text().split_whitespace().next()?.parse::<f64>().ok());
    let (Some(uptime), Some(at)) = (uptime, kill.at) else {
        diagnosis.doubt(
            0.75,
            "Whether it is the kill that the alert is about can only be told by the time in its line.",
        );
        return;
    };
    let ago = (uptime - at).max(0.0);
    let minutes = (ago / 60.0).round();
    let Some(starts_at) = case.briefing.alert.starts_at else {
        diagnosis.finding(format!("It was {minutes} minutes ago."), [kill.seen.evidence(kill.line)]);
        return;
    };
    let alert_ago = case.briefing.now.saturating_sub(starts_at) as f64 / 1000.0;
    if (ago - alert_ago).abs() <= NEAR {
        diagnosis.finding(
            format!("It was {minutes} minutes ago, when the alert began."),
            [kill.seen.evidence(kill.line)],
        );
    } else {
        diagnosis.doubt(
            0.6,
            format!("The last kill was {minutes} minutes ago, which is not when the alert began."),
        );
    }
}

fn recommend_for(kill: &Kill, diagnosis: &mut Diagnosis) {
    let name = kill.name;
    diagnosis.recommend(format!("Check that {name} runs again, and that what it was doing was not lost."));
    if kill.by_cgroup {
        diagnosis.recommend(format!("Compare what {name} needs with its limit: raise the limit if the need is real, else bound it (heap, cache, workers) or look for a leak."));
    } else {
        diagnosis.recommend("See who grew: the victim is the biggest by the kernel's score, not always the one to blame. Give the greedy ones a limit (MemoryMax=), or the host more memory.");
    }
}

fn not_seen(case: &Case, diagnosis: &mut Diagnosis) -> String {
    let counter =
        case.seen(&kill_counter()).and_then(|seen| Some((seen, *counters(seen.text()).get("oom_kill")?)));
    diagnosis.recommend("Look at the container platform's own events: a kill inside of a container may be logged there alone.");
    match counter {
        Some((seen, 0)) => {
            diagnosis.no_cause(0.75);
            diagnosis.finding(
                "The kernel has killed nothing for want of memory since boot.",
                [seen.evidence("oom_kill 0")],
            );
            "No process was killed for want of memory on this host since it booted; the alert is of another host, or of before.".to_owned()
        }
        Some((seen, kills)) => {
            diagnosis.no_cause(0.5);
            diagnosis.finding(
                format!("The kernel counts {kills} kills since boot."),
                [seen.evidence(seen.text())],
            );
            diagnosis.recommend("Read the kernel's log as root (`dmesg`): it names the victim.");
            format!(
                "The kernel killed {kills} processes for want of memory since boot, but its log of it could not be read."
            )
        }
        None => "Whether the kernel killed something could not be seen: neither its log nor its counter."
            .to_owned(),
    }
}

fn report_memory(case: &Case, diagnosis: &mut Diagnosis) {
    if let Some(seen) = case.seen(&meminfo())
        && let Some(memory) = Meminfo::read(seen.text())
    {
        let statement = format!(
            "{:.0} % of {} are available now.",
            memory.available() * 100.0,
            human_kib(memory.kib("MemTotal"))
        );
        diagnosis.finding(
            statement,
            [seen.evidence(memory.line("MemAvailable")), seen.evidence(memory.line("MemTotal"))],
        );
    }
    let Some(seen) = case.seen(&ps()) else { return };
    if let Some(group) = by_name(&processes(seen.text())).into_iter().max_by_key(|group| group.rss_kib()) {
        let statement =
            format!("Most memory is now used by {}: {}.", group.describe(), human_kib(group.rss_kib()));
        diagnosis.finding(statement, [seen.evidence(group.first().line)]);
    }
}
