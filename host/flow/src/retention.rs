//! Payloads are kept for as long as the operator says, and then removed, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::store::{Store, StoreError};

use crate::backoff::stopped;

/// How often it is looked for what has become old.
const ROUND: Duration = Duration::from_secs(600);

/// Payloads in one commit, and the pause after it: whoever delivers meanwhile waits for that commit at most.
const BATCH: u32 = 200;
const PAUSE: Duration = Duration::from_millis(100);

/// Removes payloads that came longer ago than `keep`, until `stop` turns true or is dropped.
pub async fn run(store: Arc<dyn Store>, keep: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        let before = Timestamp::now().as_millis().saturating_sub(keep.as_millis() as u64);
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            done = round(&*store, Timestamp::from_millis(before)) => match done {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "payloads are older than store.keep_payloads, and are removed"),
                Err(error) => tracing::error!(%error, "old payloads can't be removed; it is tried again in {ROUND:?}"),
            },
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// How many were removed.
async fn round(store: &dyn Store, before: Timestamp) -> Result<u64, StoreError> {
    let (mut removed, mut after) = (0, None);
    loop {
        let pruned = store.prune_payloads(before, after, BATCH).await?;
        removed += u64::from(pruned.removed);
        counter!("agent_store_payloads_removed_total").increment(pruned.removed.into());
        if pruned.next.is_none() {
            return Ok(removed);
        }
        after = pruned.next;
        tokio::time::sleep(PAUSE).await;
    }
}
