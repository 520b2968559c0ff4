//! What is SQLite's own beside the contract: what is in the file, a file that can't be written, and two processes on it.
//!
//! A second connection plays the disk that fails and the process next door.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the contract's fixture, this file uses a part.
#[allow(dead_code)]
mod contract;

use std::path::Path;
use std::sync::Arc;

use contract::*;
use rusqlite::Connection;
use watchkeeper_adapters::store::SqliteStore;
use watchkeeper_domain::investigation::Event;
use watchkeeper_domain::store::*;

fn open(data: &Path) -> AnyStore {
    Arc::new(SqliteStore::open(data).unwrap())
}

fn beside(data: &Path) -> Connection {
    Connection::open(data.join("watchkeeper.db")).unwrap()
}

fn count(data: &Path, table: &str) -> i64 {
    beside(data).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// From now on the file refuses rows of `table` for which `when` holds.
fn break_table(data: &Path, table: &str, when: &str) {
    let text = format!(
        "CREATE TRIGGER broken_{table} BEFORE INSERT ON {table} WHEN {when}
         BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    );
    beside(data).execute_batch(&text).unwrap();
}

fn mend_table(data: &Path, table: &str) {
    beside(data).execute_batch(&format!("DROP TRIGGER broken_{table}")).unwrap();
}

#[track_caller]
fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(message)) => message,
        other => panic!("Unavailable was expected, this came: {other:?}"),
    }
}

fn refused(data: &Path) -> String {
    unavailable(SqliteStore::open(data).map(drop))
}

#[tokio::test]
async fn payloads_are_kept_as_they_came_each_once() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    let said = Delivery { payload: Arc::new(payload("ü{")), ..delivery(7, [firing("a")]) };
    store.ingest(said).await.unwrap();
    say(&store, 8, []).await;
    let dead = store.bury("prom", at(9), Arc::new(payload("dead")), &"trap".into(), true).await.unwrap();
    let replay =
        Delivery { replay_of: Some(dead), payload: Arc::new(payload("dead")), ..delivery(9, [firing("b")]) };
    store.ingest(replay).await.unwrap();

    let connection = beside(data.path());
    let mut query =
        connection.prepare("SELECT body, content_type, received_at FROM payloads ORDER BY id").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(Vec<u8>, String, i64)> = rows.map(Result::unwrap).collect();
    let expected = [("ü{", 7), ("{}", 8), ("dead", 9)].map(|(body, second)| {
        (body.as_bytes().to_vec(), "application/json".to_owned(), at(second).as_millis() as i64)
    });
    assert_eq!(rows, expected);
    let of: Vec<i64> = connection
        .prepare("SELECT payload FROM alerts ORDER BY seq")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(of, [1, 3], "an alert knows the payload that it came with");
}

#[tokio::test]
async fn a_delivery_that_fails_at_any_table_leaves_nothing() {
    const TABLES: [&str; 8] =
        ["payloads", "alerts", "incidents", "investigations", "events", "notices", "cursors", "audit"];
    for table in TABLES {
        let data = tempfile::tempdir().unwrap();
        let store = open(data.path());
        break_table(data.path(), table, "true");
        let escalated_at_once = correlation_with_no_queue();
        let said = || Delivery {
            correlation: escalated_at_once.clone(),
            ..cursors::batch(cursors::step(None, Some("1")), [firing("a"), critical("b")])
        };
        let message = unavailable(store.ingest(said()).await);
        assert!(message.contains("disk full"), "{table}: {message}");
        for table in TABLES {
            // The audit log has its first entry, which came with the store.
            assert_eq!(count(data.path(), table), i64::from(table == "audit"), "{table}");
        }
        assert_eq!(store.cursor("prom").await.unwrap(), None);
        mend_table(data.path(), table);
        assert_eq!(told(&store.ingest(said()).await.unwrap()), "2 new", "{table}");
        assert_eq!(count(data.path(), "notices"), 1);
        assert_eq!(store.cursor("prom").await.unwrap().as_deref(), Some("1"));
    }
}

fn correlation_with_no_queue() -> Arc<watchkeeper_domain::incident::Correlation> {
    Arc::new(watchkeeper_domain::incident::Correlation { max_queued: 0, ..correlation() })
}

#[tokio::test]
async fn an_event_whose_notice_fails_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    let (_, id) = investigated(&store, "a").await;
    let before = store.investigation(id).await.unwrap();
    break_table(data.path(), "notices", "true");
    unavailable(store.append(id, 1, escalated("unsure")).await);
    assert_eq!(store.transcript(id, 0).await.unwrap().len(), 1);
    assert_eq!(store.investigation(id).await.unwrap(), before);
    mend_table(data.path(), "notices");
    store.append(id, 1, escalated("unsure")).await.unwrap();
}

/// Whoever shares a commit with one that fails hears so, with the reason, and has kept nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_heard_ok_is_in_the_store_and_who_heard_an_error_is_not() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    break_table(data.path(), "alerts", "NEW.id LIKE 'poison%'");
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            let store = store.clone();
            let id = if n % 50 == 25 { format!("poison-{n}") } else { format!("good-{n}") };
            tokio::spawn(async move { (id.clone(), store.ingest(delivery(0, [firing(&id)])).await) })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for task in tasks {
        let (id, result) = task.await.unwrap();
        match result {
            Ok(_) => acknowledged.push(id),
            Err(error) => assert!(error.to_string().contains("disk full"), "{id}: {error}"),
        }
    }
    let mut kept: Vec<_> = alerts(&store).await.into_iter().map(|alert| alert.id.into_exposed()).collect();
    kept.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(kept, acknowledged);
    assert!(kept.iter().all(|id| id.starts_with("good")));
    assert_eq!(told(&say(&store, 1, [firing("after")]).await), "1 new", "the writer goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_file_never_double() {
    let data = tempfile::tempdir().unwrap();
    let stores = [open(data.path()), open(data.path())];
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = stores[n % 2].clone();
            let said = (0..5).map(|n| of_service("db", critical(&format!("a{n}"))));
            tokio::spawn(async move { say(&store, 0, said).await })
        })
        .collect();
    let (mut new, mut started) = (0, 0);
    for task in tasks {
        let receipt = task.await.unwrap();
        new += receipt.new;
        started += receipt.investigations.len();
    }
    assert_eq!((new, started), (5, 1));
    assert_eq!(the_incident(&stores[0]).await.alerts, 5);
    assert_eq!(alerts(&stores[1]).await.len(), 5);
}

#[tokio::test]
async fn what_one_process_closes_is_closed_for_the_other() {
    let data = tempfile::tempdir().unwrap();
    let [one, other] = [open(data.path()), open(data.path())];
    say(&one, 0, [of_service("db", firing("a"))]).await;
    say(&other, 1, [of_service("db", resolved("a"))]).await;
    say(&one, 2, [of_service("db", firing("b"))]).await;
    assert_eq!(incidents(&other).await.len(), 2);
}

/// A write that another process holds back for longer than the store waits is refused, and the next one goes through.
#[tokio::test]
async fn a_lock_that_is_held_too_long_is_unavailable() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    let holder = beside(data.path());
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let message = unavailable(store.ingest(delivery(0, [firing("a")])).await);
    assert!(message.contains("locked"), "it names what is the matter: {message}");
    // Who reads isn't held back.
    assert_eq!(alerts(&store).await, []);
    holder.execute_batch("ROLLBACK").unwrap();
    store.probe().await.unwrap();
    assert_eq!(told(&say(&store, 1, [firing("a")]).await), "1 new");
}

#[tokio::test]
async fn a_store_that_can_not_be_written_fails_its_probe() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    break_table(data.path(), "probe", "true");
    assert!(unavailable(store.probe().await).contains("disk full"));
    mend_table(data.path(), "probe");
    store.probe().await.unwrap();
}

#[test]
fn a_data_folder_that_is_a_file_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, "not a folder").unwrap();
    assert!(refused(&file).contains(file.to_str().unwrap()));
    assert!(!SqliteStore::exists(&file));
}

#[test]
fn a_file_that_is_no_store_is_refused_by_its_name() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("watchkeeper.db");
    std::fs::write(&file, "this is no database, but a text of some length\n".repeat(100)).unwrap();
    let message = refused(data.path());
    assert!(message.contains(file.to_str().unwrap()) && message.contains("not a database"), "{message}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("this is no database"), "it is left alone");
}

/// What such a file holds is read, and it can do all that a new one can.
#[tokio::test]
async fn a_store_of_version_1_becomes_one_of_today() {
    let data = tempfile::tempdir().unwrap();
    let old = beside(data.path());
    old.execute_batch(include_str!("../src/store/sqlite/schema/1.sql")).unwrap();
    old.execute_batch(
        "PRAGMA user_version = 1;
         INSERT INTO payloads VALUES (1, 'prom', 1790000000000, NULL, '[]', x'7b7d', NULL);
         INSERT INTO alerts VALUES (1, 'prom', 'a', 1790000000000, 1, 1, 'a is high', '', '{}', '{}', NULL,
             1790000000000, 1790000000000, 1, 1, 1);
         INSERT INTO incidents VALUES (1, 'key', 1, 1, 'a is high', 'prom', 1790000000000, NULL, NULL);",
    )
    .unwrap();
    drop(old);
    for _ in 0..2 {
        let store = open(data.path());
        assert_eq!(the_alert(&store).await.to_alert(), firing("a"));
        assert_eq!(the_incident(&store).await.alerts, 1);
    }
    let store = open(data.path());
    let again = cursors::batch(cursors::step(None, Some("1")), [firing("a"), firing("b")]);
    assert_eq!(told(&store.ingest(again).await.unwrap()), "1 new, 1 heard");
    assert_eq!(store.cursor("prom").await.unwrap().as_deref(), Some("1"));

    let new = tempfile::tempdir().unwrap();
    drop(open(new.path()));
    let tables = |data: &Path| -> Vec<String> {
        let connection = beside(data);
        let mut query = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = query.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        rows.filter_map(Result::unwrap).collect()
    };
    assert_eq!(tables(data.path()), tables(new.path()));
}

#[test]
fn a_newer_store_is_refused_with_both_versions() {
    let data = tempfile::tempdir().unwrap();
    drop(open(data.path()));
    beside(data.path()).pragma_update(None, "user_version", 99).unwrap();
    let message = refused(data.path());
    assert!(message.contains("99") && message.contains("newer Watchkeeper"), "{message}");
    assert_eq!(message.matches("up to 6").count(), 1, "it says which version this one knows: {message}");
}

#[tokio::test]
async fn the_folder_is_made_and_known_by_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("var/lib/watchkeeper");
    assert!(!SqliteStore::exists(&data));
    let store = open(&data);
    assert!(SqliteStore::exists(&data));
    let (_, id) = investigated(&store, "a").await;
    append(&store, id, [Event::Running]).await;
}
