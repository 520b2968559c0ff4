//! Payloads as Alertmanager's webhook sends them.

use serde_json::{Map, Value, json};

/// When the alerts of [`firing`] started.
pub const STARTS_AT: &str = "2026-01-02T03:04:05Z";

/// One payload of these alerts.
pub fn webhook(alerts: impl IntoIterator<Item = Value>) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{}",
        "status": "firing",
        "receiver": "watchkeeper",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "truncatedAlerts": 0,
        "alerts": alerts.into_iter().collect::<Vec<_>>(),
    })
}

/// An alert that fires, with `fingerprint` as its id.
pub fn firing(fingerprint: &str, labels: &[(&str, &str)]) -> Value {
    let labels: Map<String, Value> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "status": "firing",
        "labels": labels,
        "annotations": { "summary": "it is high" },
        "startsAt": STARTS_AT,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": fingerprint,
    })
}

/// The same alert, over at `ends_at`.
pub fn resolved(mut alert: Value, ends_at: &str) -> Value {
    alert["status"] = json!("resolved");
    alert["endsAt"] = json!(ends_at);
    alert
}
