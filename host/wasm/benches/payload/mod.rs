//! What the benches parse: Alertmanager's webhook with this many alerts, labels and annotations as a real rule gives them.

use serde_json::json;

pub fn body(alerts: usize) -> Vec<u8> {
    let alert = |number: usize| {
        json!({
            "status": "firing",
            "labels": {
                "alertname": "HighRequestLatency", "cluster": "eu-1", "namespace": "shop", "job": "api",
                "severity": "warning", "instance": format!("10.0.0.{number}:9100"), "pod": format!("api-{number}"),
            },
            "annotations": {
                "summary": "Request latency is high",
                "description": "99th percentile latency of the api job is above 1.5 s for 10 minutes.",
                "runbook_url": "https://runbooks.example.org/HighRequestLatency",
            },
            "startsAt": "2026-11-23T08:00:00.000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.org/graph?g0.expr=job%3Arequest_latency_seconds",
            "fingerprint": format!("{number:016x}"),
        })
    };
    let payload = json!({
        "receiver": "watchkeeper", "status": "firing", "alerts": (0..alerts).map(alert).collect::<Vec<_>>(),
        "groupLabels": { "alertname": "HighRequestLatency" }, "commonLabels": { "alertname": "HighRequestLatency" },
        "commonAnnotations": {}, "externalURL": "http://alertmanager.example.org", "version": "4",
        "groupKey": "{}:{alertname=\"HighRequestLatency\"}", "truncatedAlerts": 0,
    });
    payload.to_string().into_bytes()
}
