//! Where everything is kept. One contract suite tests every store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::access::{Role, Token, TokenId};
use crate::alert::{Alert, Severity, Status};
use crate::audit::{self, Digest, Record};
use crate::escalation::{self, DeliveryState, Notice};
use crate::incident::{Correlation, Incident, IncidentStatus};
use crate::investigation::{Entry, Event, Investigation, PastReport, State};
use crate::plugin::Payload;
use crate::{IncidentId, InvestigationId, Timestamp, Untrusted};

/// What one payload brought, to be kept in one commit.
pub struct Delivery {
    pub source: Arc<str>,
    pub received_at: Timestamp,
    pub payload: Arc<Payload>,
    pub alerts: Vec<Alert>,
    pub dedup_window: Duration,
    pub correlation: Arc<Correlation>,
    /// The dead letter that this is a replay of; it is settled by the same commit, and its payload is not kept twice.
    pub replay_of: Option<PayloadId>,
    /// Of a polled batch: where it leaves its source.
    pub cursor: Option<CursorMove>,
}

/// A polled source's step behind a batch. It counts only where the source still stands at `from`, so of two that fetched
/// the same batch one moves it, and it never goes back.
#[derive(Clone, Debug, PartialEq)]
pub struct CursorMove {
    pub from: Option<String>,
    pub to: Option<String>,
}

/// What became of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Receipt {
    /// Alerts that were new.
    pub new: u32,
    /// Known ones that were heard of again.
    pub heard: u32,
    pub resolved: u32,
    pub reopened: u32,
    /// Said before what is stored was said.
    pub stale: u32,
    /// Investigations that this caused.
    #[serde(skip)]
    pub investigations: Vec<InvestigationId>,
}

/// Number of a raw payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadId(pub i64);

crate::incident::id_as_text!(PayloadId, "pay-", "a payload's id");

/// A payload on which a plugin failed.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub id: PayloadId,
    pub source: String,
    pub received_at: Timestamp,
    pub payload: Payload,
    /// What the plugin failed with, last; why it wasn't asked, if it never was.
    pub error: Untrusted,
    /// Whether any plugin tried to read it.
    pub asked: bool,
}

/// What came of removing old payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pruned {
    pub removed: u32,
    /// Where it goes on; none where there is nothing old left.
    pub next: Option<PayloadId>,
}

/// An alert as stored. Its shape in JSON is the API's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredAlert {
    #[serde(skip)]
    pub seq: i64,
    pub id: Untrusted,
    pub source: String,
    pub severity: Severity,
    pub status: Status,
    pub title: Untrusted,
    pub description: Untrusted,
    pub labels: crate::Labels,
    pub annotations: crate::Labels,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    pub received_at: Timestamp,
    /// None of an alert whose first word was that it is resolved.
    pub incident: Option<IncidentId>,
}

impl StoredAlert {
    pub fn to_alert(&self) -> Alert {
        Alert {
            id: self.id.clone(),
            severity: self.severity,
            status: self.status,
            title: self.title.clone(),
            description: self.description.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: Some(self.starts_at),
            ends_at: self.ends_at,
        }
    }
}

/// One page of a listing, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it back to get the next page; none on the last.
    pub next: Option<String>,
}

/// Which rows, and how many. All given filters must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Received (opened, started) at or after.
    pub since: Option<Timestamp>,
    /// Received (opened, started) before.
    pub until: Option<Timestamp>,
    /// 1 to 1000.
    pub limit: u32,
    pub cursor: Option<String>,
}

impl Window {
    pub const DEFAULT_LIMIT: u32 = 100;
    pub const MAX_LIMIT: u32 = 1000;
}

impl Default for Window {
    fn default() -> Self {
        Self { since: None, until: None, limit: Self::DEFAULT_LIMIT, cursor: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertQuery {
    pub source: Option<String>,
    pub severity: Option<Severity>,
    pub status: Option<Status>,
    pub labels: Vec<(String, String)>,
    pub incident: Option<IncidentId>,
    pub window: Window,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentQuery {
    pub source: Option<String>,
    pub severity: Option<Severity>,
    pub status: Option<IncidentStatus>,
    /// Of any of its alerts.
    pub labels: Vec<(String, String)>,
    pub window: Window,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvestigationQuery {
    /// Of the incident.
    pub source: Option<String>,
    pub severity: Option<Severity>,
    pub status: Option<State>,
    pub labels: Vec<(String, String)>,
    pub incident: Option<IncidentId>,
    pub window: Window,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryQuery {
    pub channel: Option<String>,
    pub status: Option<DeliveryState>,
    pub incident: Option<IncidentId>,
    pub window: Window,
}

/// A notice in the outbox, for one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub id: i64,
    pub attempts: u32,
    pub created_at: Timestamp,
    pub notice: Notice,
}

/// A token to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    pub hash: Digest,
    pub expires_at: Option<Timestamp>,
    /// Who creates it.
    pub by: String,
}

/// Sorted by who can act.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was kept. The operator sees to the disk; the sender tries again.
    #[error("the store can't be written: {0}")]
    Unavailable(String),
    /// More writes wait than the queue holds. The sender tries again.
    #[error("the store's queue of {0} writes is full")]
    Busy(usize),
    /// The caller asked for something that isn't there, or isn't a cursor.
    #[error("{0}")]
    Invalid(String),
    /// Another worker has written to this investigation since it was read.
    #[error("investigation {0} was moved on by another worker")]
    Conflict(InvestigationId),
}

/// Contract:
/// - a method that returns Ok has its effect on stable storage, and one that returns Err has none;
/// - `ingest` keeps payload, alerts, incidents, investigations, notices and the cursor's move in one commit;
/// - an investigation's event, a token's creation and revocation, and a notice's end are in the commit of their entry in the
///   audit log, and so is whatever else is entered there;
/// - deduplication, correlation and the queue's bound are decided inside that commit, so they hold under concurrency;
/// - listings are newest first, and a cursor never skips or repeats a row that was there when the listing began.
#[async_trait]
pub trait Store: Send + Sync {
    async fn ingest(&self, delivery: Delivery) -> Result<Receipt, StoreError>;

    /// That of the last batch of a polled source that is kept; none before the first.
    async fn cursor(&self, source: &str) -> Result<Option<String>, StoreError>;

    /// Of a batch without alerts, of which nothing else is kept. [`StoreError::Invalid`] if the source isn't at `from`, as
    /// with [`Delivery::cursor`].
    async fn move_cursor(&self, source: &str, step: CursorMove) -> Result<(), StoreError>;

    /// Keeps a payload on which its plugin failed, or which it wasn't `asked` to read.
    async fn bury(
        &self,
        source: &str,
        received_at: Timestamp,
        payload: Arc<Payload>,
        error: &Untrusted,
        asked: bool,
    ) -> Result<PayloadId, StoreError>;

    /// A plugin was asked to read a dead letter, and failed on it. Of one that is settled by now, nothing is noted.
    async fn bury_again(&self, id: PayloadId, error: &Untrusted) -> Result<(), StoreError>;

    /// Unsettled ones, oldest first, above `after`.
    async fn dead_letters(
        &self,
        source: Option<&str>,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Of a source, those that no plugin was asked to read, oldest first, above `after`.
    async fn unasked_letters(
        &self,
        source: &str,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// The sources that have such.
    async fn unasked_sources(&self) -> Result<Vec<String>, StoreError>;

    /// Of each of these sources, the latest `limit` payloads that a plugin read well, to try another version of it with: the
    /// latest of each, then the second latest of each, and so on. Of those, what doesn't fit into what is left of `max_bytes`
    /// is left out. Polled batches aren't among them, which nobody reads.
    async fn recent_payloads(
        &self,
        sources: &[String],
        limit: u32,
        max_bytes: u64,
    ) -> Result<Vec<(String, Payload)>, StoreError>;

    /// Removes payloads that came `before`, of the first `limit` above `after`: no dead letter, and none that brought an alert of
    /// an incident that is open. The alerts themselves stay.
    async fn prune_payloads(
        &self,
        before: Timestamp,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Pruned, StoreError>;

    async fn alerts(&self, query: AlertQuery) -> Result<Page<StoredAlert>, StoreError>;

    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, StoreError>;

    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, StoreError>;

    /// The alert that an investigation of this incident is about: the most severe firing one, the oldest of those.
    async fn leading_alert(&self, incident: IncidentId) -> Result<Option<StoredAlert>, StoreError>;

    /// Reports of ended investigations of other incidents with the same correlation key, or else the same title.
    async fn past_reports(&self, incident: IncidentId, limit: u32) -> Result<Vec<PastReport>, StoreError>;

    async fn investigations(&self, query: InvestigationQuery) -> Result<Page<Investigation>, StoreError>;

    async fn investigation(&self, id: InvestigationId) -> Result<Option<Investigation>, StoreError>;

    /// The transcript from entry `from` on.
    async fn transcript(&self, id: InvestigationId, from: u32) -> Result<Vec<Entry>, StoreError>;

    /// Queues an investigation because a person asked. The one that is still going on, if there is one.
    async fn request_investigation(&self, incident: IncidentId) -> Result<InvestigationId, StoreError>;

    /// Those that a worker should take up, oldest first: started ones, and ones that were running when a host stopped
    /// (the caller leaves out those that it runs itself).
    async fn open_investigations(&self, limit: u32) -> Result<Vec<InvestigationId>, StoreError>;

    /// Appends `event` as entry `seq`, moves the investigation's state with it, and puts the notice of an escalation into
    /// the outbox (once an incident and reason), all in one commit. [`StoreError::Conflict`] if there is an entry `seq` already.
    async fn append(&self, id: InvestigationId, seq: u32, event: Event) -> Result<Entry, StoreError>;

    /// Gives each notice that has none yet its way to each of these channels, due at once; and gives up what is on its way
    /// to any other. What came before a channel was configured is not for it.
    async fn address_notices(&self, channels: &[String]) -> Result<(), StoreError>;

    async fn has_unaddressed_notices(&self) -> Result<bool, StoreError>;

    /// Those for the channel whose time has come, oldest first; of one incident only the first that is on its way.
    async fn due_notices(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Outgoing>, StoreError>;

    async fn notice_delivered(&self, id: i64) -> Result<(), StoreError>;

    /// It is due again at `next_at`; without one it is given up.
    async fn notice_failed(&self, id: i64, error: &str, next_at: Option<Timestamp>)
    -> Result<(), StoreError>;

    /// How many are on their way, by channel.
    async fn pending_notices(&self) -> Result<Vec<(String, u64)>, StoreError>;

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<escalation::Delivery>, StoreError>;

    /// Enters an act that is not an investigation's into the audit log.
    async fn record(&self, record: Record) -> Result<audit::Entry, StoreError>;

    /// The audit log's entries above `after`, oldest first.
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<audit::Entry>, StoreError>;

    /// The audit log goes on by a new key, which the last entry of the one before introduces. The new public key.
    async fn rotate_audit_key(&self, by: &str) -> Result<String, StoreError>;

    /// [`StoreError::Invalid`] if a token that isn't revoked has its name.
    async fn create_token(&self, new: NewToken) -> Result<Token, StoreError>;

    /// Every one that ever was.
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;

    /// [`StoreError::Invalid`] if no token that isn't revoked has this name.
    async fn revoke_token(&self, name: &str, by: &str) -> Result<Token, StoreError>;

    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError>;

    /// Writes and forgets, to see that it can.
    async fn probe(&self) -> Result<(), StoreError>;
}
