//! The filters of listings, in the API's query and on the command line.

use std::str::FromStr;

use watchkeeper_domain::store::{AlertQuery, DeliveryQuery, IncidentQuery, InvestigationQuery, Window};

/// As given; parsed to what the listing speaks of.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Filters {
    /// Of this source alone
    #[arg(long)]
    pub source: Option<String>,
    /// info, warning or critical
    #[arg(long)]
    pub severity: Option<String>,
    /// Alerts: firing, resolved. Incidents: open, closed. Investigations: started, running, waiting, completed, failed,
    /// escalated
    #[arg(long)]
    pub status: Option<String>,
    /// Received (opened, started) at or after this RFC 3339 time
    #[arg(long)]
    pub since: Option<String>,
    /// Received (opened, started) before this RFC 3339 time
    #[arg(long)]
    pub until: Option<String>,
    /// With this label, as name:value; may be repeated
    #[arg(long = "label")]
    pub labels: Vec<String>,
    /// Of this incident alone
    #[arg(long)]
    pub incident: Option<String>,
    /// Escalations: by this channel alone
    #[arg(skip)]
    pub channel: Option<String>,
    /// How many, up to 1000
    #[arg(long)]
    pub limit: Option<String>,
    /// `next` of the page before
    #[arg(long)]
    pub cursor: Option<String>,
}

const KNOWN: &str = "source, severity, status, since, until, label, incident, channel, limit, cursor";

impl Filters {
    /// Reads a URL's query. An unknown key is an error: a filter that is ignored answers another question.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut filters = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            let place = match key.as_str() {
                "label" => {
                    filters.labels.push(value);
                    continue;
                }
                "source" => &mut filters.source,
                "severity" => &mut filters.severity,
                "status" => &mut filters.status,
                "since" => &mut filters.since,
                "until" => &mut filters.until,
                "incident" => &mut filters.incident,
                "channel" => &mut filters.channel,
                "limit" => &mut filters.limit,
                "cursor" => &mut filters.cursor,
                _ => return Err(format!("`{key}` is no filter: there are {KNOWN}")),
            };
            if place.replace(value).is_some() {
                return Err(format!("{key}: is given twice"));
            }
        }
        Ok(filters)
    }

    pub fn alerts(&self) -> Result<AlertQuery, String> {
        self.no_channel()?;
        Ok(AlertQuery {
            source: self.source.clone(),
            severity: parsed("severity", &self.severity)?,
            status: parsed("status", &self.status)?,
            labels: self.labels()?,
            incident: parsed("incident", &self.incident)?,
            window: self.window()?,
        })
    }

    pub fn incidents(&self) -> Result<IncidentQuery, String> {
        self.no_channel()?;
        if self.incident.is_some() {
            return Err("incident: is no filter of incidents; ask for /incidents/ID".into());
        }
        Ok(IncidentQuery {
            source: self.source.clone(),
            severity: parsed("severity", &self.severity)?,
            status: parsed("status", &self.status)?,
            labels: self.labels()?,
            window: self.window()?,
        })
    }

    pub fn investigations(&self) -> Result<InvestigationQuery, String> {
        self.no_channel()?;
        Ok(InvestigationQuery {
            source: self.source.clone(),
            severity: parsed("severity", &self.severity)?,
            status: parsed("status", &self.status)?,
            labels: self.labels()?,
            incident: parsed("incident", &self.incident)?,
            window: self.window()?,
        })
    }

    /// A filter that is ignored answers another question.
    fn no_channel(&self) -> Result<(), String> {
        match self.channel {
            None => Ok(()),
            Some(_) => Err("channel: is a filter of escalations alone".into()),
        }
    }

    pub fn deliveries(&self) -> Result<DeliveryQuery, String> {
        if self.source.is_some() || self.severity.is_some() || !self.labels.is_empty() {
            return Err("source, severity and label: are no filters of escalations; there are channel, status, incident, \
                        since, until, limit, cursor"
                .into());
        }
        Ok(DeliveryQuery {
            channel: self.channel.clone(),
            status: parsed("status", &self.status)?,
            incident: parsed("incident", &self.incident)?,
            window: self.window()?,
        })
    }

    pub(crate) fn window(&self) -> Result<Window, String> {
        let limit = match &self.limit {
            None => Window::DEFAULT_LIMIT,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=Window::MAX_LIMIT).contains(limit)).ok_or_else(
                    || format!("limit: must be within 1 and {}, is `{text}`", Window::MAX_LIMIT),
                )?
            }
        };
        Ok(Window {
            since: parsed("since", &self.since)?,
            until: parsed("until", &self.until)?,
            limit,
            cursor: self.cursor.clone(),
        })
    }

    fn labels(&self) -> Result<Vec<(String, String)>, String> {
        let pair = |text: &String| {
            let (name, value) =
                text.split_once(':').ok_or_else(|| format!("label: `{text}` is not name:value"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        self.labels.iter().map(pair).collect()
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(key: &str, text: &Option<String>) -> Result<Option<T>, String> {
    text.as_deref().map(|text| text.parse().map_err(|error| format!("{key}: {error}"))).transpose()
}

/// `application/x-www-form-urlencoded`, a part of it.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let byte =
                    std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or_else(|| format!("`{text}` has a `%` that no two hex digits follow"))?);
                rest = tail;
            }
            (b'%', _) => return Err(format!("`{text}` has a `%` that no two hex digits follow")),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("`{text}` is no UTF-8"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_filters() {
        let query =
            "source=a%20b&severity=critical&label=team:x%3Ay&label=a:b&limit=7&since=2026-01-01T00:00:00Z";
        let alerts = Filters::from_query(query).unwrap().alerts().unwrap();
        assert_eq!(alerts.source.as_deref(), Some("a b"));
        assert_eq!(alerts.labels, [("team".into(), "x:y".into()), ("a".into(), "b".into())]);
        assert_eq!(alerts.window.limit, 7);
        assert!(alerts.window.since.is_some());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("colour=red", "`colour` is no filter"),
            ("severity=urgent", "info, warning, critical"),
            ("status=open", "firing or resolved"),
            ("limit=0", "within 1 and 1000"),
            ("limit=1001", "within 1 and 1000"),
            ("label=x", "not name:value"),
            ("since=now", "RFC 3339"),
            ("source=%zz", "hex"),
            ("source=a&source=b", "twice"),
        ];
        for (query, words) in cases {
            let error = Filters::from_query(query).and_then(|filters| filters.alerts()).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
        }
    }
}
