//! Golden samples: `name.json` is what a sender sends, `name.expected.json` the alerts or the error it becomes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Alert, Error, Parser};

use super::Running;

/// Parses every sample in `folder` and compares; those with a `name.mock.yaml`, for which only the host has what they want, are left
/// to `watchkeeper plugin test`. Run with `UPDATE_EXPECT=1` to write what comes out, then read the diff.
///
/// # Panics
/// If one differs, naming all that do, or if there is none.
pub fn samples<P: Parser>(plugin: &Running<P>, folder: impl AsRef<Path>) {
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("a folder of samples")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            is_payload(name) && !folder.as_ref().join(format!("{}.mock.yaml", stem(name))).exists()
        })
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no samples");
    let wrong: Vec<String> = names.iter().filter_map(|name| check(plugin, folder.as_ref(), name)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_payload(name: &str) -> bool {
    let others = [".expected.json", ".mock.yaml", ".incident.yaml"];
    !name.starts_with('.') && !others.iter().any(|other| name.ends_with(other))
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn check<P: Parser>(plugin: &Running<P>, folder: &Path, name: &str) -> Option<String> {
    let body = fs::read(folder.join(name)).expect("a sample");
    let got = match plugin.parse(body) {
        Ok(alerts) => Value::Array(alerts.iter().map(alert_to_json).collect()),
        Err(error) => json!({ "error": kind(&error), "reason": error.to_string() }),
    };
    let path = folder.join(format!("{}.expected.json", stem(name)));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = serde_json::to_string_pretty(&got).expect("JSON");
        fs::write(&path, text + "\n").expect("the sample's folder is writable");
    }
    let expected: Value =
        fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    (got != expected).then(|| format!("{name}:\n  got      {got}\n  expected {expected}"))
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::InvalidConfig(_) => "invalid-config",
        Error::InvalidPayload(_) => "invalid-payload",
        Error::Unauthorized(_) => "unauthorized",
        Error::Unavailable(_) => "unavailable",
        Error::Failed(_) => "failed",
    }
}

/// An alert as the samples write it: labels and annotations are objects, absent times are left out.
pub fn alert_to_json(alert: &Alert) -> Value {
    let object = |pairs: &[(String, String)]| -> Value {
        pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect()
    };
    let mut json = json!({
        "id": alert.id,
        "severity": format!("{:?}", alert.severity).rsplit("::").next().unwrap_or_default().to_lowercase(),
        "status": format!("{:?}", alert.status).rsplit("::").next().unwrap_or_default().to_lowercase(),
        "title": alert.title,
        "description": alert.description,
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
    });
    for (key, time) in [("starts_at", alert.starts_at), ("ends_at", alert.ends_at)] {
        if let Some(time) = time {
            json[key] = Value::from(time);
        }
    }
    json
}
