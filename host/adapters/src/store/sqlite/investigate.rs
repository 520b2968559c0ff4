//! Investigations and their events.

use rusqlite::{Connection, Error, OptionalExtension};
use watchkeeper_domain::approval::ApprovalId;
use watchkeeper_domain::audit::Record;
use watchkeeper_domain::escalation::Approval;
use watchkeeper_domain::investigation::{Entry, Event, State, Trigger};
use watchkeeper_domain::store::StoreError;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp, Untrusted};

use super::rows::{self, json, millis};
use super::{audit, outbox, sql};

/// A person asked. The investigation that is going on, else a new one.
pub(super) fn request(connection: &Connection, incident: IncidentId) -> Result<InvestigationId, StoreError> {
    let text =
        "SELECT (SELECT id FROM investigations WHERE incident = ?1 AND ended_at IS NULL ORDER BY id LIMIT 1)
                FROM incidents WHERE id = ?1";
    let known: Option<Option<i64>> = connection
        .prepare_cached(text)
        .and_then(|mut query| query.query_row([incident.0], |row| row.get(0)).optional())
        .map_err(sql)?;
    match known {
        None => Err(StoreError::Invalid(format!("there is no incident {incident}"))),
        Some(Some(going_on)) => Ok(InvestigationId(going_on)),
        Some(None) => start(connection, incident, Trigger::Requested, Timestamp::now(), None).map_err(sql),
    }
}

/// A new investigation. Where `max_queued` others wait already, it is escalated at once: no alert may wait unseen.
pub(super) fn start(
    connection: &Connection,
    incident: IncidentId,
    trigger: Trigger,
    at: Timestamp,
    max_queued: Option<u32>,
) -> Result<InvestigationId, Error> {
    let queued: u32 = connection
        .prepare_cached("SELECT count(*) FROM investigations WHERE ended_at IS NULL AND state = 'started'")?
        .query_row([], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO investigations (incident, state, trigger, started_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((incident.0, State::Started.as_str(), rows::trigger_code(&trigger), millis(at)))?;
    let id = InvestigationId(connection.last_insert_rowid());
    connection
        .prepare_cached("UPDATE incidents SET investigation = ?2 WHERE id = ?1")?
        .execute((incident.0, id.0))?;
    insert(connection, id, &Entry { seq: 0, at, event: Event::Started { trigger } })?;
    if max_queued.is_some_and(|max| queued >= max) {
        let reason = format!("{queued} investigations wait already, the most that may (max_queued)");
        insert(connection, id, &Entry { seq: 1, at, event: Event::Escalated { reason: reason.into() } })?;
    }
    Ok(id)
}

pub(super) fn append(
    connection: &Connection,
    id: InvestigationId,
    seq: u32,
    event: Event,
) -> Result<Entry, StoreError> {
    let text =
        "SELECT ended_at IS NULL, (SELECT coalesce(max(seq) + 1, 0) FROM events WHERE investigation = ?1)
                FROM investigations WHERE id = ?1";
    let found: Option<(bool, u32)> = connection
        .prepare_cached(text)
        .and_then(|mut query| query.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(sql)?;
    match found {
        None => return Err(StoreError::Invalid(format!("there is no investigation {id}"))),
        Some((open, next)) if !open || next != seq => return Err(StoreError::Conflict(id)),
        Some(_) => {}
    }
    let entry = Entry { seq, at: Timestamp::now(), event };
    insert(connection, id, &entry).map_err(sql)?;
    Ok(entry)
}

/// The event, what it does to the investigation's row and the outbox, and its entry in the audit log.
fn insert(connection: &Connection, id: InvestigationId, entry: &Entry) -> Result<(), Error> {
    let stored = json(&entry.event);
    connection
        .prepare_cached("INSERT INTO events (investigation, seq, at, event) VALUES (?1, ?2, ?3, ?4)")?
        .execute((id.0, entry.seq, millis(entry.at), &stored))?;
    audit::append(connection, entry.at, Record::of_step(id, entry, &stored))?;
    if let Some(state) = entry.event.state() {
        let ended_at = state.is_over().then(|| millis(entry.at));
        connection
            .prepare_cached("UPDATE investigations SET state = ?2, ended_at = ?3 WHERE id = ?1")?
            .execute((id.0, state.as_str(), ended_at))?;
    }
    match &entry.event {
        Event::Concluded { report } => {
            let text = "UPDATE investigations SET report = ?2 WHERE id = ?1";
            connection.prepare_cached(text)?.execute((id.0, json(report))).map(drop)
        }
        Event::Failed { reason } => set_reason(connection, id, reason),
        Event::Escalated { reason } => {
            set_reason(connection, id, reason)?;
            outbox::put_notice(connection, &outbox::notice_of(connection, id, reason, entry.at)?)
        }
        Event::Asked { call, question, expires_at } => {
            let approval = Approval {
                id: ApprovalId { investigation: id, call: *call }.to_string(),
                hash: question.hash.clone(),
                what: question.what.clone(),
                expires_at: *expires_at,
            };
            let notice = outbox::notice_of(connection, id, &question.reason, entry.at)?;
            outbox::put_question(connection, &notice, approval)
        }
        _ => Ok(()),
    }
}

fn set_reason(connection: &Connection, id: InvestigationId, reason: &Untrusted) -> Result<(), Error> {
    let text = "UPDATE investigations SET reason = ?2 WHERE id = ?1";
    connection.prepare_cached(text)?.execute((id.0, reason.expose_untrusted())).map(drop)
}
