//! What the loader refuses, and why; and guests that mean harm: they end within their limits, and neighbours don't notice.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchkeeper_tests::guest::{
    GUESTS_ALERT, WIT, component, exporting, from_text, hostile, hostile_core, importing,
};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Answer, Complaints, PATIENCE, Setup, Watchkeeper, plugin_file, wait};

const GUEST_PATH: &str = "/alerts/guest";
const SOURCE: &str = "watchkeeper:plugin/source@0.1.0";
const PARSER: &str = "watchkeeper:plugin/parser@0.1.0";

/// Built against a twisted copy of the contract.
fn against(wit: &str) -> Vec<u8> {
    component(wit, &[SOURCE, PARSER], &hostile_core("0.1.0", GUEST_PATH, true))
}

struct Refused {
    file: &'static str,
    bytes: Vec<u8>,
    /// What the message names: what is wrong, where, and the remedy.
    words: &'static [&'static str],
}

fn refused() -> Vec<Refused> {
    let good = std::fs::read(plugin_file("prometheus")).unwrap();
    let core = from_text("(module)");
    let other_version = WIT.replace("watchkeeper:plugin@0.1.0", "watchkeeper:plugin@0.2.0");
    let newer = component(
        &other_version,
        &["watchkeeper:plugin/source@0.2.0", "watchkeeper:plugin/parser@0.2.0"],
        &hostile_core("0.2.0", GUEST_PATH, true),
    );
    let extra_field = against(&WIT.replace("record webhook-feed {", "record webhook-feed { secret: u32,"));
    let extra_case = against(&WIT.replace("    enum severity {\n", "    enum severity {\n        page,\n"));
    let table: Vec<(&'static str, Vec<u8>, &'static [&'static str])> = vec![
        ("empty.wasm", vec![], &["is empty"]),
        ("text.wasm", b"not wasm at all".to_vec(), &["no WebAssembly"]),
        ("json.wasm", b"{}".to_vec(), &["no WebAssembly"]),
        ("cut-in-the-magic.wasm", good[..3].to_vec(), &["truncated", "copied"]),
        ("cut-in-the-header.wasm", good[..6].to_vec(), &["truncated", "copied"]),
        ("cut-in-the-middle.wasm", good[..good.len() / 2].to_vec(), &["truncated", "copied"]),
        ("cut-at-the-end.wasm", good[..good.len() - 1].to_vec(), &["truncated", "copied"]),
        ("core.wasm", core, &["core module", "wasm32-wasip2", "wasm-tools component new"]),
        ("wat.wasm", b"(component)".to_vec(), &["WAT", "wasm-tools parse"]),
        ("elf.wasm", b"\x7fELF\x02\x01\x01\0".to_vec(), &["ELF", "wasm32-wasip2"]),
        ("nothing.wasm", from_text("(component)"), &["exports no interface", "watchkeeper:plugin", "parser"]),
        (
            "foreign.wasm",
            exporting(&["acme:other/thing@1.0.0"]),
            &["exports no interface", "acme:other/thing@1.0.0"],
        ),
        (
            "source-alone.wasm",
            exporting(&[SOURCE]),
            &["watchkeeper:plugin/source", "watchkeeper:plugin/parser"],
        ),
        (
            "playbook-alone.wasm",
            exporting(&["watchkeeper:plugin/playbook@0.1.0"]),
            &["watchkeeper:plugin/playbook", "watchkeeper:plugin/prompt-builder"],
        ),
        (
            "unknown-interface.wasm",
            exporting(&["watchkeeper:plugin/oracle@0.1.0"]),
            &["oracle", "prompt-builder"],
        ),
        (
            "live-alone.wasm",
            exporting(&["watchkeeper:experimental/live-source@0.1.0"]),
            &["watchkeeper:experimental/live-source", "watchkeeper:plugin/source"],
        ),
        (
            "live-and-more.wasm",
            exporting(&["watchkeeper:experimental/live-source@0.1.0", SOURCE, PARSER]),
            &["live-source beside parser", "make two plugins"],
        ),
        (
            "unknown-experiment.wasm",
            exporting(&["watchkeeper:experimental/oracle@0.1.0"]),
            &["oracle", "watchkeeper:experimental", "live-source"],
        ),
        ("no-function.wasm", exporting(&[PARSER]), &["parser", "`parse`", "build it again"]),
        ("newer.wasm", newer, &["watchkeeper:plugin/", "@0.2.0", "0.1", "build it again"]),
        ("extra-field.wasm", extra_field, &["`webhook-feed` has `secret`", "build it again"]),
        ("extra-case.wasm", extra_case, &["parser", "`severity` has `page`", "build it again"]),
        (
            "incoming-http.wasm",
            importing("wasi:http/incoming-handler@0.2.0"),
            &["wasi:http/incoming-handler@0.2.0", "granted", "parser"],
        ),
        (
            "custom-import.wasm",
            importing("acme:vault/secrets@1.0.0"),
            &["acme:vault/secrets@1.0.0", "without this import"],
        ),
        (
            "next-wasi.wasm",
            importing("wasi:clocks/monotonic-clock@0.3.0"),
            &["wasi:clocks/monotonic-clock@0.3.0", "0.2"],
        ),
        ("newer-logging.wasm", importing("watchkeeper:plugin/logging@0.2.0"), &["logging@0.2.0", "0.1"]),
        ("odd name.wasm", good, &["letters"]),
    ];
    table.into_iter().map(|(file, bytes, words)| Refused { file, bytes, words }).collect()
}

#[test]
fn what_is_no_plugin_is_refused_with_file_item_and_remedy_and_the_others_load() {
    let refused = refused();
    let setup =
        refused.iter().fold(Setup::new(), |setup, one| setup.plugin_bytes(one.file, one.bytes.clone()));
    let site = setup
        .plugin_bytes("guest.wasm", hostile(GUEST_PATH, true))
        .plugin_bytes("README.md", "no plugin")
        .prepare();

    let listed = site.run(&["plugin", "list", "--json"]);
    assert_eq!(listed.code, Some(1), "{}", listed.said());
    let listed = listed.json();
    let plugins = listed["plugins"].as_array().unwrap();
    let of = |file: &str| {
        plugins.iter().find(|p| p["file"].as_str().unwrap().ends_with(&format!("/{file}"))).unwrap()
    };
    let mut complaints = Complaints::default();
    for one in &refused {
        let entry = of(one.file);
        complaints.unless(entry["state"] == "refused", || format!("{entry:#}"));
        complaints.unless_named(one.file, entry["reason"].as_str().unwrap_or_default(), one.words);
    }
    for file in ["prometheus.wasm", "guest.wasm"] {
        let entry = of(file);
        assert_eq!(entry["state"], "loaded", "{entry:#}");
        assert_eq!(entry["interfaces"], json!(["source@0.1.0", "parser@0.1.0"]), "{entry:#}");
        assert!(entry["digest"].as_str().unwrap().starts_with("sha256:"), "{entry:#}");
    }
    assert_eq!(plugins.len(), refused.len() + 2, "and nothing else is listed: {listed:#}");

    let inspected = site.run(&["plugin", "inspect", site.plugins_dir().join("core.wasm").to_str().unwrap()]);
    assert_eq!(inspected.code, Some(1));
    complaints.unless_named("inspect", &inspected.stdout, &["core.wasm", "core module", "wasm32-wasip2"]);
    let inspected =
        site.run(&["plugin", "inspect", "--json", site.plugins_dir().join("guest.wasm").to_str().unwrap()]);
    assert_eq!(inspected.well().json()["name"], "guest");

    let host = site.start();
    host.store(&webhook([firing("a", &[("alertname", "A")])]));
    let log = host.log();
    for one in &refused {
        assert!(log.contains(one.file), "{} is not in the log:\n{log}", one.file);
    }
}

/// A plugin that exports a parser and no source.
fn parser_alone() -> Vec<u8> {
    let core = hostile_core("0.1.0", GUEST_PATH, true);
    let (before, rest) = core.split_once("  (func (export \"watchkeeper:plugin/source").unwrap();
    let (_, after) = rest.split_once("(func $answer").unwrap();
    component(WIT, &[PARSER], &format!("{before}(func $answer{after}"))
}

#[test]
fn the_hosts_own_webhook_feeds_a_parser() {
    let source =
        |name: &str, rest: &str| format!("name: {name}\ntype: webhook\nwebhook_path: /alerts/{name}\n{rest}");
    let site = Setup::without_sources()
        .plugin_bytes("beeper.wasm", parser_alone())
        .plugin("prometheus")
        .source("alone.yaml", &source("alone", "parser: beeper\n"))
        // One that is a source, too, is configured by its own keys, and fed where the file says.
        .source("both.yaml", &source("both", "parser: prometheus\ndefault_severity: critical\n"))
        .source("twice.yaml", "name: twice\ntype: webhook\nwebhook_path: /alerts/alone\nparser: beeper\n")
        .source("typed.yaml", "name: typed\ntype: beeper\n")
        .source("keyed.yaml", &source("keyed", "parser: beeper\nteam: a\n"))
        .source("unread.yaml", &source("unread", ""))
        .source("brought.yaml", "name: brought\ntype: nats\nparser: beeper\n")
        .prepare();
    let said = site.run(&["check"]).said();
    let mut complaints = Complaints::default();
    let table: [(&str, &[&str]); 5] = [
        ("twice.yaml:3", &["webhook_path", "source alone"]),
        ("typed.yaml:2", &["type", "type: webhook", "parser: beeper"]),
        ("keyed.yaml:5", &["team", "exports no source", "take it away"]),
        ("unread.yaml:1", &["parser", "is missing"]),
        ("brought.yaml:2", &["type", "`nats` is no transport", "`webhook`"]),
    ];
    for (place, words) in table {
        let line = said.lines().find(|line| line.contains(place)).unwrap_or_default();
        complaints.unless_named(place, line, words);
    }

    let host = site.start();
    assert_eq!(host.post_to("/alerts/alone", "anything").status, 200);
    let answer = host.post_to("/alerts/both", webhook([firing("a", &[("alertname", "A")])]).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(host.post_to(GUEST_PATH, "anything").status, 404, "where no file says");
    let mut alerts = host.alerts_once_there_are(2);
    alerts.sort_by_key(|alert| alert["source"].to_string());
    assert_eq!([&alerts[0]["source"], &alerts[0]["id"]], [&json!("alone"), &json!(GUESTS_ALERT)]);
    assert_eq!([&alerts[1]["source"], &alerts[1]["severity"]], [&json!("both"), &json!("critical")]);

    // A new version is tried, swapped and rolled back as any other's.
    host.site.write("plugins/beeper.wasm", [parser_alone(), b"\0\x02\x01x".to_vec()].concat());
    wait("the new version serves", PATIENCE, || {
        let status = host.get("/api/v1/plugins/beeper").json();
        let attempts = status["attempts"].as_array()?.len();
        (attempts > 1 && status["attempts"][attempts - 1]["outcome"] == "live").then_some(())
    });
    assert_eq!(host.post_to("/alerts/alone", "again").status, 200);
}

/// Says that it knows every alert best, and writes a prompt of none.
fn prompts_alone() -> Vec<u8> {
    const PROMPTS: &str = "watchkeeper:plugin/prompt-builder@0.1.0";
    let alert = "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i64";
    let core = format!(
        r#"(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "{PROMPTS}#score") (param {alert}) (result i32) (i32.const -1))
  (func (export "{PROMPTS}#build") (param i32) (result i32) unreachable))"#
    );
    component(WIT, &[PROMPTS], &core)
}

#[test]
fn what_only_writes_prompts_stands_before_no_playbook_while_there_is_no_model() {
    let labels = [("alertname", "HighCPU"), ("severity", "critical"), ("instance", "localhost")];
    let over = |setup: Setup| {
        let host = setup.plugin_bytes("a-prompt.wasm", prompts_alone()).start();
        host.store(&webhook([firing("cpu", &labels)]));
        let over = host.investigations_once_over(1);
        host.investigation(over[0]["id"].as_str().unwrap())
    };
    let known = over(Setup::new().playbooks());
    assert!(
        known["report"]["summary"].is_string() && known.to_string().contains("\"playbook high-cpu\""),
        "{known:#}"
    );
    let alone = over(Setup::new());
    assert!(alone.to_string().contains("a-prompt"), "a human hears why: {alone:#}");
    assert_eq!(alone["report"], Value::Null, "{alone:#}");
}

/// A host with a neighbour and a hostile guest that has 200 ms a call, and 8 MiB.
fn with_guest(mended: bool) -> Setup {
    let source = "name: guest\ntype: guest\nlimits: { call_ms: 200, memory_mib: 8 }\n";
    Setup::new().plugin_bytes("guest.wasm", hostile(GUEST_PATH, mended)).source("guest.yaml", source)
}

fn assert_neighbour_answers(host: &Watchkeeper, after: &str) {
    let began = Instant::now();
    let answer = host.post(&webhook([firing(after, &[("alertname", "Neighbour"), ("after", after)])]));
    assert_eq!(answer.status, 200, "after {after}: {answer:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "after {after} it took {:?}", began.elapsed());
}

fn dead_letter(what: &str, answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{what}: {answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], "dead_letter", "{what}");
    json["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_guest_that_means_harm_is_ended_its_payload_is_kept_and_its_neighbour_answers() {
    let host = with_guest(false).start();
    let table: [(&str, &[&str]); 8] = [
        ("loops for ever", &["200 ms", "limits.call_ms"]),
        ("memory without end", &["8 MiB", "limits.memory_mib"]),
        ("traps", &["trapped", "unreachable"]),
        ("numbers of alerts", &["10001", "10000", "limits.alerts"]),
        ("pointers beyond its memory", &[]),
        ("unreadable text", &["utf-8"]),
        ("stack without end", &["stack"]),
        ("grows its table without end", &["100000 table elements"]),
    ];
    let mut complaints = Complaints::default();
    for (number, (what, words)) in table.iter().enumerate() {
        let began = Instant::now();
        let error = dead_letter(what, &host.post_to(GUEST_PATH, *what));
        assert!(began.elapsed() < Duration::from_secs(5), "{what} took {:?}", began.elapsed());
        complaints.unless_named(what, &error, &[&["plugin guest"], *words].concat());
        assert_neighbour_answers(&host, what);
        let letters = host.site.run(&["replay", "--list", "--json"]).well().json();
        let letters = letters["items"].as_array().unwrap().clone();
        assert_eq!(letters.len(), number + 1, "{letters:#?}");
        assert_eq!(letters[number]["result"], *error, "{letters:#?}");
    }
    let answer = host.post_to(GUEST_PATH, "behaves");
    assert_eq!(answer.status, 200, "an instance that failed is gone; the next is fresh: {answer:?}");
    let failed = host
        .metrics()
        .sum("agent_alert_source_errors_total", &[("source", "guest"), ("error_type", "plugin_failed")]);
    assert_eq!(failed, table.len() as f64);
}

#[test]
fn neighbours_answer_while_guests_loop() {
    let host = with_guest(false).start();
    let (url, client) = (host.url(GUEST_PATH), host.client().clone());
    let loops: Vec<_> = (0..16)
        .map(|_| {
            let request = client.post(&url).bearer_auth(watchkeeper_tests::TOKEN).body("loop");
            std::thread::spawn(move || Answer::from(request.send().unwrap()))
        })
        .collect();
    for n in 0..20 {
        assert_neighbour_answers(&host, &format!("during-{n}"));
    }
    for one in loops {
        dead_letter("loop", &one.join().unwrap());
    }
}

#[test]
fn a_dead_letter_is_replayed_once_its_plugin_is_mended() {
    let mut host = with_guest(false).start();
    let error = dead_letter("trap", &host.post_to(GUEST_PATH, "trap"));
    dead_letter("trap", &host.post_to(GUEST_PATH, "trap too"));

    let listed = host.site.run(&["replay", "--list", "--json"]).well().json();
    let letters = listed["items"].as_array().unwrap();
    assert_eq!(letters.len(), 2, "{listed:#}");
    assert_eq!([&letters[0]["source"], &letters[0]["bytes"]], [&json!("guest"), &json!(4)]);
    assert_eq!(letters[0]["result"], *error);

    let too_early = host.site.run(&["replay", "--json"]);
    assert_eq!(too_early.code, Some(1), "{}", too_early.said());
    assert!(too_early.json()["items"].as_array().unwrap().iter().all(|item| item["ok"] == false));
    assert_eq!(host.alerts(), Vec::<Value>::new());

    // A host that runs would do it by itself.
    assert_eq!(host.terminate().code, Some(0));
    host.site.write("plugins/guest.wasm", hostile(GUEST_PATH, true));
    let stored = || {
        let alerts = host.site.run(&["alerts", "--json"]).well().json();
        alerts["items"].as_array().unwrap().clone()
    };
    let first = letters[0]["payload"].as_str().unwrap();
    let replayed = host.site.run(&["replay", first, "--json"]).well().json();
    assert_eq!(replayed["items"].as_array().unwrap().len(), 1, "{replayed:#}");
    let alerts = stored();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["id"], GUESTS_ALERT);

    host.site.run(&["replay", "--json"]).well();
    assert_eq!(stored().len(), 1, "the second letter holds the same alert");
    let again = host.site.run(&["replay", "--json"]).well().json();
    assert_eq!(again["items"], json!([]), "nothing is left");
    let gone = host.site.run(&["replay", first, "--json"]);
    assert_eq!(gone.code, Some(1), "{}", gone.said());

    host.restart();
    assert_eq!(host.post_to(GUEST_PATH, "trap").status, 200, "the mended plugin serves");
    wait("the alert is heard, not doubled", PATIENCE, || (host.alerts().len() == 1).then_some(()));
}
