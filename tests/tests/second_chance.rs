//! Payloads that no plugin could read when they came are read once one can, without anybody asking for it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use watchkeeper_tests::guest::{Fault, versioned};
use watchkeeper_tests::versions::{PATH, file, put, setup};
use watchkeeper_tests::{PATIENCE, Setup, Watchkeeper, guest_file, wait};

const HOSTILE: &str = "/alerts/hostile";

fn with_hostile() -> Watchkeeper {
    let plugin = fs::read(guest_file("hostile")).unwrap();
    Setup::new()
        .plugin_bytes("hostile.wasm", plugin)
        .source("hostile.yaml", "name: hostile\ntype: hostile\n")
        .start()
}

fn letters(host: &Watchkeeper) -> Vec<Value> {
    host.site.run(&["replay", "--list", "--json"]).well().json()["items"].as_array().unwrap().clone()
}

fn ids(host: &Watchkeeper) -> Vec<String> {
    host.alerts().iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect()
}

fn has(host: &Watchkeeper, ids_of: &[&str]) -> bool {
    let stored = ids(host);
    ids_of.iter().all(|id| stored.iter().filter(|stored| stored == id).count() == 1)
}

/// Failed calls of the plugin, as its record counts them.
fn failures(host: &Watchkeeper) -> u64 {
    let metrics = host.get("/metrics").body;
    let line =
        metrics.lines().find(|line| line.starts_with("agent_plugin_failures_total{plugin=\"hostile\"}"));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn what_came_in_quarantine_is_read_once_it_is_over_and_what_was_failed_on_is_not_tried_again() {
    let host = with_hostile();
    for n in 0..10 {
        assert_eq!(host.post_to(HOSTILE, format!("panic {n}")).status, 202);
    }
    // Among them one that it will fail on, too.
    for kept in ["fine 1", "panic late", "fine 2"] {
        assert_eq!(host.post_to(HOSTILE, kept).status, 202, "it is quarantined");
    }
    wait("they are read", PATIENCE, || has(&host, &["fine 1", "fine 2"]).then_some(()));
    assert_eq!(host.get("/api/v1/plugins/hostile").json()["state"], "live");
    assert_eq!(letters(&host).len(), 11, "those that it failed on stay");
    let failed = failures(&host);
    assert_eq!(failed, 11, "each was tried once");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(failures(&host), failed);
}

#[test]
fn one_that_fails_on_all_that_came_in_quarantine_is_not_kept_in_it() {
    let host = with_hostile();
    for n in 0..30 {
        assert_eq!(host.post_to(HOSTILE, format!("panic {n}")).status, 202);
    }
    wait("it is well", PATIENCE, || (host.post_to(HOSTILE, "fine").status == 200).then_some(()));
    // Those letters are tried, a few at a time; what comes is read meanwhile.
    for n in 0..30 {
        assert_eq!(host.post_to(HOSTILE, format!("fine {n}")).status, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(letters(&host).len() >= 30);
}

#[test]
fn what_one_version_failed_on_is_read_by_the_next_also_where_that_comes_while_no_host_runs() {
    let kept = ["kept-1", "kept-2", "kept-3", "kept-4", "kept-5"];
    let with_kept = || {
        let host = setup().plugin_bytes("v.wasm", versioned(PATH, "v00001", Fault::Traps)).start();
        for id in kept {
            assert_eq!(host.post_to(PATH, id).status, 202);
        }
        host
    };
    let host = with_kept();
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    wait("all are read", PATIENCE, || has(&host, &kept).then_some(()));
    assert_eq!(letters(&host).len(), 0);

    let mut host = with_kept();
    host.terminate();
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    host.restart();
    wait("all are read", PATIENCE, || has(&host, &kept).then_some(()));
}
