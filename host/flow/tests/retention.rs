//! Payloads that are older than the operator wants go by themselves, and it ends when it is told to.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the fixture, each test file uses a part.
#[allow(dead_code)]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, correlation};
use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::plugin::Payload;
use watchkeeper_domain::store::Delivery;
use watchkeeper_flow::retention;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn came(fixture: &Fixture, ago: Duration, body: &str) {
    let received_at = Timestamp::now().as_millis() - ago.as_millis() as u64;
    let payload = Payload { body: body.as_bytes().into(), content_type: None, attributes: Vec::new() };
    let delivery = Delivery {
        source: "prom".into(),
        received_at: Timestamp::from_millis(received_at),
        payload: Arc::new(payload),
        alerts: Vec::new(),
        dedup_window: DAY,
        correlation: Arc::new(correlation()),
        replay_of: None,
        cursor: None,
    };
    fixture.store.ingest(delivery).await.unwrap();
}

#[tokio::test]
async fn what_is_older_than_wanted_goes() {
    let fixture = Fixture::new();
    // More than are removed at once.
    for number in 0..450 {
        came(&fixture, 31 * DAY, &number.to_string()).await;
    }
    came(&fixture, 29 * DAY, "young").await;
    let (stop, stopping) = watch::channel(false);
    let run = tokio::spawn(retention::run(fixture.store.clone(), 30 * DAY, stopping));
    let left = async || fixture.store.recent_payloads(&["prom".into()], 1000, u64::MAX).await.unwrap();
    let went = async {
        while left().await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), went).await.unwrap();
    assert_eq!(&left().await[0].1.body[..], b"young");
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), run).await.unwrap().unwrap();
}
