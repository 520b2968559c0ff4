//! A machine whose clock is set forward or back by a day while the host runs: whatever waits, waits as long as it was to, and every
//! version comes in.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use watchkeeper_tests::guest::{Fault, versioned};
use watchkeeper_tests::versions::{self, file, last, put, refused, serves, serving};
use watchkeeper_tests::{PATIENCE, Watchkeeper, guest_file, not_run, require, wait};

const HOSTILE: &str = "/alerts/hostile";

/// What makes a process see another time of day, and leaves it its own measure of how time passes.
fn library() -> Option<PathBuf> {
    require("faketime", "faketime")?;
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let found =
        folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file());
    if found.is_none() {
        not_run("the package faketime has no libfaketimeMT.so.1 in /usr/lib/*/faketime");
    }
    found
}

fn start(library: &std::path::Path) -> Watchkeeper {
    let site = versions::setup()
        .plugin_bytes("hostile.wasm", std::fs::read(guest_file("hostile")).unwrap())
        .source("hostile.yaml", "name: hostile\ntype: hostile\nlimits: { call_ms: 200 }\n")
        .source("polled.yaml", "name: polled\ntype: hostile\npoll: fine\n")
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_TIMESTAMP_FILE", "clock")
        .prepare();
    site.write("clock", "+0d\n");
    site.start()
}

fn polls(host: &Watchkeeper) -> f64 {
    host.metrics().sum("agent_source_polls_total", &[("source", "polled"), ("outcome", "alerts")])
}

/// The day of the last line of the record.
fn day(host: &Watchkeeper) -> String {
    last(host)["at"].as_str().unwrap()[..10].to_owned()
}

#[test]
fn what_waits_does_not_wait_by_the_clock() {
    let Some(library) = library() else { return };
    for (number, shift) in ["+1d", "-1d"].into_iter().enumerate() {
        let host = start(&library);
        serving(&host);
        put(&file(&host), &versioned(versions::PATH, "v00002", Fault::None));
        serves(&host, "v00002");
        let today = day(&host);
        for failure in 0..10 {
            assert_eq!(host.post_to(HOSTILE, format!("panic {failure}")).status, 202);
        }
        assert!(host.post_to(HOSTILE, "fine").body.contains("quarantined"));
        host.site.write("clock", format!("{shift}\n"));
        let began = Instant::now();
        wait("it is let out", PATIENCE, || (host.post_to(HOSTILE, "fine").status == 200).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(10), "{shift}: {:?}", began.elapsed());
        let before = polls(&host);
        wait("it is polled as before", PATIENCE, || (polls(&host) >= before + 2.0).then_some(()));
        // Debounce, canary, trial and record.
        let good = format!("v{:05}", 3 + number);
        put(&file(&host), &versioned(versions::PATH, &good, Fault::None));
        serves(&host, &good);
        assert_ne!(day(&host), today, "{shift}: the record has the clock's time: {}", last(&host));
        assert!(last(&host)["canary"]["compared"].as_u64().unwrap() > 0, "{}", last(&host));
        put(&file(&host), b"broken");
        refused(&host, "no WebAssembly");
        put(&file(&host), &versioned(versions::PATH, "v00009", Fault::TrapsAfter(3)));
        refused(&host, "payloads that the version in service read");
        assert_eq!(serving(&host), good);
    }
}
