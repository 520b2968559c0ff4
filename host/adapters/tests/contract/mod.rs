//! The rules, by topic, and what they are told with.

pub mod audit;
pub mod cursors;
pub mod dead_letters;
pub mod dedup;
pub mod incidents;
pub mod investigations;
pub mod listings;
pub mod model;
pub mod notices;
pub mod payloads;
pub mod reopening;
pub mod tokens;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use watchkeeper_adapters::store::SqliteStore;
use watchkeeper_domain::alert::{Alert, Severity, Status};
use watchkeeper_domain::incident::{Correlation, Incident};
use watchkeeper_domain::investigation::{Event, Finding, Report};
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::*;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp};

/// Somewhere a store keeps things, empty at first, that can be opened again.
#[async_trait]
pub trait Place: Send + Sync {
    async fn open(&self) -> Arc<dyn Store>;
}

pub struct SqlitePlace(TempDir);

impl SqlitePlace {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Place for SqlitePlace {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.0.path()).unwrap())
    }
}

pub type AnyStore = Arc<dyn Store>;

pub const WINDOW: Duration = Duration::from_secs(300);

/// Seconds after a time that all the rules begin at.
pub fn at(second: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + second * 1000)
}

/// A firing warning that began at 0.
pub fn firing(id: &str) -> Alert {
    Alert {
        id: id.into(),
        severity: Severity::Warning,
        status: Status::Firing,
        title: format!("{id} is high").into(),
        description: "".into(),
        labels: Default::default(),
        annotations: Default::default(),
        starts_at: Some(at(0)),
        ends_at: None,
    }
}

pub fn resolved(id: &str) -> Alert {
    Alert { status: Status::Resolved, ..firing(id) }
}

pub fn critical(id: &str) -> Alert {
    Alert { severity: Severity::Critical, ..firing(id) }
}

/// Without a start, as some senders have it.
pub fn undated(alert: Alert) -> Alert {
    Alert { starts_at: None, ..alert }
}

/// With the label that the rules correlate by.
pub fn of_service(service: &str, alert: Alert) -> Alert {
    with_labels(&[("service", service)], alert)
}

pub fn with_labels(labels: &[(&str, &str)], alert: Alert) -> Alert {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Alert { labels: labels.collect(), ..alert }
}

pub fn correlation() -> Correlation {
    Correlation { group_by: vec!["service".into()], investigate: vec![Severity::Critical], max_queued: 1000 }
}

pub fn payload(body: &str) -> Payload {
    Payload {
        body: body.as_bytes().into(),
        content_type: Some("application/json".into()),
        attributes: vec![("x-request-id".into(), "r1".into())],
    }
}

/// From the source `prom`, received at `second`.
pub fn delivery(second: u64, alerts: impl IntoIterator<Item = Alert>) -> Delivery {
    Delivery {
        source: "prom".into(),
        received_at: at(second),
        payload: Arc::new(payload("{}")),
        alerts: alerts.into_iter().collect(),
        dedup_window: WINDOW,
        correlation: Arc::new(correlation()),
        replay_of: None,
        cursor: None,
    }
}

/// The alerts, delivered at `second`.
pub async fn say(store: &AnyStore, second: u64, alerts: impl IntoIterator<Item = Alert>) -> Receipt {
    store.ingest(delivery(second, alerts)).await.unwrap()
}

/// A receipt in words: `1 new, 2 heard`.
pub fn told(receipt: &Receipt) -> String {
    let Receipt { new, heard, resolved, reopened, stale, .. } = *receipt;
    let counts =
        [(new, "new"), (heard, "heard"), (resolved, "resolved"), (reopened, "reopened"), (stale, "stale")];
    let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    words.collect::<Vec<_>>().join(", ")
}

pub async fn alerts(store: &AnyStore) -> Vec<StoredAlert> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let window = Window { limit: Window::MAX_LIMIT, cursor, ..Window::default() };
        let page = store.alerts(AlertQuery { window, ..AlertQuery::default() }).await.unwrap();
        found.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

/// The only one there is.
pub async fn the_alert(store: &AnyStore) -> StoredAlert {
    let found = alerts(store).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

pub async fn incidents(store: &AnyStore) -> Vec<Incident> {
    let window = Window { limit: Window::MAX_LIMIT, ..Window::default() };
    store.incidents(IncidentQuery { window, ..IncidentQuery::default() }).await.unwrap().items
}

/// The only one there is.
pub async fn the_incident(store: &AnyStore) -> Incident {
    let found = incidents(store).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

pub async fn incident_of(store: &AnyStore, id: &str) -> IncidentId {
    let found = alerts(store).await;
    found.iter().find(|alert| alert.id == id).unwrap().incident.unwrap()
}

/// The investigation that a critical alert of its own incident starts.
pub async fn investigated(store: &AnyStore, id: &str) -> (IncidentId, InvestigationId) {
    let receipt = say(store, 0, [critical(id)]).await;
    (incident_of(store, id).await, receipt.investigations[0])
}

/// Appends whatever comes next.
pub async fn append(store: &AnyStore, id: InvestigationId, events: impl IntoIterator<Item = Event>) {
    for event in events {
        let seq = store.transcript(id, 0).await.unwrap().len() as u32;
        store.append(id, seq, event).await.unwrap();
    }
}

pub fn report(summary: &str) -> Report {
    Report {
        summary: summary.into(),
        root_cause: Some("a full disk".into()),
        findings: vec![Finding { statement: "no space".into(), evidence: Vec::new() }],
        recommendations: vec!["delete the oldest core dumps".into()],
        confidence: 0.875,
    }
}

pub fn escalated(reason: &str) -> Event {
    Event::Escalated { reason: reason.into() }
}

/// Whom the notices of these rules are for.
pub const CHANNEL: &str = "pager";

/// What is on its way to [`CHANNEL`], or is from now on.
pub async fn outgoing(store: &AnyStore) -> Vec<Outgoing> {
    store.address_notices(&[CHANNEL.into()]).await.unwrap();
    store.due_notices(CHANNEL, far_future(), 100).await.unwrap()
}

/// Later than any notice of a test is due.
pub fn far_future() -> Timestamp {
    Timestamp::from_millis(u64::MAX)
}

/// That it is `Invalid`, and its message.
#[track_caller]
pub fn invalid<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Invalid(message)) => message,
        other => panic!("Invalid was expected, this came: {other:?}"),
    }
}
