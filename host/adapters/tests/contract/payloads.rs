//! The latest payloads that were read well.

use watchkeeper_domain::plugin::Batch;
use watchkeeper_domain::store::*;

use super::*;

async fn read(store: &AnyStore, source: &str, body: &str) {
    let said = Delivery { source: source.into(), payload: Arc::new(payload(body)), ..delivery(0, []) };
    store.ingest(said).await.unwrap();
}

async fn recent(store: &AnyStore, limit: u32, max_bytes: u64) -> Vec<String> {
    let recent = store.recent_payloads(limit, max_bytes).await.unwrap();
    let body = |payload: &Payload| String::from_utf8(payload.body.to_vec()).unwrap();
    recent.iter().map(|(source, payload)| format!("{source} {}", body(payload))).collect()
}

pub async fn recent_payloads_are_newest_first_of_any_source(store: AnyStore) {
    assert_eq!(recent(&store, 9, 9999).await, [""; 0]);
    for (source, body) in [("prom", "1"), ("datadog", "2"), ("prom", "3")] {
        read(&store, source, body).await;
    }
    assert_eq!(recent(&store, 9, 9999).await, ["prom 3", "datadog 2", "prom 1"]);
    let whole = store.recent_payloads(1, 9999).await.unwrap();
    assert_eq!(whole, [("prom".to_owned(), payload("3"))]);
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
    let dead = store.bury("prom", at(1), Arc::new(payload("dead")), "trap").await.unwrap();
    let said = Batch::default().to_payload();
    store.ingest(Delivery { payload: Arc::new(said), ..delivery(2, [firing("a")]) }).await.unwrap();
    assert_eq!(recent(&store, 9, 9999).await, ["prom well"]);
    store.ingest(Delivery { replay_of: Some(dead), ..delivery(3, []) }).await.unwrap();
    assert_eq!(recent(&store, 9, 9999).await, ["prom dead", "prom well"], "a replay has read it");
}
