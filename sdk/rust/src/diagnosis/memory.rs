//! Memory: `/proc/meminfo`, `/proc/vmstat` and its like.

use std::collections::BTreeMap;

/// `/proc/meminfo`: figures in KiB, and the lines they stand in.
pub struct Meminfo<'a>(BTreeMap<&'a str, (u64, &'a str)>);

impl<'a> Meminfo<'a> {
    /// Reads `/proc/meminfo`; `None` if it doesn't tell the total.
    pub fn read(text: &'a str) -> Option<Self> {
        let figures: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.split_once(':')?;
                Some((name.trim(), (rest.split_whitespace().next()?.parse().ok()?, line)))
            })
            .collect();
        (figures.get("MemTotal")?.0 > 0).then_some(Meminfo(figures))
    }

    /// A figure in KiB; 0 if this kernel doesn't have it.
    pub fn kib(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |(kib, _)| *kib)
    }

    /// The line of a figure, for evidence; empty if this kernel doesn't have it.
    pub fn line(&self, name: &str) -> &'a str {
        self.0.get(name).map_or("", |(_, line)| line)
    }

    /// A figure as a share of all memory, 0 to 1.
    pub fn share(&self, name: &str) -> f64 {
        self.kib(name) as f64 / self.kib("MemTotal") as f64
    }

    /// How much could still be had without swapping, 0 to 1. Kernels before 3.14 don't say; free and cached memory then
    /// come near.
    pub fn available(&self) -> f64 {
        match self.0.contains_key("MemAvailable") {
            true => self.share("MemAvailable"),
            false => self.share("MemFree") + self.share("Buffers") + self.share("Cached"),
        }
    }
}

/// Files of `name value` lines: `/proc/vmstat`, a cgroup's `memory.events`.
pub fn counters(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.trim().split_once(' ')?;
            Some((name, value.trim().parse().ok()?))
        })
        .collect()
}

/// `1536` → `1.5 MiB`.
pub fn human_kib(kib: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (kib as f64, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 || amount >= 100.0 {
        format!("{amount:.0} {}", UNITS[unit])
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_and_counters_are_read() {
        let text = "MemTotal:        8000 kB\nMemFree:         1000 kB\nMemAvailable:    2000 kB\nHugePages_Total:       0\n";
        let memory = Meminfo::read(text).expect("it has a total");
        assert_eq!((memory.kib("MemFree"), memory.available()), (1000, 0.25));
        assert_eq!(memory.line("MemAvailable"), "MemAvailable:    2000 kB");
        assert!(Meminfo::read("").is_none());
        assert_eq!(counters("oom_kill 3\npswpin 7\n").get("oom_kill"), Some(&3));
        assert_eq!(
            (human_kib(1536), human_kib(512), human_kib(200 << 20)),
            ("1.5 MiB".into(), "512 KiB".into(), "200 GiB".into())
        );
    }
}
