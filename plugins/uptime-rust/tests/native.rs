//! Called natively, the quick way; `tests/tests/conformance.rs` holds the component to the same as the other languages'.

use plugin_uptime_rust::Uptime;
use serde_json::json;
use watchkeeper_sdk::testing::{self, payload};
use watchkeeper_sdk::{Feed, Severity};

#[test]
fn a_check_that_is_down_long_is_critical() {
    let uptime =
        testing::source::<Uptime>(json!({ "critical_after": 2, "ignore": ["canary"] })).expect("valid");
    assert_eq!(uptime.feed, Some(Feed::webhook("/alerts/uptime")));
    // As text, for `json!` would sort the tags.
    let body = r#"{ "checks": [
        { "id": "db-1", "name": "database", "state": "down", "failures": 2, "tags": { "z": "1", "a": "2" } },
        { "id": "c-1", "name": "canary", "state": "down" }
    ] }"#;
    let alerts = uptime.parse(body).expect("it parses");
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].severity, &*alerts[0].title), (Severity::Critical, "database is down"));
    let labels: Vec<&str> = alerts[0].labels.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(labels, ["check", "z", "a"]);
}

#[test]
fn a_challenge_comes_back() {
    let uptime = testing::source::<Uptime>(json!({ "ignore": ["*"] })).expect("valid");
    let reply = uptime.respond(payload(r#"{"challenge": "abc"}"#)).expect("it answers").expect("a handshake");
    assert_eq!((reply.status, &*reply.body), (200, &b"abc"[..]));
    assert_eq!(
        uptime.check().expect_err("nothing to watch").to_string(),
        "ignore: * leaves nothing to watch"
    );
}
