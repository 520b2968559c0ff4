//! A real store, and what may go wrong between it and the flow.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;
use watchkeeper_domain::access::{Token, TokenId};
use watchkeeper_domain::audit::{self, Record};
use watchkeeper_domain::escalation;
use watchkeeper_domain::incident::Incident;
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::*;
use watchkeeper_domain::{IncidentId, InvestigationId, Timestamp, Untrusted};

/// What becomes of the writes of deliveries, dead letters and cursors. Whatever else is asked for is fine.
#[derive(Clone, Default)]
pub enum Fault {
    #[default]
    None,
    /// Nothing is kept.
    DiskFull,
    /// Kept once the test says so.
    Waits(Arc<Notify>),
    /// Kept, and whoever asked never hears of it.
    LosesAnswers,
}

pub struct FaultyStore {
    pub inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
    /// A write was refused, waits, or lost its answer.
    pub met: Notify,
    /// The payloads of the deliveries that came, in order.
    pub delivered: Mutex<Vec<Arc<Payload>>>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>, fault: Fault) -> Arc<Self> {
        let (met, delivered) = (Notify::new(), Mutex::default());
        Arc::new(Self { inner, fault: Mutex::new(fault), met, delivered })
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let fault = self.fault.lock().unwrap().clone();
        match fault {
            Fault::None => write.await,
            Fault::DiskFull => {
                self.met.notify_one();
                Err(StoreError::Unavailable("disk full".into()))
            }
            Fault::Waits(go_on) => {
                self.met.notify_one();
                go_on.notified().await;
                write.await
            }
            Fault::LosesAnswers => {
                write.await?;
                self.met.notify_one();
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
#[rustfmt::skip]
impl Store for FaultyStore {
    async fn ingest(&self, delivery: Delivery) -> Result<Receipt, StoreError> {
        self.delivered.lock().unwrap().push(delivery.payload.clone());
        self.write(self.inner.ingest(delivery)).await
    }
    async fn move_cursor(&self, source: &str, step: CursorMove) -> Result<(), StoreError> {
        self.write(self.inner.move_cursor(source, step)).await
    }
    async fn bury(&self, source: &str, at: Timestamp, payload: Arc<Payload>, error: &Untrusted, asked: bool) -> Result<PayloadId, StoreError> {
        self.write(self.inner.bury(source, at, payload, error, asked)).await
    }
    async fn bury_again(&self, id: PayloadId, error: &Untrusted) -> Result<(), StoreError> {
        self.write(self.inner.bury_again(id, error)).await
    }

    async fn cursor(&self, source: &str) -> Result<Option<String>, StoreError> { self.inner.cursor(source).await }
    async fn dead_letters(&self, source: Option<&str>, after: Option<PayloadId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> { self.inner.dead_letters(source, after, limit).await }
    async fn unasked_letters(&self, source: &str, after: Option<PayloadId>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> { self.inner.unasked_letters(source, after, limit).await }
    async fn unasked_sources(&self) -> Result<Vec<String>, StoreError> { self.inner.unasked_sources().await }
    async fn recent_payloads(&self, sources: &[String], limit: u32, max_bytes: u64) -> Result<Vec<(String, Payload)>, StoreError> { self.inner.recent_payloads(sources, limit, max_bytes).await }
    async fn prune_payloads(&self, before: Timestamp, after: Option<PayloadId>, limit: u32) -> Result<Pruned, StoreError> { self.inner.prune_payloads(before, after, limit).await }
    async fn alerts(&self, query: AlertQuery) -> Result<Page<StoredAlert>, StoreError> { self.inner.alerts(query).await }
    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, StoreError> { self.inner.incidents(query).await }
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, StoreError> { self.inner.incident(id).await }
    async fn leading_alert(&self, incident: IncidentId) -> Result<Option<StoredAlert>, StoreError> { self.inner.leading_alert(incident).await }
    async fn past_reports(&self, incident: IncidentId, limit: u32) -> Result<Vec<PastReport>, StoreError> { self.inner.past_reports(incident, limit).await }
    async fn investigations(&self, query: InvestigationQuery) -> Result<Page<Investigation>, StoreError> { self.inner.investigations(query).await }
    async fn investigation(&self, id: InvestigationId) -> Result<Option<Investigation>, StoreError> { self.inner.investigation(id).await }
    async fn transcript(&self, id: InvestigationId, from: u32) -> Result<Vec<Entry>, StoreError> { self.inner.transcript(id, from).await }
    async fn request_investigation(&self, incident: IncidentId) -> Result<InvestigationId, StoreError> { self.inner.request_investigation(incident).await }
    async fn open_investigations(&self, limit: u32) -> Result<Vec<InvestigationId>, StoreError> { self.inner.open_investigations(limit).await }
    async fn append(&self, id: InvestigationId, seq: u32, event: Event) -> Result<Entry, StoreError> { self.inner.append(id, seq, event).await }
    async fn address_notices(&self, channels: &[String]) -> Result<(), StoreError> { self.inner.address_notices(channels).await }
    async fn has_unaddressed_notices(&self) -> Result<bool, StoreError> { self.inner.has_unaddressed_notices().await }
    async fn due_notices(&self, channel: &str, now: Timestamp, limit: u32) -> Result<Vec<Outgoing>, StoreError> { self.inner.due_notices(channel, now, limit).await }
    async fn notice_delivered(&self, id: i64) -> Result<(), StoreError> { self.inner.notice_delivered(id).await }
    async fn notice_failed(&self, id: i64, error: &str, next_at: Option<Timestamp>) -> Result<(), StoreError> { self.inner.notice_failed(id, error, next_at).await }
    async fn pending_notices(&self) -> Result<Vec<(String, u64)>, StoreError> { self.inner.pending_notices().await }
    async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<escalation::Delivery>, StoreError> { self.inner.deliveries(query).await }
    async fn record(&self, record: Record) -> Result<audit::Entry, StoreError> { self.inner.record(record).await }
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<audit::Entry>, StoreError> { self.inner.audit(after, limit).await }
    async fn rotate_audit_key(&self, by: &str) -> Result<String, StoreError> { self.inner.rotate_audit_key(by).await }
    async fn create_token(&self, new: NewToken) -> Result<Token, StoreError> { self.inner.create_token(new).await }
    async fn tokens(&self) -> Result<Vec<Token>, StoreError> { self.inner.tokens().await }
    async fn revoke_token(&self, name: &str, by: &str) -> Result<Token, StoreError> { self.inner.revoke_token(name, by).await }
    async fn token_used(&self, id: TokenId, at: Timestamp) -> Result<(), StoreError> { self.inner.token_used(id, at).await }
    async fn probe(&self) -> Result<(), StoreError> { self.inner.probe().await }
}
