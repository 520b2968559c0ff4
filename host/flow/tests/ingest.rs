//! A payload is answered for only once it is kept, and what is refused says why.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the fixture, each test file uses a part.
#[allow(dead_code)]
mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::faulty::{Fault, FaultyStore};
use common::{Fixture, correlation, raw};
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::alert::{RawAlert, Status};
use watchkeeper_domain::plugin::{Batch, Payload, ReadError, Reader, Reading, Reply};
use watchkeeper_domain::store::*;
use watchkeeper_flow::ingest::{Accepted, Ingest, NotReplayed, Refused, Source};

/// Reads every payload as the same, and checks that it is the one that was delivered.
struct FakeReader(Result<Reading, ReadError>);

#[async_trait]
impl Reader for FakeReader {
    async fn read(&self, received: &Arc<Payload>) -> Result<Reading, ReadError> {
        assert_eq!(**received, payload());
        self.0.clone()
    }

    async fn fetch(&self, _: Option<&str>) -> Result<Batch, ReadError> {
        panic!("a source that is delivered to is not polled")
    }

    fn version(&self) -> Option<String> {
        Some("1".into())
    }

    async fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
}

fn payload() -> Payload {
    Payload {
        body: b"{\"alerts\":[]}".as_slice().into(),
        content_type: Some("application/json".into()),
        attributes: vec![("user-agent".into(), "curl".into())],
    }
}

fn source(reading: Result<Reading, ReadError>) -> Source {
    Source::new("prom", Arc::new(FakeReader(reading)), Duration::from_secs(300))
}

fn alerts_of(alerts: &[RawAlert]) -> Source {
    source(Ok(Reading::Alerts(alerts.to_vec())))
}

fn ingest(store: &Arc<dyn Store>) -> Ingest {
    Ingest::new(store.clone(), correlation())
}

async fn nothing_is_kept(store: &Arc<dyn Store>) {
    assert_eq!(store.alerts(AlertQuery::default()).await.unwrap().items, []);
    assert_eq!(store.dead_letters(None, None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn alerts_are_in_the_store_before_the_answer() {
    let fixture = Fixture::new();
    let before = Timestamp::now();
    let accepted = ingest(&fixture.store).deliver(&alerts_of(&[raw("a"), raw("b")]), payload()).await;
    let Accepted::Stored(receipt) = accepted.unwrap() else { panic!("they are alerts") };
    assert_eq!((receipt.new, receipt.investigations.len()), (2, 2));
    let stored = fixture.store.alerts(AlertQuery::default()).await.unwrap().items;
    assert_eq!(stored.iter().map(|alert| alert.id.line()).collect::<Vec<_>>(), ["b", "a"]);
    assert!(stored.iter().all(|alert| alert.source == "prom" && alert.received_at >= before));
}

#[tokio::test]
async fn a_payload_without_alerts_is_fine() {
    let fixture = Fixture::new();
    let accepted = ingest(&fixture.store).deliver(&alerts_of(&[]), payload()).await;
    assert_eq!(accepted.unwrap(), Accepted::Stored(Receipt::default()));
}

#[tokio::test]
async fn a_handshake_is_answered_and_nothing_is_kept() {
    let fixture = Fixture::new();
    let reply = Reply { status: 200, headers: Vec::new(), body: b"challenge".to_vec() };
    let accepted =
        ingest(&fixture.store).deliver(&source(Ok(Reading::Reply(reply.clone()))), payload()).await;
    assert_eq!(accepted.unwrap(), Accepted::Replied(reply));
    nothing_is_kept(&fixture.store).await;
}

#[tokio::test]
async fn a_payload_on_which_the_plugin_fails_is_a_dead_letter() {
    let fixture = Fixture::new();
    let failing = source(Err(ReadError::Failed("trap: unreachable".into())));
    let accepted = ingest(&fixture.store).deliver(&failing, payload()).await.unwrap();
    let letter = fixture.store.dead_letters(None, None, 9).await.unwrap().remove(0);
    assert_eq!(accepted, Accepted::DeadLetter { id: letter.id, error: "trap: unreachable".into() });
    assert_eq!(
        (letter.source.as_str(), letter.error.expose_untrusted().as_str()),
        ("prom", "trap: unreachable")
    );
    assert_eq!(letter.payload, payload());
}

#[tokio::test]
async fn what_the_plugin_refuses_is_refused_as_it_says() {
    let refusals = [
        (ReadError::InvalidPayload("no `alerts`".into()), "InvalidPayload(\"no `alerts`\")"),
        (ReadError::Unauthorized("wrong token".into()), "Unauthorized(\"wrong token\")"),
        (
            ReadError::Unavailable { reason: "later".into(), retry_after_ms: Some(1500) },
            "Unavailable { reason: \"later\", retry_after: Some(1.5s) }",
        ),
    ];
    for (error, expected) in refusals {
        let fixture = Fixture::new();
        let refused = ingest(&fixture.store).deliver(&source(Err(error)), payload()).await.unwrap_err();
        assert_eq!(format!("{refused:?}"), expected);
        nothing_is_kept(&fixture.store).await;
    }
}

#[tokio::test]
async fn one_invalid_alert_refuses_the_payload_and_names_its_place() {
    let untitled = RawAlert { title: "".into(), ..raw("b") };
    let doubled = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
    let cases = [
        (untitled, "alerts[1].title: must not be empty"),
        (RawAlert { id: "".into(), ..raw("b") }, "alerts[1].id: must have 1 to 512 bytes, has 0"),
        (RawAlert { labels: doubled, ..raw("b") }, "alerts[1].labels: `a` occurs twice"),
    ];
    for (wrong, expected) in cases {
        let fixture = Fixture::new();
        let refused = ingest(&fixture.store).deliver(&alerts_of(&[raw("a"), wrong]), payload()).await;
        match refused {
            Err(Refused::InvalidPayload(reason)) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
        nothing_is_kept(&fixture.store).await;
    }
}

#[tokio::test]
async fn a_store_that_fails_is_never_answered_as_a_success() {
    let fixture = Fixture::new();
    let store: Arc<dyn Store> = FaultyStore::new(fixture.store.clone(), Fault::DiskFull);
    let failed = Err(ReadError::Failed("trap".into()));
    let sources = [alerts_of(&[raw("a")]), alerts_of(&[]), source(failed)];
    for source in &sources {
        let refused = ingest(&store).deliver(source, payload()).await;
        assert!(matches!(refused, Err(Refused::Store(StoreError::Unavailable(_)))), "{refused:?}");
    }
    let replayed = ingest(&store).replay(&sources[0], letter(PayloadId(1))).await;
    assert!(matches!(replayed, Err(NotReplayed::Store(StoreError::Unavailable(_)))), "{replayed:?}");
}

fn letter(id: PayloadId) -> DeadLetter {
    let received_at = Timestamp::from_millis(1_790_000_000_000);
    DeadLetter {
        id,
        source: "prom".into(),
        received_at,
        payload: payload(),
        error: "trap".into(),
        asked: true,
    }
}

async fn buried(store: &Arc<dyn Store>) -> DeadLetter {
    let letter = letter(PayloadId(0));
    let id = store.bury("prom", letter.received_at, Arc::new(payload()), &"trap".into(), true).await.unwrap();
    DeadLetter { id, ..letter }
}

#[tokio::test]
async fn a_replay_that_reads_settles_the_letter_as_of_then() {
    let fixture = Fixture::new();
    let letter = buried(&fixture.store).await;
    let receipt = ingest(&fixture.store).replay(&alerts_of(&[raw("a")]), letter.clone()).await.unwrap();
    assert_eq!(receipt.new, 1);
    let stored = fixture.store.alerts(AlertQuery::default()).await.unwrap().items;
    assert_eq!(stored[0].received_at, letter.received_at);
    assert_eq!(fixture.store.dead_letters(None, None, 9).await.unwrap(), []);
    let again = ingest(&fixture.store).replay(&alerts_of(&[raw("a")]), letter).await;
    assert!(matches!(again, Err(NotReplayed::Store(StoreError::Invalid(_)))), "{again:?}");
}

#[tokio::test]
async fn a_replay_that_does_not_read_leaves_the_letter() {
    let fixture = Fixture::new();
    let letter = buried(&fixture.store).await;
    // What it says then of why.
    let unread = [
        (source(Err(ReadError::NotAsked("quarantined".into()))), "trap"),
        (source(Err(ReadError::Failed("trap again".into()))), "trap again"),
        (source(Err(ReadError::InvalidPayload("no `alerts`".into()))), "no `alerts`"),
        (alerts_of(&[RawAlert { title: "".into(), ..raw("a") }]), "alerts[0].title: must not be empty"),
    ];
    for (source, error) in &unread {
        ingest(&fixture.store).replay(source, letter.clone()).await.unwrap_err();
        let letters = fixture.store.dead_letters(None, None, 9).await.unwrap();
        assert_eq!(letters, [DeadLetter { error: (*error).into(), ..letter.clone() }]);
    }
}

#[tokio::test]
async fn what_its_plugin_was_not_asked_to_read_is_known_as_such() {
    let fixture = Fixture::new();
    let quarantined = source(Err(ReadError::NotAsked("quarantined".into())));
    let accepted = ingest(&fixture.store).deliver(&quarantined, payload()).await.unwrap();
    assert!(matches!(accepted, Accepted::DeadLetter { .. }), "{accepted:?}");
    let letter = fixture.store.unasked_letters("prom", None, 9).await.unwrap().remove(0);
    assert!(!letter.asked);
    ingest(&fixture.store).replay(&quarantined, letter.clone()).await.unwrap_err();
    assert_eq!(fixture.store.unasked_sources().await.unwrap(), ["prom"], "it wasn't asked now either");
    let failing = source(Err(ReadError::Failed("trap".into())));
    ingest(&fixture.store).replay(&failing, letter).await.unwrap_err();
    assert_eq!(fixture.store.unasked_sources().await.unwrap(), [""; 0]);
    assert!(fixture.store.dead_letters(None, None, 9).await.unwrap()[0].asked);
}

#[tokio::test]
async fn a_resolve_is_stored_and_starts_nothing() {
    let fixture = Fixture::new();
    let resolved = RawAlert { status: Status::Resolved, ..raw("a") };
    let accepted = ingest(&fixture.store).deliver(&alerts_of(&[resolved]), payload()).await.unwrap();
    assert_eq!(accepted, Accepted::Stored(Receipt { new: 1, ..Receipt::default() }));
}
