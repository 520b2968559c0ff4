//! A host's CPU is busy: is it, with what, and what does that program say about itself?
//!
//! 1. Name, load averages, a first sample of `/proc/stat`, pressure, the processes.
//! 2. What runs just now (`top`, two rounds, a second apart), and the second sample.
//! 3. The suspect: its unit, and where its log may be.
//! 4. Its log.
//!
//! A cause is named with confidence 0.8 and more where one program has most of the CPU time in use; less where the load is
//! spread, over by now, or on another host than the alert's.

use watchkeeper_sdk::diagnosis::{
    self, Case, CpuTimes, CpuUse, Diagnosis, Process, ProcessGroup, Seen, Topic, bash, by_name, init,
    journal_or_log, load_averages, processes, read_file, systemd_unit, var_log,
};
use watchkeeper_sdk::{Alert, Briefing, Call, Error, Outcome, Playbook, Prompt, PromptBuilder, Report, Step};

/// Busier than this is load.
const BUSY: f64 = 0.8;

/// A share of CPU time stolen by the hypervisor, or lost waiting for disks, that explains an alert by itself.
const STOLEN: f64 = 0.2;
const WAITING: f64 = 0.3;

const TOPIC: Topic = Topic {
    names: &[
        "highcpu",
        "highcpuusage",
        "highcpuload",
        "cpuhigh",
        "cpuusagehigh",
        "hosthighcpuload",
        "hosthighcpuusage",
        "nodehighcpu",
        "nodehighcpuload",
        "nodecpuhighusage",
        "nodecpuusagehigh",
        "instancehighcpu",
        "nodesystemsaturation",
        "hostcpuhighiowait",
        "hostcpustealnoisyneighbor",
        "containerhighcpuutilization",
        "highload",
        "hosthighload",
        "nodehighload",
        "loadaveragehigh",
        "highloadaverage",
    ],
    phrases: &["cpu", "load average", "high load", "processor load"],
    not: &["temperature", "throttling", "memory", "disk", "overcommit", "oom"],
};

const INSTRUCTIONS: &str = "\
You diagnose high CPU load on one Linux host, with read-only commands.
Establish, in this order, and cite the output that shows each:
1. Is this the host that the alert names? Compare the hostname with the labels instance, host and node. If it isn't, say so and stay unsure.
2. Is it under load now? Take two samples of /proc/stat; compare the load averages with the number of CPUs. Tell user, system, iowait and steal apart.
3. Which program has the CPU time? ps averages since a process began; the second round of top -b -n 2 is now. Take workers of one name together.
4. Why is it busy? Look at its unit's recent log lines, and at when it began.
Recommend what a person should do; change nothing. A confidence below 0.7 calls a person: give it when you aren't sure.";

/// The prompt builder and the playbook.
pub struct HighCpu;

impl PromptBuilder for HighCpu {
    fn score(alert: &Alert) -> u32 {
        TOPIC.score(alert)
    }

    fn build(briefing: &Briefing) -> Result<Prompt, Error> {
        Ok(diagnosis::prompt(briefing, INSTRUCTIONS, overview))
    }
}

impl Playbook for HighCpu {
    fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
        Ok(diagnosis::next(&Case::new(briefing, outcomes), &[overview, just_now, suspect, its_log], conclude))
    }
}

watchkeeper_sdk::register! { prompt_builder: HighCpu, playbook: HighCpu }

fn stat() -> Call {
    read_file("/proc/stat", "a sample of where CPU time goes")
}

fn loadavg() -> Call {
    read_file("/proc/loadavg", "the load over 1, 5 and 15 minutes")
}

fn pressure() -> Call {
    bash("cat /proc/pressure/cpu", "how long programs wait for a CPU")
}

fn ps() -> Call {
    bash(
        "ps -eo pid,ppid,user,pcpu,pmem,etime,comm --sort=-pcpu | head -n 15",
        "the processes with the most CPU time since they began",
    )
}

fn top() -> Call {
    bash("top -b -i -n 2 -d 1", "the processes that use CPU time just now")
}

fn cgroup_of(pid: u32) -> Call {
    bash(&format!("cat /proc/{pid}/cgroup"), "which unit the busiest process belongs to")
}

fn overview(case: &Case) -> Vec<Call> {
    let mut calls = case.host_calls();
    calls.extend([loadavg(), stat(), pressure(), ps()]);
    calls
}

/// `top` comes with `ps` in one package; where one is missing, asking for the other would be a second failure.
fn just_now(case: &Case) -> Vec<Call> {
    let mut calls = Vec::new();
    if !case.failed(&ps()) {
        calls.push(top());
    }
    calls.push(stat());
    calls
}

fn suspect(case: &Case) -> Vec<Call> {
    let Some((group, _)) = busiest(case) else {
        return Vec::new();
    };
    vec![cgroup_of(group.first().pid), init(), var_log()]
}

fn its_log(case: &Case) -> Vec<Call> {
    suspects_log(case).into_iter().collect()
}

fn suspects_log(case: &Case) -> Option<Call> {
    let (group, _) = busiest(case)?;
    let cgroup = case.seen(&cgroup_of(group.first().pid));
    let listing = case.seen(&var_log()).map(|seen| seen.text());
    journal_or_log(case.has_journal(), cgroup.and_then(|seen| systemd_unit(seen.text())), group.name, listing)
}

/// Who uses the CPU now, from the second round of `top`; where that says nothing, from `ps`. The tools that we looked
/// with are left out.
fn groups<'a>(case: &Case<'a>) -> Option<(Vec<ProcessGroup<'a>>, Seen<'a>)> {
    [top(), ps()].iter().find_map(|call| {
        let seen = case.seen(call)?;
        let others: Vec<Process> = processes(seen.text())
            .into_iter()
            .filter(|process| !["top", "ps", "head"].contains(&process.name))
            .collect();
        let mut groups = by_name(&others);
        groups.sort_by(|a, b| b.cpu().total_cmp(&a.cpu()));
        (!groups.is_empty()).then_some((groups, seen))
    })
}

fn busiest<'a>(case: &Case<'a>) -> Option<(ProcessGroup<'a>, Seen<'a>)> {
    let (groups, seen) = groups(case)?;
    groups.into_iter().next().filter(|group| group.cpu() >= 1.0).map(|group| (group, seen))
}

/// What the samples say about the whole host.
struct Load {
    cpus: Option<usize>,
    averages: Option<[f64; 3]>,
    now: Option<CpuUse>,
}

impl Load {
    fn of(case: &Case) -> Load {
        let sample = |n| case.nth(&stat(), n).and_then(|seen| CpuTimes::read(seen.text()));
        let (first, second) = (sample(0), sample(1));
        Load {
            cpus: first.map(|times| times.cpus),
            averages: case.seen(&loadavg()).and_then(|seen| load_averages(seen.text())),
            now: first.zip(second).and_then(|(first, second)| first.until(&second)),
        }
    }

    /// Load for each CPU over the last minute.
    fn per_cpu(&self) -> Option<f64> {
        Some(self.averages?[0] / self.cpus? as f64)
    }

    /// The samples tell best; without two of them, the load average has to do. `None`: neither was to be had.
    fn is_high(&self) -> Option<bool> {
        let by_samples = self.now.map(|now| now.busy >= BUSY || now.steal >= STOLEN || now.iowait >= WAITING);
        by_samples.or_else(|| self.per_cpu().map(|load| load >= 1.0))
    }
}

fn conclude(case: &Case) -> Report {
    let mut diagnosis = Diagnosis::new();
    let load = Load::of(case);
    describe_load(case, &load, &mut diagnosis);
    let summary = match load.is_high() {
        None => "The CPU load could not be measured.".to_owned(),
        Some(false) => quiet(case, &load, &mut diagnosis),
        Some(true) => busy(case, &load, &mut diagnosis),
    };
    diagnosis.consider_host(case.whereabouts());
    diagnosis.consider_failures(case);
    diagnosis.report(summary)
}

fn describe_load(case: &Case, load: &Load, diagnosis: &mut Diagnosis) {
    if let (Some(now), Some(before), Some(after)) = (load.now, case.nth(&stat(), 0), case.nth(&stat(), 1)) {
        let statement = format!(
            "Between two samples the CPUs were {} busy: {} in programs, {} in the kernel, {} stolen by the hypervisor; {} waiting for disks.",
            percent(now.busy),
            percent(now.user),
            percent(now.system),
            percent(now.steal),
            percent(now.iowait)
        );
        diagnosis
            .finding(statement, [before.evidence(first_line(before)), after.evidence(first_line(after))]);
    }
    if let (Some(averages), Some(seen)) = (load.averages, case.seen(&loadavg())) {
        let cpus = load.cpus.map_or("an unknown number of".to_owned(), |cpus| cpus.to_string());
        let [one, five, fifteen] = averages;
        diagnosis.finding(
            format!(
                "The load average is {one} over 1 minute, {five} over 5, {fifteen} over 15, for {cpus} CPUs."
            ),
            [seen.evidence(first_line(seen))],
        );
    }
    if let Some(seen) = case.seen(&pressure()).filter(|seen| seen.succeeded())
        && let Some(line) = seen.text().lines().find(|line| line.starts_with("some "))
    {
        diagnosis.finding(
            "How much of the time some program waited for a CPU, in percent:",
            [seen.evidence(line)],
        );
    }
}

/// Nothing to see now. That is no cause, and only as sure as the averages agree.
fn quiet(case: &Case, load: &Load, diagnosis: &mut Diagnosis) -> String {
    let averages =
        load.averages.zip(load.cpus).map(|(averages, cpus)| averages.map(|average| average / cpus as f64));
    let was_high = averages.is_some_and(|[_, five, fifteen]| five >= 0.7 || fifteen >= 0.7);
    diagnosis.no_cause(if load.now.is_some() && !was_high { 0.75 } else { 0.6 });
    if was_high {
        diagnosis
            .doubt(0.6, "The averages show that it was under load minutes ago; what caused it is not known.");
    }
    if let Some((group, seen)) = busiest(case) {
        diagnosis.finding(
            format!("The busiest program is {}, with {:.0} % of one CPU.", group.describe(), group.cpu()),
            [seen.evidence(group.first().line)],
        );
    }
    diagnosis.recommend("If the alert keeps firing, compare its expression and its labels with this host.");
    diagnosis.recommend(
        "If it comes again, look at what runs at these times: timers, cron jobs, backups, deployments.",
    );
    "The host is not under CPU load now; the alert is over, or is of another host.".to_owned()
}

fn busy(case: &Case, load: &Load, diagnosis: &mut Diagnosis) -> String {
    if let Some(now) = load.now {
        if now.steal >= STOLEN {
            return stolen(now, diagnosis);
        }
        if now.iowait >= WAITING && now.busy < BUSY {
            return waiting(case, now, diagnosis);
        }
    }
    match busiest(case) {
        Some((group, seen)) => blame(case, load, &group, seen, diagnosis),
        None => {
            diagnosis.recommend(
                "Look at the processes on the host itself: no table of them could be read from here.",
            );
            "The host is under CPU load, but which program causes it could not be seen.".to_owned()
        }
    }
}

fn stolen(now: CpuUse, diagnosis: &mut Diagnosis) -> String {
    diagnosis
        .cause(format!("the hypervisor gives {} of the CPU time to other guests", percent(now.steal)), 0.8);
    diagnosis.recommend(
        "Move the guest to a less loaded machine, or give it dedicated CPUs (or more CPU credits).",
    );
    "The host wants more CPU time than its hypervisor gives it.".to_owned()
}

fn waiting(case: &Case, now: CpuUse, diagnosis: &mut Diagnosis) -> String {
    diagnosis.cause(format!("the CPUs spend {} of the time waiting for disks", percent(now.iowait)), 0.75);
    if let Some((group, seen)) = busiest(case) {
        diagnosis.finding(
            format!("The busiest program is {}.", group.describe()),
            [seen.evidence(group.first().line)],
        );
    }
    diagnosis.recommend(
        "Look for the program that reads or writes most (iotop, pidstat -d) and at the disks' health.",
    );
    "The load is waiting for disks, not computing.".to_owned()
}

fn blame(case: &Case, load: &Load, group: &ProcessGroup, seen: Seen, diagnosis: &mut Diagnosis) -> String {
    let who = group.describe();
    let is_now = seen.call() == &top();
    let span = if is_now { "just now" } else { "on average since it began" };
    let statement = format!("{who} uses {:.0} % of one CPU {span}.", group.cpu());
    diagnosis.finding(statement, group.members.iter().take(3).map(|process| seen.evidence(process.line)));

    let trouble = report_log(case, group, diagnosis);
    let share = share_of_use(load, group);
    let confidence = match share {
        Some(share) if share >= 0.5 => 0.8 + if trouble { 0.1 } else { 0.05 },
        Some(share) if share >= 0.3 => 0.7,
        _ => 0.55,
    };
    let of_all =
        share.map_or(String::new(), |share| format!(", {} of all CPU time in use", percent(share.min(1.0))));
    let cause = match kernel_thread(group.name) {
        Some(why) => format!("{who} uses {:.0} % of one CPU{of_all}: {why}", group.cpu()),
        None => format!("{who} uses {:.0} % of one CPU{of_all}", group.cpu()),
    };
    diagnosis.cause(cause, confidence);
    if !is_now {
        diagnosis
            .doubt(0.7, "Only averages since each process began could be seen, not who is busy just now.");
    }
    if confidence < 0.7 {
        diagnosis.doubt(confidence, "The load is spread over several programs.");
    }
    recommend_for(group, diagnosis);
    format!("The host is under CPU load, most of it by {who}.")
}

/// Which part of the CPU time in use is this group's; `None` if one of both isn't known.
fn share_of_use(load: &Load, group: &ProcessGroup) -> Option<f64> {
    let in_use = load.now.map(|now| now.busy - now.steal)? * load.cpus? as f64 * 100.0;
    (in_use > 0.0).then(|| group.cpu() / in_use)
}

fn report_log(case: &Case, group: &ProcessGroup, diagnosis: &mut Diagnosis) -> bool {
    if let Some(seen) = case.seen(&cgroup_of(group.first().pid))
        && let Some(unit) = systemd_unit(seen.text())
    {
        diagnosis.finding(format!("It belongs to the unit {unit}."), [seen.evidence(first_line(seen))]);
    }
    let Some(seen) = suspects_log(case).and_then(|call| case.seen(&call)) else {
        return false;
    };
    diagnosis.trouble_in_log(seen)
}

fn recommend_for(group: &ProcessGroup, diagnosis: &mut Diagnosis) {
    let name = group.name;
    if kernel_thread(name).is_some() {
        diagnosis.recommend("Look at the kernel log and at what makes the kernel work that hard; the thread itself is a symptom.");
        return;
    }
    diagnosis.recommend(format!(
        "Find out whether {name} does useful work (more requests, a batch job) or spins (an endless loop, retries); its log and a profile tell."
    ));
    diagnosis.recommend(format!(
        "If it spins, restart it once its state is saved; if it works, give it fewer workers, a CPU limit, or the host more CPUs ({name})."
    ));
}

/// Threads of the kernel whose work is a symptom of something else.
fn kernel_thread(name: &str) -> Option<&'static str> {
    let known = [
        ("kswapd", "the kernel is short of memory and looks for pages to free"),
        ("kcompactd", "the kernel looks for contiguous memory"),
        ("ksoftirqd", "the kernel handles very many network packets or other interrupts"),
        ("kworker", "the kernel works for a driver or a filesystem"),
        ("jbd2", "a filesystem's journal is written all the time"),
    ];
    known.iter().find(|(prefix, _)| name.trim_start_matches('[').starts_with(prefix)).map(|(_, why)| *why)
}

fn first_line(seen: Seen<'_>) -> &str {
    seen.text().lines().next().unwrap_or_default()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
