//! CPU time: two samples of `/proc/stat`, and `/proc/loadavg`.

/// A sample of `/proc/stat`: clock ticks since boot, all CPUs together.
#[derive(Clone, Copy, Debug)]
pub struct CpuTimes {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
    /// How many CPUs are online.
    pub cpus: usize,
}

/// Shares of the time between two samples, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct CpuUse {
    /// Everything but idling and waiting for disks.
    pub busy: f64,
    /// Programs' own code.
    pub user: f64,
    /// The kernel on their behalf, interrupts included.
    pub system: f64,
    /// Idle, with somebody waiting for a disk.
    pub iowait: f64,
    /// Wanted, but given to other guests by the hypervisor.
    pub steal: f64,
}

impl CpuTimes {
    /// Reads `/proc/stat`.
    pub fn read(stat: &str) -> Option<CpuTimes> {
        let total = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = total.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let at = |field: usize| ticks.get(field).copied().unwrap_or(0);
        (ticks.len() >= 4).then(|| CpuTimes {
            user: at(0) + at(1),
            system: at(2) + at(5) + at(6),
            idle: at(3),
            iowait: at(4),
            steal: at(7),
            cpus: stat.lines().filter(|line| is_one_cpu(line)).count().max(1),
        })
    }

    /// Where the time went between this sample and a later one. `None` if less than a twentieth of a second of CPU time
    /// lies between: too little to say.
    pub fn until(&self, later: &CpuTimes) -> Option<CpuUse> {
        let spent = |of: fn(&CpuTimes) -> u64| of(later).saturating_sub(of(self)) as f64;
        let (user, system, steal) = (spent(|t| t.user), spent(|t| t.system), spent(|t| t.steal));
        let (idle, iowait) = (spent(|t| t.idle), spent(|t| t.iowait));
        let total = user + system + steal + idle + iowait;
        (total >= 5.0).then(|| CpuUse {
            busy: (user + system + steal) / total,
            user: user / total,
            system: system / total,
            iowait: iowait / total,
            steal: steal / total,
        })
    }
}

fn is_one_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The averages over 1, 5 and 15 minutes in `/proc/loadavg`.
pub fn load_averages(loadavg: &str) -> Option<[f64; 3]> {
    let mut fields = loadavg.split_whitespace().map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}
