//! The outbox: every notice reaches every channel, however often that must be tried.
//!
//! Each channel has a task of its own, so one that is down holds up nobody. A notice is in the store with the event that
//! caused it, and leaves it only for a channel that took it; so it may come twice after a crash, and never not at all.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::task::JoinSet;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::escalation::{Channel, ChannelError, Notice, Retry};
use watchkeeper_domain::redact::{Counts, Redactor};
use watchkeeper_domain::store::{Outgoing, Store, StoreError};

/// How often the outbox is looked into.
const LOOK: Duration = Duration::from_millis(500);

/// How long a channel may take for one notice.
const DEADLINE: Duration = Duration::from_secs(30);

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(300);

const BATCH: u32 = 32;

/// Whom notices go to.
#[derive(Clone)]
pub struct Outbox {
    pub store: Arc<dyn Store>,
    pub channels: Vec<Arc<dyn Channel>>,
    pub redactor: Arc<Redactor>,
    /// How long after its escalation a notice is tried.
    pub give_up_after: Duration,
}

impl Outbox {
    /// Runs until `stop` turns true.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for channel in self.channels.clone() {
            counter!("agent_escalations_failed_total", "channel" => channel.name().to_owned()).increment(0);
            let (this, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move { this.serve(channel, stop).await });
        }
        tasks.spawn(self.address(stop));
        while tasks.join_next().await.is_some() {}
    }

    /// Sees to it that new notices are on their way to every channel, and counts what is.
    async fn address(self, mut stop: watch::Receiver<bool>) {
        let names: Vec<String> = self.channels.iter().map(|channel| channel.name().to_owned()).collect();
        let mut counted: BTreeSet<String> = names.iter().cloned().collect();
        let mut complaint = Complaint::default();
        // At first always: channels may be gone that were there when the host stopped.
        let mut first = true;
        while !*stop.borrow() {
            let addressed = self.address_new(&names, first).await;
            first &= addressed.is_err();
            complaint.of(addressed.as_ref().err());
            let pending = addressed.unwrap_or_default();
            counted.extend(pending.iter().map(|(channel, _)| channel.clone()));
            for channel in &counted {
                let count = pending.iter().find(|(of, _)| of == channel).map_or(0, |(_, count)| *count);
                gauge!("agent_escalations_pending", "channel" => channel.clone()).set(count as f64);
            }
            pause(&mut stop).await;
        }
    }

    async fn address_new(&self, channels: &[String], always: bool) -> Result<Vec<(String, u64)>, StoreError> {
        if always || self.store.has_unaddressed_notices().await? {
            self.store.address_notices(channels).await?;
        }
        self.store.pending_notices().await
    }

    async fn serve(self, channel: Arc<dyn Channel>, mut stop: watch::Receiver<bool>) {
        let mut complaint = Complaint::default();
        let mut stopping = stop.clone();
        while !*stop.borrow() {
            tokio::select! {
                served = self.serve_due(&channel) => complaint.of(served.err().as_ref()),
                // What is under way is tried again by the next host.
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            pause(&mut stop).await;
        }
    }

    async fn serve_due(&self, channel: &Arc<dyn Channel>) -> Result<(), StoreError> {
        for outgoing in self.store.due_notices(channel.name(), Timestamp::now(), BATCH).await? {
            self.settle(channel, outgoing).await?;
        }
        Ok(())
    }

    async fn settle(&self, channel: &Arc<dyn Channel>, outgoing: Outgoing) -> Result<(), StoreError> {
        let name = channel.name().to_owned();
        let (notice, found) = self.redactor.notice(&outgoing.notice);
        count_redactions("channel", &found);
        let incident = notice.incident;
        let Err(error) = deliver(channel.clone(), notice).await else {
            counter!("agent_escalations_delivered_total", "channel" => name).increment(1);
            return self.store.notice_delivered(outgoing.id).await;
        };
        counter!("agent_escalations_failed_total", "channel" => name.clone()).increment(1);
        let now = Timestamp::now();
        let wait = wait(error.retry, outgoing.attempts);
        // What the other side says may hold what it was told.
        let error = self.redactor.redact(&error.message).text;
        if now.since(outgoing.created_at) >= self.give_up_after {
            counter!("agent_escalations_given_up_total", "channel" => name.clone()).increment(1);
            tracing::error!(channel = name, %incident, error, "an escalation is given up; nobody was called by this channel");
            return self.store.notice_failed(outgoing.id, &error, None).await;
        }
        tracing::error!(channel = name, %incident, error, "an escalation failed; again in {} s", wait.as_secs());
        self.store.notice_failed(outgoing.id, &error, Some(now.plus(wait))).await
    }
}

async fn pause(stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        _ = tokio::time::sleep(LOOK) => {}
        _ = stop.changed() => {}
    }
}

/// Of errors that follow each other the first is told.
#[derive(Default)]
struct Complaint {
    failing: bool,
}

impl Complaint {
    fn of(&mut self, error: Option<&StoreError>) {
        if let (Some(error), false) = (error, self.failing) {
            tracing::error!(%error, "the outbox can't be read or written; notices wait");
        }
        self.failing = error.is_some();
    }
}

/// Within the deadline, on a task of its own: a channel that panics has failed, no more.
async fn deliver(channel: Arc<dyn Channel>, notice: Notice) -> Result<(), ChannelError> {
    let mut task = JoinSet::new();
    task.spawn(async move { channel.deliver(&notice).await });
    match tokio::time::timeout(DEADLINE, task.join_next()).await {
        Ok(Some(Ok(delivered))) => delivered,
        Ok(Some(Err(error))) => Err(ChannelError::new(format!("the channel failed: {error}"))),
        Ok(None) => Err(ChannelError::new("the channel did nothing")),
        Err(_) => Err(ChannelError::new(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

/// `agent_redactions_total`, by where a text went and what was taken out of it.
pub fn count_redactions(to: &'static str, found: &Counts) {
    for (kind, count) in found {
        counter!("agent_redactions_total", "to" => to, "kind" => *kind).increment(u64::from(*count));
    }
}

fn wait(retry: Retry, attempts: u32) -> Duration {
    match retry {
        Retry::Backoff => backoff(attempts, random()),
        Retry::After(least) => backoff(attempts, random()).max(least.min(12 * LAST_BACKOFF)),
        Retry::Seldom => backoff(u32::MAX, random()),
    }
}

/// Doubles up to five minutes, and up to a quarter more, so that hosts that failed together don't come back together.
fn backoff(attempts: u32, random: f64) -> Duration {
    let base = FIRST_BACKOFF.saturating_mul(1 << attempts.min(16)).min(LAST_BACKOFF);
    base + base.mul_f64(random / 4.0)
}

/// 0 to 1. What std seeds its hash maps with is random enough to spread retries.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_five_minutes() {
        let seconds = [0, 1, 2, 8, 9, 1000].map(|attempts| backoff(attempts, 0.0).as_secs());
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
        assert_eq!(backoff(9, 1.0).as_secs(), 375);
    }

    #[test]
    fn jitter_differs_from_time_to_time() {
        let waits: BTreeSet<Duration> = (0..100).map(|_| wait(Retry::Backoff, 5)).collect();
        assert!(waits.len() > 90, "{} of 100", waits.len());
        assert!(waits.iter().all(|wait| (32_000..=40_000).contains(&wait.as_millis())), "{waits:?}");
    }

    #[test]
    fn the_other_side_may_ask_for_more_time_but_not_for_ever() {
        assert!(wait(Retry::After(Duration::from_secs(90)), 0).as_secs() == 90);
        assert!(wait(Retry::After(Duration::from_secs(1 << 40)), 0) <= Duration::from_secs(3600));
        assert!(wait(Retry::Seldom, 0) >= LAST_BACKOFF);
    }
}
