//! Live sources: subscribe, keep what comes, subscribe again.
//!
//! Invariant: a plugin's write is complete only once its alerts are durably kept, so what it has acknowledged upstream by then
//! can't be lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use metrics::counter;
use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::{Batch, ReadError, Sink};

use crate::backoff::{SHORTEST, backoff, pause_after, stopped};
use crate::ingest::{Ingest, Source};
use crate::investigate::Handle;

/// A subscription that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(60);

/// Holds `source`'s subscription until `stop` turns true or is dropped, or its credentials are refused: then it is begun again
/// with another file or plugin.
pub async fn run(
    source: Arc<Source>,
    ingest: Ingest,
    investigations: Handle,
    mut stop: watch::Receiver<bool>,
) {
    source.polled(Ok(()));
    let sink = Arc::new(Keeper { source: source.clone(), ingest, investigations });
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            ended = source.reader.subscribe(sink.clone()) => ended,
        };
        failures = if begun.elapsed() > LASTED { 0 } else { failures };
        let Some(pause) = pause(&source, ended, failures) else { return };
        failures = failures.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// How long until it is begun again; None where that doesn't help.
fn pause(source: &Source, ended: Result<(), ReadError>, failures: u32) -> Option<Duration> {
    let outcome = ended.as_ref().err().map_or("ended", ReadError::kind);
    counter!("agent_source_subscriptions_total", "source" => source.name.to_string(), "outcome" => outcome)
        .increment(1);
    source.polled(ended.clone());
    let Err(error) = ended else {
        let pause = backoff(SHORTEST, failures);
        tracing::info!(source = %source.name, "a subscription ended; it is begun again in {pause:?}");
        return Some(pause);
    };
    let pause = pause_after(&error, SHORTEST, failures);
    match pause {
        Some(pause) => {
            tracing::warn!(source = %source.name, %error, "a subscription failed; it is begun again in {pause:?}");
        }
        None => tracing::error!(
            source = %source.name, %error,
            "its credentials are refused: it subscribes no more until its file or its plugin changes"
        ),
    }
    pause
}

struct Keeper {
    source: Arc<Source>,
    ingest: Ingest,
    investigations: Handle,
}

#[async_trait]
impl Sink for Keeper {
    async fn keep(&self, alerts: Vec<RawAlert>) -> Result<(), String> {
        let (started, received_at) = (Instant::now(), Timestamp::now());
        // As the plugin gave them, to be kept, and as they are stored.
        let (mut given, mut good) = (Vec::with_capacity(alerts.len()), Vec::with_capacity(alerts.len()));
        for alert in alerts {
            match alert.clone().validate(0) {
                Ok(valid) => {
                    given.push(alert);
                    good.push(valid);
                }
                Err(error) => self.set_aside(alert, received_at, error.to_string()).await?,
            }
        }
        if good.is_empty() {
            return Ok(());
        }
        let payload = Arc::new(Batch { alerts: given, ..Batch::default() }.to_payload());
        let delivery = self.ingest.delivery(&self.source, received_at, payload, good);
        let receipt =
            self.ingest.keep(&self.source, delivery, started).await.map_err(|error| error.to_string())?;
        if !receipt.investigations.is_empty() {
            self.investigations.wake();
        }
        Ok(())
    }
}

impl Keeper {
    /// One alert that breaks a rule holds nobody else's up.
    async fn set_aside(&self, alert: RawAlert, at: Timestamp, error: String) -> Result<(), String> {
        let error = ReadError::InvalidPayload(error.into());
        let payload = Batch { alerts: vec![alert], ..Batch::default() }.to_payload();
        self.ingest.bury(&self.source, at, Arc::new(payload), &error).await.map_err(|error| error.to_string())
    }
}
