//! Tables of processes, as `ps` and `top` print them.

/// A line of `ps -eo …` or `top -b`. Figures that the table doesn't have are 0.
#[derive(Clone, Debug)]
pub struct Process<'a> {
    /// The process's id.
    pub pid: u32,
    /// Its user; empty if not told.
    pub user: &'a str,
    /// `%CPU`: 100 is one CPU. `top` means just now, `ps` means since the process began.
    pub cpu: f64,
    /// `%MEM` of all memory.
    pub memory: f64,
    /// Resident memory in KiB (`ps` alone).
    pub rss_kib: u64,
    /// The program's name.
    pub name: &'a str,
    /// The whole line, for evidence.
    pub line: &'a str,
}

/// Reads the last table in `output`: `top -b -n 2` prints two, and the first one averages since boot.
pub fn processes(output: &str) -> Vec<Process<'_>> {
    let lines: Vec<&str> = output.lines().collect();
    let Some(start) =
        lines.iter().rposition(|line| column(line, &["PID"]).is_some() && name_column(line).is_some())
    else {
        return Vec::new();
    };
    let header = lines[start];
    lines[start + 1..]
        .iter()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| process(header, line))
        .collect()
}

fn process<'a>(header: &str, line: &'a str) -> Option<Process<'a>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let field = |names: &[&str]| column(header, names).and_then(|at| fields.get(at).copied());
    let number = |names: &[&str]| field(names).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let name = *fields.get(name_column(header)?)?;
    Some(Process {
        pid: field(&["PID"])?.parse().ok()?,
        user: field(&["USER"]).unwrap_or_default(),
        cpu: number(&["%CPU"]),
        memory: number(&["%MEM"]),
        rss_kib: number(&["RSS"]) as u64,
        name: line[name.as_ptr() as usize - line.as_ptr() as usize..].trim_end(),
        line,
    })
}

fn name_column(header: &str) -> Option<usize> {
    column(header, &["COMMAND", "CMD", "COMM"])
}

fn column(header: &str, names: &[&str]) -> Option<usize> {
    header.split_whitespace().position(|title| names.contains(&title))
}

/// Processes of the same name, taken together: a pool of workers is one suspect.
#[derive(Clone, Debug)]
pub struct ProcessGroup<'a> {
    /// The program's name.
    pub name: &'a str,
    /// Its processes, in the table's order.
    pub members: Vec<Process<'a>>,
}

impl<'a> ProcessGroup<'a> {
    /// The one that is first in the table.
    pub fn first(&self) -> &Process<'a> {
        &self.members[0]
    }

    /// All of `%CPU`: 100 is one CPU.
    pub fn cpu(&self) -> f64 {
        self.members.iter().map(|process| process.cpu).sum()
    }

    /// All resident memory in KiB. Pages that they share count in each, so it is an upper bound.
    pub fn rss_kib(&self) -> u64 {
        self.members.iter().map(|process| process.rss_kib).sum()
    }

    /// `mysqld (process 812, user mysql)` or `php-fpm (8 processes, user www)`.
    pub fn describe(&self) -> String {
        let user = self.first().user;
        let user = if user.is_empty() { String::new() } else { format!(", user {user}") };
        match self.members.len() {
            1 => format!("{} (process {}{user})", self.name, self.first().pid),
            n => format!("{} ({n} processes{user})", self.name),
        }
    }
}

/// Groups processes by name, in the order of the table.
pub fn by_name<'a>(processes: &[Process<'a>]) -> Vec<ProcessGroup<'a>> {
    let mut groups: Vec<ProcessGroup> = Vec::new();
    for process in processes {
        // `kworker/3:1-events` and its like are one.
        let name =
            process.name.split(['/', ':']).next().filter(|name| !name.is_empty()).unwrap_or(process.name);
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.members.push(process.clone()),
            None => groups.push(ProcessGroup { name, members: vec![process.clone()] }),
        }
    }
    groups
}

/// The systemd unit in `/proc/PID/cgroup`: `0::/system.slice/nginx.service` → `nginx.service`.
pub fn systemd_unit(cgroup: &str) -> Option<&str> {
    cgroup.lines().flat_map(|line| line.split('/')).rfind(|part| part.ends_with(".service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_and_the_last_table_of_top_are_read() {
        let ps = "    PID    PPID USER     %CPU %MEM     ELAPSED COMMAND\n    812       1 mysql    97.5 12.0    01:02:03 mysqld\n";
        let read = processes(ps);
        assert_eq!((read[0].pid, read[0].user, read[0].cpu, read[0].name), (812, "mysql", 97.5, "mysqld"));
        let top = "top - 10:00\n\n    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n      1 root      20   0  1 1 1 S   0.0   0.1   0:01.00 systemd\n\n\
                   top - 10:01\n\n    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n    812 mysql     20   0  1.2g 1.0g 9 R  99.0  12.0   9:01.00 my sqld\n";
        let read = processes(top);
        assert_eq!((read.len(), read[0].pid, read[0].cpu, read[0].name), (1, 812, 99.0, "my sqld"));
        assert!(processes("sh: ps: not found").is_empty());
    }

    #[test]
    fn workers_are_one_suspect() {
        let ps = "PID USER %CPU RSS COMMAND\n1 www 40.0 10 php-fpm\n2 www 35.0 20 php-fpm\n3 root 1.0 5 kworker/0:1\n4 root 1.0 5 kworker/1:0\n";
        let groups = by_name(&processes(ps));
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].cpu(), groups[0].rss_kib()), (75.0, 30));
        assert_eq!(groups[0].describe(), "php-fpm (2 processes, user www)");
        assert_eq!(systemd_unit("0::/system.slice/nginx.service\n"), Some("nginx.service"));
        assert_eq!(systemd_unit("0::/user.slice/session-1.scope\n"), None);
    }
}
