//! From the wire's alerts to Watchkeeper's.

use std::borrow::Cow;

use watchkeeper_sdk::{Alert, Error, Severity, Status, time};

use crate::wire::{Object, Text, Webhook, WireAlert, WireStatus};

/// The contract's limits in bytes. A title or description beyond its own is cut by the host, a label's value isn't.
const MAX_ID: usize = 512;
const MAX_KEY: usize = 256;
const MAX_LABEL: usize = 4 * 1024;
const MAX_ANNOTATION: usize = 32 * 1024;
const MAX_PAIRS: usize = 128;

pub(crate) fn alerts(webhook: Webhook, default_severity: Severity) -> Result<Vec<Alert>, Error> {
    let alertmanager = webhook.external_url.map(|url| url.0).unwrap_or_default();
    let convert = |(at, Object(wire))| {
        alert(wire, &alertmanager, default_severity)
            .map_err(|wrong| Error::invalid_payload(format!("alerts[{at}]{wrong}")))
    };
    webhook.alerts.into_iter().enumerate().map(convert).collect()
}

/// An error is what follows `alerts[0]`.
fn alert(wire: WireAlert, alertmanager: &str, default_severity: Severity) -> Result<Alert, String> {
    let (labels, mut annotations) = (wire.labels.0, wire.annotations.0);
    check_pairs("labels", &labels, MAX_LABEL)?;
    check_pairs("annotations", &annotations, MAX_ANNOTATION)?;
    let name = value_of(&labels, "alertname").ok_or(".labels: alertname is missing")?;
    let starts_at = time_of("startsAt", wire.starts_at)?;
    let resolved = wire.status == WireStatus::Resolved;
    let ends_at = if resolved { time_of("endsAt", wire.ends_at)? } else { None };
    let id = wire.fingerprint.filter(|fingerprint| !fingerprint.is_empty());
    if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
        return Err(format!(".fingerprint: longer than {MAX_ID} bytes"));
    }

    let title = title(name, &labels, &annotations);
    let description =
        first_of(&annotations, &["description", "message", "summary"]).unwrap_or_default().to_owned();
    let severity = value_of(&labels, "severity").and_then(severity_of).unwrap_or(default_severity);
    annotate(&mut annotations, "generator_url", wire.generator_url.as_deref().unwrap_or_default());
    annotate(&mut annotations, "alertmanager_url", alertmanager);
    Ok(Alert {
        id: id.unwrap_or_else(|| fingerprint(&labels)),
        severity,
        status: if resolved { Status::Resolved } else { Status::Firing },
        title,
        description,
        labels,
        annotations,
        starts_at,
        ends_at,
    })
}

fn check_pairs(what: &str, pairs: &[(String, String)], longest: usize) -> Result<(), String> {
    for (key, value) in pairs {
        if key.len() > MAX_KEY {
            return Err(format!(".{what}: a key is longer than {MAX_KEY} bytes"));
        }
        if value.len() > longest {
            return Err(format!(".{what}.{key}: longer than {longest} bytes"));
        }
    }
    Ok(())
}

fn time_of(key: &str, text: Option<Text>) -> Result<Option<u64>, String> {
    let Some(Text(text)) = text else { return Ok(None) };
    time::parse(&text).map_err(|wrong| {
        let shown: String = text.chars().take(40).collect();
        format!(".{key}: {wrong}: {shown:?}")
    })
}

/// An empty value is no value, as in Prometheus itself.
fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

fn first_of<'a>(pairs: &'a [(String, String)], names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| value_of(pairs, name)).map(str::trim)
}

/// The sender's own annotation of that name stays.
fn annotate(annotations: &mut Vec<(String, String)>, name: &str, value: &str) {
    let fits = !value.is_empty() && value.len() <= MAX_ANNOTATION && annotations.len() < MAX_PAIRS;
    if fits && !annotations.iter().any(|(key, _)| key == name) {
        annotations.push((name.to_owned(), value.to_owned()));
    }
}

/// One useful line: what alerts, and what about it or where. A summary that already begins with the name stands alone.
fn title(name: &str, labels: &[(String, String)], annotations: &[(String, String)]) -> String {
    let summary = value_of(annotations, "summary").map(one_line).filter(|summary| !summary.is_empty());
    match summary {
        Some(summary) if summary.starts_with(name) => summary.into_owned(),
        Some(summary) => [name, ": ", &summary].concat(),
        None => match first_of(labels, &["instance", "host", "node", "pod", "service", "job"]) {
            Some(place) => [name, " on ", &one_line(place)].concat(),
            None => one_line(name).into_owned(),
        },
    }
}

fn one_line(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    match text.contains(['\n', '\r', '\t']) {
        true => text.split_whitespace().collect::<Vec<_>>().join(" ").into(),
        false => text.into(),
    }
}

/// What a label `severity` means, in any case. `None` where sites disagree (`error`, `major`, `p2`, …): the operator's
/// `default_severity` decides. The label itself stays as sent.
///
/// | severity | words |
/// | --- | --- |
/// | critical | `critical`, `crit`, `emergency`, `emerg`, `fatal`, `high`, `page` (wakes a person, in the SRE workbook's rules), `disaster` |
/// | warning | `warning`, `warn`, `medium`, `moderate`, `ticket` |
/// | info | `info`, `information`, `informational`, `notice`, `none` (Watchdog's), `low`, `debug` |
pub fn severity_of(label: &str) -> Option<Severity> {
    const WORDS: [(Severity, &[&str]); 3] = [
        (
            Severity::Critical,
            &["critical", "crit", "emergency", "emerg", "fatal", "high", "page", "disaster"],
        ),
        (Severity::Warning, &["warning", "warn", "medium", "moderate", "ticket"]),
        (Severity::Info, &["info", "information", "informational", "notice", "none", "low", "debug"]),
    ];
    let label = label.trim();
    let means = |words: &[&str]| words.iter().any(|word| label.eq_ignore_ascii_case(word));
    WORDS.iter().find(|(_, words)| means(words)).map(|(severity, _)| *severity)
}

/// Prometheus' own fingerprint of a set of labels (`model.LabelSet.Fingerprint`): FNV-1a of 64 bits over the labels sorted
/// by name, each name and each value followed by a byte 255; 16 hexadecimal digits.
pub(crate) fn fingerprint(labels: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = labels.iter().collect();
    sorted.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for text in sorted.into_iter().flat_map(|(name, value)| [name, value]) {
        for byte in text.bytes().chain([255]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_fingerprint_depends_on_what_the_labels_say_and_not_on_their_order() {
        let one = fingerprint(&pairs(&[("alertname", "HighCPU"), ("instance", "web-1")]));
        assert_eq!(one, fingerprint(&pairs(&[("instance", "web-1"), ("alertname", "HighCPU")])));
        assert_ne!(one, fingerprint(&pairs(&[("alertname", "HighCPU"), ("instance", "web-2")])));
        assert_ne!(fingerprint(&pairs(&[("ab", "c")])), fingerprint(&pairs(&[("a", "bc")])));
        // Of no labels, it is FNV's own beginning: Prometheus' `model.LabelSet{}.Fingerprint()`.
        assert_eq!(fingerprint(&[]), "cbf29ce484222325");
    }

    #[test]
    fn a_title_is_one_useful_line() {
        let on = |labels: &[(&str, &str)], summary: &str| {
            title("HighCPU", &pairs(labels), &pairs(&[("summary", summary)]))
        };
        assert_eq!(on(&[("instance", "web-1:9100")], ""), "HighCPU on web-1:9100");
        assert_eq!(on(&[], " "), "HighCPU");
        assert_eq!(
            on(&[("instance", "web-1")], "CPU above 90 %\n on web-1"),
            "HighCPU: CPU above 90 % on web-1"
        );
        assert_eq!(on(&[], "HighCPU on web-1"), "HighCPU on web-1");
    }

    #[test]
    fn severities_are_known_in_any_case() {
        assert_eq!(severity_of("CRITICAL"), Some(Severity::Critical));
        assert_eq!(severity_of("Warn"), Some(Severity::Warning));
        assert_eq!(severity_of("none"), Some(Severity::Info));
        assert_eq!(severity_of("error"), None);
    }
}
