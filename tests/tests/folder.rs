//! What may lie in the plugins' folder, or become of it, besides a new version that was put there with care; and what becomes of
//! the host's own memory of plugins. Through the folder, the HTTP door and the command line.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use watchkeeper_tests::guest::{Fault, versioned};
use watchkeeper_tests::versions::{PATH, file, last, plugin, put, refused, serves, serving, setup};
use watchkeeper_tests::{PATIENCE, Watchkeeper, plugin_file, wait};

/// What the host's threads of this name have computed so far.
fn computed(host: &Watchkeeper, name: &str) -> Duration {
    let threads = fs::read_dir(format!("/proc/{}/task", host.id())).unwrap().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let ticks = stats.filter(|stat| stat.contains(&format!("({name})"))).map(|stat| {
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // utime and stime, in hundredths of a second.
        (11..13).map(|field| fields[field].parse::<u64>().unwrap()).sum::<u64>()
    });
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Longer than the host leaves the folder alone.
const A_LOOK: Duration = Duration::from_millis(2500);

fn version(number: u32) -> Vec<u8> {
    versioned(PATH, &format!("v{number:05}"), Fault::None)
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn attempts(host: &Watchkeeper, name: &str) -> usize {
    host.get(&format!("/api/v1/plugins/{name}")).json()["attempts"].as_array().map_or(0, Vec::len)
}

fn state(host: &Watchkeeper) -> std::path::PathBuf {
    host.site.data_dir().join("plugins/state.json")
}

#[test]
fn what_is_no_file_is_refused_once_and_holds_up_nobody() {
    let mut host = setup().start();
    let folder = host.site.plugins_dir();
    pipe(&folder.join("pipe.wasm"));
    fs::create_dir(folder.join("folder.wasm")).unwrap();
    symlink("/dev/zero", folder.join("device.wasm")).unwrap();
    symlink("nowhere", folder.join("nowhere.wasm")).unwrap();
    symlink("circle.wasm", folder.join("circle.wasm")).unwrap();
    pipe(&folder.join("beside.yaml"));
    fs::write(folder.join("beside.wasm"), version(1)).unwrap();
    fs::write(folder.join("two\nlines\u{1b}[31m.wasm"), version(1)).unwrap();
    let words = [
        ("pipe", "it is a pipe"),
        ("folder", "it is a folder"),
        ("device", "it is a device"),
        ("nowhere", "is a link that leads nowhere"),
        ("circle", "can't be read"),
        ("beside", "the .yaml file beside it can't be read: it is a pipe"),
    ];
    for restarted in [false, true] {
        for (name, words) in words {
            wait(&format!("{name}: {words}"), PATIENCE, || {
                let status = host.get(&format!("/api/v1/plugins/{name}")).json();
                status["refused"].as_str()?.contains(words).then_some(())
            });
        }
        serving(&host);
        if restarted {
            break;
        }
        std::thread::sleep(A_LOOK);
        for (name, _) in words {
            assert_eq!(attempts(&host, name), 1, "{name} is said once");
        }
        put(&file(&host), &version(2));
        serves(&host, "v00002");
        assert_eq!(host.terminate().code, Some(0));
        host.restart();
    }
    assert!(host.log().contains("two lines\\u{1b}[31m.wasm"), "a file's name makes no lines of the log");
}

#[test]
fn a_link_that_leads_nowhere_deletes_nothing() {
    let host = setup().start();
    fs::remove_file(file(&host)).unwrap();
    symlink("later.bytes", file(&host)).unwrap();
    refused(&host, "is a link that leads nowhere");
    let told = attempts(&host, "v");
    std::thread::sleep(A_LOOK);
    assert_eq!(serving(&host), "v00001");
    assert_eq!(attempts(&host, "v"), told, "it is said once");
    fs::write(host.site.plugins_dir().join("later.bytes"), version(2)).unwrap();
    serves(&host, "v00002");
}

#[test]
fn a_file_that_looks_the_same_and_is_not_is_read() {
    let host = setup().start();
    let written = fs::File::options().write(true).open(file(&host)).unwrap();
    let modified = written.metadata().unwrap().modified().unwrap();
    std::io::Write::write_all(&mut &written, &version(2)).unwrap();
    written.set_modified(modified).unwrap();
    serves(&host, "v00002");
}

#[test]
fn a_folder_that_is_gone_is_said_and_deletes_nothing() {
    let host = setup().start();
    let (folder, away) = (host.site.plugins_dir(), host.site.folder().join("away"));
    fs::rename(&folder, &away).unwrap();
    wait("it is said", PATIENCE, || host.log().contains("plugins' folder can't be read").then_some(()));
    assert_eq!(serving(&host), "v00001");
    assert_eq!(last(&host)["trigger"], "start");
    fs::rename(&away, &folder).unwrap();
    wait("it is back", PATIENCE, || host.log().contains("plugins' folder is back").then_some(()));
    put(&file(&host), &version(2));
    serves(&host, "v00002");
}

#[test]
fn a_version_that_puts_two_sources_at_one_path_is_refused() {
    let source = |name: &str| format!("name: {name}\ntype: p\nwebhook_path: /alerts/{name}\n");
    let host = setup()
        .plugin_bytes("p.wasm", fs::read(plugin_file("prometheus")).unwrap())
        .source("one.yaml", &source("one"))
        .source("two.yaml", &source("two"))
        .start();
    put(&host.site.plugins_dir().join("p.wasm"), &versioned("/alerts/one", "p00002", Fault::None));
    wait("it is refused", PATIENCE, || {
        let status = host.get("/api/v1/plugins/p").json();
        let words = "source two would listen at `/alerts/one`, which is the path of source one already";
        status["refused"].as_str()?.contains(words).then_some(())
    });
    for path in ["/alerts/one", "/alerts/two"] {
        assert_eq!(host.post_to(path, "no webhook").status, 400, "{path} is still Alertmanager's");
    }
}

/// Whichever of the two is seen first.
#[test]
fn a_version_that_was_refused_for_a_source_is_tried_again_once_the_source_is_another() {
    let host = setup()
        .config("watchkeeper.yaml", "plugins: { debounce: 20ms, canary: off }\n")
        .source("v.yaml", "name: v\ntype: v\nof_the_old: 1\n")
        .start();
    assert_eq!(serving(&host), "v00001", "which knows no key, and minds none");
    put(&file(&host), &fs::read(plugin_file("prometheus")).unwrap());
    refused(&host, "of_the_old");
    let source = host.site.config_dir().join("alert-sources/v.yaml");
    put(&source, format!("name: v\ntype: v\nwebhook_path: {PATH}\n").as_bytes());
    wait("the new version serves", PATIENCE, || (last(&host)["outcome"] == "live").then_some(()));
    wait("and reads", PATIENCE, || (host.post_to(PATH, "no webhook").status == 400).then_some(()));
}

#[test]
fn a_name_that_served_lends_its_grants_to_nobody() {
    let source = "name: v\ntype: v\nallow_hosts: [a.example.org, b.example.org]\n";
    let mut host =
        setup().source("v.yaml", source).plugin_bytes("v.yaml", "asks: { http: [a.example.org] }\n").start();
    serving(&host);
    host.terminate();
    let sidecar = file(&host).with_extension("yaml");
    fs::remove_file(file(&host)).unwrap();
    host.restart();
    assert_eq!(host.post_to(PATH, "x").status, 404, "nothing serves");
    put(&sidecar, b"asks: { http: [a.example.org, b.example.org] }\n");
    put(&file(&host), &version(2));
    refused(&host, "it asks for https://b.example.org");
    assert_eq!(host.post_to(PATH, "x").status, 404);
    assert!(plugin(&host)["refused"].as_str().unwrap().contains("`watchkeeper plugin grant v`"));
    host.terminate();
    host.restart();
    assert_eq!(host.post_to(PATH, "x").status, 404, "neither it nor the one that was deleted");
    let granted = host.site.run(&["plugin", "grant", "v"]).well().stdout;
    assert!(granted.contains("may ask for https://a.example.org, https://b.example.org"), "{granted}");
    wait("it serves", PATIENCE, || (host.post_to(PATH, "x").status == 200).then_some(()));
    // One that asks for no more needs no grant.
    put(&sidecar, b"asks: { http: [b.example.org] }\n");
    wait("it serves, too", PATIENCE, || (last(&host)["trigger"] == "replaced").then_some(()));
}

#[test]
fn what_was_proven_beside_a_refusal_is_kept_for_a_restart() {
    let mut host = setup()
        .config("watchkeeper.yaml", "plugins: { debounce: 20ms, trial: { calls: 3, allowed_failures: 0 } }\n")
        .start();
    put(&file(&host), &version(2));
    wait("it is on trial", PATIENCE, || (plugin(&host)["state"] == "on_trial").then_some(()));
    put(&file(&host), b"broken");
    refused(&host, "no WebAssembly");
    for _ in 0..3 {
        assert_eq!(serving(&host), "v00002");
    }
    wait("it is proven", PATIENCE, || (plugin(&host)["state"] == "live").then_some(()));
    host.terminate();
    host.restart();
    assert_eq!(serving(&host), "v00002");
    // Copies that somebody took away are made again of what serves from its file.
    put(&file(&host), &version(2));
    wait("the file is good", PATIENCE, || plugin(&host)["refused"].is_null().then_some(()));
    host.terminate();
    for entry in fs::read_dir(host.site.data_dir().join("plugins")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() == Some("wasm".as_ref()) {
            fs::remove_file(path).unwrap();
        }
    }
    host.restart();
    host.terminate();
    put(&file(&host), b"broken");
    host.restart();
    assert_eq!(serving(&host), "v00002");
}

#[test]
fn after_a_restart_a_quiet_source_is_compared_by_its_own_payloads_however_loud_others_are() {
    let mut host = setup()
        .plugin_bytes("w.wasm", versioned("/alerts/w", "w00001", Fault::None))
        .source("w.yaml", "name: w\ntype: w\n")
        .start();
    serving(&host);
    for number in 0..2100 {
        assert_eq!(host.post_to("/alerts/w", format!("loud-{number}")).status, 200);
    }
    host.terminate();
    host.restart();
    put(&file(&host), &version(2));
    put(&host.site.plugins_dir().join("w.wasm"), &versioned("/alerts/w", "w00002", Fault::None));
    for (name, compared) in [("v", 1), ("w", 100)] {
        wait(&format!("{name} is compared by {compared}"), PATIENCE, || {
            let status = host.get(&format!("/api/v1/plugins/{name}")).json();
            let last = status["attempts"].as_array()?.last()?;
            (last["trigger"] == "replaced" && last["canary"]["compared"] == compared).then_some(())
        });
    }
}

#[test]
fn a_record_that_is_damaged_is_put_aside_and_said() {
    let mut host = setup().start();
    host.terminate();
    fs::write(state(&host), "{").unwrap();
    host.restart();
    assert_eq!(serving(&host), "v00001");
    assert!(host.log().contains("begins anew"), "{}", host.log());
    assert_eq!(fs::read_to_string(state(&host).with_extension("json.damaged")).unwrap(), "{");
}

#[test]
fn the_record_of_files_that_never_served_is_bounded() {
    let host = setup().start();
    for number in 0..300 {
        fs::write(host.site.plugins_dir().join(format!("n{number}.wasm")), "no").unwrap();
    }
    let all = || host.get("/api/v1/plugins").json()["items"].as_array().unwrap().len();
    wait("all are refused", PATIENCE, || (all() == 301).then_some(()));
    wait("the record is written", PATIENCE, || {
        let kept: serde_json::Value = serde_json::from_slice(&fs::read(state(&host)).unwrap()).unwrap();
        let kept = kept["plugins"].as_object().unwrap();
        assert!(kept.contains_key("v"));
        (kept.len() == 257).then_some(())
    });
}

#[test]
fn without_a_host_the_command_line_shows_what_one_would_serve() {
    let source = "name: v\ntype: v\nallow_hosts: [a.example.org]\nreveal_secrets: true\n";
    let mut host = setup().source("v.yaml", source).start();
    put(&file(&host), &version(2));
    serves(&host, "v00002");
    host.site.run(&["plugin", "rollback", "v"]).well();
    let none = host.site.run(&["plugin", "prune", "nobody"]);
    assert_eq!(none.code, Some(1));
    assert!(none.said().contains("there is no plugin `nobody`"), "{}", none.said());
    host.terminate();
    let before = fs::read(state(&host)).unwrap();
    let listed = host.site.run(&["plugin", "list", "--json"]);
    assert_eq!(listed.code, Some(1), "the file's version is refused");
    let listed = listed.json();
    let of = |state: &str| {
        listed["plugins"].as_array().unwrap().iter().find(|one| one["state"] == state).unwrap().clone()
    };
    assert_eq!(of("loaded")["digest"], watchkeeper_tests::digest(&version(1)));
    assert!(of("refused")["reason"].as_str().unwrap().contains("was rolled back"), "{listed:#}");
    let table = host.site.run(&["plugin", "list"]).stdout;
    assert!(table.contains("https://a.example.org, reveal_secrets"), "as with a host: {table}");
    assert!(host.site.run(&["check"]).said().contains("was rolled back"));
    assert_eq!(fs::read(state(&host)).unwrap(), before, "to look is to change nothing");
}

#[test]
fn a_hangup_ends_nothing() {
    let mut host = setup().start();
    assert!(Command::new("kill").args(["-HUP", &host.id().to_string()]).status().unwrap().success());
    wait("it says so", PATIENCE, || host.log().contains("SIGHUP: plugins and sources").then_some(()));
    assert_eq!(serving(&host), "v00001");
    assert_eq!(host.terminate().code, Some(0));
}

#[test]
fn a_flood_of_notices_costs_little_and_keeps_no_version_out() {
    let host = setup().start();
    let flooded = host.site.plugins_dir().join("flood.wasm");
    // Each of them is looked at.
    for number in 0..200 {
        fs::write(host.site.plugins_dir().join(format!("n{number}.wasm")), "no").unwrap();
    }
    wait("all are refused", PATIENCE, || {
        (host.get("/api/v1/plugins").json()["items"].as_array().unwrap().len() == 201).then_some(())
    });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut changes = 0_u64;
            while !over.load(Ordering::Relaxed) {
                fs::write(&flooded, changes.to_string()).unwrap();
                changes += 1;
                std::thread::sleep(Duration::from_micros(100));
            }
            changes
        });
        let (began, before) = (Instant::now(), computed(&host, "plugins"));
        std::thread::sleep(Duration::from_secs(3));
        let share = (computed(&host, "plugins") - before).as_secs_f64() / began.elapsed().as_secs_f64();
        put(&file(&host), &version(2));
        serves(&host, "v00002");
        over.store(true, Ordering::Relaxed);
        let changes = flood.join().unwrap();
        eprintln!("{changes} changes; the watcher took {share:.2} of a core");
        assert!(changes > 500, "{changes} changes are no flood");
        assert!(share < 0.25, "the watcher took {share:.2} of a core");
    });
    wait("what it was at last is read", PATIENCE, || {
        host.get("/api/v1/plugins/flood").json()["refused"].as_str().map(|_| ())
    });
}

#[test]
fn what_is_refused_again_and_again_is_read_less_often_until_it_is_accepted() {
    let host = setup().start();
    let until = Instant::now() + Duration::from_secs(6);
    for number in 0.. {
        if Instant::now() > until {
            break;
        }
        put(&file(&host), format!("broken {number}").as_bytes());
        std::thread::sleep(Duration::from_millis(60));
    }
    let refused =
        host.metrics().sum("agent_plugin_changes_total", &[("plugin", "v"), ("outcome", "refused")]);
    eprintln!("{refused} were refused");
    assert!((20.0..=23.0).contains(&refused), "{refused} were refused");
    assert_eq!(serving(&host), "v00001");
    put(&file(&host), &version(2));
    serves(&host, "v00002");
    // As good as new.
    let began = Instant::now();
    put(&file(&host), &version(3));
    serves(&host, "v00003");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn the_canary_is_as_the_file_said_at_the_start() {
    let config = |more: &str| {
        format!("plugins: {{ debounce: 20ms, trial: {{ calls: 1, allowed_failures: 0 }}, {more} }}\n")
    };
    let mut host = setup().config("watchkeeper.yaml", &config("canary: report")).start();
    serving(&host);
    host.site.write("config/watchkeeper.yaml", config("canary: strict"));
    assert!(Command::new("kill").args(["-HUP", &host.id().to_string()]).status().unwrap().success());
    wait("it says what it reads again", PATIENCE, || host.log().contains("SIGHUP: ").then_some(()));
    // It reads otherwise, which is reported and no more.
    put(&file(&host), &version(2));
    serves(&host, "v00002");
    assert!(last(&host)["canary"]["different"].as_u64().unwrap() > 0, "{}", last(&host));
    wait("it is proven", PATIENCE, || (plugin(&host)["state"] == "live").then_some(()));
    host.terminate();
    host.restart();
    serving(&host);
    put(&file(&host), &version(3));
    refused(&host, "plugins.canary is strict");
    assert_eq!(serving(&host), "v00002");
}
