//! Each dead letter is asked for once by a version, whichever kind it is of.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the fixture, each test file uses a part.
#[allow(dead_code)]
mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, correlation, raw};
use tokio::sync::watch;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::plugin::{Batch, Payload, ReadError, Reader, Reading};
use watchkeeper_flow::ingest::{Ingest, Source};
use watchkeeper_flow::investigate::Handle;
use watchkeeper_flow::second_chance::SecondChance;

/// Fails on what begins with `bad`, and notes what it was asked for.
#[derive(Default)]
struct Picky(Mutex<Vec<String>>);

#[async_trait]
impl Reader for Picky {
    async fn read(&self, payload: &Arc<Payload>) -> Result<Reading, ReadError> {
        let text = String::from_utf8(payload.body.to_vec()).unwrap();
        self.0.lock().unwrap().push(text.clone());
        match text.starts_with("bad") {
            true => Err(ReadError::Failed("trap".into())),
            false => Ok(Reading::Alerts(vec![raw(&text)])),
        }
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

#[tokio::test]
async fn a_version_is_asked_once_for_each_letter() {
    let Fixture { store, .. } = &Fixture::new();
    for (body, asked) in [("old", true), ("bad-1", true), ("bad-2", false), ("new", false)] {
        let payload = Payload { body: body.as_bytes().into(), content_type: None, attributes: Vec::new() };
        store.bury("prom", Timestamp::now(), Arc::new(payload), &"trap".into(), asked).await.unwrap();
    }
    let reader = Arc::new(Picky::default());
    let source = Arc::new(Source::new("prom", reader.clone(), Duration::from_secs(300)));
    let ingest = Ingest::new(store.clone(), correlation());
    let sources = Box::new(move || vec![source.clone()]);
    let (stop, stopping) = watch::channel(false);
    let running =
        tokio::spawn(SecondChance::new(store.clone(), ingest, Handle::default(), sources).run(stopping));
    // More than two rounds.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!(*reader.0.lock().unwrap(), ["old", "bad-1", "bad-2", "new"]);
    let letters = store.dead_letters(None, None, 9).await.unwrap();
    let left: Vec<&[u8]> = letters.iter().map(|letter| &letter.payload.body[..]).collect();
    assert_eq!(left, [b"bad-1", b"bad-2"]);
    assert_eq!(store.unasked_sources().await.unwrap(), [""; 0]);
}
