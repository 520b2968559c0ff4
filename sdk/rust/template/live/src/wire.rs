//! What the other side sends, and how each alert is read. Each mistake is named with its place.

use serde_json::Value;
use watchkeeper_sdk::{Alert, Error, Severity, Status};

/// The first whole line of what has arrived, taken out of it.
pub(crate) fn next_line(arrived: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = arrived.iter().position(|byte| *byte == b'\n')?;
    let mut line: Vec<u8> = arrived.drain(..=end).collect();
    line.pop();
    Some(line)
}

pub(crate) fn alert(line: &[u8]) -> Result<Alert, Error> {
    let alert: Value =
        serde_json::from_slice(line).map_err(|error| Error::invalid_payload(format!("not JSON: {error}")))?;
    let wrong = |key: &str, what: &str| Error::invalid_payload(format!("{key}: {what}"));
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
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_pieces() {
        let mut arrived = b"one\ntwo\nthr".to_vec();
        assert_eq!(next_line(&mut arrived), Some(b"one".to_vec()));
        assert_eq!(next_line(&mut arrived), Some(b"two".to_vec()));
        assert_eq!(next_line(&mut arrived), None);
        arrived.extend(b"ee\n");
        assert_eq!(next_line(&mut arrived), Some(b"three".to_vec()));
    }

    #[test]
    fn a_mistake_is_named_by_its_place() {
        assert_eq!(alert(br#"{"id": 7}"#).unwrap_err().to_string(), "id: must be a text");
        assert_eq!(alert(br#"{"id": "a", "title": "b", "resolved": true}"#).unwrap().status, Status::Resolved);
    }
}
