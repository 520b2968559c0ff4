//! A payload in, alerts stored: parse, validate, then one durable commit. Only then does the sender get its 2xx.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, histogram};
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::alert::{Alert, RawAlert, Severity};
use watchkeeper_domain::incident::Correlation;
use watchkeeper_domain::plugin::{Payload, ReadError, Reader, Reading, Reply};
use watchkeeper_domain::store::{DeadLetter, Delivery, PayloadId, Receipt, Store, StoreError};

/// A configured origin of alerts, ready to read.
pub struct Source {
    pub name: Arc<str>,
    pub reader: Arc<dyn Reader>,
    pub dedup_window: Duration,
    metrics: SourceMetrics,
}

impl Source {
    pub fn new(name: &str, reader: Arc<dyn Reader>, dedup_window: Duration) -> Self {
        Self { name: name.into(), reader, dedup_window, metrics: SourceMetrics::of(name) }
    }
}

/// What became of a payload that Watchkeeper answers for: it is durably kept.
#[derive(Debug, PartialEq)]
pub enum Accepted {
    Stored(Receipt),
    /// The plugin failed on it. It is kept, and can be replayed.
    DeadLetter {
        id: PayloadId,
        error: String,
    },
    /// A handshake; nothing was to be kept.
    Replied(Reply),
}

/// Nothing was kept, and the sender must know.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    InvalidPayload(String),
    #[error("{0}")]
    Unauthorized(String),
    #[error("{reason}")]
    Unavailable { reason: String, retry_after: Option<Duration> },
    #[error(transparent)]
    Store(#[from] StoreError),
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
            Err(Unread::Refused(refused)) => return Err(refused),
            Err(Unread::Failed(error)) => {
                let id = self.store.bury(&source.name, received_at, payload, &error).await?;
                tracing::warn!(source = %source.name, payload = %id, %error, "the plugin failed; its payload is kept");
                return Ok(Accepted::DeadLetter { id, error });
            }
        };
        let counts = source.metrics.received(&alerts);
        let delivery = self.delivery(source, received_at, payload, alerts, None);
        let stored = self.store.ingest(delivery).await;
        source.metrics.processed(&counts, stored.as_ref(), started.elapsed());
        Ok(Accepted::Stored(stored?))
    }

    /// Reads a dead letter again. Ok(Stored): it is settled. Whatever else: it stays.
    pub async fn replay(&self, source: &Source, letter: DeadLetter) -> Result<Receipt, Refused> {
        let DeadLetter { id, received_at, payload, .. } = letter;
        let payload = Arc::new(payload);
        let alerts = match read(source, &payload).await {
            Ok(Read::Alerts(alerts)) => alerts,
            Ok(Read::Reply(_)) => Vec::new(),
            Err(Unread::Refused(refused)) => return Err(refused),
            Err(Unread::Failed(reason)) => return Err(Refused::Unavailable { reason, retry_after: None }),
        };
        Ok(self.store.ingest(self.delivery(source, received_at, payload, alerts, Some(id))).await?)
    }

    fn delivery(
        &self,
        source: &Source,
        received_at: Timestamp,
        payload: Arc<Payload>,
        alerts: Vec<Alert>,
        replay_of: Option<PayloadId>,
    ) -> Delivery {
        Delivery {
            source: source.name.clone(),
            received_at,
            payload,
            alerts,
            dedup_window: source.dedup_window,
            correlation: self.correlation.clone(),
            replay_of,
            cursor: None,
        }
    }
}

enum Read {
    Alerts(Vec<Alert>),
    Reply(Reply),
}

enum Unread {
    Refused(Refused),
    Failed(String),
}

async fn read(source: &Source, payload: &Arc<Payload>) -> Result<Read, Unread> {
    let result = match source.reader.read(payload).await {
        Ok(Reading::Alerts(alerts)) => validate(alerts).map(Read::Alerts),
        Ok(Reading::Reply(reply)) => Ok(Read::Reply(reply)),
        Err(error) => Err(unread(error)),
    };
    if let Err(error) = &result {
        source.metrics.error(error);
    }
    result
}

/// A rule that is broken is the sender's to mend: the plugin passes on what it was sent.
fn validate(alerts: Vec<RawAlert>) -> Result<Vec<Alert>, Unread> {
    let validated = alerts.into_iter().enumerate().map(|(index, alert)| alert.validate(index));
    validated
        .collect::<Result<_, _>>()
        .map_err(|error| Unread::Refused(Refused::InvalidPayload(error.to_string())))
}

fn unread(error: ReadError) -> Unread {
    Unread::Refused(match error {
        ReadError::InvalidPayload(reason) => Refused::InvalidPayload(reason),
        ReadError::Unauthorized(reason) => Refused::Unauthorized(reason),
        ReadError::Unavailable { reason, retry_after_ms } => {
            Refused::Unavailable { reason, retry_after: retry_after_ms.map(Duration::from_millis) }
        }
        ReadError::Failed(reason) => return Unread::Failed(reason),
    })
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

    fn error(&self, error: &Unread) {
        let counter = match error {
            Unread::Refused(Refused::InvalidPayload(_)) => &self.invalid_payload,
            Unread::Refused(Refused::Unauthorized(_)) => &self.unauthorized,
            Unread::Refused(_) => &self.unavailable,
            Unread::Failed(_) => &self.plugin_failed,
        };
        counter.increment(1);
    }
}

fn add<const N: usize>(counters: &[Counter; N], counts: &[u64; N]) {
    for (counter, count) in counters.iter().zip(counts).filter(|(_, count)| **count > 0) {
        counter.increment(*count);
    }
}
