//! The audit log: what happened has its entry, in one chain.

use serde_json::json;
use watchkeeper_domain::access::{self, Role};
use watchkeeper_domain::audit::{Digest, Entry, OPENED, Record};

use super::*;

async fn log(store: &AnyStore) -> Vec<Entry> {
    store.audit(0, 1000).await.unwrap()
}

fn told(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{} {} {}", entry.actor, entry.action, entry.subject)).collect()
}

pub async fn the_log_begins_with_the_store(store: AnyStore) {
    let entries = log(&store).await;
    assert_eq!(told(&entries), [format!("host {OPENED} audit log")]);
    assert_eq!((entries[0].seq, entries[0].previous), (1, Digest::ZERO));
}

pub async fn every_step_has_its_entry(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    append(&store, id, [Event::Running, escalated("unsure")]).await;
    let entries = log(&store).await;
    let expected = [
        "host log.opened audit log",
        "host investigation.started inv-1#0",
        "host investigation.running inv-1#1",
        "host investigation.escalated inv-1#2",
    ];
    assert_eq!(told(&entries), expected);
    for (at, entry) in entries.iter().enumerate().skip(1) {
        assert_eq!((entry.seq, entry.previous), (at as u64 + 1, entries[at - 1].hash));
        assert!(!entry.signature.is_empty());
    }
    assert!(entries[3].detail.contains("unsure"));
    assert_eq!(store.audit(3, 9).await.unwrap(), entries[3..]);
    assert_eq!(store.audit(0, 2).await.unwrap(), entries[..2]);
    assert_eq!(store.audit(u64::MAX, 9).await.unwrap(), []);
}

pub async fn a_step_that_was_refused_has_none(store: AnyStore) {
    let (_, id) = investigated(&store, "a").await;
    let before = log(&store).await;
    assert!(store.append(id, 7, Event::Running).await.is_err());
    assert_eq!(log(&store).await, before);
}

pub async fn acts_of_people_are_entered(store: AnyStore) {
    let record = Record::new("cli", "plugin.granted", "plugin high-cpu", json!({ "digest": "ab" }));
    let entry = store.record(record.clone()).await.unwrap();
    assert_eq!((entry.subject.as_str(), entry.digest), ("plugin high-cpu", record.digest));
    let new = |name: &str| NewToken {
        name: name.into(),
        role: Role::Viewer,
        hash: access::hash(name),
        expires_at: None,
        by: "cli".into(),
    };
    store.create_token(new("a")).await.unwrap();
    store.revoke_token("a", "token boss").await.unwrap();
    invalid(store.revoke_token("a", "cli").await);
    let entries = log(&store).await;
    let expected =
        ["cli plugin.granted plugin high-cpu", "cli token.created tok-1", "token boss token.revoked tok-1"];
    assert_eq!(told(&entries[1..]), expected);
    assert!(!entries[2].detail.contains(&access::hash("a").to_string()), "not even the hash is told");
}

pub async fn who_was_called_is_entered(store: AnyStore) {
    for name in ["a", "b"] {
        let (_, id) = investigated(&store, name).await;
        append(&store, id, [escalated("unsure")]).await;
    }
    let before = log(&store).await.len();
    let out = outgoing(&store).await;
    store.notice_failed(out[0].id, "no route", Some(at(0))).await.unwrap();
    store.notice_delivered(out[0].id).await.unwrap();
    store.notice_delivered(out[0].id).await.unwrap();
    store.notice_failed(out[1].id, "no route", None).await.unwrap();
    let expected = ["host escalation.delivered inc-1", "host escalation.given_up inc-2"];
    assert_eq!(told(&log(&store).await[before..]), expected);
}

/// Many at once are one chain.
pub async fn concurrent_entries_are_one_chain(store: AnyStore) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(
                async move { store.record(Record::new("cli", "test", n.to_string(), json!(n))).await },
            )
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let entries = log(&store).await;
    assert_eq!(entries.len(), 65);
    assert!(
        entries.windows(2).all(|pair| pair[1].previous == pair[0].hash && pair[1].seq == pair[0].seq + 1)
    );
}
