//! How values stand in rows.

use rusqlite::types::Type;
use rusqlite::{Error, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use watchkeeper_domain::alert::{Severity, Status};
use watchkeeper_domain::incident::{Incident, IncidentStatus};
use watchkeeper_domain::investigation::{Investigation, Trigger};
use watchkeeper_domain::store::StoredAlert;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp, Untrusted};

pub(super) fn millis(time: Timestamp) -> i64 {
    time.as_millis() as i64
}

pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp, Error> {
    row.get(column).map(|millis: i64| Timestamp::from_millis(millis.max(0) as u64))
}

pub(super) fn opt_time(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, Error> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(|millis| Timestamp::from_millis(millis.max(0) as u64)))
}

pub(super) fn untrusted(row: &Row<'_>, column: &str) -> Result<Untrusted, Error> {
    row.get::<_, String>(column).map(Untrusted::from)
}

/// Of our own types, which always can be written.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("\"unwritable: {error}\""))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, Error> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

pub(super) fn severity_code(severity: Severity) -> i64 {
    severity as i64
}

pub(super) fn severity(row: &Row<'_>, column: &str) -> Result<Severity, Error> {
    Ok(match row.get::<_, i64>(column)? {
        0 => Severity::Info,
        1 => Severity::Warning,
        _ => Severity::Critical,
    })
}

pub(super) fn status(row: &Row<'_>) -> Result<Status, Error> {
    row.get("firing").map(|firing: bool| if firing { Status::Firing } else { Status::Resolved })
}

pub(super) fn alert(row: &Row<'_>) -> Result<StoredAlert, Error> {
    Ok(StoredAlert {
        seq: row.get("seq")?,
        id: untrusted(row, "id")?,
        source: row.get("source")?,
        severity: severity(row, "severity")?,
        status: status(row)?,
        title: untrusted(row, "title")?,
        description: untrusted(row, "description")?,
        labels: from_json(row, "labels")?,
        annotations: from_json(row, "annotations")?,
        starts_at: time(row, "starts_at")?,
        ends_at: opt_time(row, "ends_at")?,
        received_at: time(row, "received_at")?,
        incident: row.get::<_, Option<i64>>("incident")?.map(IncidentId),
    })
}

pub(super) fn incident(row: &Row<'_>) -> Result<Incident, Error> {
    Ok(Incident {
        id: IncidentId(row.get("id")?),
        status: if row.get("open")? { IncidentStatus::Open } else { IncidentStatus::Closed },
        severity: severity(row, "severity")?,
        title: untrusted(row, "title")?,
        source: row.get("source")?,
        opened_at: time(row, "opened_at")?,
        closed_at: opt_time(row, "closed_at")?,
        alerts: row.get("alerts")?,
        firing: row.get("firing")?,
        investigation: row.get::<_, Option<i64>>("investigation")?.map(InvestigationId),
    })
}

pub(super) fn investigation(row: &Row<'_>) -> Result<Investigation, Error> {
    let state: String = row.get("state")?;
    let trigger: String = row.get("trigger")?;
    let report: Option<String> = row.get("report")?;
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::FromSqlConversionFailure(0, Type::Text, error)
    };
    Ok(Investigation {
        id: InvestigationId(row.get("id")?),
        incident: IncidentId(row.get("incident")?),
        state: state.parse().map_err(|error: String| unreadable(error.into()))?,
        trigger: if trigger == trigger_code(&Trigger::Requested) {
            Trigger::Requested
        } else {
            Trigger::Automatic
        },
        title: untrusted(row, "title")?,
        started_at: time(row, "started_at")?,
        ended_at: opt_time(row, "ended_at")?,
        report: report
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|e| unreadable(e.into()))?,
        reason: row.get::<_, Option<String>>("reason")?.map(Untrusted::from),
    })
}

pub(super) fn trigger_code(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Automatic => "automatic",
        Trigger::Requested => "requested",
    }
}
