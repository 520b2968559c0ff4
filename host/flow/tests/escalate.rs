//! The outbox delivers each notice to every channel, and tries again where one fails.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the fixture, each test file uses a part.
#[allow(dead_code)]
mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::Fixture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use watchkeeper_domain::escalation::{Channel, ChannelError, DeliveryState, Notice};
use watchkeeper_domain::investigation::Event;
use watchkeeper_domain::store::DeliveryQuery;
use watchkeeper_domain::{IncidentId, Untrusted};
use watchkeeper_flow::escalate;

/// Refuses as often as it is told to, and keeps every attempt with its time.
struct FakeChannel {
    name: &'static str,
    refusals: Mutex<u32>,
    attempts: Mutex<Vec<(IncidentId, Instant)>>,
    delivered: Mutex<Vec<IncidentId>>,
}

impl FakeChannel {
    fn refusing(name: &'static str, refusals: u32) -> Arc<Self> {
        Arc::new(Self {
            name,
            refusals: Mutex::new(refusals),
            attempts: Mutex::default(),
            delivered: Mutex::default(),
        })
    }

    fn delivered(&self) -> Vec<IncidentId> {
        self.delivered.lock().unwrap().clone()
    }
}

#[async_trait]
impl Channel for FakeChannel {
    fn name(&self) -> &str {
        self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        self.attempts.lock().unwrap().push((notice.incident, Instant::now()));
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(ChannelError::new("no route"));
        }
        self.delivered.lock().unwrap().push(notice.incident);
        Ok(())
    }
}

/// The outbox at work, until it is stopped.
struct Outbox {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outbox {
    fn start(fixture: &Fixture, channels: &[&Arc<FakeChannel>]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let channels = channels.iter().map(|channel| (*channel).clone() as Arc<dyn Channel>).collect();
        Self { stop, task: tokio::spawn(outbox(fixture, channels).run(stopped)) }
    }

    /// It ends at once, not with its next look.
    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(1), self.task).await.unwrap().unwrap();
    }
}

fn outbox(fixture: &Fixture, channels: Vec<Arc<dyn Channel>>) -> escalate::Outbox {
    escalate::Outbox {
        store: fixture.store.clone(),
        channels,
        redactor: Arc::default(),
        give_up_after: Duration::from_secs(3600),
    }
}

/// Nothing is on its way any more.
async fn is_empty(fixture: &Fixture) -> bool {
    !fixture.store.has_unaddressed_notices().await.unwrap()
        && fixture.store.pending_notices().await.unwrap().is_empty()
}

async fn escalated(fixture: &Fixture, alert: &str) -> IncidentId {
    let id = fixture.queued(alert).await;
    fixture.store.append(id, 1, Event::Escalated { reason: "unsure".into() }).await.unwrap();
    fixture.now(id).await.incident
}

#[tokio::test]
async fn every_notice_reaches_every_channel_once() {
    let fixture = Fixture::new();
    let incidents = [escalated(&fixture, "a").await, escalated(&fixture, "b").await];
    let channels = [FakeChannel::refusing("one", 0), FakeChannel::refusing("two", 0)];
    let outbox = Outbox::start(&fixture, &[&channels[0], &channels[1]]);
    fixture.until("the outbox is empty", async || is_empty(&fixture).await).await;
    // What comes later is found, too, and what is delivered is not delivered again.
    let third = escalated(&fixture, "c").await;
    fixture.until("the outbox is empty", async || is_empty(&fixture).await).await;
    outbox.stop().await;
    for channel in &channels {
        assert_eq!(channel.delivered(), [incidents[0], incidents[1], third], "{}", channel.name);
    }
}

#[tokio::test]
async fn a_failing_channel_is_tried_again_with_backoff() {
    let fixture = Fixture::new();
    let failing = escalated(&fixture, "a").await;
    let channel = FakeChannel::refusing("pager", 2);
    let outbox = Outbox::start(&fixture, &[&channel]);
    fixture.until("it was tried", async || !channel.attempts.lock().unwrap().is_empty()).await;
    fixture.until("it is delivered", async || !channel.delivered().is_empty()).await;
    fixture.until("the outbox is empty", async || is_empty(&fixture).await).await;
    outbox.stop().await;

    assert_eq!(channel.delivered(), [failing]);
    let times: Vec<_> = channel.attempts.lock().unwrap().iter().map(|(_, when)| *when).collect();
    assert_eq!(times.len(), 3);
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] >= Duration::from_secs(1) && waits[1] >= Duration::from_secs(2), "{waits:?}");
}

#[tokio::test]
async fn one_notice_that_fails_does_not_hold_up_the_next() {
    let fixture = Fixture::new();
    escalated(&fixture, "a").await;
    let second = escalated(&fixture, "b").await;
    let channel = FakeChannel::refusing("pager", 1);
    let outbox = Outbox::start(&fixture, &[&channel]);
    fixture.until("one is delivered", async || !channel.delivered().is_empty()).await;
    assert_eq!(channel.delivered(), [second]);
    outbox.stop().await;
}

/// Somebody has to be called, whichever way still works.
#[tokio::test]
async fn a_channel_that_is_down_does_not_keep_the_others_from_the_notice() {
    let fixture = Fixture::new();
    let incident = escalated(&fixture, "a").await;
    let (down, up) = (FakeChannel::refusing("down", u32::MAX), FakeChannel::refusing("up", 0));
    let outbox = Outbox::start(&fixture, &[&down, &up]);
    fixture.until("the first was tried", async || !down.attempts.lock().unwrap().is_empty()).await;
    fixture.until("the other has it", async || up.delivered() == [incident]).await;
    let left = async || fixture.store.pending_notices().await.unwrap();
    fixture.until("that is known", async || left().await.len() == 1).await;
    outbox.stop().await;
    assert_eq!(fixture.store.pending_notices().await.unwrap(), [("down".to_owned(), 1)]);
}

#[tokio::test]
async fn a_notice_that_was_not_delivered_is_there_for_the_next_host() {
    let fixture = Fixture::new();
    let incident = escalated(&fixture, "a").await;
    let down = FakeChannel::refusing("pager", u32::MAX);
    let outbox = Outbox::start(&fixture, &[&down]);
    fixture.until("it was tried", async || !down.attempts.lock().unwrap().is_empty()).await;
    outbox.stop().await;
    let up = FakeChannel::refusing("pager", 0);
    let outbox = Outbox::start(&fixture, &[&up]);
    fixture.until("it is delivered", async || !up.delivered().is_empty()).await;
    outbox.stop().await;
    assert_eq!(up.delivered(), [incident]);
}

/// Never comes back from a notice.
struct Hanging;

#[async_trait]
impl Channel for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    async fn deliver(&self, _: &Notice) -> Result<(), ChannelError> {
        std::future::pending().await
    }
}

/// Fails us.
struct Panicking;

#[async_trait]
impl Channel for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    async fn deliver(&self, _: &Notice) -> Result<(), ChannelError> {
        panic!("a bug of ours");
    }
}

#[tokio::test]
async fn channels_that_hang_or_panic_hold_up_nobody_and_are_seen() {
    let fixture = Fixture::new();
    let incident = escalated(&fixture, "a").await;
    let up = FakeChannel::refusing("up", 0);
    let (stop, stopped) = watch::channel(false);
    let channels: Vec<Arc<dyn Channel>> = vec![Arc::new(Hanging), Arc::new(Panicking), up.clone()];
    let task = tokio::spawn(outbox(&fixture, channels).run(stopped));
    fixture.until("it is delivered", async || up.delivered() == [incident]).await;
    let of = async |channel: &str| {
        let query = DeliveryQuery { channel: Some(channel.into()), ..DeliveryQuery::default() };
        fixture.store.deliveries(query).await.unwrap().items.remove(0)
    };
    fixture.until("the bug is seen", async || of("panicking").await.attempts > 0).await;
    assert!(of("panicking").await.last_error.unwrap().contains("panicked"));
    assert_eq!(of("hanging").await.status, DeliveryState::Pending);
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
}

/// Refuses, and says so in the words that it was sent.
struct Parrot;

#[async_trait]
impl Channel for Parrot {
    fn name(&self) -> &str {
        "parrot"
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        assert!(!notice.reason.contains("hunter2"), "{notice:?}");
        Err(ChannelError::new("not password=hunter2 again"))
    }
}

#[tokio::test]
async fn what_leaves_is_redacted_and_what_comes_back_too() {
    let fixture = Fixture::new();
    let id = fixture.queued("a").await;
    let reason = Untrusted::from("stopped at password=hunter2");
    fixture.store.append(id, 1, Event::Escalated { reason: reason.clone() }).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(outbox(&fixture, vec![Arc::new(Parrot)]).run(stopped));
    let listed = async || fixture.store.deliveries(DeliveryQuery::default()).await.unwrap().items;
    fixture.until("it was tried", async || listed().await.first().is_some_and(|one| one.attempts > 0)).await;
    let one = listed().await.remove(0);
    assert_eq!(one.last_error.unwrap(), "not password=[redacted: password] again");
    assert_eq!(one.reason, reason, "what is stored stays as it came");
    stop.send(true).unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn after_its_time_a_notice_is_given_up() {
    let fixture = Fixture::new();
    escalated(&fixture, "a").await;
    let down = FakeChannel::refusing("down", u32::MAX);
    let (stop, stopped) = watch::channel(false);
    let outbox = escalate::Outbox { give_up_after: Duration::ZERO, ..outbox(&fixture, vec![down.clone()]) };
    let task = tokio::spawn(outbox.run(stopped));
    let query = || DeliveryQuery { status: Some(DeliveryState::GivenUp), ..DeliveryQuery::default() };
    let given_up = async || fixture.store.deliveries(query()).await.unwrap().items.len() == 1;
    fixture.until("it is given up", given_up).await;
    assert_eq!(down.attempts.lock().unwrap().len(), 1);
    stop.send(true).unwrap();
    task.await.unwrap();
}
