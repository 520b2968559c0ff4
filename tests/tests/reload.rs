//! Plugins that are added, replaced, broken, deleted and brought back while the host runs. Through the folder, the HTTP door and
//! the command line.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use watchkeeper_tests::guest::{Fault, hostile, versioned};
use watchkeeper_tests::versions::{PATH, file, last, plugin, put, refused, serves, serving, setup};
use watchkeeper_tests::{PATIENCE, Watchkeeper, wait};

#[test]
fn a_replaced_file_serves_within_a_second_and_each_step_is_on_record() {
    let host = setup().start();
    assert_eq!(serving(&host), "v00001");
    // The quickest of three, for the machine runs other tests beside.
    let times = ["v00002", "v00003", "v00004"].map(|version| {
        let began = Instant::now();
        put(&file(&host), &versioned(PATH, version, Fault::None));
        serves(&host, version);
        began.elapsed()
    });
    assert!(times.iter().any(|time| *time < Duration::from_secs(1)), "{times:?}");
    let last = last(&host);
    assert_eq!([&last["trigger"], &last["outcome"]], ["replaced", "live"], "{last:#}");
    let steps: Vec<&str> =
        last["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        ["debounce", "read", "check", "compile", "link", "instantiate", "configure", "canary", "swap"]
    );
    // What was read before by the one is read by the other; it says so, field by field.
    let difference = &last["canary"]["differences"][0];
    assert_eq!(
        [&difference["field"], &difference["before"], &difference["after"]],
        ["title", "v00003", "v00004"]
    );
}

#[test]
fn however_a_file_is_put_it_serves() {
    let host = setup().start();
    let (path, folder) = (file(&host), host.site.plugins_dir());
    // Copied into, and slowly.
    let bytes = versioned(PATH, "v00002", Fault::None);
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(serving(&host), "v00001", "half a file is no version");
    fs::write(&path, &bytes).unwrap();
    serves(&host, "v00002");
    // As Kubernetes mounts a ConfigMap.
    let data = |name: &str, version: &str| {
        let data = folder.join(name);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("v.wasm"), versioned(PATH, version, Fault::None)).unwrap();
    };
    data("..one", "v00003");
    symlink("..one", folder.join("..data")).unwrap();
    fs::remove_file(&path).unwrap();
    symlink("..data/v.wasm", &path).unwrap();
    serves(&host, "v00003");
    data("..two", "v00004");
    symlink("..two", folder.join("..next")).unwrap();
    fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    serves(&host, "v00004");
    // The whole folder exchanged.
    let other = host.site.folder().join("other-plugins");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("v.wasm"), versioned(PATH, "v00005", Fault::None)).unwrap();
    fs::rename(&folder, host.site.folder().join("old-plugins")).unwrap();
    fs::rename(&other, &folder).unwrap();
    serves(&host, "v00005");
    // And the new folder is watched.
    put(&path, &versioned(PATH, "v00006", Fault::None));
    serves(&host, "v00006");
}

#[test]
fn what_is_no_good_is_refused_and_the_one_before_serves_on() {
    let host = setup().start();
    serving(&host);
    let refuses = versioned(PATH, "v00666", Fault::RefusesItsConfiguration);
    let broken: [(&str, Vec<u8>, &str, &str); 4] = [
        ("no component", b"not wasm".to_vec(), "no WebAssembly", "check"),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), "core module", "check"),
        ("refuses its configuration", refuses, "source v: v00666", "configure"),
        ("traps on what was read before", versioned(PATH, "v00667", Fault::Traps), "it fails on ", "canary"),
    ];
    for (what, bytes, words, step) in broken {
        put(&file(&host), &bytes);
        let refusal = refused(&host, words);
        let ended = refusal["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(ended["name"], step, "{what}: {refusal:#}");
        assert!(ended["note"].as_str().unwrap().contains("failed"), "{what}: {refusal:#}");
        assert_eq!(serving(&host), "v00001", "{what}: {refusal:#}");
        let listed = host.site.run(&["plugin", "list", "--json"]).json();
        let listed = &listed["plugins"][0];
        assert!(listed["refused"].as_str().unwrap().contains(words), "{what}: {listed:#}");
        assert_eq!(listed["state"], "live", "{what}: {listed:#}");
    }
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    serves(&host, "v00002");
    // The pointer moves first, and the record follows.
    wait("the refusal is over", PATIENCE, || plugin(&host)["refused"].is_null().then_some(()));
}

#[test]
fn a_strict_canary_refuses_any_difference_and_one_that_is_off_none() {
    let host = setup().config("watchkeeper.yaml", "plugins: { debounce: 20ms, canary: strict }\n").start();
    serving(&host);
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    let refusal = refused(&host, "plugins.canary is strict");
    assert!(refusal["reason"].as_str().unwrap().contains("title: v00001 → v00002"), "{refusal:#}");
    let host = setup().config("watchkeeper.yaml", "plugins: { debounce: 20ms, canary: off }\n").start();
    serving(&host);
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    serves(&host, "v00002");
    assert_eq!(last(&host)["canary"], Value::Null);
}

#[test]
fn a_version_that_fails_after_the_swap_goes_back_by_itself_loses_nothing_and_stays_away_after_a_restart() {
    let mut host = setup().start();
    put(&file(&host), &versioned(PATH, "v00002", Fault::TrapsAfter(2)));
    // Not seen by sending payloads: the canary would try it on them.
    wait("it serves", PATIENCE, || (last(&host)["trigger"] == "replaced").then_some(()));
    // Instances are made anew after a trap, so every third call traps; three traps are too many.
    let ids: Vec<String> = (0..12).map(|n| format!("after-{n}")).collect();
    for id in &ids {
        let answer = host.post_to(PATH, id.clone());
        assert_eq!(answer.status, 200, "the version before answers what the new one fails on: {answer:?}");
    }
    let stored = host.alerts();
    assert!(ids.iter().all(|id| stored.iter().filter(|alert| alert["id"] == **id).count() == 1));
    let letters = host.site.run(&["replay", "--list", "--json"]).well().json();
    assert_eq!(letters["items"].as_array().unwrap().len(), 0, "no dead letter: {letters:#}");
    wait("it is on record", PATIENCE, || (last(&host)["outcome"] == "rolled_back").then_some(()));
    // By the host's own clock, from the failure that was one too many.
    let failed: Timestamp = plugin(&host)["failures"][2]["at"].as_str().unwrap().parse().unwrap();
    let back: Timestamp = last(&host)["at"].as_str().unwrap().parse().unwrap();
    assert!(back.duration_since(failed).as_millis() < 1000, "{failed} {back}");
    assert_eq!(serving(&host), "v00001");
    let status = plugin(&host);
    assert!(status["refused"].as_str().unwrap().contains("was rolled back"), "{status:#}");
    assert!(status["failures"][0]["reason"].as_str().unwrap().contains("trapped"), "{status:#}");

    assert_eq!(host.terminate().code, Some(0));
    host.restart();
    assert_eq!(serving(&host), "v00001", "the file holds the bad version still");
    assert!(plugin(&host)["refused"].as_str().unwrap().contains("was rolled back"));
    // The operator may insist, and it is looked at again: by now there are payloads that show what it is.
    host.site.run(&["plugin", "release", "v"]).well();
    refused(&host, "it fails on");
    assert_eq!(serving(&host), "v00001");
}

#[test]
fn what_fails_in_both_versions_brings_none_back() {
    let before = hostile(PATH, false);
    // The same with another digest: a custom section without a name.
    let after = [&before[..], &[0, 1, 0]].concat();
    let host = setup().plugin_bytes("v.wasm", before).start();
    put(&file(&host), &after);
    wait("it is on trial", PATIENCE, || (plugin(&host)["state"] == "on_trial").then_some(()));
    for _ in 0..5 {
        assert_eq!(host.post_to(PATH, "t").status, 202);
    }
    assert_eq!(host.post_to(PATH, "fine").status, 200);
    let status = plugin(&host);
    assert_eq!(status["state"], "on_trial", "{status:#}");
    assert_eq!(status["failures"].as_array().unwrap().len(), 10, "of both: {status:#}");
    host.site.run(&["plugin", "rollback", "v"]).well();
    assert_eq!(plugin(&host)["state"], "live");
}

#[test]
fn an_operator_rolls_back_and_it_outlives_a_restart() {
    let mut host = setup().start();
    let none = host.site.run(&["plugin", "rollback", "v"]);
    assert_eq!(none.code, Some(1), "{}", none.said());
    assert!(none.said().contains("none to go back to"), "{}", none.said());
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    serves(&host, "v00002");
    host.site.run(&["plugin", "rollback", "v"]).well();
    assert_eq!(serving(&host), "v00001");
    host.kill9();
    host.restart();
    assert_eq!(serving(&host), "v00001");
    put(&file(&host), &versioned(PATH, "v00003", Fault::None));
    serves(&host, "v00003");
    assert_eq!(host.terminate().code, Some(0));
    // And where no host runs.
    host.site.run(&["plugin", "rollback", "v"]).well();
    host.restart();
    assert_eq!(serving(&host), "v00001");
}

#[test]
fn a_file_that_changed_while_no_host_ran_serves_from_the_start_and_a_broken_one_does_not() {
    let mut host = setup().start();
    serving(&host);
    assert_eq!(host.terminate().code, Some(0));
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    host.restart();
    assert_eq!(serving(&host), "v00002");
    assert_eq!(last(&host)["canary"]["compared"], 1, "the payloads of before are in the store");
    assert_eq!(host.terminate().code, Some(0));
    put(&file(&host), b"broken");
    host.restart();
    assert_eq!(serving(&host), "v00001", "the last that was proven; v00002 was still on trial");
    assert!(plugin(&host)["refused"].as_str().unwrap().contains("no WebAssembly"));
}

#[test]
fn a_deleted_file_of_a_plugin_in_use_serves_on_until_it_is_pruned() {
    let host = setup().start();
    fs::remove_file(file(&host)).unwrap();
    wait("it says so", PATIENCE, || (last(&host)["outcome"] == "file_deleted").then_some(()));
    assert_eq!(serving(&host), "v00001");
    let listed = host.site.run(&["plugin", "list", "--json"]).json();
    assert!(listed["plugins"][0]["refused"].as_str().unwrap().contains("its file was deleted"), "{listed:#}");
    host.site.run(&["plugin", "prune", "v"]).well();
    wait("the source is disabled", PATIENCE, || (host.post_to(PATH, "x").status == 404).then_some(()));
    // Back again, and the source with it.
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    wait("the source is back", PATIENCE, || (host.post_to(PATH, "x").status == 200).then_some(()));
    assert_eq!(serving(&host), "v00002");
}

#[test]
fn a_version_that_wants_another_path_moves_its_source_and_nobody_elses() {
    let host = setup()
        .source("w.yaml", "name: w\ntype: w\n")
        .plugin_bytes("w.wasm", versioned("/alerts/w", "w00001", Fault::None))
        .start();
    put(&file(&host), &versioned("/alerts/w", "v00002", Fault::None));
    refused(&host, "`/alerts/w`, which is the path of source w already");
    assert_eq!(serving(&host), "v00001");
    put(&file(&host), &versioned("/alerts/moved", "v00003", Fault::None));
    wait("it moved", PATIENCE, || (host.post_to("/alerts/moved", "m").status == 200).then_some(()));
    assert_eq!(host.post_to(PATH, "m2").status, 404);
    assert_eq!(host.post_to("/alerts/w", "w").status, 200);
}

#[test]
fn source_files_are_read_again_and_a_wrong_one_disables_itself_alone() {
    let host = setup().start();
    let files = host.site.config_dir().join("alert-sources");
    put(&files.join("second.yaml"), b"name: second\ntype: w\n");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(host.post_to("/alerts/w", "x").status, 404, "its plugin is not there yet");
    put(&host.site.plugins_dir().join("w.wasm"), &versioned("/alerts/w", "w00001", Fault::None));
    wait("its plugin came", PATIENCE, || (host.post_to("/alerts/w", "x").status == 200).then_some(()));
    put(&files.join("second.yaml"), b"name: second\ntype: w\nauth: { type: bearer, token: another-token }\n");
    wait("it wants a token now", PATIENCE, || (host.post_to("/alerts/w", "x").status == 401).then_some(()));
    put(&files.join("second.yaml"), b"name: second\n");
    wait("it is disabled", PATIENCE, || (host.post_to("/alerts/w", "x").status == 404).then_some(()));
    assert_eq!(serving(&host), "v00001");
}

#[test]
fn a_source_whose_file_was_wrong_for_a_while_is_compared_by_what_it_read_before() {
    let host = setup().config("watchkeeper.yaml", "plugins: { debounce: 500ms }\n").start();
    for number in 0..5 {
        assert_eq!(host.post_to(PATH, format!("before-{number}")).status, 200);
    }
    let source = host.site.config_dir().join("alert-sources/v.yaml");
    let right = fs::read(&source).unwrap();
    put(&source, b"name: v\ntype: [v]\n");
    wait("it is disabled", PATIENCE, || (host.get(PATH).status == 404).then_some(()));
    put(&source, &right);
    wait("it is back", PATIENCE, || (host.get(PATH).status == 405).then_some(()));
    assert_eq!(host.post_to(PATH, "after").status, 200);
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    let came = wait("the next version comes", PATIENCE, || {
        let last = last(&host);
        (last["trigger"] == "replaced").then_some(last)
    });
    assert_eq!(came["canary"]["compared"], 6, "{came:#}");
}

#[test]
fn compiled_code_that_nothing_needs_is_removed_and_what_serves_stays() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let mut host = setup().start();
    let folder = host.site.data_dir().join("compiled-plugins");
    let code = |begins: &str| {
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(begins);
        let code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cwasm");
        files.filter(|path| named(path) && code(path)).collect::<Vec<_>>()
    };
    let serving = code("").pop().unwrap();
    put(&file(&host), &versioned(PATH, "v00002", Fault::None));
    serves(&host, "v00002");
    wait("both versions are kept", PATIENCE, || (code("").len() == 2).then_some(()));
    host.terminate();
    let used = |path: &Path, ago: Duration| {
        let file = fs::File::options().append(true).create(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - ago).unwrap();
    };
    for path in code("") {
        used(&path, 40 * DAY);
    }
    for number in 0_u32..100 {
        let ago = if number < 30 { 40 * DAY } else { Duration::from_secs(60) * number };
        used(&folder.join(format!("old-{number}.cwasm")), ago);
        fs::write(folder.join(format!("old-{number}.sha256")), "").unwrap();
    }
    host.restart();
    wait("those used last are left", PATIENCE, || (code("old-").len() <= 64).then_some(()));
    let left = code("old-");
    assert_eq!(left.len(), 64);
    for number in 30..94 {
        assert!(
            left.contains(&folder.join(format!("old-{number}.cwasm"))),
            "{number} was used later than others"
        );
        assert!(folder.join(format!("old-{number}.sha256")).exists());
    }
    assert!(!folder.join("old-0.sha256").exists());
    assert!(serving.exists(), "it is what v would be rolled back to");
    assert_eq!(code("").len(), 64 + 2);
    assert_eq!(serving_after_rollback(&host), "v00001");
}

fn serving_after_rollback(host: &Watchkeeper) -> String {
    host.site.run(&["plugin", "rollback", "v"]).well();
    wait("it is rolled back", PATIENCE, || (serving(host) == "v00001").then_some(()));
    serving(host)
}

/// What the audit log says of plugins, without what people ordered: action, then its detail.
fn entered(host: &Watchkeeper) -> Vec<(String, Value)> {
    let shown = host.site.run(&["audit", "show", "--json"]).well().json();
    let own = |entry: &&Value| entry["actor"] == "host" && entry["subject"] == "plugin v";
    let told = |entry: &Value| (entry["action"].as_str().unwrap().to_owned(), entry["detail"].clone());
    shown.as_array().unwrap().iter().filter(own).map(told).collect()
}

fn entered_once(host: &Watchkeeper, what: &str, holds: impl Fn(&(String, Value)) -> bool) -> Value {
    wait(&format!("it is entered: {what}"), PATIENCE, || {
        entered(host).into_iter().find(&holds).map(|(_, detail)| detail)
    })
}

#[test]
fn what_the_host_does_to_plugins_is_entered_into_the_audit_log() {
    let mut host = setup().start();
    let is = |action: &'static str| move |(known, _): &(String, Value)| known == action;
    let first = entered_once(&host, "the first version", is("plugin.accepted"));
    assert_eq!(first["trigger"], "start", "{first}");
    put(&file(&host), b"not wasm");
    let refused = entered_once(&host, "a refusal", is("plugin.refused"));
    assert!(refused["reason"].as_str().unwrap().contains("no WebAssembly"), "{refused}");
    put(&file(&host), &versioned(PATH, "v00002", Fault::TrapsAfter(2)));
    let swapped = entered_once(&host, "a swap", |(action, d)| {
        action == "plugin.accepted" && d["trigger"] == "replaced"
    });
    assert!(swapped["version"].as_str().unwrap().starts_with("sha256:"), "{swapped}");
    for n in 0..12 {
        host.post_to(PATH, format!("after-{n}"));
    }
    let back = entered_once(&host, "the way back", is("plugin.rolled_back"));
    assert_eq!(back["version"], swapped["version"]);
    let reason = back["reason"].as_str().unwrap();
    assert!(
        reason.contains("calls failed")
            && reason.ends_with(&format!("{} is back", first["version"].as_str().unwrap())),
        "{back}"
    );
    let released = host.site.run(&["plugin", "release", "v"]).well();
    assert!(released.stdout.contains("rolled-back versions forgotten"), "{}", released.said());
    entered_once(&host, "a release", is("plugin.released"));
    host.site.run(&["plugin", "grant", "v"]).well();
    entered_once(&host, "a grant", is("plugin.granted"));
    fs::remove_file(file(&host)).unwrap();
    entered_once(&host, "a deletion", is("plugin.file_deleted"));
    host.site.run(&["plugin", "prune", "v"]).well();
    entered_once(&host, "its end", is("plugin.unloaded"));
    host.site.run(&["audit", "verify"]).well();
    // What came last is there when the host has ended.
    put(&file(&host), &versioned(PATH, "v00003", Fault::None));
    wait("it serves", PATIENCE, || (plugin(&host)["state"] == "live").then_some(()));
    assert_eq!(host.terminate().code, Some(0));
    let accepted = entered(&host).iter().filter(|(action, _)| action == "plugin.accepted").count();
    assert_eq!(accepted, 3, "{:#?}", entered(&host));
    // And where no host runs, by whoever did it.
    host.site.run(&["plugin", "release", "v"]).well();
    let shown = host.site.run(&["audit", "show"]).well().stdout;
    let released = |line: &&str| line.contains("  cli  ") && line.contains("plugin.released");
    assert_eq!(shown.lines().filter(released).count(), 1, "{shown}");
    host.site.run(&["audit", "verify"]).well();
}
