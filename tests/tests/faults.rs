//! Sixteen mistakes that authors and operators of plugins make, one by one: each error names the thing, the place and the remedy, and
//! the other plugins and sources don't notice.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails with what stood in its way")]

use serde_json::Value;
use watchkeeper_tests::guest::{
    GUESTS_ALERT, WIT, component, exporting, from_text, hostile, hostile_core, importing,
};
use watchkeeper_tests::payload::{firing, webhook};
use watchkeeper_tests::{Complaints, PATH, PATIENCE, Setup, guest_file, plugin_file, wait};

const SOURCE: &str = "watchkeeper:plugin/source@0.1.0";
const PARSER: &str = "watchkeeper:plugin/parser@0.1.0";

/// A file that isn't loaded.
fn of_files() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let good = std::fs::read(plugin_file("prometheus")).unwrap();
    let of_version = |version: &str| {
        let wit = WIT.replace("watchkeeper:plugin@0.1.0", &format!("watchkeeper:plugin@{version}"));
        let exports = [SOURCE, PARSER].map(|name| name.replace("0.1.0", version));
        component(&wit, &exports.each_ref().map(String::as_str), &hostile_core(version, "/x", true))
    };
    let changed = WIT.replace("record webhook-feed {", "record webhook-feed { secret: u32,");
    let changed = component(&changed, &[SOURCE, PARSER], &hostile_core("0.1.0", "/x", true));
    vec![
        ("missing-export", exporting(&[SOURCE]), &["lacks the export", "watchkeeper:plugin/parser"]),
        ("wrong-version", of_version("0.2.0"), &["@0.2.0", "this host speaks", "0.1", "build it again"]),
        ("changed-record", changed, &["`webhook-feed` has `secret`", "build it again"]),
        (
            "wrong-world",
            exporting(&["wasi:cli/run@0.2.0"]),
            &["wasi:cli/run@0.2.0", "must export at least one of", "parser"],
        ),
        ("core-module", from_text("(module)"), &["core module", "wasm32-wasip2", "wasm-tools component new"]),
        ("truncated", good[..good.len() / 2].to_vec(), &["truncated", "copied to the end", "rename"]),
        ("wat-text", b"(component)".to_vec(), &["WAT", "wasm-tools parse"]),
        (
            "ungranted-import",
            importing("acme:vault/secrets@1.0.0"),
            &["acme:vault/secrets@1.0.0", "isn't granted", "without this import"],
        ),
    ]
}

/// A hostile guest as a source, with a file of its own.
fn guest(file: &str, text: &str) -> Setup {
    Setup::new()
        .plugin_bytes("hostile.wasm", std::fs::read(guest_file("hostile")).unwrap())
        .source(file, &format!("name: hostile\ntype: hostile\n{text}"))
}

#[test]
fn a_file_that_is_no_plugin_of_this_host() {
    let faults = of_files();
    let setup = faults.iter().fold(Setup::new(), |setup, (name, bytes, _)| {
        setup.plugin_bytes(&format!("{name}.wasm"), bytes.clone())
    });
    let host = setup.start();
    // The ninth: what another machine compiled. The host's own compiled code is such a file to every other.
    let compiled = std::fs::read_dir(host.site.data_dir().join("compiled-plugins")).unwrap().flatten();
    let compiled = compiled.map(|entry| entry.path()).find(|path| path.extension() == Some("cwasm".as_ref()));
    std::fs::copy(compiled.unwrap(), host.site.plugins_dir().join("compiled-elsewhere.wasm")).unwrap();
    let listed = wait("all are looked at", PATIENCE, || {
        let plugins = host.get("/api/v1/plugins").json();
        let items = plugins["items"].as_array()?.clone();
        (items.len() > faults.len() + 1).then_some(items)
    });
    let ninth: (_, _, &[&str]) =
        ("compiled-elsewhere", Vec::new(), &["machine code", "ELF", "wasm32-wasip2"]);
    let mut complaints = Complaints::default();
    for (name, _, words) in faults.into_iter().chain([ninth]) {
        let entry = listed.iter().find(|plugin| plugin["name"] == name);
        let said = entry.map_or(String::new(), Value::to_string);
        complaints.unless_named(name, &said, words);
        complaints.unless_named(name, &host.log(), &[&format!("{name}.wasm")]);
    }
    host.store(&webhook([firing("neighbour", &[("alertname", "N")])]));
}

#[test]
fn a_source_whose_file_is_wrong() {
    let clash = format!("webhook_path: {PATH}\n");
    let mut complaints = Complaints::default();
    for (fault, text, words) in [
        ("bad-key", "webhok_path: /x\n", &["z.yaml:3: webhok_path", "unknown key", "webhook_path"][..]),
        ("clashing-path", &clash, &["z.yaml:3: webhook_path", "source prometheus already", "choose another"]),
        ("memory-too-low", "limits: { memory_mib: 1 }\n", &["z.yaml", "limits.memory_mib"]),
    ] {
        // Behind the good one, whose path it is.
        let host = guest("z.yaml", text).start();
        complaints.unless_named(fault, &host.site.run(&["check"]).said(), words);
        complaints.unless_named(fault, &host.log(), words);
        host.store(&webhook([firing(fault, &[("alertname", "N")])]));
    }
}

#[test]
fn a_call_that_goes_wrong() {
    let url = "http://127.0.0.1:9";
    let host = guest("hostile.yaml", &format!("limits: {{ call_ms: 200 }}\nurl: {url}/\n"))
        .plugin_bytes("hostile.yaml", format!("asks: {{ http: ['{url}'] }}\n"))
        .start();
    let mut complaints = Complaints::default();
    for (does, words) in [
        ("loop", &["plugin hostile/hostile", "200 ms a call", "limits.call_ms"][..]),
        ("panic", &["plugin hostile/hostile", "trapped", "so it goes"]),
        ("many", &["plugin hostile/hostile", "10001 alerts", "limit of 10000", "limits.alerts"]),
        ("must", &["http://127.0.0.1:9", "is not granted", "`allow_hosts` of source hostile"]),
    ] {
        let answer = host.post_to("/alerts/hostile", does);
        complaints.unless(answer.status != 200, || format!("{does}: {answer:?}"));
        complaints.unless_named(does, &answer.body, words);
        host.store(&webhook([firing(does, &[("alertname", "N")])]));
    }
}

/// The guests that these faults are seeded in serve where nothing is wrong: so what is refused is refused for its fault.
#[test]
fn without_its_fault_each_serves() {
    let host = guest("hostile.yaml", "")
        .plugin_bytes("plain.wasm", hostile("/alerts/plain", true))
        .source("plain.yaml", "name: plain\ntype: plain\n")
        .start();
    assert_eq!(host.post_to("/alerts/hostile", "behaves").status, 200);
    assert_eq!(host.post_to("/alerts/plain", "x").status, 200);
    assert!(host.alerts().iter().any(|alert| alert["id"] == GUESTS_ALERT));
}
