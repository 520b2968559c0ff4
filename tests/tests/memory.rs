//! What all plugins' instances hold together: many sources whose guests fill their memory, and a host that stays within what it was
//! given and answers everybody.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{PATIENCE, Setup, Watchkeeper, guest_file, wait};

const MIB: f64 = 1024.0 * 1024.0;

fn path(number: usize) -> String {
    format!("/alerts/h{number}")
}

/// So many sources of a guest that does as it is told, each of which may have 32 MiB.
fn setup(sources: usize, plugins: &str) -> Setup {
    let hostile = std::fs::read(guest_file("hostile")).unwrap();
    let setup = Setup::new()
        .config("watchkeeper.yaml", &format!("plugins: {{ {plugins} }}\n"))
        .plugin_bytes("hostile.wasm", hostile);
    (0..sources).fold(setup, |setup, number| {
        let source = format!(
            "name: h{number}\ntype: hostile\nwebhook_path: {}\nlimits: {{ call_ms: 5000, memory_mib: 32 }}\n",
            path(number)
        );
        setup.source(&format!("h{number}.yaml"), &source)
    })
}

fn megabytes(host: &Watchkeeper, state: &str) -> f64 {
    host.metrics().sum("agent_plugin_memory_bytes", &[("state", state)]) / MIB
}

#[test]
fn instances_that_wait_for_their_next_call_hold_no_more_than_they_may() {
    const SOURCES: usize = 40;
    let host = setup(SOURCES, "memory_mib: 512, idle_memory_mib: 64").start();
    host.store(&webhook([firing("warm", &[("alertname", "Warm")])]));
    let before = host.resident_kib();
    for round in 0..2 {
        for number in 0..SOURCES {
            // Less than half of what it may have, so that it is kept.
            let answer = host.post_to(&path(number), format!("hold 12 0 {round}"));
            assert_eq!(answer.status, 200, "{number}: {answer:?}");
        }
    }
    let rose = host.resident_kib().saturating_sub(before) / 1024;
    // 40 of them hold 520 MiB.
    assert!(rose < 128, "the host's memory rose by {rose} MiB");
    wait("what waits is within its bound", PATIENCE, || {
        let idle = megabytes(&host, "idle");
        (idle > 24.0 && idle <= 64.0).then_some(())
    });
    let went = host.metrics().sum("agent_plugin_instances_let_go_total", &[("why", "room")]);
    assert!(went >= 60.0, "{went} of 80 were let go of");
    // The one that was used last is the one that is kept.
    let last = || host.post_to(&path(SOURCES - 1), "hold 12");
    let went = || host.metrics().sum("agent_plugin_instances_let_go_total", &[]);
    let before = went();
    for _ in 0..20 {
        assert_eq!(last().status, 200);
    }
    assert_eq!(went(), before, "a source that is called again and again keeps its instance");
}

#[test]
fn what_an_instance_makes_the_host_keep_goes_with_it() {
    const SOURCES: usize = 20;
    let host = setup(SOURCES, "memory_mib: 512, idle_memory_mib: 64").start();
    host.store(&webhook([firing("warm", &[("alertname", "Warm")])]));
    let before = host.resident_kib();
    for number in 0..SOURCES {
        assert_eq!(host.post_to(&path(number), "keep").status, 200);
    }
    let rose = host.resident_kib().saturating_sub(before) / 1024;
    // Twelve megabytes of headers in each, 240 in all; what is let go of needn't be the kernel's again at once.
    assert!(rose < 160, "the host's memory rose by {rose} MiB");
}

#[test]
fn calls_under_way_hold_no_more_than_they_may_and_wait_for_each_other() {
    const SOURCES: usize = 16;
    let host = setup(SOURCES, "memory_mib: 256, idle_memory_mib: 16").start();
    host.store(&webhook([firing("warm", &[("alertname", "Warm")])]));
    let before = host.resident_kib();
    let over = AtomicBool::new(false);
    let (statuses, most) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = (0, 0.0_f64);
            while !over.load(Ordering::Relaxed) {
                most = (most.0.max(host.resident_kib()), most.1.max(megabytes(&host, "held")));
                // A neighbour doesn't notice.
                host.store(&webhook([firing(&format!("n{}", most.0), &[("alertname", "Neighbour")])]));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        // Two at once in each, 24 MiB each: 768 MiB, of which one plugin may have 128.
        let senders: Vec<_> = (0..2 * SOURCES)
            .map(|sender| {
                let host = &host;
                scope.spawn(move || {
                    let mut statuses = BTreeMap::<u16, usize>::new();
                    for number in 0..3 {
                        let does = format!("hold 24 100 {sender} {number}");
                        // As a sender does that is asked to come again.
                        loop {
                            let answer = host.post_to(&path(sender % SOURCES), does.clone());
                            *statuses.entry(answer.status).or_default() += 1;
                            match answer.status {
                                200 => break,
                                503 => assert!(answer.body.contains("plugins.memory_mib"), "{answer:?}"),
                                _ => panic!("{answer:?}"),
                            }
                            std::thread::sleep(Duration::from_millis(50));
                        }
                    }
                    statuses
                })
            })
            .collect();
        let mut statuses = BTreeMap::<u16, usize>::new();
        for sender in senders {
            for (status, count) in sender.join().unwrap() {
                *statuses.entry(status).or_default() += count;
            }
        }
        over.store(true, Ordering::Relaxed);
        (statuses, watching.join().unwrap())
    });
    let rose = most.0.saturating_sub(before) / 1024;
    eprintln!("{statuses:?}; resident memory rose by {rose} MiB, {:.0} MiB were held at most", most.1);
    assert_eq!(statuses[&200], 6 * SOURCES, "{statuses:?}");
    assert!(most.1 <= 160.0, "{} MiB were held", most.1);
    assert!(rose < 224, "the host's memory rose by {rose} MiB");
    let status = host.get("/api/v1/plugins/hostile").json();
    assert_eq!((&status["state"], status["failures"].as_array().unwrap().len()), (&"live".into(), 0));
}

#[test]
fn what_contradicts_itself_is_refused_with_the_key() {
    for (plugins, words) in [
        ("memory_mib: 100", "plugins.memory_mib: must be at least 128"),
        (
            "memory_mib: 128, idle_memory_mib: 129",
            "plugins.idle_memory_mib: must be at most plugins.memory_mib",
        ),
    ] {
        let check = setup(0, plugins).prepare().run(&["check"]);
        assert!(check.code != Some(0) && check.said().contains(words), "{plugins}: {}", check.said());
    }
}

#[test]
fn a_host_may_open_as_many_files_as_the_system_lets_it() {
    let site = Setup::new().prepare();
    let host = Watchkeeper::start_within(site, &["prlimit", "--nofile=256:8192"]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("8192"), "{files}");
}
