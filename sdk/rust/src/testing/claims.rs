//! Which playbook an alert is for: names in wide use, and the topic each belongs to.

use crate::{Alert, PromptBuilder};

use super::alert;

/// Names from kube-prometheus, the node exporter's mixin, "Awesome Prometheus alerts" and everyday use.
const NAMES: [(&str, &[&str]); 4] = [
    (
        "cpu",
        &[
            "HighCPU",
            "HighCpuUsage",
            "HostHighCpuLoad",
            "NodeCPUHighUsage",
            "NodeSystemSaturation",
            "HostCpuStealNoisyNeighbor",
            "HostCpuHighIowait",
            "ContainerHighCpuUtilization",
            "LoadAverageHigh",
        ],
    ),
    (
        "disk",
        &[
            "DiskFull",
            "DiskSpaceLow",
            "HostOutOfDiskSpace",
            "NodeFilesystemAlmostOutOfSpace",
            "NodeFilesystemSpaceFillingUp",
            "NodeFilesystemAlmostOutOfFiles",
            "HostOutOfInodes",
            "HostDiskWillFillIn24Hours",
            "KubePersistentVolumeFillingUp",
        ],
    ),
    (
        "oom",
        &[
            "OOMKill",
            "OOMKilled",
            "HostOomKillDetected",
            "KubernetesContainerOomKiller",
            "KubePodOOMKilled",
            "ContainerOOMKilled",
        ],
    ),
    (
        "memory",
        &[
            "HighMemory",
            "HighMemoryUsage",
            "HostOutOfMemory",
            "NodeMemoryHighUtilization",
            "HostMemoryUnderMemoryPressure",
            "NodeMemoryMajorPagesFaults",
            "HostSwapIsFillingUp",
            "ContainerHighMemoryUsage",
        ],
    ),
];

/// Names that no bundled playbook knows.
const NOBODYS: [&str; 9] = [
    "Watchdog",
    "TargetDown",
    "KubePodCrashLooping",
    "HostHighTemperature",
    "CPUThrottlingHigh",
    "HostCpuTemperatureHigh",
    "CertificateExpiring",
    "HostUnusualDiskReadLatency",
    "NodeDiskIOSaturation",
];

/// The playbook claims every name of its topic (`cpu`, `disk`, `oom`, `memory`), and none of another's.
///
/// # Panics
/// Naming the alerts that it claims wrongly.
pub fn claims<P: PromptBuilder>(topic: &str) {
    let others = NAMES.iter().map(|(of, names)| (*of == topic, *names)).chain([(false, &NOBODYS[..])]);
    let wrong: Vec<_> = others
        .flat_map(|(mine, names)| names.iter().map(move |name| (mine, *name)))
        .map(|(mine, name)| (mine, name, P::score(&named(name))))
        .filter(|(mine, _, score)| *mine != (*score > 0))
        .collect();
    assert!(wrong.is_empty(), "(mine, name, score): {wrong:?}");
}

fn named(name: &str) -> Alert {
    let mut alert = alert(name);
    alert.labels.push(("alertname".to_owned(), name.to_owned()));
    alert
}
