//! Polled sources: fetch, keep, and only then go on.
//!
//! Invariant: a source's cursor moves in the commit that keeps its batch, and is read from the store before each fetch.
//! Whatever is cut off in between is fetched again, and deduplicated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::plugin::{Batch, ReadError};
use watchkeeper_domain::store::{CursorMove, Delivery, StoreError};

use crate::backoff::{SHORTEST, backoff, pause_after, stopped};
use crate::ingest::{Ingest, Source, validate};
use crate::investigate::Handle;

/// Batches in a row. A source that always has more lets the interval pass all the same.
const MAX_BATCHES: usize = 100;

/// Polls `source` at once, then every `interval`, until `stop` turns true or is dropped, or the source's credentials are
/// refused: it is polled again once it is run again, with another file or plugin. A fetch that `stop` comes upon is given
/// up, a commit is finished.
pub async fn run(
    source: Arc<Source>,
    interval: Duration,
    ingest: Ingest,
    investigations: Handle,
    mut stop: watch::Receiver<bool>,
) {
    source.polled(Ok(()));
    let interval = interval.max(SHORTEST);
    let mut poller = Poller { source, interval, ingest, investigations, failures: 0 };
    while let Some(pause) = poller.round(&mut stop).await {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

struct Poller {
    source: Arc<Source>,
    interval: Duration,
    ingest: Ingest,
    investigations: Handle,
    /// In a row.
    failures: u32,
}

/// What came of one fetch.
enum Polled {
    Kept {
        alerts: bool,
        more: bool,
    },
    /// It was stopped before the batch came.
    Stopped,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Source(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Poller {
    /// Batches, until there is no more for now; then how long to wait. None: there is nothing to wait for.
    async fn round(&mut self, stop: &mut watch::Receiver<bool>) -> Option<Duration> {
        for _ in 0..MAX_BATCHES {
            match self.poll(stop).await {
                Ok(Polled::Stopped) => return None,
                Ok(Polled::Kept { alerts, more }) => {
                    self.succeeded(alerts);
                    if !more {
                        return Some(self.interval);
                    }
                }
                Err(trouble) => return self.failed(trouble),
            }
        }
        tracing::warn!(
            source = %self.source.name,
            "it had more after {MAX_BATCHES} batches in a row; the next come after its interval, {:?}", self.interval
        );
        Some(self.interval)
    }

    async fn poll(&self, stop: &mut watch::Receiver<bool>) -> Result<Polled, Trouble> {
        let from = self.ingest.cursor(&self.source).await?;
        let fetched = tokio::select! {
            biased;
            () = stopped(stop) => return Ok(Polled::Stopped),
            fetched = self.source.reader.fetch(from.as_deref()) => fetched,
        };
        let batch = fetched.and_then(bounded)?;
        let kept = Polled::Kept { alerts: !batch.alerts.is_empty(), more: batch.more };
        self.keep(batch, from).await?;
        Ok(kept)
    }

    async fn keep(&self, batch: Batch, from: Option<String>) -> Result<(), Trouble> {
        let (started, received_at) = (Instant::now(), Timestamp::now());
        let step = CursorMove { from, to: batch.cursor.clone() };
        if batch.alerts.is_empty() {
            return Ok(self.ingest.move_cursor(&self.source, step).await?);
        }
        let payload = Arc::new(batch.to_payload());
        let alerts = validate(batch.alerts)?;
        let delivery = self.ingest.delivery(&self.source, received_at, payload, alerts);
        let delivery = Delivery { cursor: Some(step), ..delivery };
        let receipt = self.ingest.keep(&self.source, delivery, started).await?;
        if !receipt.investigations.is_empty() {
            self.investigations.wake();
        }
        Ok(())
    }

    fn succeeded(&mut self, alerts: bool) {
        if self.failures > 0 {
            tracing::info!(source = %self.source.name, "polled again, after {} failures", self.failures);
        }
        self.failures = 0;
        self.source.polled(Ok(()));
        self.count(if alerts { "alerts" } else { "empty" });
    }

    /// How long to wait; None where waiting doesn't help.
    fn failed(&mut self, trouble: Trouble) -> Option<Duration> {
        let source = &self.source;
        self.count(outcome(&trouble));
        if let Trouble::Source(error) = &trouble {
            source.polled(Err(error.clone()));
        }
        let pause = pause(&trouble, self.interval, self.failures);
        match pause {
            Some(pause) => {
                tracing::warn!(source = %source.name, error = %trouble, "a poll failed; the next is in {pause:?}");
            }
            None => tracing::error!(
                source = %source.name, error = %trouble,
                "its credentials are refused: it is polled no more until its file or its plugin changes"
            ),
        }
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn count(&self, outcome: &'static str) {
        let source = self.source.name.to_string();
        counter!("agent_source_polls_total", "source" => source, "outcome" => outcome).increment(1);
    }
}

/// The cursor is kept whole or not at all.
fn bounded(batch: Batch) -> Result<Batch, ReadError> {
    match batch.cursor.as_ref().map_or(0, String::len) {
        bytes if bytes > Batch::MAX_CURSOR => {
            let most = Batch::MAX_CURSOR;
            Err(ReadError::Failed(format!("its cursor has {bytes} bytes; the most is {most}").into()))
        }
        _ => Ok(batch),
    }
}

fn outcome(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Source(error) => error.kind(),
        Trouble::Store(_) => "store_failed",
    }
}

fn pause(trouble: &Trouble, interval: Duration, failures: u32) -> Option<Duration> {
    match trouble {
        Trouble::Source(error) => pause_after(error, interval, failures),
        // Our own disk: no reason to leave the upstream waiting for a whole interval.
        Trouble::Store(_) => Some(backoff(SHORTEST, failures)),
    }
}
