//! An alert: one validated occurrence of something that alerts.

use std::fmt;
use std::str::FromStr;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Timestamp, Untrusted};

/// From mildest to most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Severity::ALL.into_iter().find(|severity| severity.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no severity: one of info, warning, critical"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Firing,
    Resolved,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "firing" => Ok(Status::Firing),
            "resolved" => Ok(Status::Resolved),
            _ => Err(format!("`{text}` is no status: firing or resolved")),
        }
    }
}

/// Names with their values, sorted by name, each name once. A JSON object where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Vec<(Untrusted, Untrusted)>);

impl Labels {
    /// Sorted; the name that occurs twice, if one does.
    fn sorted(mut pairs: Vec<(Untrusted, Untrusted)>) -> Result<Self, Untrusted> {
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        match pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(pair[0].0.clone()),
            None => Ok(Self(pairs)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Untrusted> {
        let at = self.0.binary_search_by(|(key, _)| key.expose_untrusted().as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Untrusted, &Untrusted)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Untrusted>, V: Into<Untrusted>> FromIterator<(N, V)> for Labels {
    /// The last value of a name that occurs twice wins.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(pairs.collect::<std::collections::BTreeMap<_, _>>().into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0).min(MAX_LABELS));
                while let Some(pair) = map.next_entry::<Untrusted, Untrusted>()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// An alert as a plugin gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawAlert {
    pub id: Untrusted,
    pub severity: Severity,
    pub status: Status,
    pub title: Untrusted,
    pub description: Untrusted,
    pub labels: Vec<(Untrusted, Untrusted)>,
    pub annotations: Vec<(Untrusted, Untrusted)>,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
}

/// A validated alert. Unique, within its source, by `id` and `starts_at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub id: Untrusted,
    pub severity: Severity,
    pub status: Status,
    pub title: Untrusted,
    pub description: Untrusted,
    pub labels: Labels,
    pub annotations: Labels,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
}

// The limits that `wit/` documents.
const MAX_ID: usize = 512;
const MAX_TITLE: usize = 1024;
const MAX_DESCRIPTION: usize = 32 * 1024;
const MAX_LABELS: usize = 128;
const MAX_LABEL_NAME: usize = 256;
const MAX_LABEL_VALUE: usize = 4 * 1024;
const MAX_ANNOTATION_VALUE: usize = 32 * 1024;

/// A broken rule: which alert of the payload, where in it, what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alerts[{index}].{place}: {reason}")]
pub struct InvalidAlert {
    pub index: usize,
    pub place: &'static str,
    pub reason: String,
}

impl RawAlert {
    /// Checks what identifies the alert, and cuts texts that are too long (the payload is kept whole).
    /// `index` is the alert's place in its payload, for the error.
    pub fn validate(self, index: usize) -> Result<Alert, InvalidAlert> {
        let wrong = |place, reason: String| InvalidAlert { index, place, reason };
        if self.id.is_empty() || self.id.len() > MAX_ID {
            return Err(wrong("id", format!("must have 1 to {MAX_ID} bytes, has {}", self.id.len())));
        }
        if self.title.is_empty() {
            return Err(wrong("title", "must not be empty".into()));
        }
        Ok(Alert {
            id: self.id,
            severity: self.severity,
            status: self.status,
            title: cut(self.title, MAX_TITLE),
            description: cut(self.description, MAX_DESCRIPTION),
            labels: labels(self.labels, MAX_LABEL_VALUE).map_err(|reason| wrong("labels", reason))?,
            annotations: labels(self.annotations, MAX_ANNOTATION_VALUE)
                .map_err(|reason| wrong("annotations", reason))?,
            starts_at: self.starts_at,
            ends_at: self.ends_at.filter(|_| self.status == Status::Resolved),
        })
    }
}

fn labels(mut pairs: Vec<(Untrusted, Untrusted)>, max_value: usize) -> Result<Labels, String> {
    if pairs.len() > MAX_LABELS {
        return Err(format!("at most {MAX_LABELS} are allowed, has {}", pairs.len()));
    }
    for (name, value) in &mut pairs {
        if name.is_empty() || name.len() > MAX_LABEL_NAME {
            return Err(format!("a name must have 1 to {MAX_LABEL_NAME} bytes, one has {}", name.len()));
        }
        if value.len() > max_value {
            *value = cut(std::mem::take(value), max_value);
        }
    }
    Labels::sorted(pairs).map_err(|name| format!("`{}` occurs twice", name.line()))
}

/// At most `max` bytes, with a mark where something is missing: at a blank if there is one near, since half a secret is none
/// that redaction knows.
fn cut(text: Untrusted, max: usize) -> Untrusted {
    const MARK: &str = "… (cut)";
    const NEAR: usize = 512;
    if text.len() <= max {
        return text;
    }
    let mut text = text.into_exposed();
    let end = text.floor_char_boundary(max - MARK.len());
    let blank = text[..end].rfind(char::is_whitespace).filter(|blank| end - blank < NEAR);
    let end = blank.unwrap_or(end);
    text.truncate(end);
    text.push_str(MARK);
    text.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn raw() -> RawAlert {
        RawAlert {
            id: "a1".into(),
            severity: Severity::Warning,
            status: Status::Firing,
            title: "HighCPU".into(),
            description: "".into(),
            labels: vec![("instance".into(), "b".into()), ("alertname".into(), "HighCPU".into())],
            annotations: vec![],
            starts_at: None,
            ends_at: None,
        }
    }

    #[test]
    fn labels_are_sorted_and_found() {
        let alert = raw().validate(0).unwrap();
        assert_eq!(
            alert.labels.iter().map(|(name, _)| name.line()).collect::<Vec<_>>(),
            ["alertname", "instance"]
        );
        assert_eq!(alert.labels.get("instance"), Some(&"b".into()));
        assert_eq!(alert.labels.get("nope"), None);
        assert_eq!(
            serde_json::to_string(&alert.labels).unwrap(),
            r#"{"alertname":"HighCPU","instance":"b"}"#
        );
    }

    #[test]
    fn what_identifies_is_refused_with_its_place() {
        let cases: [(&str, RawAlert); 5] = [
            ("alerts[7].id: must have 1 to 512 bytes, has 0", RawAlert { id: "".into(), ..raw() }),
            (
                "alerts[7].id: must have 1 to 512 bytes, has 513",
                RawAlert { id: "x".repeat(513).into(), ..raw() },
            ),
            ("alerts[7].title: must not be empty", RawAlert { title: "".into(), ..raw() }),
            (
                "alerts[7].labels: `a` occurs twice",
                RawAlert { labels: vec![("a".into(), "1".into()), ("a".into(), "2".into())], ..raw() },
            ),
            (
                "alerts[7].annotations: at most 128 are allowed, has 129",
                RawAlert {
                    annotations: (0..129).map(|n| (n.to_string().into(), "".into())).collect(),
                    ..raw()
                },
            ),
        ];
        for (expected, alert) in cases {
            assert_eq!(alert.validate(7).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_marked() {
        let alert = RawAlert { title: "ü".repeat(1000).into(), ..raw() }.validate(0).unwrap();
        assert!(alert.title.len() <= MAX_TITLE && alert.title.ends_with("ü… (cut)"));
        let words = format!("{} {}", "x".repeat(1000), "secret".repeat(100));
        let alert = RawAlert { title: words.into(), ..raw() }.validate(0).unwrap();
        assert!(alert.title.ends_with("x… (cut)") && !alert.title.contains("secret"), "{alert:?}");
    }

    #[test]
    fn an_end_is_kept_of_resolved_alerts_alone() {
        let ends_at = Some(Timestamp::from_millis(5));
        assert_eq!(RawAlert { ends_at, ..raw() }.validate(0).unwrap().ends_at, None);
        let resolved = RawAlert { ends_at, status: Status::Resolved, ..raw() };
        assert_eq!(resolved.validate(0).unwrap().ends_at, ends_at);
    }
}
