//! An incident: the alerts that belong together, and the rule that says which do.

use serde::Serialize;

use crate::alert::{Alert, Severity};
use crate::{InvestigationId, Timestamp, Untrusted};

/// An id of our own making: a number, written with a prefix that says of what.
macro_rules! id_as_text {
    ($type:ident, $prefix:literal, $what:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let number = text.strip_prefix($prefix).unwrap_or(text).parse();
                number
                    .map($type)
                    .map_err(|_| format!(concat!("`{}` is not ", $what, ", such as ", $prefix, "7"), text))
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use id_as_text;

/// Written `inc-7`; read with or without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub i64);

id_as_text!(IncidentId, "inc-", "an incident's id");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    Open,
    /// All of its alerts are resolved.
    Closed,
}

impl IncidentStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentStatus::Open => "open",
            IncidentStatus::Closed => "closed",
        }
    }
}

impl std::str::FromStr for IncidentStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(IncidentStatus::Open),
            "closed" => Ok(IncidentStatus::Closed),
            _ => Err(format!("`{text}` is no incident's status: open or closed")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incident {
    pub id: IncidentId,
    pub status: IncidentStatus,
    /// The highest that any of its alerts had.
    pub severity: Severity,
    /// Of the alert that opened it.
    pub title: Untrusted,
    /// The source of the alert that opened it.
    pub source: String,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub alerts: u32,
    pub firing: u32,
    /// The last one.
    pub investigation: Option<InvestigationId>,
}

/// Which alerts belong together, and which incidents are investigated without being asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlation {
    /// Alerts whose values of all of these labels are the same share an incident while it is open.
    pub group_by: Vec<String>,
    /// The severities whose incidents are investigated by themselves.
    pub investigate: Vec<Severity>,
    /// How many investigations may wait; past it a new one is escalated at once.
    pub max_queued: u32,
}

impl Correlation {
    /// The text that the alerts of one incident have in common. An alert with none of the labels is its own.
    pub fn key(&self, source: &str, alert: &Alert) -> String {
        let mut key = String::with_capacity(64);
        for name in &self.group_by {
            if let Some(value) = alert.labels.get(name) {
                push_part(&mut key, name);
                push_part(&mut key, value.expose_untrusted());
            }
        }
        if key.is_empty() {
            push_part(&mut key, source);
            push_part(&mut key, alert.id.expose_untrusted());
        }
        key
    }
}

/// Appends `part` behind its length, so that no two different lists of parts give the same text.
fn push_part(key: &mut String, part: &str) {
    key.push_str(&part.len().to_string());
    key.push(':');
    key.push_str(part);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::alert::Status;

    fn alert(labels: &[(&str, &str)]) -> Alert {
        Alert {
            id: "f1".into(),
            severity: Severity::Info,
            status: Status::Firing,
            title: "t".into(),
            description: "".into(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            annotations: Default::default(),
            starts_at: None,
            ends_at: None,
        }
    }

    fn by(names: &[&str]) -> Correlation {
        Correlation {
            group_by: names.iter().map(|n| (*n).to_owned()).collect(),
            investigate: vec![],
            max_queued: 1,
        }
    }

    #[test]
    fn the_same_values_give_the_same_key() {
        let rule = by(&["alertname", "cluster"]);
        let a = alert(&[("alertname", "A"), ("cluster", "c"), ("instance", "1")]);
        let b = alert(&[("alertname", "A"), ("cluster", "c"), ("instance", "2")]);
        assert_eq!(rule.key("s", &a), rule.key("t", &b));
    }

    #[test]
    fn different_values_never_do() {
        let rule = by(&["a", "b"]);
        let keys = [
            rule.key("s", &alert(&[("a", "x"), ("b", "y")])),
            rule.key("s", &alert(&[("a", "x:1:b1:y")])),
            rule.key("s", &alert(&[("a", "x")])),
            rule.key("s", &alert(&[("b", "x")])),
            rule.key("s", &alert(&[])),
            rule.key("t", &alert(&[])),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        assert_eq!(IncidentId(7).to_string(), "inc-7");
        assert_eq!("inc-7".parse(), Ok(IncidentId(7)));
        assert_eq!("7".parse(), Ok(IncidentId(7)));
        assert!("inv-7".parse::<IncidentId>().unwrap_err().contains("inc-7"));
    }
}
