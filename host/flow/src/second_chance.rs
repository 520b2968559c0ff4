//! Dead letters, read again without being asked for: what came while a plugin was quarantined, once it is well again; what a
//! version failed on, once another serves.
//!
//! Invariant: a version is asked once for what was failed on before, and one that fails on letter after letter is left alone: what
//! comes new goes before what is old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::watch;
use watchkeeper_domain::plugin::{Batch, ReadError};
use watchkeeper_domain::store::{DeadLetter, PayloadId, Store, StoreError};

use crate::backoff::{backoff, stopped};
use crate::ingest::{Ingest, NotReplayed, Source};
use crate::investigate::Handle;

/// How often it is looked for what may be read by now.
const ROUND: Duration = Duration::from_secs(1);

/// Letters in memory at once; each may have a body of the whole limit.
const BATCH: u32 = 8;

/// Letters in a row that a plugin may fail on: fewer than get it quarantined.
const FAILURES: u32 = 3;

/// How long a source is left alone after those, at first.
const PAUSE: Duration = Duration::from_secs(60);

/// The sources in service.
pub type Sources = Box<dyn Fn() -> Vec<Arc<Source>> + Send + Sync>;

pub struct SecondChance {
    store: Arc<dyn Store>,
    ingest: Ingest,
    investigations: Handle,
    sources: Sources,
    /// What is known of each source in service.
    known: BTreeMap<Arc<str>, Known>,
}

#[derive(Default)]
struct Known {
    /// The version that was asked for all that others had failed on.
    version: Option<String>,
    /// Passes in a row that were given up, and when the next may be.
    given_up: u32,
    not_before: Option<Instant>,
}

/// Which letters of a source.
#[derive(Clone, Copy, PartialEq)]
enum Letters {
    /// Those that a plugin failed on.
    Asked,
    /// Those that none was asked to read.
    Unasked,
}

/// How a pass over a source's letters ended.
#[derive(PartialEq)]
enum Ended {
    Through,
    /// Too many in a row were failed on.
    GivenUp,
    /// The plugin isn't to be asked now.
    NotNow,
}

impl SecondChance {
    pub fn new(store: Arc<dyn Store>, ingest: Ingest, investigations: Handle, sources: Sources) -> Self {
        Self { store, ingest, investigations, sources, known: BTreeMap::new() }
    }

    /// Until `stop` turns true or is dropped.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                done = self.round() => if let Err(error) = done {
                    tracing::warn!(%error, "dead letters can't be read again; it is tried again in {ROUND:?}");
                },
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let unasked: BTreeSet<String> = self.store.unasked_sources().await?.into_iter().collect();
        let sources = (self.sources)();
        let names: BTreeSet<&str> = sources.iter().map(|source| &*source.name).collect();
        self.known.retain(|name, _| names.contains(&**name));
        for source in &sources {
            let mut known = self.known.remove(&source.name).unwrap_or_default();
            let looked = self.look(source, &mut known, unasked.contains(&*source.name)).await;
            self.known.insert(source.name.clone(), known);
            looked?;
        }
        Ok(())
    }

    async fn look(&self, source: &Source, known: &mut Known, unasked: bool) -> Result<(), StoreError> {
        let Some(version) = source.reader.version() else { return Ok(()) };
        let another = known.version.as_ref() != Some(&version);
        if another {
            (known.given_up, known.not_before) = (0, None);
            // First these, so that what fails in the other pass isn't asked for twice.
            if self.read_again(source, Letters::Asked).await? == Ended::NotNow {
                return Ok(());
            }
            known.version = Some(version);
        }
        if unasked && known.not_before.is_none_or(|not_before| Instant::now() >= not_before) {
            match self.read_again(source, Letters::Unasked).await? {
                Ended::Through => (known.given_up, known.not_before) = (0, None),
                Ended::GivenUp => {
                    known.not_before = Some(Instant::now() + backoff(PAUSE, known.given_up));
                    known.given_up += 1;
                }
                Ended::NotNow => {}
            }
        }
        Ok(())
    }

    /// From the oldest on.
    async fn read_again(&self, source: &Source, which: Letters) -> Result<Ended, StoreError> {
        let (mut after, mut read, mut failed_in_a_row) = (None, 0_u64, 0);
        let ended = 'letters: loop {
            let letters = self.letters(&source.name, which, after).await?;
            let Some(last) = letters.last() else { break Ended::Through };
            after = Some(last.id);
            for letter in letters.into_iter().filter(|letter| letter.asked == (which == Letters::Asked)) {
                match self.replay(source, letter).await? {
                    Ok(()) => (read, failed_in_a_row) = (read + 1, 0),
                    Err(ReadError::NotAsked(_) | ReadError::Unavailable { .. }) => {
                        break 'letters Ended::NotNow;
                    }
                    Err(ReadError::Failed(_)) => failed_in_a_row += 1,
                    // Its sender's to mend: it stays, and is no plugin's failure.
                    Err(ReadError::InvalidPayload(_) | ReadError::Unauthorized(_)) => {}
                }
                if failed_in_a_row == FAILURES {
                    break 'letters Ended::GivenUp;
                }
            }
        };
        if read > 0 {
            tracing::info!(source = %source.name, letters = read, "dead letters are read, and are none any more");
        }
        if ended == Ended::GivenUp {
            tracing::warn!(
                source = %source.name,
                "the plugin fails on dead letters still; they stay for another version of it, and for `watchkeeper replay`"
            );
        }
        Ok(ended)
    }

    async fn letters(
        &self,
        source: &str,
        which: Letters,
        after: Option<PayloadId>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        match which {
            Letters::Unasked => self.store.unasked_letters(source, after, BATCH).await,
            Letters::Asked => self.store.dead_letters(Some(source), after, BATCH).await,
        }
    }

    /// Ok: it is none any more, or none that a plugin reads.
    async fn replay(&self, source: &Source, letter: DeadLetter) -> Result<Result<(), ReadError>, StoreError> {
        if Batch::of_payload(&letter.payload).is_some() {
            return Ok(Ok(()));
        }
        let replayed = self.ingest.replay(source, letter).await;
        let outcome = if replayed.is_ok() { "read" } else { "failed" };
        let name = source.name.to_string();
        counter!("agent_dead_letters_read_again_total", "source" => name, "outcome" => outcome).increment(1);
        match replayed {
            Ok(receipt) => {
                if !receipt.investigations.is_empty() {
                    self.investigations.wake();
                }
                Ok(Ok(()))
            }
            Err(NotReplayed::Unread(error)) => Ok(Err(error)),
            // Somebody else was quicker.
            Err(NotReplayed::Store(StoreError::Invalid(_))) => Ok(Ok(())),
            Err(NotReplayed::Store(error)) => Err(error),
        }
    }
}
