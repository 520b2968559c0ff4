//! Listings and look-ups.

use rusqlite::types::Value;
use rusqlite::{Connection, Error, OptionalExtension, Row, params_from_iter};
use watchkeeper_domain::alert::Severity;
use watchkeeper_domain::escalation;
use watchkeeper_domain::incident::{Incident, IncidentStatus};
use watchkeeper_domain::investigation::{Entry, Investigation, PastReport};
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::*;
use watchkeeper_domain::{IncidentId, InvestigationId};

use super::rows::{self, millis, severity_code};
use super::{outbox, sql};

/// A `SELECT` that grows a condition at a time.
struct Listing {
    text: String,
    values: Vec<Value>,
    limit: u32,
}

impl Listing {
    /// `select` ends in a `WHERE`; `key` and `time` are the columns that the window speaks of.
    fn new(select: &str, key: &str, time: &str, window: &Window) -> Result<Self, StoreError> {
        let limit = window.limit.clamp(1, Window::MAX_LIMIT);
        let mut listing = Self { text: format!("{select} 1"), values: Vec::new(), limit };
        if let Some(cursor) = &window.cursor {
            let below: Option<i64> = cursor.parse().ok().filter(|below| *below > 0);
            let below = below.ok_or_else(|| {
                StoreError::Invalid(format!("cursor: `{cursor}` is none that a listing gave"))
            })?;
            listing.and(&format!("{key} < ?"), [below.into()]);
        }
        if let Some(since) = window.since {
            listing.and(&format!("{time} >= ?"), [millis(since).into()]);
        }
        if let Some(until) = window.until {
            listing.and(&format!("{time} < ?"), [millis(until).into()]);
        }
        Ok(listing)
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(values);
    }

    fn and_if<T>(&mut self, condition: &str, value: Option<T>)
    where
        T: Into<Value>,
    {
        if let Some(value) = value {
            self.and(condition, [value.into()]);
        }
    }

    /// `scope` makes the condition on one row of `alerts` into one on the listed row.
    fn and_labels(&mut self, labels: &[(String, String)], scope: impl Fn(&str) -> String) {
        let has = "EXISTS (SELECT 1 FROM json_each(alerts.labels) AS label WHERE label.key = ? AND label.value = ?)";
        for (name, value) in labels {
            self.and(&scope(has), [name.clone().into(), value.clone().into()]);
        }
    }

    fn run<T>(
        mut self,
        connection: &Connection,
        key: &str,
        read: fn(&Row<'_>) -> Result<T, Error>,
        key_of: impl Fn(&T) -> i64,
    ) -> Result<Page<T>, StoreError> {
        self.text.push_str(&format!(" ORDER BY {key} DESC LIMIT {}", self.limit + 1));
        let mut items = rows_of(connection, &self.text, self.values, read).map_err(sql)?;
        let more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let next = items.last().filter(|_| more).map(|last| key_of(last).to_string());
        Ok(Page { items, next })
    }
}

fn rows_of<T>(
    connection: &Connection,
    text: &str,
    values: impl IntoIterator<Item = Value>,
    read: fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    connection.prepare_cached(text)?.query_map(params_from_iter(values), read)?.collect()
}

fn severity_value(severity: Severity) -> Value {
    severity_code(severity).into()
}

pub(super) fn alerts(connection: &Connection, query: &AlertQuery) -> Result<Page<StoredAlert>, StoreError> {
    let mut listing = Listing::new("SELECT * FROM alerts WHERE", "seq", "received_at", &query.window)?;
    listing.and_if("source = ?", query.source.clone());
    listing.and_if("severity = ?", query.severity.map(severity_value));
    listing.and_if("firing = ?", query.status.map(|status| i64::from(status.as_str() == "firing")));
    listing.and_if("incident = ?", query.incident.map(|id| id.0));
    listing.and_labels(&query.labels, str::to_owned);
    listing.run(connection, "seq", rows::alert, |alert| alert.seq)
}

const INCIDENTS: &str = "SELECT incidents.*,
        (SELECT count(*) FROM alerts WHERE incident = incidents.id) AS alerts,
        (SELECT count(*) FROM alerts WHERE incident = incidents.id AND firing = 1) AS firing
    FROM incidents WHERE";

pub(super) fn incidents(
    connection: &Connection,
    query: &IncidentQuery,
) -> Result<Page<Incident>, StoreError> {
    let mut listing = Listing::new(INCIDENTS, "id", "opened_at", &query.window)?;
    listing.and_if("source = ?", query.source.clone());
    listing.and_if("severity = ?", query.severity.map(severity_value));
    listing.and_if("open = ?", query.status.map(|status| i64::from(status == IncidentStatus::Open)));
    listing.and_labels(&query.labels, |has| {
        format!("EXISTS (SELECT 1 FROM alerts WHERE alerts.incident = incidents.id AND {has})")
    });
    listing.run(connection, "id", rows::incident, |incident| incident.id.0)
}

pub(super) fn incident(connection: &Connection, id: IncidentId) -> Result<Option<Incident>, Error> {
    let text = format!("{INCIDENTS} id = ?1");
    connection.prepare_cached(&text)?.query_row([id.0], rows::incident).optional()
}

pub(super) fn leading_alert(
    connection: &Connection,
    incident: IncidentId,
) -> Result<Option<StoredAlert>, Error> {
    let text = "SELECT * FROM alerts WHERE incident = ?1 ORDER BY firing DESC, severity DESC, seq LIMIT 1";
    connection.prepare_cached(text)?.query_row([incident.0], rows::alert).optional()
}

pub(super) fn past_reports(
    connection: &Connection,
    incident: IncidentId,
    limit: u32,
) -> Result<Vec<PastReport>, Error> {
    let text = "SELECT past.id, past.title, investigations.ended_at, investigations.report
        FROM incidents AS this, incidents AS past JOIN investigations ON investigations.incident = past.id
        WHERE this.id = ?1 AND past.id <> ?1 AND (past.key = this.key OR past.title = this.title)
            AND investigations.report IS NOT NULL AND investigations.ended_at IS NOT NULL
        ORDER BY past.key = this.key DESC, investigations.id DESC LIMIT ?2";
    rows_of(connection, text, [incident.0.into(), limit.into()], |row| {
        Ok(PastReport {
            incident: IncidentId(row.get("id")?),
            title: rows::untrusted(row, "title")?,
            ended_at: rows::time(row, "ended_at")?,
            report: rows::from_json(row, "report")?,
        })
    })
}

const INVESTIGATIONS: &str = "SELECT investigations.*, incidents.title FROM investigations
    JOIN incidents ON incidents.id = investigations.incident WHERE";

pub(super) fn investigations(
    connection: &Connection,
    query: &InvestigationQuery,
) -> Result<Page<Investigation>, StoreError> {
    let (key, time) = ("investigations.id", "investigations.started_at");
    let mut listing = Listing::new(INVESTIGATIONS, key, time, &query.window)?;
    listing.and_if("incidents.source = ?", query.source.clone());
    listing.and_if("incidents.severity = ?", query.severity.map(severity_value));
    listing.and_if("investigations.state = ?", query.status.map(|state| state.as_str().to_owned()));
    listing.and_if("incidents.id = ?", query.incident.map(|id| id.0));
    listing.and_labels(&query.labels, |has| {
        format!("EXISTS (SELECT 1 FROM alerts WHERE alerts.incident = incidents.id AND {has})")
    });
    listing.run(connection, key, rows::investigation, |investigation| investigation.id.0)
}

pub(super) fn investigation(
    connection: &Connection,
    id: InvestigationId,
) -> Result<Option<Investigation>, Error> {
    let text = format!("{INVESTIGATIONS} investigations.id = ?1");
    connection.prepare_cached(&text)?.query_row([id.0], rows::investigation).optional()
}

pub(super) fn transcript(
    connection: &Connection,
    id: InvestigationId,
    from: u32,
) -> Result<Vec<Entry>, Error> {
    let text = "SELECT seq, at, event FROM events WHERE investigation = ?1 AND seq >= ?2 ORDER BY seq";
    rows_of(connection, text, [id.0.into(), from.into()], |row| {
        Ok(Entry { seq: row.get("seq")?, at: rows::time(row, "at")?, event: rows::from_json(row, "event")? })
    })
}

pub(super) fn open_investigations(
    connection: &Connection,
    limit: u32,
) -> Result<Vec<InvestigationId>, Error> {
    // Those that were running come first: they are older.
    let text = "SELECT id FROM investigations WHERE ended_at IS NULL AND state IN ('started', 'running')
                ORDER BY state = 'running' DESC, id LIMIT ?1";
    rows_of(connection, text, [limit.into()], |row| row.get(0).map(InvestigationId))
}

pub(super) fn dead_letters(
    connection: &Connection,
    source: Option<String>,
    after: Option<PayloadId>,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    let after = after.map_or(0, |id| id.0).into();
    let letters = match source {
        None => {
            let text = "SELECT * FROM payloads WHERE error IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
            rows_of(connection, text, [after, limit.into()], letter)
        }
        Some(source) => {
            let text = "SELECT * FROM payloads INDEXED BY payloads_dead_of
                        WHERE source = ?1 AND error IS NOT NULL AND id > ?2 ORDER BY id LIMIT ?3";
            rows_of(connection, text, [Value::Text(source), after, limit.into()], letter)
        }
    };
    letters.map_err(sql)
}

pub(super) fn unasked_letters(
    connection: &Connection,
    source: String,
    after: Option<PayloadId>,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    let text = "SELECT * FROM payloads INDEXED BY payloads_unasked
                WHERE source = ?1 AND error IS NOT NULL AND asked = 0 AND id > ?2 ORDER BY id LIMIT ?3";
    let values = [Value::Text(source), after.map_or(0, |id| id.0).into(), limit.into()];
    rows_of(connection, text, values, letter).map_err(sql)
}

pub(super) fn unasked_sources(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let text = "SELECT DISTINCT source FROM payloads INDEXED BY payloads_unasked
                WHERE error IS NOT NULL AND asked = 0";
    rows_of(connection, text, [], |row| row.get(0)).map_err(sql)
}

fn letter(row: &Row<'_>) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        id: PayloadId(row.get("id")?),
        source: row.get("source")?,
        received_at: rows::time(row, "received_at")?,
        payload: payload(row)?,
        error: rows::untrusted(row, "error")?,
        asked: row.get("asked")?,
    })
}

fn payload(row: &Row<'_>) -> Result<Payload, Error> {
    Ok(Payload {
        body: row.get::<_, Vec<u8>>("body")?.into(),
        content_type: row.get("content_type")?,
        attributes: rows::from_json(row, "attributes")?,
    })
}

/// One payload older than `?2` of the source `?1`; without its body if it has more than `?3` bytes. It goes by the index
/// `payloads_read`, whose condition these are, word by word.
const OLDER: &str = "
    SELECT id, content_type, attributes, length(body) + length(CAST(attributes AS BLOB)) AS bytes,
           CASE WHEN length(body) + length(CAST(attributes AS BLOB)) <= ?3 THEN body END AS body
    FROM payloads INDEXED BY payloads_read
    WHERE source = ?1 AND id < ?2
      AND error IS NULL AND content_type IS NOT 'application/vnd.watchkeeper.batch+json'
    ORDER BY id DESC LIMIT 1";

/// The latest of each source first, then the second latest of each, and so on, so that no source takes the room of others.
pub(super) fn recent_payloads(
    connection: &Connection,
    sources: Vec<String>,
    limit: u32,
    max_bytes: u64,
) -> Result<Vec<(String, Payload)>, Error> {
    let mut query = connection.prepare_cached(OLDER)?;
    let mut from: Vec<(String, i64)> = sources.into_iter().map(|source| (source, i64::MAX)).collect();
    let (mut recent, mut left) = (Vec::new(), i64::try_from(max_bytes).unwrap_or(i64::MAX));
    for _ in 0..limit {
        let mut further = Vec::new();
        for (source, before) in from {
            let mut rows = query.query((&source, before, left))?;
            let Some(row) = rows.next()? else { continue };
            further.push((source.clone(), row.get("id")?));
            if row.get_ref("body")?.as_blob_or_null()?.is_some() {
                left -= row.get::<_, i64>("bytes")?;
                recent.push((source, payload(row)?));
            }
        }
        from = further;
        if from.is_empty() {
            break;
        }
    }
    Ok(recent)
}

pub(super) fn cursor(connection: &Connection, source: &str) -> Result<Option<String>, Error> {
    let text = "SELECT cursor FROM cursors WHERE source = ?1";
    connection.prepare_cached(text)?.query_row([source], |row| row.get(0)).optional()
}

pub(super) fn deliveries(
    connection: &Connection,
    query: &DeliveryQuery,
) -> Result<Page<escalation::Delivery>, StoreError> {
    let (key, time) = ("deliveries.id", "notices.created_at");
    let mut listing = Listing::new(outbox::DELIVERIES, key, time, &query.window)?;
    listing.and_if("deliveries.channel = ?", query.channel.clone());
    listing.and_if("deliveries.state = ?", query.status.map(|state| state.as_str().to_owned()));
    listing.and_if("deliveries.incident = ?", query.incident.map(|id| id.0));
    listing.run(connection, key, outbox::delivery, |delivery| delivery.id)
}
