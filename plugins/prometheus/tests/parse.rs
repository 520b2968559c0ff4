//! Golden samples, and what no sample file can hold.

use plugin_prometheus::Prometheus;
use serde_json::{Value, json};
use watchkeeper_sdk::testing::{self, Running};
use watchkeeper_sdk::{Error, Feed, Severity};

fn prometheus(config: Value) -> Running<Prometheus> {
    testing::source(config).expect("the configuration is valid")
}

fn refusal(body: impl AsRef<[u8]>) -> String {
    match prometheus(json!({})).parse(body) {
        Err(Error::InvalidPayload(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_sample_becomes_what_is_expected() {
    testing::samples(&prometheus(json!({})), concat!(env!("CARGO_MANIFEST_DIR"), "/samples"));
}

#[test]
fn it_is_configured_by_its_two_keys() {
    assert_eq!(prometheus(json!({})).feed, Some(Feed::webhook("/alerts/prometheus")));
    let other = prometheus(json!({ "webhook_path": "/a/b", "default_severity": "critical" }));
    assert_eq!(other.feed, Some(Feed::webhook("/a/b")));
    let alerts =
        other.parse(r#"{"alerts":[{"status":"firing","labels":{"alertname":"A"}}]}"#).expect("it parses");
    assert_eq!(alerts[0].severity, Severity::Critical);
}

#[test]
fn a_wrong_key_is_refused_by_name() {
    let refusals = [
        (
            json!({ "webhok_path": "/" }),
            "webhok_path: unknown key; known keys: webhook_path, default_severity",
        ),
        (
            json!({ "webhook_path": "alerts" }),
            "webhook_path: must begin with `/`, as in `/alerts/prometheus`",
        ),
        (
            json!({ "default_severity": "loud" }),
            "default_severity: unknown variant `loud`, expected one of `info`, `warning`, `critical`",
        ),
    ];
    for (config, expected) in refusals {
        let error = testing::source::<Prometheus>(config).expect_err("it is refused");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn bytes_that_are_no_text_are_counted() {
    assert_eq!(refusal(b"{\"alerts\": [{}], \xff"), "body is not UTF-8: byte 17");
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let deep = "[".repeat(200_000);
    assert!(refusal(format!(r#"{{"alerts": {deep}"#)).starts_with("alerts[0]: invalid type: sequence"));
    assert!(refusal(&deep).starts_with("invalid type: sequence, expected an object"));
    assert!(refusal(format!(r#"{{"ignored": {deep}"#)).starts_with("not JSON: EOF while parsing"));
    let mut closed = format!(r#"{{"ignored": {deep}"#);
    closed.push_str(&"]".repeat(200_000));
    closed.push_str(r#", "alerts": []}"#);
    assert_eq!(prometheus(json!({})).parse(closed), Ok(vec![]));
}

/// The host's limit is 10,000; none is slow, or quadratic, on the way there.
#[test]
fn ten_thousand_alerts_are_parsed() {
    let alert =
        |n: usize| json!({ "status": "firing", "labels": { "alertname": "A", "instance": n.to_string() } });
    let body = json!({ "alerts": (0..10_000).map(alert).collect::<Vec<_>>() }).to_string();
    assert_eq!(prometheus(json!({})).parse(body).expect("it parses").len(), 10_000);
}
