//! Files that mean harm before anything of them is called: they are refused, in time, with what they broke; and neither the host's
//! memory nor its other plugins notice.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::Value;
use watchkeeper_tests::guest::{burdened, compile_bomb, exporting, from_text, hostile};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Complaints, PATIENCE, Setup, Site, Watchkeeper, wait};

const PATH: &str = "/alerts/guest";

/// What `plugin list` says of each file, by its name.
fn listed(site: &Site) -> impl Fn(&str) -> Value + use<> {
    let listed = site.run(&["plugin", "list", "--json"]).json();
    let plugins = listed["plugins"].as_array().unwrap().clone();
    move |file| {
        let named = |plugin: &&Value| plugin["file"].as_str().unwrap().ends_with(&format!("/{file}"));
        plugins.iter().find(named).cloned().unwrap_or_default()
    }
}

#[test]
fn what_would_burden_the_host_once_it_is_instantiated_is_refused() {
    let guest = hostile(PATH, true);
    let with = |core: &str, times| burdened(&guest, core, times);
    let many = |what: &str, count: usize| format!("(module {})", what.repeat(count));
    // A byte at the end of sixteen megabytes, in each of many memories.
    let sparse =
        r#"(core module (memory 256) (data (i32.const 0) "x") (data (i32.const 16777200) "x"))"#.repeat(6);
    let table: [(&str, Vec<u8>, &[&str]); 9] = [
        ("contents.wasm", from_text(&format!("(component {sparse})")), &["compiles to more than", "MiB"]),
        ("instances.wasm", with("(module)", 300), &["instance count", "link its modules"]),
        ("memories.wasm", with(&many("(memory 0)", 9), 1), &["memory count"]),
        ("tables.wasm", with(&many("(table 0 funcref)", 90), 3), &["table count"]),
        ("elements.wasm", with("(module (table 60000 funcref))", 2), &["100000 table elements"]),
        ("globals.wasm", with(&many("(global i64 (i64.const 0))", 20_000), 200), &["core instances"]),
        ("memory.wasm", with("(module (memory 65536))", 1), &["64 MiB", "limits.memory_mib"]),
        ("memory64.wasm", with("(module (memory i64 1))", 1), &["64", "build it again"]),
        (
            "start.wasm",
            with("(module (func $f (loop (br 0))) (start $f))", 1),
            &["1000 ms", "limits.call_ms"],
        ),
    ];
    let setup = Setup::new().plugin_bytes("guest.wasm", guest.clone());
    let setup = table.iter().fold(setup, |setup, (file, bytes, _)| setup.plugin_bytes(file, bytes.clone()));
    let listed = listed(&setup.prepare());
    let mut complaints = Complaints::default();
    for (file, _, words) in &table {
        let entry = listed(file);
        complaints.unless(entry["state"] == "refused", || format!("{file}: {entry:#}"));
        complaints.unless_named(file, entry["reason"].as_str().unwrap_or_default(), words);
    }
    assert_eq!(listed("guest.wasm")["state"], "loaded");
    assert_eq!(listed("prometheus.wasm")["state"], "loaded");
}

#[test]
fn what_can_not_be_compiled_within_its_bounds_costs_the_host_nothing() {
    let setup = Setup::new().config("watchkeeper.yaml", "plugins: { debounce: 20ms }\n");
    let mut host = setup.plugin_bytes("first.wasm", compile_bomb("first")).start();
    let refused = |host: &Watchkeeper, name: &str| {
        host.get(&format!("/api/v1/plugins/{name}")).json()["refused"].clone()
    };
    let first = refused(&host, "first");
    assert!(first.as_str().unwrap().contains("to compile"), "at the start: {first}");
    // And while it serves.
    host.site.write("plugins/second.wasm", compile_bomb("second"));
    let began = Instant::now();
    let reason = wait("it is refused", 4 * PATIENCE, || {
        host.store(&webhook([firing("n", &[("alertname", "Neighbour")])]));
        std::thread::sleep(Duration::from_millis(50));
        refused(&host, "second").as_str().map(str::to_owned)
    });
    assert!(reason.contains("MiB to compile") || reason.contains("s to compile"), "{reason}");
    eprintln!("refused after {:?}: {reason}", began.elapsed());
    let peak = host.peak_kib();
    assert!(peak < 256 * 1024, "the host itself took {peak} KiB");
    // Others come in as before.
    host.site.write("plugins/guest.wasm", hostile(PATH, true));
    wait("another is loaded", PATIENCE, || {
        (host.get("/api/v1/plugins/guest").json()["state"] == "live").then_some(())
    });
    // What is known of them isn't found out once more at each start.
    host.terminate();
    let began = Instant::now();
    host.restart();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "both within half of what one took: {:?}",
        began.elapsed()
    );
    for name in ["first", "second"] {
        let why = refused(&host, name);
        let why = why.as_str().unwrap();
        assert!(why.contains("to compile") && why.contains("tried again a day after"), "{name}: {why}");
    }
}

#[test]
fn what_lies_in_a_plugins_place_and_is_no_file_is_refused_and_never_waited_for() {
    let site = Setup::new().plugin_bytes("beside.wasm", hostile(PATH, true)).prepare();
    let path = |file: &str| site.plugins_dir().join(file);
    symlink("/dev/zero", path("endless.wasm")).unwrap();
    let pipe = path("pipe.wasm");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::fs::create_dir(path("folder.wasm")).unwrap();
    // Ten gigabytes that take no room.
    File::create(path("large.wasm")).unwrap().set_len(10 << 30).unwrap();
    std::fs::write(path("large-beside.wasm"), from_text("(component)")).unwrap();
    File::create(path("large-beside.yaml")).unwrap().set_len(10 << 30).unwrap();
    symlink("/dev/zero", path("beside.yaml")).unwrap();
    let began = Instant::now();
    let listed = listed(&site);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let table = [
        ("endless.wasm", "no file"),
        ("pipe.wasm", "no file"),
        ("folder.wasm", "no file"),
        ("large.wasm", "at most"),
        ("large-beside.wasm", "may have 65536 at most"),
        ("beside.wasm", "no file"),
    ];
    let mut complaints = Complaints::default();
    for (file, word) in table {
        complaints.unless_named(file, listed(file)["reason"].as_str().unwrap_or_default(), &[word]);
    }
    assert_eq!(listed("prometheus.wasm")["state"], "loaded");
}

#[test]
fn a_declaration_that_multiplies_itself_is_read_or_refused_at_once() {
    let levels: String = (1..9)
        .map(|level| format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 9].join(", ")))
        .collect();
    let bomb = format!("l0: &l0 [a, b, c]\n{levels}asks: {{ http: [] }}\n");
    let setup = Setup::new().plugin_bytes("prometheus.yaml", bomb);
    let began = Instant::now();
    let listed = listed(&setup.prepare());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(listed("prometheus.wasm")["state"].is_string());
}

#[test]
fn a_files_own_names_fill_no_record_and_no_log() {
    let names: Vec<String> = (0..2000).map(|number| format!("{}-{number}", "long".repeat(40))).collect();
    let many = exporting(&names.iter().map(String::as_str).collect::<Vec<_>>());
    // What a validator says of it has the name in it.
    let odd = from_text(
        r#"(component (core module (import "a\0a2026-01-01 ERROR no\1b[31m" "b" (func)) (func (call 7))))"#,
    );
    let import = r#"(component (core module $m (import "a\0aERROR \1b[31mred" "b" (func))) (core instance (instantiate $m)))"#;
    let setup = Setup::new().plugin_bytes("many.wasm", many).plugin_bytes("odd.wasm", odd);
    let host = setup.plugin_bytes("import.wasm", from_text(import)).start();
    for name in ["many", "odd", "import"] {
        let plugin = host.get(&format!("/api/v1/plugins/{name}")).json();
        let reason = plugin["refused"].as_str().unwrap();
        assert!(
            reason.len() < 5000 && !reason.contains(['\n', '\u{1b}']),
            "{name}: {} {reason}",
            reason.len()
        );
        let recorded = plugin["attempts"][0]["reason"].as_str().unwrap();
        assert!(recorded.len() < 5000, "{name}: {}", recorded.len());
    }
    let log = host.log();
    assert!(log.lines().all(|line| line.len() < 6000 && !line.starts_with("ERROR")), "{log}");
}
