//! What senders send, and how each alert is read. Each mistake is named with its place.

use serde_json::Value;
use watchkeeper_sdk::{Alert, Error, Payload, Severity, Status, time};

pub(crate) fn alerts(payload: &Payload) -> Result<Vec<Alert>, Error> {
    let body: Value = payload.json()?;
    let alerts = body["alerts"].as_array();
    let alerts = alerts.ok_or_else(|| Error::invalid_payload("alerts: must be a list"))?;
    alerts.iter().enumerate().map(|(index, alert)| read(index, alert)).collect()
}

fn read(index: usize, alert: &Value) -> Result<Alert, Error> {
    let wrong = |key: &str, what: &str| Error::invalid_payload(format!("alerts[{index}].{key}: {what}"));
    let text = |key: &str| alert[key].as_str().ok_or_else(|| wrong(key, "must be a text"));
    let severity = match &alert["severity"] {
        Value::Null => Severity::Warning,
        Value::String(word) if word == "info" => Severity::Info,
        Value::String(word) if word == "warning" => Severity::Warning,
        Value::String(word) if word == "critical" => Severity::Critical,
        _ => return Err(wrong("severity", "must be info, warning or critical")),
    };
    let status = if alert["resolved"] == true { Status::Resolved } else { Status::Firing };
    let mut read = Alert::new(text("id")?, severity, status, text("title")?);
    if let Some(host) = alert["host"].as_str() {
        read.labels.push(("host".to_owned(), host.to_owned()));
    }
    if let Some(since) = alert["since"].as_str() {
        read.starts_at = time::read(since, &format!("alerts[{index}].since"))?;
    }
    Ok(read)
}
