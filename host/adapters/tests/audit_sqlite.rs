//! Whatever is done to the audit log in SQLite's file is found by `AuditFile::verify`, and named.

// A test that can't go on says so by panicking.
#![allow(clippy::unwrap_used)]

// Of the contract's fixture, this file uses a part.
#[allow(dead_code)]
mod contract;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use contract::*;
use rusqlite::Connection;
use serde_json::json;
use watchkeeper_adapters::store::{AuditFile, AuditKey, PublicKey, SqliteStore};
use watchkeeper_domain::audit::{Head, Record};
use watchkeeper_domain::investigation::Event;

/// A store with one investigation that escalated, and two acts of a person: entries 1 to 6.
async fn some_log() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    let (_, id) = investigated(&store, "a").await;
    append(&store, id, [Event::Running, escalated("unsure")]).await;
    for n in 0..2 {
        store.record(Record::new("cli", "plugin.grant", format!("plugin {n}"), json!({}))).await.unwrap();
    }
    data
}

fn keys(data: &Path) -> Vec<PublicKey> {
    PublicKey::read_all(&AuditKey::public_file(&AuditKey::file_in(data))).unwrap()
}

fn faults(data: &Path, anchor: Option<Head>) -> Vec<String> {
    let verified = AuditFile::open(data).unwrap().verify(&keys(data), anchor).unwrap();
    verified.faults.iter().map(ToString::to_string).collect()
}

fn head(data: &Path) -> Head {
    AuditFile::open(data).unwrap().head(&keys(data)[0]).unwrap().unwrap()
}

/// As whoever owns the file can: without what stands in the way.
fn tamper(data: &Path, text: &str) {
    let connection = Connection::open(data.join("watchkeeper.db")).unwrap();
    let all = format!(
        "DROP TRIGGER IF EXISTS audit_is_never_changed; DROP TRIGGER IF EXISTS audit_is_never_shortened; {text}"
    );
    connection.execute_batch(&all).unwrap();
}

#[track_caller]
fn assert_found(data: &Path, text: &str, expected: &[&str]) {
    tamper(data, text);
    let found = faults(data, None);
    for words in expected {
        assert!(found.iter().any(|fault| fault.starts_with(words)), "{text}: {words}, in {found:#?}");
    }
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_fine() {
    let data = some_log().await;
    assert_eq!(faults(data.path(), None), [""; 0]);
    let head = head(data.path());
    assert_eq!(head.seq, 6);
    assert_eq!(faults(data.path(), Some(head.clone())), [""; 0]);
    // What comes after an anchor is no fault.
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    store.record(Record::new("cli", "x", "y", json!({}))).await.unwrap();
    assert_eq!(faults(data.path(), Some(head)), [""; 0]);
}

#[tokio::test]
async fn the_file_itself_refuses_changes_and_deletions() {
    let data = some_log().await;
    let connection = Connection::open(data.path().join("watchkeeper.db")).unwrap();
    for text in ["UPDATE audit SET actor = 'x' WHERE seq = 3", "DELETE FROM audit WHERE seq = 6"] {
        let error = connection.execute_batch(text).unwrap_err().to_string();
        assert!(error.contains("the audit log is never"), "{error}");
    }
    let insert = "INSERT INTO audit SELECT 7, at, actor, action, subject, detail, digest, previous, hash,
                  audit_signature(hash) FROM audit WHERE seq = 6";
    let error = connection.execute_batch(insert).unwrap_err().to_string();
    assert!(error.contains("no such function"), "only the writer can sign: {error}");
}

#[tokio::test]
async fn a_change_of_any_column_is_found() {
    let changes = [
        "at = at + 1",
        "actor = 'nobody'",
        "action = 'x'",
        "subject = 'plugin 9'",
        "detail = '{ }'",
        "digest = zeroblob(32)",
        "hash = zeroblob(32)",
        "hash = x'00'",
    ];
    for change in changes {
        let data = some_log().await;
        assert_found(
            data.path(),
            &format!("UPDATE audit SET {change} WHERE seq = 5"),
            &["entry 5: it was changed"],
        );
    }
    let data = some_log().await;
    let text = "UPDATE audit SET previous = zeroblob(32) WHERE seq = 5";
    assert_found(data.path(), text, &["entry 5: it does not follow entry 4", "entry 5: it was changed"]);
}

#[tokio::test]
async fn deleted_entries_are_found() {
    for (text, expected) in [
        ("DELETE FROM audit WHERE seq = 3", "entry 4: entry 3 before it is missing"),
        ("DELETE FROM audit WHERE seq IN (3, 4)", "entry 5: entries 3 to 4 before it is missing"),
        ("DELETE FROM audit WHERE seq = 1", "entry 2: entry 1 before it is missing"),
        ("DELETE FROM audit", "the log has no entry"),
    ] {
        assert_found(some_log().await.path(), text, &[expected]);
    }
    // With the gap closed up.
    let text = "DELETE FROM audit WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6";
    assert_found(some_log().await.path(), text, &["entry 5: it does not follow entry 4"]);
}

#[tokio::test]
async fn moved_entries_are_found() {
    let text = "UPDATE audit SET seq = 99 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6;
                UPDATE audit SET seq = 6 WHERE seq = 99";
    let expected =
        ["entry 5: it does not follow entry 4", "entry 5: it was changed", "entry 6: it does not follow"];
    assert_found(some_log().await.path(), text, &expected);
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_found_by_its_anchor() {
    let data = some_log().await;
    let anchor = head(data.path());
    tamper(data.path(), "DELETE FROM audit WHERE seq > 4");
    assert_eq!(faults(data.path(), None), [""; 0], "acts of people leave no other trace");
    let found = faults(data.path(), Some(anchor.clone()));
    assert!(found[0].starts_with("entry 5: the log was cut off: it ends with entry 4"), "{found:?}");
    // And went on.
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    for _ in 0..3 {
        store.record(Record::new("cli", "x", "y", json!({}))).await.unwrap();
    }
    let found = faults(data.path(), Some(anchor));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("entry 6: it is not the one that the anchor"), "{found:?}");
}

#[tokio::test]
async fn unsigned_entries_and_ones_of_another_key_are_found() {
    for (signature, words) in [
        ("x''", "entry 5: it is not signed"),
        ("zeroblob(64)", "entry 5: its signature is not the key's"),
        ("(SELECT signature FROM audit WHERE seq = 4)", "entry 5: its signature is not the key's"),
    ] {
        let text = format!("UPDATE audit SET signature = {signature} WHERE seq = 5");
        assert_found(some_log().await.path(), &text, &[words]);
    }
    let (data, other) = (some_log().await, some_log().await);
    let verified = AuditFile::open(data.path()).unwrap().verify(&keys(other.path()), None).unwrap();
    assert_eq!((verified.entries, verified.faults.len()), (6, 6), "none is of that key");
}

#[tokio::test]
async fn a_transcript_that_is_not_what_was_entered_is_found() {
    for (text, words) in [
        (
            "UPDATE events SET event = replace(event, 'unsure', 'sure') WHERE seq = 2",
            "entry 4: what it records, inv-1#2, was changed",
        ),
        ("DELETE FROM events WHERE seq = 2", "entry 4: what it records, inv-1#2, is gone"),
        (
            "INSERT INTO events SELECT investigation, 3, at, event FROM events WHERE seq = 1",
            "inv-1#3 is in the store, and has no entry",
        ),
        ("INSERT INTO events SELECT 9, 0, at, event FROM events WHERE seq = 0", "inv-9#0 is in the store"),
    ] {
        assert_found(some_log().await.path(), text, &[words]);
    }
    // So is a log that was cut off behind a step.
    let data = some_log().await;
    assert_found(
        data.path(),
        "DELETE FROM audit WHERE seq > 3",
        &["inv-1#2 is in the store, and has no entry"],
    );
}

#[tokio::test]
async fn what_is_older_than_the_log_is_no_fault() {
    let data = tempfile::tempdir().unwrap();
    let old = Connection::open(data.path().join("watchkeeper.db")).unwrap();
    old.execute_batch(include_str!("../src/store/sqlite/schema/1.sql")).unwrap();
    old.execute_batch(include_str!("../src/store/sqlite/schema/2.sql")).unwrap();
    old.execute_batch(
        r#"PRAGMA user_version = 2;
         INSERT INTO incidents VALUES (1, 'key', 1, 2, 'a is high', 'prom', 1790000000000, NULL, 1);
         INSERT INTO investigations VALUES (1, 1, 'running', 'automatic', 1790000000000, NULL, NULL, NULL);
         INSERT INTO events VALUES (1, 0, 1790000000000, '{"event":"started","trigger":"automatic"}');
         INSERT INTO notices VALUES (3, 1, '{"incident":"inc-1","investigation":"inv-1","title":"t",
            "severity":"critical","reason":"old","report":null,"escalated_at":"2026-01-01T00:00:00.000Z"}', 4,
            1790000000000, NULL, 'no route');"#,
    )
    .unwrap();
    drop(old);
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    append(&store, watchkeeper_domain::InvestigationId(1), [Event::Running]).await;
    assert_eq!(faults(data.path(), None), [""; 0]);
    let waiting = outgoing(&store).await;
    assert_eq!(
        (waiting.len(), waiting[0].notice.reason.line().as_str()),
        (1, "old"),
        "a notice that waited goes on"
    );
    assert!(waiting[0].notice.key.ends_with("-inc-1"));
}

#[tokio::test]
async fn the_key_is_its_owners_alone_and_made_once() {
    let data = some_log().await;
    let file = AuditKey::file_in(data.path());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    drop(SqliteStore::open(data.path()).unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), before);

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = SqliteStore::open(data.path()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    std::fs::remove_file(&file).unwrap();
    let refused = SqliteStore::open(data.path()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("audit.key") && refused.contains("--audit-key"), "{refused}");
    assert!(!file.exists(), "no other is made in its place");
    // Who verifies needs it no more than anybody.
    assert_eq!(faults(data.path(), None), [""; 0]);

    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("k.pem");
    std::fs::write(&moved, before).unwrap();
    std::fs::set_permissions(&moved, std::fs::Permissions::from_mode(0o600)).unwrap();
    drop(SqliteStore::open_with_key(data.path(), &moved).unwrap());
}

/// As [`some_log`], and a new key after entry 6: entry 7 introduces it, entry 8 is its first.
async fn rotated_log() -> tempfile::TempDir {
    let data = some_log().await;
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    store.rotate_audit_key("cli").await.unwrap();
    store.record(Record::new("cli", "x", "y", json!({}))).await.unwrap();
    data
}

#[tokio::test]
async fn a_new_key_is_introduced_by_the_old_one_and_each_process_goes_on_by_it() {
    let data = some_log().await;
    let file = AuditKey::file_in(data.path());
    let old = std::fs::read(&file).unwrap();
    let (one, two): (AnyStore, AnyStore) = (
        Arc::new(SqliteStore::open(data.path()).unwrap()),
        Arc::new(SqliteStore::open(data.path()).unwrap()),
    );
    let first = keys(data.path());
    let new = one.rotate_audit_key("cli").await.unwrap();
    // The other has the old one still, and finds that it made way; so does one that is opened later.
    two.record(Record::new("cli", "x", "by the other", json!({}))).await.unwrap();
    one.record(Record::new("cli", "x", "by the one", json!({}))).await.unwrap();
    let later: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    later.record(Record::new("cli", "x", "by a later one", json!({}))).await.unwrap();
    let newest = two.rotate_audit_key("cli").await.unwrap();
    one.record(Record::new("cli", "x", "by the one", json!({}))).await.unwrap();

    let listed: Vec<String> = keys(data.path()).iter().map(ToString::to_string).collect();
    assert_eq!(listed, [first[0].to_string(), new, newest.clone()]);
    assert_eq!(faults(data.path(), None), [""; 0]);
    let verified = AuditFile::open(data.path()).unwrap().verify(&first, None).unwrap();
    assert!(verified.faults.is_empty() && verified.keys == listed, "the first key is enough");
    assert_eq!(head(data.path()).key, newest);
    assert_ne!(std::fs::read(&file).unwrap(), old, "who has the data folder has the old key no more");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!data.path().join("audit.key.next").exists());
}

#[tokio::test]
async fn a_key_that_made_way_signs_nothing() {
    let data = some_log().await;
    let file = AuditKey::file_in(data.path());
    let old = std::fs::read(&file).unwrap();
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    store.rotate_audit_key("cli").await.unwrap();
    let new = std::fs::read(&file).unwrap();
    std::fs::write(&file, &old).unwrap();
    let refused = SqliteStore::open(data.path()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("is not the key that the audit log goes on by"), "{refused}");
    std::fs::write(&file, &new).unwrap();
    drop(SqliteStore::open(data.path()).unwrap());
    assert_eq!(faults(data.path(), None), [""; 0]);
}

/// A crash after the commit, before the new key is in its place or listed.
#[tokio::test]
async fn a_new_key_takes_its_place_after_a_crash() {
    for listed in [false, true] {
        let data = some_log().await;
        let (file, public) = (AuditKey::file_in(data.path()), data.path().join("audit.pub"));
        let (old, before) = (std::fs::read(&file).unwrap(), std::fs::read(&public).unwrap());
        let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
        store.rotate_audit_key("cli").await.unwrap();
        drop(store);
        if !listed {
            std::fs::write(&public, before).unwrap();
        }
        std::fs::rename(&file, data.path().join("audit.key.next")).unwrap();
        std::fs::write(&file, &old).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
        store.record(Record::new("cli", "x", "y", json!({}))).await.unwrap();
        assert_eq!(keys(data.path()).len(), 2);
        assert_ne!(std::fs::read(&file).unwrap(), old);
        assert_eq!(faults(data.path(), None), [""; 0]);
    }
    // And one that was made, and never introduced, is nobody's.
    let data = some_log().await;
    let next = data.path().join("audit.key.next");
    std::fs::copy(AuditKey::file_in(some_log().await.path()), &next).unwrap();
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    store.record(Record::new("cli", "x", "y", json!({}))).await.unwrap();
    assert_eq!((keys(data.path()).len(), faults(data.path(), None)), (1, Vec::new()));
    store.rotate_audit_key("cli").await.unwrap();
    assert_eq!((keys(data.path()).len(), faults(data.path(), None)), (2, Vec::new()));
}

#[tokio::test]
async fn whatever_is_done_to_a_keys_introduction_is_found() {
    let data = rotated_log().await;
    assert_eq!(faults(data.path(), None), [""; 0]);
    assert_found(
        data.path(),
        "DELETE FROM audit WHERE seq = 7",
        &["entry 8: entry 7 before it is missing", "entry 8: it is signed by the key"],
    );
    let data = rotated_log().await;
    // Also where the log ends with it, and nothing else tells.
    let text = "DELETE FROM audit WHERE seq >= 7";
    assert_found(data.path(), text, &["the key"]);
    assert!(faults(data.path(), None)[0].contains("no earlier key introduced it"));

    // Another key in its place, by somebody who has one.
    let other = some_log().await;
    let stranger = keys(other.path())[0];
    let data = rotated_log().await;
    let text = format!("UPDATE audit SET detail = json_set(detail, '$.key', '{stranger}') WHERE seq = 7");
    assert_found(data.path(), &text, &["entry 7: it was changed", "entry 8: it is signed by the key"]);

    // The old key after it made way: an entry by it in the place of the new one's.
    let data = rotated_log().await;
    let text = "UPDATE audit SET action = 'log.key_turned' WHERE seq = 7";
    assert_found(data.path(), text, &["entry 7: it was changed", "entry 8: it is signed by the key"]);
}

/// Whoever kept the old key goes on by it, with a log whose own rules are kept.
#[tokio::test]
async fn an_old_key_that_goes_on_is_found() {
    let data = some_log().await;
    let (file, public) = (AuditKey::file_in(data.path()), data.path().join("audit.pub"));
    let old = std::fs::read(&file).unwrap();
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    store.rotate_audit_key("cli").await.unwrap();
    drop(store);
    let listed = std::fs::read(&public).unwrap();
    // The introduction is taken out, so that the store takes the old key again.
    tamper(data.path(), "DELETE FROM audit WHERE seq = 7");
    std::fs::write(&file, old).unwrap();
    let store: AnyStore = Arc::new(SqliteStore::open(data.path()).unwrap());
    store.record(Record::new("cli", "x", "y", json!({}))).await.unwrap();
    assert_eq!(std::fs::read(&public).unwrap(), listed);
    let found = faults(data.path(), None);
    assert!(found.len() == 1 && found[0].contains("no earlier key introduced it"), "{found:?}");
}

/// The files are what others read, and the signatures what others verify.
#[tokio::test]
async fn openssl_verifies_an_entry() {
    let data = some_log().await;
    let Ok(version) = std::process::Command::new("openssl").arg("version").output() else {
        println!("not run: openssl is not installed");
        return;
    };
    assert!(version.status.success());
    let entry = AuditFile::open(data.path()).unwrap().entries(4, 1).unwrap().remove(0);
    let (signed, signature) = (data.path().join("signed"), data.path().join("signature"));
    std::fs::write(&signed, entry.signed()).unwrap();
    std::fs::write(&signature, &entry.signature).unwrap();
    let public = AuditKey::public_file(&AuditKey::file_in(data.path()));
    let verified = std::process::Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
        .arg(public)
        .arg("-in")
        .arg(&signed)
        .arg("-sigfile")
        .arg(&signature)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
