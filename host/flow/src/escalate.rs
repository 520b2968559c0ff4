//! The outbox: every notice reaches every channel, however often that must be tried.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::escalation::Channel;
use watchkeeper_domain::store::{Outgoing, Store, StoreError};

/// How often the outbox is looked into.
const LOOK: Duration = Duration::from_millis(500);

/// How long a channel may take for one notice.
const DEADLINE: Duration = Duration::from_secs(30);

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(300);

const BATCH: u32 = 32;

/// Runs until `stop` turns true.
pub async fn run(store: Arc<dyn Store>, channels: Vec<Arc<dyn Channel>>, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    while !*stop.borrow() {
        match deliver_due(&*store, &channels).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the outbox can't be read; notices wait");
            }
            Err(_) => {}
        }
        tokio::select! {
            _ = tokio::time::sleep(LOOK) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn deliver_due(store: &dyn Store, channels: &[Arc<dyn Channel>]) -> Result<(), StoreError> {
    for outgoing in store.due_notices(Timestamp::now(), BATCH).await? {
        match deliver(channels, &outgoing).await {
            Ok(()) => store.notice_delivered(outgoing.id).await?,
            Err(error) => {
                let wait = backoff(outgoing.attempts);
                counter!("agent_escalations_failed_total").increment(1);
                tracing::error!(incident = %outgoing.notice.incident, %error, "an escalation failed; again in {wait:?}");
                store.notice_failed(outgoing.id, &error, Timestamp::now().plus(wait)).await?;
            }
        }
    }
    Ok(())
}

/// To every channel, whichever of them fails; those that took it may get it again with the retry, as their port allows.
async fn deliver(channels: &[Arc<dyn Channel>], outgoing: &Outgoing) -> Result<(), String> {
    let mut failed = Vec::new();
    for channel in channels {
        let name = channel.name();
        let delivered = tokio::time::timeout(DEADLINE, channel.deliver(&outgoing.notice)).await;
        match delivered {
            Ok(Ok(())) => {
                counter!("agent_escalations_delivered_total", "channel" => name.to_owned()).increment(1);
            }
            Ok(Err(error)) => failed.push(format!("{name}: {error}")),
            Err(_) => failed.push(format!("{name}: no answer within {DEADLINE:?}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempts.min(16)).min(LAST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_five_minutes() {
        let seconds = [0, 1, 2, 8, 9, 1000].map(|attempts| backoff(attempts).as_secs());
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }
}
