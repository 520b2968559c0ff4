//! A delivery into rows: payload, alerts, incidents, and the investigations and notices that they cause.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Row};
use watchkeeper_domain::alert::{Alert, Severity, Status};
use watchkeeper_domain::dedup::{self, Candidate, Decision, Known};
use watchkeeper_domain::investigation::Trigger;
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::{CursorMove, Delivery, PayloadId, Receipt, StoreError};
use watchkeeper_domain::{IncidentId, Timestamp};

use super::rows::{self, json, millis, severity_code};
use super::writer::Batch;
use super::{investigate, outbox, query, sql};

/// The open incidents that this commit has met, by correlation key. Not kept longer: another process may close them.
#[derive(Default)]
pub(super) struct OpenIncidents(HashMap<String, OpenIncident>);

impl OpenIncidents {
    /// What is known of it is no longer so.
    fn forget(&mut self, id: IncidentId) {
        self.0.retain(|_, open| open.id != id);
    }
}

#[derive(Clone, Copy, PartialEq)]
struct OpenIncident {
    id: IncidentId,
    severity: Severity,
    investigated: bool,
}

pub(super) fn ingest(batch: &mut Batch<'_>, delivery: Delivery) -> Result<Receipt, StoreError> {
    if let Some(id) = delivery.replay_of {
        refuse_settled(batch.connection, id)?;
    }
    if let Some(step) = &delivery.cursor {
        move_cursor(batch.connection, &delivery.source, step)?;
    }
    keep(batch, &delivery).map_err(sql)
}

pub(super) fn move_cursor(
    connection: &Connection,
    source: &str,
    step: &CursorMove,
) -> Result<(), StoreError> {
    if query::cursor(connection, source).map_err(sql)? != step.from {
        let reason = format!("the cursor of source {source} was moved on since this batch was asked for");
        return Err(StoreError::Invalid(reason));
    }
    write_cursor(connection, source, step.to.as_deref()).map_err(sql)
}

fn write_cursor(connection: &Connection, source: &str, cursor: Option<&str>) -> Result<(), Error> {
    let Some(cursor) = cursor else {
        return connection
            .prepare_cached("DELETE FROM cursors WHERE source = ?1")?
            .execute([source])
            .map(drop);
    };
    let text = "INSERT OR REPLACE INTO cursors (source, cursor, moved_at) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(text)?.execute((source, cursor, millis(Timestamp::now()))).map(drop)
}

/// A second replay of the same dead letter comes too late.
fn refuse_settled(connection: &Connection, id: PayloadId) -> Result<(), StoreError> {
    let text = "SELECT 1 FROM payloads WHERE id = ?1 AND error IS NOT NULL";
    let dead = connection.prepare_cached(text).and_then(|mut query| query.exists([id.0])).map_err(sql)?;
    if dead { Ok(()) } else { Err(StoreError::Invalid(format!("{id} is no dead letter (any more)"))) }
}

fn keep(batch: &mut Batch<'_>, delivery: &Delivery) -> Result<Receipt, Error> {
    let connection = batch.connection;
    let payload = match delivery.replay_of {
        Some(id) => {
            connection.prepare_cached("UPDATE payloads SET error = NULL WHERE id = ?1")?.execute([id.0])?;
            id
        }
        None => keep_payload(connection, &delivery.source, delivery.received_at, &delivery.payload, None)?,
    };
    let mut ingest = Ingest { batch, delivery, payload, receipt: Receipt::default() };
    for alert in &delivery.alerts {
        ingest.alert(alert)?;
    }
    Ok(ingest.receipt)
}

/// Why no alerts were made of a payload.
pub(super) struct Unread<'a> {
    pub(super) error: &'a str,
    /// A plugin was asked.
    pub(super) asked: bool,
}

pub(super) fn keep_payload(
    connection: &Connection,
    source: &str,
    received_at: Timestamp,
    payload: &Payload,
    unread: Option<Unread<'_>>,
) -> Result<PayloadId, Error> {
    let text = "INSERT INTO payloads (source, received_at, content_type, attributes, body, error, asked)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(text)?.execute((
        source,
        millis(received_at),
        &payload.content_type,
        json(&payload.attributes),
        &payload.body[..],
        unread.as_ref().map(|unread| unread.error),
        unread.as_ref().is_none_or(|unread| unread.asked),
    ))?;
    Ok(PayloadId(connection.last_insert_rowid()))
}

pub(super) fn bury_again(connection: &Connection, id: PayloadId, error: &str) -> Result<(), Error> {
    let text = "UPDATE payloads SET error = ?2, asked = 1 WHERE id = ?1 AND error IS NOT NULL";
    connection.prepare_cached(text)?.execute((id.0, error)).map(drop)
}

struct Ingest<'a, 'b> {
    batch: &'a mut Batch<'b>,
    delivery: &'a Delivery,
    payload: PayloadId,
    receipt: Receipt,
}

/// The stored occurrence that an alert was compared with.
struct Stored {
    seq: i64,
    incident: Option<IncidentId>,
    known: Known,
}

impl<'b> Ingest<'_, 'b> {
    fn prepare(&self, text: &str) -> Result<CachedStatement<'b>, Error> {
        self.batch.connection.prepare_cached(text)
    }

    fn alert(&mut self, alert: &Alert) -> Result<(), Error> {
        let stored = self.find(alert)?;
        let said_at = self.delivery.received_at;
        let known = stored.as_ref().map(|row| &row.known);
        let decision = dedup::decide(known, alert, said_at, self.delivery.dedup_window);
        match (decision, stored) {
            // Nothing can begin after the last moment that can be written.
            (Decision::New, Some(row)) if row.known.starts_at >= Timestamp::from_millis(u64::MAX) => {
                let again = row.known.status == Status::Resolved;
                self.update(alert, &row, if again { Decision::Reopen } else { Decision::Heard })
            }
            (Decision::New, stored) => self.add(alert, stored.map(|row| row.known.starts_at)),
            (decision, Some(row)) => self.update(alert, &row, decision),
            (_, None) => Ok(()),
        }
    }

    fn find(&self, alert: &Alert) -> Result<Option<Stored>, Error> {
        let columns = "SELECT seq, incident, firing, severity, starts_at, ends_at, last_heard_at FROM alerts";
        let source = &*self.delivery.source;
        match dedup::candidate(alert) {
            Candidate::StartedAt(start) => {
                let text = format!("{columns} WHERE id = ?1 AND source = ?2 AND starts_at = ?3");
                self.prepare(&text)?
                    .query_row((alert.id.expose_untrusted(), source, millis(start)), stored_row)
                    .optional()
            }
            Candidate::Latest => {
                let text = format!("{columns} WHERE id = ?1 AND source = ?2 ORDER BY starts_at DESC LIMIT 1");
                self.prepare(&text)?.query_row((alert.id.expose_untrusted(), source), stored_row).optional()
            }
        }
    }

    /// `last` is the start of the occurrence before, of a sender that doesn't say when one begins.
    fn add(&mut self, alert: &Alert, last: Option<Timestamp>) -> Result<(), Error> {
        let said_at = self.delivery.received_at;
        let starts_at = alert.starts_at.unwrap_or_else(|| {
            let after = last.map_or(0, |last| last.as_millis() + 1);
            Timestamp::from_millis(said_at.as_millis().max(after))
        });
        let firing = alert.status == Status::Firing;
        let incident = if firing { Some(self.join_incident(alert, None)?) } else { None };
        let ends_at = (!firing).then(|| millis(alert.ends_at.unwrap_or(said_at)));
        let text = "INSERT INTO alerts (source, id, starts_at, severity, firing, title, description, labels,
                        annotations, ends_at, received_at, last_heard_at, times_heard, payload, incident)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, 1, ?12, ?13)";
        self.prepare(text)?.execute((
            &*self.delivery.source,
            alert.id.expose_untrusted(),
            millis(starts_at),
            severity_code(alert.severity),
            firing,
            alert.title.expose_untrusted(),
            alert.description.expose_untrusted(),
            json(&alert.labels),
            json(&alert.annotations),
            ends_at,
            millis(said_at),
            self.payload.0,
            incident.map(|id| id.0),
        ))?;
        self.receipt.new += 1;
        Ok(())
    }

    fn update(&mut self, alert: &Alert, row: &Stored, decision: Decision) -> Result<(), Error> {
        let said_at = self.delivery.received_at;
        let (mut firing, mut ends_at) = (row.known.status == Status::Firing, row.known.ends_at);
        let mut incident = row.incident;
        let mut severity = row.known.severity;
        match decision {
            Decision::Close => {
                (firing, ends_at) = (false, Some(alert.ends_at.unwrap_or(said_at)));
                self.receipt.resolved += 1;
            }
            Decision::Reopen => {
                (firing, ends_at) = (true, None);
                incident = Some(self.join_incident(alert, row.incident)?);
                self.receipt.reopened += 1;
            }
            Decision::Heard => self.receipt.heard += 1,
            Decision::Stale | Decision::New => self.receipt.stale += 1,
        }
        // A resolve says nothing of how urgent it was.
        let speaks = alert.status == Status::Firing && said_at >= row.known.last_heard_at;
        if decision != Decision::Stale && speaks {
            severity = alert.severity;
        }
        if let (Decision::Heard, true, Some(incident)) =
            (decision, firing && severity > row.known.severity, incident)
        {
            let incident = self.incident(incident)?;
            self.raise(incident, severity)?;
        }
        let last_heard = said_at.max(row.known.last_heard_at);
        let text =
            "UPDATE alerts SET firing = ?2, ends_at = ?3, severity = ?4, incident = ?5, last_heard_at = ?6,
                        times_heard = times_heard + 1 WHERE seq = ?1";
        self.prepare(text)?.execute((
            row.seq,
            firing,
            ends_at.map(millis),
            severity_code(severity),
            incident.map(|id| id.0),
            millis(last_heard),
        ))?;
        match (decision, incident) {
            (Decision::Close, Some(incident)) => self.close_if_done(incident),
            _ => Ok(()),
        }
    }

    /// The incident of a firing alert: the open one with its key, else `own` opened again if that is its key, else a new
    /// one. Raises the incident's severity, and starts an investigation where that is due.
    fn join_incident(&mut self, alert: &Alert, own: Option<IncidentId>) -> Result<IncidentId, Error> {
        let key = self.delivery.correlation.key(&self.delivery.source, alert);
        let incident = match self.open_incident(&key)? {
            Some(incident) => incident,
            None => match self.reopen_incident(&key, own)? {
                Some(incident) => incident,
                None => self.new_incident(&key, alert)?,
            },
        };
        let incident = self.raise(incident, alert.severity)?;
        self.batch.open_incidents.0.insert(key, incident);
        Ok(incident.id)
    }

    fn raise(&mut self, mut incident: OpenIncident, severity: Severity) -> Result<OpenIncident, Error> {
        let before = incident;
        if severity > incident.severity {
            let text = "UPDATE incidents SET severity = ?2 WHERE id = ?1";
            self.prepare(text)?.execute((incident.id.0, severity_code(severity)))?;
            incident.severity = severity;
        }
        if !incident.investigated && self.delivery.correlation.investigate.contains(&incident.severity) {
            let max_queued = self.delivery.correlation.max_queued;
            let id = investigate::start(
                self.batch.connection,
                incident.id,
                Trigger::Automatic,
                self.delivery.received_at,
                Some(max_queued),
            )?;
            self.receipt.investigations.push(id);
            incident.investigated = true;
        }
        if incident != before {
            self.batch.open_incidents.forget(incident.id);
        }
        Ok(incident)
    }

    fn open_incident(&self, key: &str) -> Result<Option<OpenIncident>, Error> {
        if let Some(incident) = self.batch.open_incidents.0.get(key) {
            return Ok(Some(*incident));
        }
        let text = "SELECT id, severity, investigation FROM incidents WHERE key = ?1 AND open";
        self.prepare(text)?.query_row([key], open_incident_row).optional()
    }

    fn incident(&self, id: IncidentId) -> Result<OpenIncident, Error> {
        let text = "SELECT id, severity, investigation FROM incidents WHERE id = ?1";
        self.prepare(text)?.query_row([id.0], open_incident_row)
    }

    fn reopen_incident(&self, key: &str, own: Option<IncidentId>) -> Result<Option<OpenIncident>, Error> {
        let Some(own) = own else { return Ok(None) };
        let text = "UPDATE incidents SET open = 1, closed_at = NULL WHERE id = ?1 AND key = ?2";
        match self.prepare(text)?.execute((own.0, key))? {
            0 => Ok(None),
            _ => self.incident(own).map(Some),
        }
    }

    fn new_incident(&self, key: &str, alert: &Alert) -> Result<OpenIncident, Error> {
        let text = "INSERT INTO incidents (key, open, severity, title, source, opened_at)
                    VALUES (?1, 1, ?2, ?3, ?4, ?5)";
        let opened_at = millis(self.delivery.received_at);
        let source = &*self.delivery.source;
        let title = alert.title.expose_untrusted();
        self.prepare(text)?.execute((key, severity_code(alert.severity), title, source, opened_at))?;
        let id = IncidentId(self.batch.connection.last_insert_rowid());
        Ok(OpenIncident { id, severity: alert.severity, investigated: false })
    }

    fn close_if_done(&mut self, incident: IncidentId) -> Result<(), Error> {
        let text = "UPDATE incidents SET open = 0, closed_at = ?2 WHERE id = ?1 AND open
                    AND NOT EXISTS (SELECT 1 FROM alerts WHERE incident = ?1 AND firing = 1)";
        let closed = self.prepare(text)?.execute((incident.0, millis(self.delivery.received_at)))?;
        if closed > 0 {
            self.batch.open_incidents.forget(incident);
            outbox::put_closed(self.batch.connection, incident, self.delivery.received_at)?;
        }
        Ok(())
    }
}

fn stored_row(row: &Row<'_>) -> Result<Stored, Error> {
    Ok(Stored {
        seq: row.get("seq")?,
        incident: row.get::<_, Option<i64>>("incident")?.map(IncidentId),
        known: Known {
            status: rows::status(row)?,
            severity: rows::severity(row, "severity")?,
            starts_at: rows::time(row, "starts_at")?,
            ends_at: rows::opt_time(row, "ends_at")?,
            last_heard_at: rows::time(row, "last_heard_at")?,
        },
    })
}

fn open_incident_row(row: &Row<'_>) -> Result<OpenIncident, Error> {
    Ok(OpenIncident {
        id: IncidentId(row.get("id")?),
        severity: rows::severity(row, "severity")?,
        investigated: row.get::<_, Option<i64>>("investigation")?.is_some(),
    })
}
