//! The contract's rules on what a plugin answers, as `watchkeeper.wit` documents them.

use std::collections::HashSet;

use crate::{Alert, Feed, Outcome, Report, Status};

const KIB: usize = 1024;

/// The first rule that these alerts break. Too long a title or description is none for the host, which cuts it; here it
/// is, because a plugin's author wants to know.
pub fn broken_rule_of_alerts(alerts: &[Alert]) -> Option<String> {
    if alerts.len() > 10_000 {
        return Some(format!("{} alerts, more than 10,000", alerts.len()));
    }
    let mut occurrences = HashSet::new();
    for (at, alert) in alerts.iter().enumerate() {
        let broken = broken_rule_of_alert(alert).or_else(|| {
            (!occurrences.insert((&alert.id, alert.starts_at, alert.status == Status::Firing)))
                .then(|| format!("id {:?} occurs twice with the same start and status", alert.id))
        });
        if let Some(rule) = broken {
            return Some(format!("alerts[{at}]: {rule}"));
        }
    }
    None
}

fn broken_rule_of_alert(alert: &Alert) -> Option<String> {
    length("id", &alert.id, 1, 512)
        .or_else(|| length("title", &alert.title, 1, KIB))
        .or_else(|| alert.title.contains('\n').then(|| "title is more than one line".to_owned()))
        .or_else(|| length("description", &alert.description, 0, 32 * KIB))
        .or_else(|| pairs("labels", &alert.labels, 4 * KIB))
        .or_else(|| pairs("annotations", &alert.annotations, 32 * KIB))
        .or_else(|| {
            (alert.status == Status::Firing && alert.ends_at.is_some())
                .then(|| "ends-at on a firing alert".to_owned())
        })
}

fn pairs(what: &str, pairs: &[(String, String)], longest_value: usize) -> Option<String> {
    if pairs.len() > 128 {
        return Some(format!("{} {what}, more than 128", pairs.len()));
    }
    let mut keys = HashSet::new();
    pairs.iter().find_map(|(key, value)| {
        length(&format!("a key of {what}"), key, 1, 256)
            .or_else(|| length(&format!("{what}.{key}"), value, 0, longest_value))
            .or_else(|| (!keys.insert(key)).then(|| format!("{what}.{key} occurs twice")))
    })
}

fn length(what: &str, text: &str, least: usize, most: usize) -> Option<String> {
    let length = text.len();
    (length < least || length > most).then(|| format!("{what} has {length} bytes, not {least} to {most}"))
}

/// The rule that a feed breaks.
pub(super) fn broken_rule_of_feed(feed: &Feed) -> Option<String> {
    match feed {
        Feed::Webhook(webhook) => broken_rule_of_path(&webhook.path),
        Feed::Poll(poll) => {
            (poll.interval_ms < 1000).then(|| format!("interval-ms is {}, less than 1000", poll.interval_ms))
        }
        Feed::Subscription(subscription) => {
            subscription.transport.is_empty().then(|| "subscription without a transport".to_owned())
        }
    }
}

fn broken_rule_of_path(path: &str) -> Option<String> {
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
    };
    let fine = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
    (!fine).then(|| format!("path {path:?} is not absolute, of segments of A-Z a-z 0-9 - _ . ~"))
}

/// The first rule that a report breaks: confidence from 0 to 1, evidence that is really in the outcome it points at.
pub fn broken_rule_of_report(report: &Report, outcomes: &[Outcome]) -> Option<String> {
    if !(0.0..=1.0).contains(&report.confidence) {
        return Some(format!("confidence is {}, not 0 to 1", report.confidence));
    }
    if report.summary.trim().is_empty() {
        return Some("the summary is empty".to_owned());
    }
    report.findings.iter().flat_map(|finding| &finding.evidence).find_map(|evidence| {
        let Some(outcome) = outcomes.get(evidence.outcome as usize) else {
            return Some(format!("evidence points at outcome {} of {}", evidence.outcome, outcomes.len()));
        };
        let shown = !evidence.excerpt.is_empty() && outcome.output.contains(&evidence.excerpt);
        (!shown).then(|| {
            format!("{:?} is not in outcome {}: {:?}", evidence.excerpt, evidence.outcome, outcome.call.input)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alert;

    fn rule(change: impl FnOnce(&mut Alert)) -> String {
        let mut alert = alert("x");
        change(&mut alert);
        broken_rule_of_alerts(&[alert]).unwrap_or_default()
    }

    #[test]
    fn each_rule_is_held() {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        assert_eq!(rule(|_| {}), "");
        assert_eq!(rule(|a| a.id.clear()), "alerts[0]: id has 0 bytes, not 1 to 512");
        assert_eq!(rule(|a| a.title = "a\nb".into()), "alerts[0]: title is more than one line");
        assert!(rule(|a| a.title = "x".repeat(1025)).contains("title has 1025 bytes"));
        assert!(rule(|a| a.labels = vec![pair("", String::new())]).contains("a key of labels has 0 bytes"));
        assert!(rule(|a| a.labels = vec![pair("k", "v".repeat(4097))]).contains("labels.k has 4097 bytes"));
        assert!(rule(|a| a.labels = vec![pair("k", String::new()); 2]).contains("labels.k occurs twice"));
        assert!(
            rule(|a| a.labels = (0..129).map(|n| pair(&n.to_string(), String::new())).collect())
                .contains("129 labels")
        );
        assert!(rule(|a| a.ends_at = Some(1)).contains("ends-at on a firing alert"));
        assert!(
            broken_rule_of_alerts(&[alert("x"), alert("x")])
                .is_some_and(|rule| rule.contains("occurs twice"))
        );
    }

    #[test]
    fn paths_are_held_to_their_rule() {
        assert_eq!(broken_rule_of_path("/alerts/prometheus-2"), None);
        for path in ["", "alerts", "/", "/a/../b", "/a//b", "/a b", "/a/"] {
            assert!(broken_rule_of_path(path).is_some(), "{path}");
        }
    }
}
