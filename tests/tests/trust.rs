//! What is let in: pins of `plugins.lock`, and signatures by the real `minisign`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use watchkeeper_tests::guest::{Fault, hostile, versioned};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Complaints, PATIENCE, Ran, Setup, Site, plugin_file, require, versions, wait};

/// A component by its first bytes, which no compiler takes: what is said of it shows how far the loader came.
const NO_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 and then nothing that is one";

fn lock_file(site: &Site) -> PathBuf {
    site.config_dir().join("plugins.lock")
}

fn digest(path: &Path) -> String {
    watchkeeper_tests::digest(&std::fs::read(path).unwrap())
}

fn replace_with(site: &Site, plugin: &str, other: &str) {
    std::fs::copy(plugin_file(other), site.plugins_dir().join(plugin)).unwrap();
}

/// What `plugin list` says of each file.
fn listed(site: &Site) -> BTreeMap<String, Value> {
    let plugins = site.run(&["plugin", "list", "--json"]).json()["plugins"].as_array().unwrap().clone();
    let file = |plugin: &Value| plugin["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    plugins.into_iter().map(|plugin| (file(&plugin), plugin)).collect()
}

fn problems(ran: &Ran) -> String {
    let json = ran.json();
    let lines: Vec<_> =
        json["problems"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    lines.join("\n")
}

#[test]
fn the_lock_file_is_stable_sorted_and_says_what_it_is() {
    let site = Setup::new().playbooks().plugin_bytes("broken.wasm", NO_COMPONENT).prepare();
    let locked = site.run(&["plugin", "lock", "--json"]);
    assert_eq!(locked.code, Some(1), "one isn't loaded: {}", locked.said());
    let said = locked.json();
    assert_eq!(said["plugins"].as_array().unwrap().len(), 5, "{said:#}");
    assert!(said["plugins"].as_array().unwrap().iter().all(|one| one["change"] == "added"), "{said:#}");
    assert!(said["refused"][0].as_str().unwrap().contains("broken.wasm"), "{said:#}");
    std::fs::remove_file(site.plugins_dir().join("broken.wasm")).unwrap();

    let text = std::fs::read_to_string(lock_file(&site)).unwrap();
    assert!(text.starts_with("# ") && text.contains("`watchkeeper plugin lock`"), "{text}");
    let pins: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let names = ["disk-space", "high-cpu", "memory", "oom-kill", "prometheus"];
    let expected = names.map(|name| format!("{name}: {}", digest(&plugin_file(name))));
    assert_eq!(pins, expected);

    let again = site.run(&["plugin", "lock", "--json"]).well().json();
    assert!(again["plugins"].as_array().unwrap().iter().all(|one| one["change"] == "kept"), "{again:#}");
    assert_eq!(std::fs::read_to_string(lock_file(&site)).unwrap(), text);

    std::fs::remove_file(site.plugins_dir().join("memory.wasm")).unwrap();
    replace_with(&site, "oom-kill.wasm", "high-cpu");
    let changed = site.run(&["plugin", "lock"]).well().stdout;
    let mut complaints = Complaints::default();
    for (name, change) in [("memory", "removed"), ("oom-kill", "changed"), ("prometheus", "kept")] {
        let line = changed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        complaints.unless_named(name, line, &[change, "sha256:"]);
    }
    let left = std::fs::read_dir(site.config_dir()).unwrap().count();
    assert_eq!(left, 2, "alert-sources and plugins.lock");
}

#[test]
fn locked_loads_what_is_pinned_and_refuses_the_rest_before_it_is_compiled() {
    let site = Setup::new().plugin("high-cpu").plugin("memory").env("WATCHKEEPER_LOCKED", "1").prepare();
    site.run(&["plugin", "lock"]).well();
    site.run(&["check"]).well();

    let pinned = digest(&plugin_file("high-cpu"));
    replace_with(&site, "high-cpu.wasm", "disk-space");
    let found = digest(&plugin_file("disk-space"));
    site.write("plugins/added.wasm", NO_COMPONENT);
    let added = digest(&site.plugins_dir().join("added.wasm"));

    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said());
    let said = problems(&checked);
    let about = |file: &str| said.lines().find(|line| line.contains(file)).unwrap_or_default();
    let mut complaints = Complaints::default();
    let changed = ["isn't what is pinned", &found, &pinned, "plugins.lock", "`watchkeeper plugin lock`"];
    complaints.unless_named("changed", about("/high-cpu.wasm: "), &changed);
    let new = ["isn't pinned", &added, "no `added`", "`watchkeeper plugin lock`"];
    complaints.unless_named("added", about("/added.wasm: "), &new);
    complaints.unless(said.lines().count() == 2, || format!("only two are refused:\n{said}"));
    let list = listed(&site);
    assert_eq!(list["memory.wasm"]["pin"], "same");
    assert_eq!(list["high-cpu.wasm"]["state"], "refused");

    let host = site.start();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
    for file in ["high-cpu.wasm", "added.wasm"] {
        let log = host.log();
        let line = log.lines().find(|line| line.contains(file)).unwrap_or_default();
        complaints.unless_named(file, line, &["ERROR", "plugin refused", "pinned"]);
    }
    let compiled: Vec<String> = std::fs::read_dir(host.site.data_dir().join("compiled-plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let of = |digest: &str| compiled.iter().any(|file| file.contains(&digest["sha256:".len()..][..16]));
    complaints.unless(of(&digest(&plugin_file("prometheus"))), || format!("prometheus: {compiled:?}"));
    complaints.unless(!of(&added) && !of(&found), || format!("compiled, though refused: {compiled:?}"));
}

#[test]
fn without_its_lock_file_nothing_is_loaded() {
    let table: [(&str, Setup, &[&str]); 3] = [
        ("flag", Setup::new(), &["check", "--json", "--locked"]),
        ("variable", Setup::new().env("WATCHKEEPER_LOCKED", "true"), &["check", "--json"]),
        (
            "configuration",
            Setup::new().config("watchkeeper.yaml", "plugins: { locked: true }\n"),
            &["check", "--json"],
        ),
    ];
    let mut complaints = Complaints::default();
    for (row, setup, command) in table {
        let site = setup.plugin("memory").prepare();
        let checked = site.run(command);
        assert_eq!(checked.code, Some(1), "{row}: {}", checked.said());
        let said = problems(&checked);
        for file in ["memory.wasm", "prometheus.wasm"] {
            let begins = format!("{}: isn't pinned", site.plugins_dir().join(file).display());
            let line = said.lines().find(|line| line.starts_with(&begins)).unwrap_or_default();
            let words =
                ["plugins.lock, without which", "is not there", "`watchkeeper plugin lock` writes it"];
            complaints.unless_named(row, line, &words);
        }
        site.run(&["plugin", "lock"]).well();
        let checked = site.run(command);
        complaints.unless(checked.code == Some(0), || format!("{row}: once locked: {}", checked.said()));
    }
    let site = Setup::new().env("WATCHKEEPER_LOCKED", "0").prepare();
    site.run(&["check"]).well();
}

#[test]
fn a_lock_file_that_cant_be_read_refuses_everything_and_isnt_written_over() {
    let site = Setup::new().prepare();
    let text = "prometheus: sha256:1234\n";
    site.write("config/plugins.lock", text);
    site.run(&["check"]).well();
    let mut complaints = Complaints::default();
    let checked = site.run(&["check", "--locked", "--json"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said());
    complaints.unless_named(
        "check",
        &problems(&checked),
        &["can't be read", "plugins.lock:1: prometheus: must be"],
    );
    let locked = site.run(&["plugin", "lock"]);
    assert_eq!(locked.code, Some(2), "{}", locked.said());
    complaints.unless_named("lock", &locked.stderr, &["plugins.lock:1: prometheus: must be"]);
    assert_eq!(std::fs::read_to_string(lock_file(&site)).unwrap(), text);
}

#[test]
fn a_payload_is_replayed_by_what_is_pinned_alone() {
    let source = "name: guest\ntype: guest\n";
    let guest = |mended| hostile("/alerts/guest", mended);
    let setup =
        Setup::without_sources().plugin_bytes("guest.wasm", guest(false)).source("guest.yaml", source);
    let mut host = setup.start();
    assert_eq!(host.post_to("/alerts/guest", "trap").status, 202);
    host.terminate();
    host.site.run(&["plugin", "lock"]).well();
    host.site.write("plugins/guest.wasm", guest(true));
    let replayed = host.site.run(&["replay", "--locked", "--json"]);
    assert_eq!(replayed.code, Some(1), "{}", replayed.said());
    let result = &replayed.json()["items"][0]["result"];
    assert!(result.as_str().unwrap().contains("trapped"), "by the version that is pinned: {result}");
    assert!(replayed.stderr.contains("isn't what is pinned"), "{}", replayed.said());
    host.site.run(&["plugin", "lock"]).well();
    host.site.run(&["replay", "--locked"]).well();
}

/// The real program, and a folder of keys.
struct Minisign {
    program: PathBuf,
    keys: tempfile::TempDir,
}

impl Minisign {
    /// None where it isn't installed.
    fn find() -> Option<Self> {
        let program = require("minisign", "minisign")?;
        Some(Self { program, keys: tempfile::tempdir().unwrap() })
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.program);
        let output = command.args(arguments).current_dir(&self.keys).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a pair without a password, and says its public key.
    fn key(&self, name: &str) -> String {
        self.run(&["-G", "-W", "-p", &format!("{name}.pub"), "-s", &format!("{name}.key")]);
        let text = std::fs::read_to_string(self.keys.path().join(format!("{name}.pub"))).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    }

    fn sign(&self, key: &str, file: &Path, flags: &[&str]) {
        let (key, file) = (format!("{key}.key"), file.to_str().unwrap());
        self.run(&[&["-S", "-s", &key, "-m", file], flags].concat());
    }
}

#[test]
fn with_keys_only_what_one_of_them_signed_is_loaded() {
    let Some(minisign) = Minisign::find() else { return };
    let (ours, other) = (minisign.key("ours"), minisign.key("other"));
    minisign.key("theirs");
    let config = format!("plugins:\n  keys:\n    - {other}\n    - {ours}\n");
    let names =
        ["valid", "second-key", "changed", "missing", "garbage", "empty", "legacy", "wrong-key", "swapped"];
    let bytes = std::fs::read(plugin_file("high-cpu")).unwrap();
    let setup = Setup::new().config("watchkeeper.yaml", &config);
    let site = names
        .iter()
        .fold(setup, |setup, name| setup.plugin_bytes(&format!("{name}.wasm"), bytes.clone()))
        .plugin_bytes("uncompiled.wasm", NO_COMPONENT)
        .prepare();
    let plugin = |name: &str| site.plugins_dir().join(format!("{name}.wasm"));
    let signature = |name: &str| site.plugins_dir().join(format!("{name}.wasm.minisig"));
    for name in ["prometheus", "valid", "changed"] {
        minisign.sign("ours", &plugin(name), &[]);
    }
    minisign.sign("other", &plugin("second-key"), &[]);
    minisign.sign("theirs", &plugin("wrong-key"), &[]);
    minisign.sign("ours", &plugin("legacy"), &["-l"]);
    std::fs::copy(signature("prometheus"), signature("swapped")).unwrap();
    std::fs::copy(plugin_file("memory"), plugin("changed")).unwrap();
    std::fs::write(signature("garbage"), [0xff; 300]).unwrap();
    std::fs::write(signature("empty"), "").unwrap();

    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said());
    let said = problems(&checked);
    let table: [(&str, &[&str]); 8] = [
        ("changed", &["isn't of this content", "from their author"]),
        ("missing", &["isn't signed", "missing.wasm.minisig is not there", "`minisign -Sm missing.wasm`"]),
        ("garbage", &["garbage.wasm.minisig can't be read", "UTF-8"]),
        ("empty", &["is none of minisign", "sign it again"]),
        ("legacy", &["legacy format", "without -l"]),
        ("wrong-key", &["isn't among plugins.keys", "add its key"]),
        ("swapped", &["isn't of this content"]),
        ("uncompiled", &["isn't signed"]),
    ];
    let mut complaints = Complaints::default();
    for (name, words) in table {
        let line = said.lines().find(|line| line.contains(&format!("/{name}.wasm: "))).unwrap_or_default();
        complaints.unless_named(name, line, words);
    }
    complaints.unless(said.lines().count() == table.len(), || format!("only those are refused:\n{said}"));
    let list = listed(&site);
    for (name, key) in [("valid", &ours), ("second-key", &other), ("prometheus", &ours)] {
        let entry = &list[&format!("{name}.wasm")];
        complaints.unless(entry["signed_by"] == **key, || format!("{name}: {entry:#}"));
    }

    let locked = site.run(&["plugin", "lock", "--json"]);
    assert_eq!(locked.code, Some(1), "{}", locked.said());
    let pinned: Vec<Value> = locked.json()["plugins"].as_array().unwrap().clone();
    let pinned: Vec<_> = pinned.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(pinned, ["prometheus", "second-key", "valid"], "what isn't signed isn't pinned");

    let host = site.start();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
}

#[test]
fn a_comment_that_was_changed_is_no_signature() {
    let Some(minisign) = Minisign::find() else { return };
    let key = minisign.key("ours");
    let site =
        Setup::new().config("watchkeeper.yaml", &format!("plugins: {{ keys: ['{key}'] }}\n")).prepare();
    let plugin = site.plugins_dir().join("prometheus.wasm");
    minisign.sign("ours", &plugin, &["-t", "release 7"]);
    site.run(&["check"]).well();
    let file = site.plugins_dir().join("prometheus.wasm.minisig");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("release 7", "release 8")).unwrap();
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(1), "{}", checked.said());
    assert!(problems(&checked).contains("isn't of this content"), "{}", checked.said());
}

#[test]
fn what_speaks_for_a_plugin_no_more_is_said_while_it_serves() {
    let Some(minisign) = Minisign::find() else { return };
    let config = format!("plugins: {{ debounce: 20ms, locked: true, keys: ['{}'] }}\n", minisign.key("ours"));
    let site = Setup::new().config("watchkeeper.yaml", &config).prepare();
    let plugin = site.plugins_dir().join("prometheus.wasm");
    minisign.sign("ours", &plugin, &[]);
    site.run(&["plugin", "lock"]).well();
    let host = site.start();
    let refused = |words: Option<&str>| {
        wait(&format!("refused: {words:?}"), PATIENCE, || {
            let status = host.get("/api/v1/plugins/prometheus").json();
            let said = match words {
                Some(words) => status["refused"].as_str()?.contains(words),
                None => status["refused"].is_null(),
            };
            (said && status["state"] == "live").then_some(())
        });
        host.store(&webhook([firing("a", &[("alertname", "A")])]));
    };
    let signature = plugin.with_extension("wasm.minisig");
    for file in [signature, lock_file(&host.site)] {
        let text = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        refused(Some("it was let in before, and serves on"));
        std::fs::write(&file, text).unwrap();
        refused(None);
    }
}

#[test]
fn what_is_pinned_and_was_rolled_back_serves_after_a_restart_rather_than_none() {
    let config = "plugins: { debounce: 20ms, locked: true }\n";
    let site = versions::setup().config("watchkeeper.yaml", config).prepare();
    let lock = |site: &Site| site.run(&["plugin", "lock"]).well();
    lock(&site);
    let mut host = site.start();
    assert_eq!(versions::serving(&host), "v00001");
    let bad = versioned(versions::PATH, "v00002", Fault::TrapsAfter(2));
    versions::put(&versions::file(&host), &bad);
    lock(&host.site);
    wait("it serves", PATIENCE, || (versions::last(&host)["trigger"] == "replaced").then_some(()));
    for n in 0..12 {
        assert_eq!(host.post_to(versions::PATH, format!("after-{n}")).status, 200);
    }
    wait("it is rolled back", PATIENCE, || (versions::last(&host)["outcome"] == "rolled_back").then_some(()));
    wait("it is said that the one before isn't pinned any more", PATIENCE, || {
        host.log().contains("it serves until a restart: put its file").then_some(())
    });
    assert_eq!(versions::serving(&host), "v00001");

    host.terminate();
    host.restart();
    assert_eq!(versions::serving(&host), "v00002", "which is all that the pins let in");
    let refused = versions::plugin(&host)["refused"].as_str().unwrap().to_owned();
    assert!(refused.contains("was rolled back") && refused.contains("no other is pinned"), "{refused}");
    // The operator's word is another matter.
    let good = versioned(versions::PATH, "v00003", Fault::None);
    versions::put(&versions::file(&host), &good);
    lock(&host.site);
    wait("it serves", PATIENCE, || (versions::last(&host)["trigger"] == "replaced").then_some(()));
    host.site.run(&["plugin", "rollback", "v"]).well();
    host.terminate();
    host.restart();
    assert_eq!(host.post_to(versions::PATH, "x").status, 404, "{:#}", versions::plugin(&host));
}

#[test]
fn list_and_inspect_say_what_speaks_for_a_plugin() {
    let Some(minisign) = Minisign::find() else { return };
    let key = minisign.key("ours");
    let config = format!("server: {{ api_token: '${{NOT_SET_HERE}}' }}\nplugins: {{ keys: ['{key}'] }}\n");
    let site = Setup::new().plugin("memory").config("watchkeeper.yaml", &config).prepare();
    let (prometheus, memory) =
        (site.plugins_dir().join("prometheus.wasm"), site.plugins_dir().join("memory.wasm"));
    minisign.sign("ours", &prometheus, &[]);
    let inspect =
        |file: &Path| site.run(&["plugin", "inspect", "--json", file.to_str().unwrap()]).well().json();

    let entry = inspect(&prometheus);
    assert_eq!([&entry["pin"], &entry["signed_by"]], [&Value::Null, &json!(key)]);
    let entry = inspect(&memory);
    assert_eq!(
        [&entry["pin"], &entry["signed_by"]],
        [&Value::Null, &Value::Null],
        "looked at, though not let in"
    );
    assert_eq!(site.run(&["plugin", "lock"]).code, Some(1));
    let text = site.run(&["plugin", "inspect", prometheus.to_str().unwrap()]).well().stdout;
    assert!(text.contains(&format!("pinned, signed {}", &key[..12])), "{text}");

    std::fs::copy(&memory, &prometheus).unwrap();
    let entry = inspect(&prometheus);
    assert_eq!([&entry["pin"], &entry["signed_by"]], [&json!("other"), &Value::Null]);
    let listed = site.run(&["plugin", "list"]);
    assert_eq!(listed.code, Some(1), "{}", listed.said());
    assert!(listed.stdout.lines().filter(|line| line.contains("refused")).count() == 2, "{}", listed.stdout);
}

#[test]
fn what_is_no_key_stops_the_start_with_its_place() {
    let site = Setup::new().config("watchkeeper.yaml", "plugins:\n  keys:\n    - RWabc\n").prepare();
    for command in [&["check"][..], &["plugin", "list"], &["plugin", "lock"]] {
        let ran = site.run(command);
        assert_eq!(ran.code, Some(2), "{command:?}: {}", ran.said());
        let mut complaints = Complaints::default();
        let words = ["watchkeeper.yaml:3: plugins.keys[0]: ", "`RWabc`", "second line of minisign.pub"];
        complaints.unless_named(&command.join(" "), &ran.stderr, &words);
    }
}
