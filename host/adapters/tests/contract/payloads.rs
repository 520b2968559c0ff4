//! The latest payloads that were read well.

use watchkeeper_domain::plugin::Batch;
use watchkeeper_domain::store::*;

use super::*;

async fn read(store: &AnyStore, source: &str, body: &str) {
    let said = Delivery { source: source.into(), payload: Arc::new(payload(body)), ..delivery(0, []) };
    store.ingest(said).await.unwrap();
}

async fn recent_of(store: &AnyStore, sources: &[&str], limit: u32, max_bytes: u64) -> Vec<String> {
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let recent = store.recent_payloads(&sources, limit, max_bytes).await.unwrap();
    let body = |payload: &Payload| String::from_utf8(payload.body.to_vec()).unwrap();
    recent.iter().map(|(source, payload)| format!("{source} {}", body(payload))).collect()
}

async fn recent(store: &AnyStore, limit: u32, max_bytes: u64) -> Vec<String> {
    recent_of(store, &["prom"], limit, max_bytes).await
}

pub async fn recent_payloads_are_newest_first_of_these_sources(store: AnyStore) {
    assert_eq!(recent(&store, 9, 9999).await, [""; 0]);
    for (source, body) in [("prom", "1"), ("datadog", "2"), ("prom", "3"), ("pro", "4")] {
        read(&store, source, body).await;
    }
    assert_eq!(recent(&store, 9, 9999).await, ["prom 3", "prom 1"]);
    assert_eq!(recent_of(&store, &[], 9, 9999).await, [""; 0]);
    let both = recent_of(&store, &["prom", "datadog", "none"], 9, 9999).await;
    assert_eq!(both, ["prom 3", "datadog 2", "prom 1"]);
    let whole = store.recent_payloads(&["prom".into()], 1, 9999).await.unwrap();
    assert_eq!(whole, [("prom".to_owned(), payload("3"))]);
}

pub async fn recent_payloads_of_a_quiet_source_are_not_crowded_out(store: AnyStore) {
    for (source, body) in [("quiet", "1"), ("quiet", "2")] {
        read(&store, source, body).await;
    }
    for number in 0..50 {
        read(&store, "loud", &format!("{number:0>100}")).await;
    }
    let all = recent_of(&store, &["loud", "quiet"], 10, 9999).await;
    assert_eq!(all.len(), 12);
    assert_eq!(all[1], "quiet 2");
    assert_eq!(all[3], "quiet 1");
    // The bytes are shared, too.
    let few = recent_of(&store, &["loud", "quiet"], 10, 500).await;
    assert!(few.contains(&"quiet 1".into()) && few.len() < 10, "{few:?}");
}

pub async fn recent_payloads_are_bounded_in_number_and_bytes(store: AnyStore) {
    for body in ["1", "2", &"x".repeat(1000), "3"] {
        read(&store, "prom", body).await;
    }
    assert_eq!(recent(&store, 1, 9999).await, ["prom 3"]);
    assert_eq!(recent(&store, 0, 9999).await, [""; 0]);
    assert_eq!(recent(&store, 9, 0).await, [""; 0]);
    assert_eq!(recent(&store, 9, 999).await, ["prom 3", "prom 2", "prom 1"], "one too large is passed over");
    assert_eq!(recent(&store, 9, 9999).await.len(), 4);
}

pub async fn recent_payloads_were_read_well(store: AnyStore) {
    read(&store, "prom", "well").await;
    let dead = store.bury("prom", at(1), Arc::new(payload("dead")), &"trap".into(), true).await.unwrap();
    let said = Batch::default().to_payload();
    store.ingest(Delivery { payload: Arc::new(said), ..delivery(2, [firing("a")]) }).await.unwrap();
    assert_eq!(recent(&store, 9, 9999).await, ["prom well"]);
    store.ingest(Delivery { replay_of: Some(dead), ..delivery(3, []) }).await.unwrap();
    assert_eq!(recent(&store, 9, 9999).await, ["prom dead", "prom well"], "a replay has read it");
}

/// At this second, in order; firing alerts are of an incident that stays open.
async fn come(store: &AnyStore, second: u64, body: &str, alerts: impl IntoIterator<Item = Alert>) {
    let payload = Arc::new(payload(body));
    store.ingest(Delivery { payload, ..delivery(second, alerts) }).await.unwrap();
}

pub async fn old_payloads_are_removed_and_what_is_needed_stays(store: AnyStore) {
    come(&store, 0, "old", []).await;
    come(&store, 1, "of an open incident", [firing("a")]).await;
    come(&store, 2, "of one that will be closed", [of_service("b", firing("b"))]).await;
    let dead = store.bury("prom", at(3), Arc::new(payload("dead")), &"trap".into(), true).await.unwrap();
    come(&store, 4, "closes it", [resolved("b")]).await;
    come(&store, 10, "young", []).await;
    let before = alerts(&store).await;
    let pruned = store.prune_payloads(at(10), None, 100).await.unwrap();
    assert_eq!(pruned, Pruned { removed: 3, next: None });
    assert_eq!(recent(&store, 9, 9999).await, ["prom young", "prom of an open incident"]);
    let letters = store.dead_letters(None, None, 9).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.id).collect::<Vec<_>>(), [dead]);
    assert_eq!(alerts(&store).await, before, "alerts stay, whatever becomes of what they came in");
    assert_eq!(store.prune_payloads(at(10), None, 100).await.unwrap(), Pruned::default());

    // Once it is settled, or closed, it is like any other.
    store.ingest(Delivery { replay_of: Some(dead), ..delivery(11, []) }).await.unwrap();
    come(&store, 12, "closes the other", [resolved("a")]).await;
    assert_eq!(store.prune_payloads(at(10), None, 100).await.unwrap().removed, 2);
    assert_eq!(recent(&store, 9, 9999).await, ["prom closes the other", "prom young"]);
}

pub async fn payloads_are_removed_a_few_at_a_time(store: AnyStore) {
    assert_eq!(store.prune_payloads(at(99), None, 2).await.unwrap(), Pruned::default());
    for second in 0..5 {
        come(&store, second, &second.to_string(), []).await;
    }
    let (mut removed, mut after) = (Vec::new(), None);
    loop {
        let pruned = store.prune_payloads(at(99), after, 2).await.unwrap();
        removed.push(pruned.removed);
        after = pruned.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(removed, [2, 2, 0], "the last of all stays, for its number's sake");
    assert_eq!(recent(&store, 9, 9999).await, ["prom 4"]);
    let next = store.bury("prom", at(9), Arc::new(payload("next")), &"trap".into(), true).await.unwrap();
    assert_eq!(next, PayloadId(6));
}
