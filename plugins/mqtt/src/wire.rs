//! A message's payload: one alert, or a list of them, as JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use watchkeeper_sdk::{Alert, Severity, Status};

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Several(Vec<Wire>),
    One(Wire),
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    severity: WireSeverity,
    #[serde(default)]
    status: WireStatus,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Unix milliseconds.
    starts_at: Option<u64>,
    ends_at: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireSeverity {
    Info,
    Warning,
    Critical,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireStatus {
    #[default]
    Firing,
    Resolved,
}

/// A payload that is none becomes an alert itself, so that somebody hears of it: a message can't be refused to its sender.
pub fn alerts(topic: &str, payload: &[u8]) -> Vec<Alert> {
    let message = serde_json::from_slice(payload);
    let mut alerts: Vec<Alert> = match message {
        Ok(Message::Several(several)) => several.into_iter().map(Wire::alert).collect(),
        Ok(Message::One(one)) => vec![one.alert()],
        Err(_) => vec![unreadable(topic, payload)],
    };
    for alert in &mut alerts {
        if !alert.labels.iter().any(|(name, _)| name == "topic") {
            alert.labels.push(("topic".to_owned(), topic.to_owned()));
        }
    }
    alerts
}

impl Wire {
    fn alert(self) -> Alert {
        let severity = match self.severity {
            WireSeverity::Info => Severity::Info,
            WireSeverity::Warning => Severity::Warning,
            WireSeverity::Critical => Severity::Critical,
        };
        let status = match self.status {
            WireStatus::Firing => Status::Firing,
            WireStatus::Resolved => Status::Resolved,
        };
        let mut alert = Alert::new(self.id, severity, status, self.title);
        alert.description = self.description;
        alert.labels = self.labels.into_iter().collect();
        alert.annotations = self.annotations.into_iter().collect();
        (alert.starts_at, alert.ends_at) = (self.starts_at, self.ends_at);
        alert
    }
}

fn unreadable(topic: &str, payload: &[u8]) -> Alert {
    let title = format!("a message on {topic} is no alert");
    let mut alert = Alert::new(format!("unreadable:{topic}"), Severity::Warning, Status::Firing, title);
    let text = String::from_utf8_lossy(payload);
    alert.description = text.chars().take(1000).collect();
    alert
}
