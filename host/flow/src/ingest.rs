//! A payload in, alerts stored: parse, validate, then one durable commit. Only then does the sender get its 2xx.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, gauge, histogram};
use watchkeeper_domain::alert::{Alert, RawAlert, Severity};
use watchkeeper_domain::incident::Correlation;
use watchkeeper_domain::plugin::{Batch, Payload, ReadError, Reader, Reading, Reply};
use watchkeeper_domain::store::{CursorMove, DeadLetter, Delivery, PayloadId, Receipt, Store, StoreError};
use watchkeeper_domain::{Timestamp, Untrusted};

use crate::backoff::LONGEST_RETRY_AFTER;

/// A configured origin of alerts, ready to read.
pub struct Source {
    pub name: Arc<str>,
    pub reader: Arc<dyn Reader>,
    pub dedup_window: Duration,
    /// What came of the latest poll or subscription, if it has one.
    polled: Mutex<Result<(), ReadError>>,
    metrics: SourceMetrics,
}

impl Source {
    pub fn new(name: &str, reader: Arc<dyn Reader>, dedup_window: Duration) -> Self {
        let (polled, metrics) = (Mutex::new(Ok(())), SourceMetrics::of(name));
        Self { name: name.into(), reader, dedup_window, polled, metrics }
    }

    /// Whether it is well, by its latest poll and by its plugin's own word. Said in `agent_alert_source_healthy`, too.
    pub async fn check(&self) -> Result<(), ReadError> {
        let polled = self.polled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let well = match polled {
            Ok(()) => self.reader.check().await,
            Err(error) => Err(error),
        };
        self.show_health(well.is_ok());
        well
    }

    /// A poll that failed makes the source ill at once, and the next that succeeds well.
    pub(crate) fn polled(&self, result: Result<(), ReadError>) {
        if let Err(error) = &result {
            self.metrics.error(error);
        }
        let well = result.is_ok();
        let before =
            std::mem::replace(&mut *self.polled.lock().unwrap_or_else(PoisonError::into_inner), result);
        if well != before.is_ok() {
            self.show_health(well);
        }
    }

    fn show_health(&self, well: bool) {
        let value = if well { 1.0 } else { 0.0 };
        gauge!("agent_alert_source_healthy", "source" => self.name.to_string()).set(value);
    }
}

/// What became of a payload that Watchkeeper answers for: it is durably kept.
#[derive(Debug, PartialEq)]
pub enum Accepted {
    Stored(Receipt),
    /// The plugin failed on it. It is kept, and can be replayed.
    DeadLetter {
        id: PayloadId,
        error: Untrusted,
    },
    /// A handshake; nothing was to be kept.
    Replied(Reply),
}

/// Nothing was kept, and the sender must know.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{}", .0.line())]
    InvalidPayload(Untrusted),
    #[error("{}", .0.line())]
    Unauthorized(Untrusted),
    #[error("{}", reason.line())]
    Unavailable { reason: Untrusted, retry_after: Option<Duration> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a dead letter stays one.
#[derive(Debug, thiserror::Error)]
pub enum NotReplayed {
    #[error(transparent)]
    Unread(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for Refused {
    /// A failure of the plugin keeps nobody's payload here, so it may be tried again.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::InvalidPayload(reason) => Refused::InvalidPayload(reason),
            ReadError::Unauthorized(reason) => Refused::Unauthorized(reason),
            ReadError::Unavailable { reason, retry_after_ms } => {
                let retry_after =
                    retry_after_ms.map(|millis| Duration::from_millis(millis).min(LONGEST_RETRY_AFTER));
                Refused::Unavailable { reason, retry_after }
            }
            ReadError::Failed(reason) | ReadError::NotAsked(reason) => {
                Refused::Unavailable { reason, retry_after: None }
            }
        }
    }
}

/// The pipeline's first half. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    store: Arc<dyn Store>,
    correlation: Arc<Correlation>,
}

impl Ingest {
    pub fn new(store: Arc<dyn Store>, correlation: Correlation) -> Self {
        Self { store, correlation: Arc::new(correlation) }
    }

    pub async fn deliver(&self, source: &Source, payload: Payload) -> Result<Accepted, Refused> {
        let started = Instant::now();
        let received_at = Timestamp::now();
        let payload = Arc::new(payload);
        let alerts = match read(source, &payload).await {
            Ok(Read::Alerts(alerts)) => alerts,
            Ok(Read::Reply(reply)) => return Ok(Accepted::Replied(reply)),
            Err(ReadError::Failed(error)) => {
                return self.set_aside(source, received_at, payload, error, true).await;
            }
            Err(ReadError::NotAsked(error)) => {
                return self.set_aside(source, received_at, payload, error, false).await;
            }
            Err(error) => return Err(error.into()),
        };
        let delivery = self.delivery(source, received_at, payload, alerts);
        Ok(Accepted::Stored(self.keep(source, delivery, started).await?))
    }

    async fn set_aside(
        &self,
        source: &Source,
        received_at: Timestamp,
        payload: Arc<Payload>,
        error: Untrusted,
        asked: bool,
    ) -> Result<Accepted, Refused> {
        let id = self.store.bury(&source.name, received_at, payload, &error, asked).await?;
        tracing::warn!(source = %source.name, payload = %id, error = error.line(), "the plugin failed; its payload is kept");
        Ok(Accepted::DeadLetter { id, error })
    }

    /// Reads a dead letter again. Ok: it is settled. Whatever else: it stays, with what its plugin fails on now.
    pub async fn replay(&self, source: &Source, letter: DeadLetter) -> Result<Receipt, NotReplayed> {
        let payload = Arc::new(letter.payload.clone());
        let alerts = match read(source, &payload).await {
            Ok(Read::Alerts(alerts)) => alerts,
            Ok(Read::Reply(_)) => Vec::new(),
            Err(error) => {
                if !matches!(error, ReadError::NotAsked(_) | ReadError::Unavailable { .. }) {
                    self.store.bury_again(letter.id, &error.to_string().into()).await?;
                }
                return Err(error.into());
            }
        };
        Ok(self.settle(source, letter, alerts).await?)
    }

    /// As [`Ingest::replay`], of a source whose plugin handed the alert on by itself: no plugin reads it again, but the rules may
    /// be others by now.
    pub async fn replay_handed_on(
        &self,
        source: &Source,
        letter: DeadLetter,
    ) -> Result<Receipt, NotReplayed> {
        let Some(batch) = Batch::of_payload(&letter.payload) else {
            let reason = "it isn't what a live source's plugin handed on, and such a plugin reads no payload";
            return Err(ReadError::InvalidPayload(reason.into()).into());
        };
        let alerts = validate(batch.alerts)?;
        Ok(self.settle(source, letter, alerts).await?)
    }

    async fn settle(
        &self,
        source: &Source,
        letter: DeadLetter,
        alerts: Vec<Alert>,
    ) -> Result<Receipt, StoreError> {
        let DeadLetter { id, received_at, payload, .. } = letter;
        let delivery = self.delivery(source, received_at, Arc::new(payload), alerts);
        self.store.ingest(Delivery { replay_of: Some(id), ..delivery }).await
    }

    /// Sets aside what the plugin handed on and can't be stored as it is.
    pub(crate) async fn bury(
        &self,
        source: &Source,
        received_at: Timestamp,
        payload: Arc<Payload>,
        error: &ReadError,
    ) -> Result<(), StoreError> {
        source.metrics.error(error);
        let id = self.store.bury(&source.name, received_at, payload, &error.to_string().into(), true).await?;
        tracing::warn!(source = %source.name, payload = %id, %error, "an alert breaks a rule; it is kept as a dead letter");
        Ok(())
    }

    /// Where a polled source stands.
    pub(crate) async fn cursor(&self, source: &Source) -> Result<Option<String>, StoreError> {
        let cursor = self.store.cursor(&source.name).await;
        cursor.inspect_err(|_| source.metrics.store_failed.increment(1))
    }

    pub(crate) async fn move_cursor(&self, source: &Source, step: CursorMove) -> Result<(), StoreError> {
        let moved = self.store.move_cursor(&source.name, step).await;
        moved.inspect_err(|_| source.metrics.store_failed.increment(1))
    }

    /// `started`: when the work on it did.
    pub(crate) async fn keep(
        &self,
        source: &Source,
        delivery: Delivery,
        started: Instant,
    ) -> Result<Receipt, StoreError> {
        let counts = source.metrics.received(&delivery.alerts);
        let stored = self.store.ingest(delivery).await;
        source.metrics.processed(&counts, stored.as_ref(), started.elapsed());
        stored
    }

    pub(crate) fn delivery(
        &self,
        source: &Source,
        received_at: Timestamp,
        payload: Arc<Payload>,
        alerts: Vec<Alert>,
    ) -> Delivery {
        Delivery {
            source: source.name.clone(),
            received_at,
            payload,
            alerts,
            dedup_window: source.dedup_window,
            correlation: self.correlation.clone(),
            replay_of: None,
            cursor: None,
        }
    }
}

enum Read {
    Alerts(Vec<Alert>),
    Reply(Reply),
}

async fn read(source: &Source, payload: &Arc<Payload>) -> Result<Read, ReadError> {
    let result = match source.reader.read(payload).await {
        Ok(Reading::Alerts(alerts)) => validate(alerts).map(Read::Alerts),
        Ok(Reading::Reply(reply)) => Ok(Read::Reply(reply)),
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        source.metrics.error(error);
    }
    result
}

/// A rule that is broken is the sender's to mend: the plugin passes on what it was sent.
pub(crate) fn validate(alerts: Vec<RawAlert>) -> Result<Vec<Alert>, ReadError> {
    let validated = alerts.into_iter().enumerate().map(|(index, alert)| alert.validate(index));
    validated.collect::<Result<_, _>>().map_err(|error| ReadError::InvalidPayload(error.to_string().into()))
}

/// Handles that are looked up once a source, not once an alert.
struct SourceMetrics {
    received: [Counter; 3],
    stored: [Counter; 3],
    failed: [Counter; 3],
    duration: [Histogram; 3],
    outcomes: [Counter; 5],
    invalid_payload: Counter,
    unauthorized: Counter,
    unavailable: Counter,
    plugin_failed: Counter,
    store_failed: Counter,
}

const OUTCOMES: [&str; 5] = ["new", "heard", "resolved", "reopened", "stale"];

impl SourceMetrics {
    fn of(source: &str) -> Self {
        let source = source.to_owned();
        let by_severity =
            |make: &dyn Fn(&'static str) -> Counter| Severity::ALL.map(|severity| make(severity.as_str()));
        let error = |kind: &'static str| counter!("agent_alert_source_errors_total", "source" => source.clone(), "error_type" => kind);
        let processed = |severity, status: &'static str| {
            counter!("agent_alerts_processed_total",
                "source" => source.clone(), "severity" => severity, "status" => status)
        };
        Self {
            received: by_severity(&|severity| {
                counter!("agent_alerts_received_total", "source" => source.clone(), "severity" => severity)
            }),
            stored: by_severity(&|severity| processed(severity, "stored")),
            failed: by_severity(&|severity| processed(severity, "failed")),
            duration: Severity::ALL.map(|severity| {
                histogram!("agent_alert_processing_duration_seconds",
                    "source" => source.clone(), "severity" => severity.as_str())
            }),
            outcomes: OUTCOMES.map(|outcome| {
                counter!("agent_alert_outcomes_total", "source" => source.clone(), "outcome" => outcome)
            }),
            invalid_payload: error("invalid_payload"),
            unauthorized: error("unauthorized"),
            unavailable: error("unavailable"),
            plugin_failed: error("plugin_failed"),
            store_failed: error("store_failed"),
        }
    }

    /// How many of each severity.
    fn received(&self, alerts: &[Alert]) -> [u64; 3] {
        let mut counts = [0; 3];
        for alert in alerts {
            counts[alert.severity as usize] += 1;
        }
        add(&self.received, &counts);
        counts
    }

    fn processed(&self, counts: &[u64; 3], stored: Result<&Receipt, &StoreError>, took: Duration) {
        add(if stored.is_ok() { &self.stored } else { &self.failed }, counts);
        if let Some(highest) = counts.iter().rposition(|count| *count > 0) {
            self.duration[highest].record(took);
        }
        match stored {
            Ok(receipt) => {
                let Receipt { new, heard, resolved, reopened, stale, .. } = receipt;
                let outcomes = [new, heard, resolved, reopened, stale].map(|count| u64::from(*count));
                add(&self.outcomes, &outcomes);
            }
            Err(_) => self.store_failed.increment(1),
        }
    }

    fn error(&self, error: &ReadError) {
        let counter = match error {
            ReadError::InvalidPayload(_) => &self.invalid_payload,
            ReadError::Unauthorized(_) => &self.unauthorized,
            ReadError::Unavailable { .. } => &self.unavailable,
            ReadError::Failed(_) | ReadError::NotAsked(_) => &self.plugin_failed,
        };
        counter.increment(1);
    }
}

fn add<const N: usize>(counters: &[Counter; N], counts: &[u64; N]) {
    for (counter, count) in counters.iter().zip(counts).filter(|(_, count)| **count > 0) {
        counter.increment(*count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sender_is_asked_to_wait_for_ever() {
        let wait = |millis| {
            let error = ReadError::Unavailable { reason: "down".into(), retry_after_ms: millis };
            match Refused::from(error) {
                Refused::Unavailable { retry_after, .. } => retry_after,
                _ => None,
            }
        };
        assert_eq!(wait(None), None);
        assert_eq!(wait(Some(5_000)), Some(Duration::from_secs(5)));
        assert_eq!(wait(Some(u64::MAX)), Some(LONGEST_RETRY_AFTER));
    }
}
