//! The outbox's rows: notices, and their ways to the channels.

use rusqlite::{Connection, Error, OptionalExtension, Row};
use serde_json::json;
use watchkeeper_domain::audit::Record;
use watchkeeper_domain::escalation::{Approval, Delivery, DeliveryState, Notice, NoticeKind};
use watchkeeper_domain::store::Outgoing;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp, Untrusted};

use super::audit;
use super::rows::{self, json, millis};

/// Reasons for which a human is called of one incident before it closes. A plugin that finds a new one each time tells
/// nobody anything any more.
const MOST_REASONS: u32 = 20;

/// Characters of an error that are kept.
const ERROR: usize = 1000;

/// The notice of an escalation, once an incident and reason.
pub(super) fn put_notice(connection: &Connection, notice: &Notice) -> Result<(), Error> {
    let round = round(connection, notice.incident)?;
    let text = "SELECT count(*) FROM notices WHERE incident = ?1 AND round = ?2 AND kind = 'escalated'";
    let known: u32 =
        connection.prepare_cached(text)?.query_row((notice.incident.0, round), |row| row.get(0))?;
    if known >= MOST_REASONS {
        tracing::warn!(
            incident = %notice.incident,
            "a human was called for {known} reasons already; another is in its investigation alone"
        );
        return Ok(());
    }
    insert(connection, notice, round)
}

/// That a person is asked, once a question.
pub(super) fn put_question(
    connection: &Connection,
    notice: &Notice,
    approval: Approval,
) -> Result<(), Error> {
    let notice = Notice { kind: NoticeKind::Asked, approval: Some(approval), ..notice.clone() };
    insert(connection, &notice, round(connection, notice.incident)?)
}

/// That the incident is over, if a human was called for it since it opened.
pub(super) fn put_closed(connection: &Connection, incident: IncidentId, at: Timestamp) -> Result<(), Error> {
    let round = round(connection, incident)?;
    let text = "SELECT notice FROM notices WHERE incident = ?1 AND round = ?2 AND kind = 'escalated'
                ORDER BY id DESC LIMIT 1";
    let last = connection
        .prepare_cached(text)?
        .query_row((incident.0, round), |row| rows::from_json::<Notice>(row, "notice"));
    let Some(last) = last.optional()? else { return Ok(()) };
    let closed = Notice {
        kind: NoticeKind::Closed,
        reason: "all of its alerts are resolved".into(),
        report: None,
        approval: None,
        escalated_at: at,
        ..last
    };
    insert(connection, &closed, round)
}

fn insert(connection: &Connection, notice: &Notice, round: u32) -> Result<(), Error> {
    let name: String = connection
        .prepare_cached("SELECT name FROM identity WHERE id = 1")?
        .query_row([], |row| row.get(0))?;
    let notice = Notice { key: format!("wk-{name}-{}", notice.incident), ..notice.clone() };
    let text = "INSERT OR IGNORE INTO notices (incident, round, kind, reason, notice, created_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let reason = match &notice.approval {
        Some(approval) => approval.id.clone(),
        None => without_numbers(notice.reason.expose_untrusted()),
    };
    let kind = notice.kind.as_str();
    let values = (notice.incident.0, round, kind, reason, json(&notice), millis(notice.escalated_at));
    connection.prepare_cached(text)?.execute(values).map(drop)
}

/// How often the incident closed since it was first escalated.
fn round(connection: &Connection, incident: IncidentId) -> Result<u32, Error> {
    let text = "SELECT count(*) FROM notices WHERE incident = ?1 AND kind = 'closed'";
    connection.prepare_cached(text)?.query_row([incident.0], |row| row.get(0))
}

/// With a # for each number: `0.61 is below 0.70` is the reason that `0.58 is below 0.70` is.
fn without_numbers(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    for c in reason.chars() {
        match c {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            c => text.push(c),
        }
    }
    text
}

/// Whether [`address`] has something to do.
pub(super) fn is_unaddressed(connection: &Connection) -> Result<bool, Error> {
    connection.prepare_cached("SELECT 1 FROM notices WHERE addressed = 0 LIMIT 1")?.exists([])
}

/// A way for each notice that has none yet to each channel.
pub(super) fn address(connection: &Connection, channels: &[String], now: Timestamp) -> Result<(), Error> {
    let text = "INSERT OR IGNORE INTO deliveries (notice, incident, channel, state, next_at)
                SELECT id, incident, ?1, 'pending', created_at FROM notices WHERE addressed = 0 ORDER BY id";
    for channel in channels {
        connection.prepare_cached(text)?.execute([channel])?;
    }
    connection.prepare_cached("UPDATE notices SET addressed = 1 WHERE addressed = 0")?.execute([])?;
    // What is for a channel that is there no more would wait for ever.
    let text = "UPDATE deliveries SET state = 'given_up', ended_at = ?2,
                    error = 'this channel is no longer configured'
                WHERE state = 'pending' AND channel NOT IN (SELECT value FROM json_each(?1))";
    connection.prepare_cached(text)?.execute((json(&channels), millis(now))).map(drop)
}

/// Those of one incident one after another, so that nobody hears of its end before its beginning.
pub(super) fn due(
    connection: &Connection,
    channel: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Outgoing>, Error> {
    let text = "SELECT way.id, way.attempts, notices.notice, notices.created_at
                FROM deliveries AS way JOIN notices ON notices.id = way.notice
                WHERE way.state = 'pending' AND way.channel = ?1 AND way.next_at <= ?2
                  AND NOT EXISTS (SELECT 1 FROM deliveries AS before WHERE before.state = 'pending'
                    AND before.channel = ?1 AND before.incident = way.incident AND before.id < way.id)
                ORDER BY way.next_at, way.id LIMIT ?3";
    let read = |row: &Row<'_>| {
        Ok(Outgoing {
            id: row.get("id")?,
            attempts: row.get("attempts")?,
            created_at: rows::time(row, "created_at")?,
            notice: rows::from_json(row, "notice")?,
        })
    };
    connection.prepare_cached(text)?.query_map((channel, millis(now), limit), read)?.collect()
}

pub(super) fn delivered(connection: &Connection, id: i64, now: Timestamp) -> Result<(), Error> {
    let text =
        "UPDATE deliveries SET state = 'delivered', attempts = attempts + 1, error = NULL, ended_at = ?2
                WHERE id = ?1 AND state = 'pending'";
    if connection.prepare_cached(text)?.execute((id, millis(now)))? == 0 {
        return Ok(());
    }
    enter(connection, id, "escalation.delivered", now)
}

/// Without a next time it is given up.
pub(super) fn failed(
    connection: &Connection,
    id: i64,
    error: &str,
    next_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let error: String = error.chars().take(ERROR).collect();
    let Some(next_at) = next_at else {
        let text =
            "UPDATE deliveries SET state = 'given_up', attempts = attempts + 1, error = ?2, ended_at = ?3
                    WHERE id = ?1 AND state = 'pending'";
        connection.prepare_cached(text)?.execute((id, error, millis(now)))?;
        return enter(connection, id, "escalation.given_up", now);
    };
    let text = "UPDATE deliveries SET attempts = attempts + 1, error = ?2, next_at = ?3
                WHERE id = ?1 AND state = 'pending'";
    connection.prepare_cached(text)?.execute((id, error, millis(next_at))).map(drop)
}

/// Into the audit log: who was called, and that nobody could be.
fn enter(connection: &Connection, id: i64, action: &str, now: Timestamp) -> Result<(), Error> {
    let text = "SELECT channel, deliveries.incident, attempts, kind FROM deliveries JOIN notices ON notices.id = deliveries.notice
                WHERE deliveries.id = ?1";
    let found = connection.prepare_cached(text)?.query_row([id], |row| {
        let (channel, incident): (String, i64) = (row.get(0)?, row.get(1)?);
        let (attempts, kind): (u32, String) = (row.get(2)?, row.get(3)?);
        let detail = json!({ "channel": channel, "kind": kind, "attempts": attempts });
        Ok(Record::new("host", action, IncidentId(incident).to_string(), detail))
    });
    match found.optional()? {
        Some(record) => audit::append(connection, now, record).map(drop),
        None => Ok(()),
    }
}

/// Notices on their way, by channel.
pub(super) fn pending(connection: &Connection) -> Result<Vec<(String, u64)>, Error> {
    let text = "SELECT channel, count(*) FROM deliveries WHERE state = 'pending' GROUP BY channel";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64));
    connection.prepare_cached(text)?.query_map([], read)?.collect()
}

pub(super) const DELIVERIES: &str =
    "SELECT deliveries.*, notices.notice AS told, notices.created_at AS created_at
    FROM deliveries JOIN notices ON notices.id = deliveries.notice WHERE";

pub(super) fn delivery(row: &Row<'_>) -> Result<Delivery, Error> {
    let notice: Notice = rows::from_json(row, "told")?;
    let state: String = row.get("state")?;
    let status = state.parse().unwrap_or(DeliveryState::GivenUp);
    let next_at = rows::time(row, "next_at")?;
    Ok(Delivery {
        id: row.get("id")?,
        channel: row.get("channel")?,
        status,
        kind: notice.kind,
        incident: notice.incident,
        severity: notice.severity,
        title: notice.title,
        reason: notice.reason,
        created_at: rows::time(row, "created_at")?,
        attempts: row.get("attempts")?,
        last_error: row.get("error")?,
        next_at: (status == DeliveryState::Pending).then_some(next_at),
        ended_at: rows::opt_time(row, "ended_at")?,
    })
}

/// What a notice says of an investigation's incident.
pub(super) fn notice_of(
    connection: &Connection,
    id: InvestigationId,
    reason: &Untrusted,
    at: Timestamp,
) -> Result<Notice, Error> {
    let text = "SELECT incidents.id, incidents.title, incidents.severity, investigations.report
                FROM investigations JOIN incidents ON incidents.id = investigations.incident
                WHERE investigations.id = ?1";
    connection.prepare_cached(text)?.query_row([id.0], |row| {
        let report: Option<String> = row.get("report")?;
        Ok(Notice {
            kind: NoticeKind::Escalated,
            key: String::new(),
            incident: IncidentId(row.get("id")?),
            investigation: id,
            title: rows::untrusted(row, "title")?,
            severity: rows::severity(row, "severity")?,
            reason: reason.clone(),
            report: report.and_then(|text| serde_json::from_str(&text).ok()),
            approval: None,
            escalated_at: at,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_by_its_words() {
        let of = without_numbers;
        assert_eq!(of("confidence of 0.61 is below 0.70"), of("confidence of 0.5 is below 0.7"));
        assert_ne!(of("call 3 may not run"), of("call 3 may not walk"));
    }
}
