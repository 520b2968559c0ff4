//! A polled source's cursor moves with what it brought, and nothing that goes wrong loses or doubles an alert.
//!
//! Time stands still while something is done, and passes at once when everything waits; and no fetch is answered before
//! the test goes on. So a test waits for nothing but what must come, and nothing comes meanwhile.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the fixture, each test file uses a part.
#[allow(dead_code)]
mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use async_trait::async_trait;
use common::faulty::{Fault, FaultyStore};
use common::{Fixture, correlation, raw};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use watchkeeper_domain::alert::{RawAlert, Severity};
use watchkeeper_domain::plugin::{Batch, Payload, ReadError, Reader, Reading};
use watchkeeper_domain::store::*;
use watchkeeper_flow::ingest::{Ingest, Source};
use watchkeeper_flow::investigate::Handle;
use watchkeeper_flow::poll;

const SOURCE: &str = "queue";
const INTERVAL: Duration = Duration::from_secs(10);

type Answer = Result<Batch, ReadError>;

/// Gives one answer of its script after the other, each when the test goes on, and then never any more. Whatever it is
/// handed must be the cursor that is in the store.
struct Upstream {
    script: Mutex<VecDeque<Answer>>,
    store: Arc<dyn Store>,
    fetches: mpsc::UnboundedSender<(Fetch, oneshot::Sender<()>)>,
}

/// As it began.
#[derive(Debug, PartialEq)]
struct Fetch {
    at: Instant,
    cursor: Option<String>,
}

#[async_trait]
impl Reader for Upstream {
    async fn read(&self, _: &Arc<Payload>) -> Result<Reading, ReadError> {
        panic!("a polled source is not delivered to")
    }

    async fn fetch(&self, cursor: Option<&str>) -> Answer {
        assert_eq!(self.store.cursor(SOURCE).await.unwrap().as_deref(), cursor, "it is the one that is kept");
        let (go_on, gone_on) = oneshot::channel();
        let fetch = Fetch { at: Instant::now(), cursor: cursor.map(str::to_owned) };
        self.fetches.send((fetch, go_on)).unwrap();
        gone_on.await.unwrap();
        let answer = self.script.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn version(&self) -> Option<String> {
        Some("1".into())
    }

    async fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
}

/// A poller at work.
struct Polling {
    source: Arc<Source>,
    investigations: Handle,
    fetches: mpsc::UnboundedReceiver<(Fetch, oneshot::Sender<()>)>,
    /// The fetch that waits for its answer.
    held: Option<oneshot::Sender<()>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Polling {
    fn start(store: &Arc<FaultyStore>, script: impl IntoIterator<Item = Answer>) -> Self {
        Self::every(INTERVAL, store, script)
    }

    fn every(interval: Duration, store: &Arc<FaultyStore>, script: impl IntoIterator<Item = Answer>) -> Self {
        let (fetched, fetches) = mpsc::unbounded_channel();
        let script = Mutex::new(script.into_iter().collect());
        let upstream = Upstream { script, store: store.inner.clone(), fetches: fetched };
        let source = Arc::new(Source::new(SOURCE, Arc::new(upstream), Duration::from_secs(300)));
        let (stop, stopping) = watch::channel(false);
        let investigations = Handle::default();
        let ingest = Ingest::new(store.clone(), correlation());
        let task =
            tokio::spawn(poll::run(source.clone(), interval, ingest, investigations.clone(), stopping));
        Self { source, investigations, fetches, held: None, stop, task }
    }

    /// The next fetch has begun, so what the last one brought is dealt with.
    async fn fetch(&mut self) -> Fetch {
        self.go_on();
        let (fetch, go_on) = self.fetches.recv().await.unwrap();
        self.held = Some(go_on);
        fetch
    }

    fn go_on(&mut self) {
        if let Some(go_on) = self.held.take() {
            go_on.send(()).unwrap();
        }
    }

    /// The cursors that the next fetches are handed; "-" is none.
    async fn cursors<const N: usize>(&mut self) -> [String; N] {
        let mut cursors = [const { String::new() }; N];
        for cursor in &mut cursors {
            *cursor = self.fetch().await.cursor.unwrap_or("-".into());
        }
        cursors
    }

    /// The pauses between the next fetches.
    async fn pauses<const N: usize>(&mut self) -> [Duration; N] {
        let mut last = self.fetch().await.at;
        let mut pauses = [Duration::ZERO; N];
        for pause in &mut pauses {
            let at = self.fetch().await.at;
            *pause = at - last;
            last = at;
        }
        pauses
    }

    /// As a crash does: whatever it was about is dropped.
    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

fn batch(alerts: &[&str], cursor: &str) -> Batch {
    let alerts = alerts.iter().map(|id| raw(id)).collect();
    Batch { alerts, cursor: Some(cursor.into()), more: false }
}

fn with_more(batch: Batch) -> Answer {
    Ok(Batch { more: true, ..batch })
}

fn unavailable(retry_after_ms: Option<u64>) -> Answer {
    Err(ReadError::Unavailable { reason: "503".into(), retry_after_ms })
}

async fn ids(store: &Arc<FaultyStore>) -> Vec<String> {
    let mut stored = store.alerts(AlertQuery::default()).await.unwrap().items;
    stored.reverse();
    stored.into_iter().map(|alert| alert.id.into_exposed()).collect()
}

async fn cursor(store: &Arc<FaultyStore>) -> Option<String> {
    store.cursor(SOURCE).await.unwrap()
}

static WATCHDOG: Once = Once::new();

/// By the clock on the wall, since the tests' own stands still while they wait.
fn end_what_hangs() {
    std::thread::sleep(Duration::from_secs(60));
    eprintln!("a test of polled sources waits for what never comes");
    std::process::exit(1);
}

/// A real store, in which nothing goes wrong at first.
fn store() -> (Fixture, Arc<FaultyStore>) {
    WATCHDOG.call_once(|| drop(std::thread::spawn(end_what_hangs)));
    let fixture = Fixture::new();
    let store = FaultyStore::new(fixture.store.clone(), Fault::None);
    (fixture, store)
}

#[tokio::test(start_paused = true)]
async fn a_source_is_polled_at_once_and_then_every_interval() {
    let (_fixture, store) = store();
    let started = Instant::now();
    let mut polling = Polling::start(&store, [1, 2, 3].map(|n| Ok(batch(&["a"], &n.to_string()))));
    assert_eq!(polling.fetch().await, Fetch { at: started, cursor: None });
    assert_eq!(polling.pauses::<2>().await.map(|pause| pause.as_secs()), [10, 10]);
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_source_is_polled_more_often_than_each_second() {
    let (_fixture, store) = store();
    let mut polling = Polling::every(Duration::ZERO, &store, [1, 2].map(|_| Ok(Batch::default())));
    assert_eq!(polling.pauses::<2>().await.map(|pause| pause.as_secs()), [1, 1]);
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_kept_before_its_cursor_is_handed_on() {
    let (_fixture, store) = store();
    let mut polling = Polling::start(&store, [Ok(batch(&["a", "b"], "1")), Ok(batch(&["c"], "2"))]);
    assert_eq!(polling.cursors().await, ["-", "1"]);
    assert_eq!(ids(&store).await, ["a", "b"]);
    assert_eq!(polling.cursors().await, ["2"]);
    assert_eq!(ids(&store).await, ["a", "b", "c"]);
    polling.stop().await;

    let delivered = store.delivered.lock().unwrap();
    let expected = [batch(&["a", "b"], "1"), batch(&["c"], "2")].map(|batch| batch.to_payload());
    assert!(delivered.iter().map(|payload| &**payload).eq(&expected), "{delivered:?}");
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_without_alerts_the_cursor_alone_is_kept() {
    let (_fixture, store) = store();
    let nothing = Batch { cursor: None, ..batch(&[], "") };
    let mut polling = Polling::start(&store, [Ok(batch(&[], "1")), Ok(batch(&[], "1")), Ok(nothing)]);
    assert_eq!(polling.cursors().await, ["-", "1", "1", "-"]);
    polling.stop().await;
    assert!(store.delivered.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_is_fetched_at_once_but_not_without_end() {
    let (_fixture, store) = store();
    let mut polling = Polling::start(&store, (1..=250).map(|n| with_more(batch(&["a"], &n.to_string()))));
    let pauses = polling.pauses::<249>().await;
    polling.stop().await;
    let waited: Vec<_> = (1..)
        .zip(pauses)
        .filter(|(_, pause)| !pause.is_zero())
        .map(|(n, pause)| (n, pause.as_secs()))
        .collect();
    assert_eq!(waited, [(100, 10), (200, 10)], "after a hundred in a row the interval passes");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_can_not_keep_is_fetched_again() {
    let (_fixture, store) = store();
    store.set(Fault::DiskFull);
    let same = || Ok(batch(&["a"], "1"));
    let script = [same(), Ok(batch(&[], "1")), unavailable(None), same(), Ok(batch(&["b"], "2"))];
    let mut polling = Polling::start(&store, script);
    let [first, second] = polling.pauses().await.map(|pause| pause.as_secs_f64());
    assert!((1.0..=2.002).contains(&first), "{first}");
    assert!((2.0..=4.002).contains(&second), "{second}");
    assert_eq!((cursor(&store).await, ids(&store).await), (None, vec![]));
    store.set(Fault::None);
    assert_eq!(polling.cursors().await, ["-", "1", "2"]);
    assert_eq!(ids(&store).await, ["a", "b"]);
    assert_eq!(polling.source.check().await, Ok(()), "the disk is not the source's trouble");
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_commit_repeats_the_batch_and_keeps_it_once() {
    let (_fixture, store) = store();
    store.set(Fault::Waits(Arc::default()));
    let mut polling = Polling::start(&store, [Ok(batch(&["a"], "1"))]);
    polling.fetch().await;
    polling.go_on();
    store.met.notified().await;
    polling.crash().await;
    assert_eq!((cursor(&store).await, ids(&store).await), (None, vec![]));

    store.set(Fault::None);
    let mut polling = Polling::start(&store, [Ok(batch(&["a"], "1"))]);
    assert_eq!(polling.cursors().await, ["-", "1"]);
    assert_eq!(ids(&store).await, ["a"]);
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_commit_goes_on_behind_the_batch() {
    let (_fixture, store) = store();
    store.set(Fault::LosesAnswers);
    let mut polling = Polling::start(&store, [Ok(batch(&["a"], "1"))]);
    polling.fetch().await;
    polling.go_on();
    store.met.notified().await;
    polling.crash().await;

    store.set(Fault::None);
    let mut polling = Polling::start(&store, [Ok(batch(&["b"], "2"))]);
    assert_eq!(polling.cursors().await, ["1", "2"]);
    assert_eq!(ids(&store).await, ["a", "b"]);
    polling.stop().await;
}

/// An upstream may repeat what it gave, whatever it was handed.
#[tokio::test(start_paused = true)]
async fn an_alert_that_is_fetched_twice_is_one() {
    let (_fixture, store) = store();
    let mut polling = Polling::start(&store, [Ok(batch(&["a", "b"], "1")), Ok(batch(&["b", "c"], "2"))]);
    assert_eq!(polling.cursors().await, ["-", "1", "2"]);
    assert_eq!(ids(&store).await, ["a", "b", "c"]);
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_somebody_else_moved_is_read_again() {
    let (_fixture, store) = store();
    let go_on = Arc::new(Notify::new());
    store.set(Fault::Waits(go_on.clone()));
    let mut polling = Polling::start(&store, [Ok(batch(&["late"], "1")), Ok(batch(&["a"], "3"))]);
    polling.fetch().await;
    polling.go_on();
    store.met.notified().await;
    let theirs = CursorMove { from: None, to: Some("2".into()) };
    store.inner.move_cursor(SOURCE, theirs).await.unwrap();
    store.set(Fault::None);
    go_on.notify_one();
    assert_eq!(polling.cursors().await, ["2", "3"]);
    assert_eq!(ids(&store).await, ["a"], "what was fetched from elsewhere is not kept");
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_breaks_a_rule_is_refused_whole() {
    let long = Batch { cursor: Some("x".repeat(Batch::MAX_CURSOR + 1)), ..batch(&["a"], "") };
    let untitled = RawAlert { title: "".into(), ..raw("b") };
    let untitled = Batch { alerts: vec![raw("a"), untitled], ..batch(&[], "1") };
    let cases = [
        (untitled, ReadError::InvalidPayload("alerts[1].title: must not be empty".into())),
        (long, ReadError::Failed("its cursor has 65537 bytes; the most is 65536".into())),
    ];
    for (wrong, expected) in cases {
        let (_fixture, store) = store();
        let mut polling = Polling::start(&store, [Ok(wrong), Ok(batch(&["a"], "1"))]);
        assert_eq!(polling.cursors().await, ["-", "-"]);
        assert_eq!(ids(&store).await, [""; 0]);
        assert_eq!(polling.source.check().await, Err(expected));
        assert_eq!(polling.cursors().await, ["1"]);
        assert_eq!(polling.source.check().await, Ok(()), "it is well again");
        polling.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_backed_off_from_and_forgotten() {
    let (_fixture, store) = store();
    let failures = [
        unavailable(None),
        Err(ReadError::Failed("trap".into())),
        Err(ReadError::InvalidPayload("no JSON".into())),
        unavailable(None),
        unavailable(None),
        unavailable(None),
        Ok(Batch::default()),
        unavailable(None),
    ];
    let mut polling = Polling::start(&store, failures);
    let pauses = polling.pauses::<8>().await.map(|pause| pause.as_secs_f64());
    polling.stop().await;
    let bounds = [(10, 20), (20, 40), (40, 80), (80, 160), (150, 300), (150, 300), (10, 10), (10, 20)];
    for (n, (pause, (shortest, longest))) in pauses.into_iter().zip(bounds).enumerate() {
        // The clock has milliseconds.
        let within = f64::from(shortest)..=f64::from(longest) + 0.002;
        assert!(within.contains(&pause), "pause {n} is {pause} s, not within {within:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_says_when_to_come_again_within_bounds() {
    let (_fixture, store) = store();
    let asked = [2_500, 900_000, 0, u64::MAX];
    let mut polling = Polling::start(&store, asked.map(|millis| unavailable(Some(millis))));
    let pauses = polling.pauses::<4>().await.map(|pause| pause.as_millis());
    assert_eq!(pauses, [2_500, 900_000, 1000, 3_600_000]);
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_end_it_visibly() {
    let (_fixture, store) = store();
    let refused = ReadError::Unauthorized("wrong key".into());
    let mut polling =
        Polling::start(&store, [Ok(batch(&["a"], "1")), Err(refused.clone()), Ok(batch(&["b"], "2"))]);
    assert_eq!(polling.cursors().await, ["-", "1"]);
    polling.go_on();
    (&mut polling.task).await.unwrap();
    assert_eq!(polling.source.check().await, Err(refused));
    assert_eq!(ids(&store).await, ["a"]);
    assert!(polling.fetches.is_empty());

    // Run again, it goes on, and is well.
    let (_stop, stopping) = watch::channel(false);
    let ingest = Ingest::new(store.clone(), correlation());
    let again = poll::run(polling.source.clone(), INTERVAL, ingest, Handle::default(), stopping);
    let again = tokio::spawn(again);
    assert_eq!(polling.cursors().await, ["1", "2"]);
    assert_eq!(polling.source.check().await, Ok(()));
    again.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_its_pause_and_its_fetch_at_once() {
    // The fetch that never ends.
    let (_fixture, store) = store();
    let mut polling = Polling::start(&store, []);
    let began = polling.fetch().await.at;
    polling.stop().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The pause.
    store.set(Fault::LosesAnswers);
    let mut polling = Polling::start(&store, [unavailable(Some(60_000))]);
    let began = polling.fetch().await.at;
    polling.go_on();
    tokio::time::sleep(Duration::from_secs(30)).await;
    polling.stop().await;
    assert_eq!(began.elapsed().as_secs(), 30);
    // Whoever could stop it is gone.
    let mut polling = Polling::start(&store, []);
    polling.fetch().await;
    drop(polling.stop);
    polling.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_a_commit_finish_and_fetches_no_more() {
    let (_fixture, store) = store();
    let go_on = Arc::new(Notify::new());
    store.set(Fault::Waits(go_on.clone()));
    let mut polling = Polling::start(&store, [with_more(batch(&["a"], "1"))]);
    polling.fetch().await;
    polling.go_on();
    store.met.notified().await;
    polling.stop.send(true).unwrap();
    go_on.notify_one();
    polling.task.await.unwrap();
    assert_eq!((cursor(&store).await.as_deref(), ids(&store).await), (Some("1"), vec!["a".to_owned()]));
    assert!(polling.fetches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_investigator_is_woken_where_there_is_something_for_it() {
    let (_fixture, store) = store();
    let mild = Batch { alerts: vec![RawAlert { severity: Severity::Info, ..raw("a") }], ..batch(&[], "1") };
    let mut polling = Polling::start(&store, [Ok(mild), Ok(batch(&["b"], "2"))]);
    let woken = async |polling: &Polling| {
        tokio::select! {
            biased;
            () = polling.investigations.woken() => true,
            () = std::future::ready(()) => false,
        }
    };
    assert_eq!(polling.cursors().await, ["-", "1"]);
    assert!(!woken(&polling).await);
    assert_eq!(polling.cursors().await, ["2"]);
    assert!(woken(&polling).await);
    polling.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_metrics_say_what_became_of_each_poll() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (_fixture, store) = store();
    let script = [
        Ok(batch(&["a", "b"], "1")),
        Ok(batch(&["a"], "2")),
        Ok(batch(&[], "3")),
        unavailable(None),
        Err(ReadError::Failed("trap".into())),
        Err(ReadError::InvalidPayload("no JSON".into())),
        Err(ReadError::Unauthorized("wrong key".into())),
    ];
    let expected = [
        (r#"agent_source_polls_total{source="queue",outcome="alerts"}"#, 2),
        (r#"agent_source_polls_total{source="queue",outcome="empty"}"#, 1),
        (r#"agent_source_polls_total{source="queue",outcome="unavailable"}"#, 1),
        (r#"agent_source_polls_total{source="queue",outcome="plugin_failed"}"#, 1),
        (r#"agent_source_polls_total{source="queue",outcome="invalid_payload"}"#, 1),
        (r#"agent_source_polls_total{source="queue",outcome="unauthorized"}"#, 1),
        (r#"agent_source_polls_total{source="queue",outcome="store_failed"}"#, 1),
        (r#"agent_alert_source_errors_total{source="queue",error_type="unavailable"}"#, 1),
        (r#"agent_alert_source_errors_total{source="queue",error_type="plugin_failed"}"#, 1),
        (r#"agent_alert_source_errors_total{source="queue",error_type="invalid_payload"}"#, 1),
        (r#"agent_alert_source_errors_total{source="queue",error_type="unauthorized"}"#, 1),
        (r#"agent_alert_source_errors_total{source="queue",error_type="store_failed"}"#, 1),
        (r#"agent_alerts_received_total{source="queue",severity="critical"}"#, 3),
        (r#"agent_alerts_processed_total{source="queue",severity="critical",status="stored"}"#, 3),
        (r#"agent_alert_outcomes_total{source="queue",outcome="new"}"#, 2),
        (r#"agent_alert_outcomes_total{source="queue",outcome="heard"}"#, 1),
        (r#"agent_alert_source_healthy{source="queue"}"#, 0),
    ];
    store.set(Fault::DiskFull);
    let mut polling = Polling::start(&store, std::iter::once(Ok(batch(&[], "1"))).chain(script));
    polling.fetch().await;
    polling.go_on();
    store.met.notified().await;
    store.set(Fault::None);
    polling.cursors::<7>().await;
    polling.go_on();
    polling.task.await.unwrap();

    let text = recorder.handle().render();
    for (series, value) in expected {
        let line = format!("{series} {value}");
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}
