//! Payloads on which a plugin failed.

use watchkeeper_domain::store::*;

use super::*;

async fn bury(store: &AnyStore, source: &str, second: u64) -> PayloadId {
    store.bury(source, at(second), Arc::new(payload(source)), &"trap".into(), true).await.unwrap()
}

async fn buried(store: &AnyStore) -> Vec<PayloadId> {
    let letters = store.dead_letters(None, None, 100).await.unwrap();
    letters.into_iter().map(|letter| letter.id).collect()
}

fn replay(id: PayloadId, second: u64, alert: Alert) -> Delivery {
    Delivery { replay_of: Some(id), ..delivery(second, [alert]) }
}

pub async fn a_dead_letter_is_kept_as_it_came(store: AnyStore) {
    // No text, no type, nothing beside it: a payload is bytes.
    let payload =
        Payload { body: [0, 255, 13].as_slice().into(), content_type: None, attributes: Vec::new() };
    let id =
        store.bury("prom", at(3), Arc::new(payload.clone()), &"memory limit".into(), true).await.unwrap();
    let letters = store.dead_letters(None, None, 100).await.unwrap();
    let (error, asked) = ("memory limit".into(), true);
    assert_eq!(
        letters,
        [DeadLetter { id, source: "prom".into(), received_at: at(3), payload, error, asked }]
    );
    assert_eq!(alerts(&store).await, []);
}

pub async fn dead_letters_are_listed_by_source_and_after(store: AnyStore) {
    say(&store, 0, [firing("read well")]).await;
    let mut ids = Vec::new();
    for (second, source) in ["prom", "datadog", "prom", "prom"].into_iter().enumerate() {
        ids.push(bury(&store, source, second as u64).await);
    }
    let list = async |source, after, limit| {
        let letters = store.dead_letters(source, after, limit).await.unwrap();
        letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 100).await, ids, "the oldest first");
    assert_eq!(list(Some("prom"), None, 100).await, [ids[0], ids[2], ids[3]]);
    assert_eq!(list(Some("prom"), Some(ids[0]), 1).await, [ids[2]]);
    assert_eq!(list(Some("nobody"), None, 100).await, []);
    assert_eq!(list(None, Some(ids[3]), 100).await, []);
}

pub async fn a_replay_settles_once(store: AnyStore) {
    let (id, other) = (bury(&store, "prom", 0).await, bury(&store, "prom", 1).await);
    let receipt = store.ingest(replay(id, 0, critical("a"))).await.unwrap();
    assert_eq!((told(&receipt).as_str(), receipt.investigations.len()), ("1 new", 1));
    assert_eq!(buried(&store).await, [other]);

    let message = invalid(store.ingest(replay(id, 0, firing("b"))).await);
    assert!(message.contains(&id.to_string()), "{message}");
    assert_eq!(the_alert(&store).await.id, "a");
    invalid(store.ingest(replay(PayloadId(4711), 0, firing("b"))).await);
    assert_eq!(buried(&store).await, [other]);
}

pub async fn letters_that_no_plugin_was_asked_to_read_are_listed_until_one_is(store: AnyStore) {
    let unasked = async |source: &str, second| {
        let why = "quarantined".into();
        store.bury(source, at(second), Arc::new(payload(source)), &why, false).await.unwrap()
    };
    bury(&store, "prom", 0).await;
    let ids = [unasked("prom", 1).await, unasked("datadog", 2).await, unasked("prom", 3).await];
    let list = async |source, after, limit| {
        let letters = store.unasked_letters(source, after, limit).await.unwrap();
        assert!(letters.iter().all(|letter| !letter.asked && letter.source == source));
        letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(list("prom", None, 9).await, [ids[0], ids[2]]);
    assert_eq!(list("prom", Some(ids[0]), 9).await, [ids[2]]);
    assert_eq!(list("prom", None, 1).await, [ids[0]]);
    assert_eq!(store.unasked_sources().await.unwrap(), ["datadog", "prom"]);
    // One is failed on, one is read.
    store.bury_again(ids[0], &"trap again".into()).await.unwrap();
    store.ingest(Delivery { source: "datadog".into(), ..replay(ids[1], 2, firing("a")) }).await.unwrap();
    assert_eq!(store.unasked_sources().await.unwrap(), ["prom"]);
    assert_eq!(list("prom", None, 9).await, [ids[2]]);
    let letters = store.dead_letters(Some("prom"), None, 9).await.unwrap();
    let errors: Vec<String> = letters.iter().map(|letter| letter.error.line()).collect();
    assert_eq!(errors, ["trap", "trap again", "quarantined"]);
    // What is settled stays so.
    store.bury_again(ids[1], &"too late".into()).await.unwrap();
    assert_eq!(store.dead_letters(Some("datadog"), None, 9).await.unwrap(), []);
}

pub async fn of_two_replays_one_settles(store: AnyStore) {
    let id = bury(&store, "prom", 0).await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.ingest(replay(id, 0, firing(&format!("a{n}")))).await })
        })
        .collect();
    let mut settled = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => settled += 1,
            Err(error) => assert!(matches!(error, StoreError::Invalid(_)), "{error}"),
        }
    }
    assert_eq!((settled, alerts(&store).await.len()), (1, 1));
}

pub async fn replayed_alerts_were_received_when_the_letter_was(store: AnyStore) {
    let id = bury(&store, "prom", 5).await;
    say(&store, 60, [firing("a")]).await;
    say(&store, 70, [resolved("a")]).await;
    let letter = store.dead_letters(None, None, 1).await.unwrap().remove(0);
    assert_eq!(letter.received_at, at(5));
    // What it says was said before the resolve, so it doesn't reopen.
    assert_eq!(told(&store.ingest(replay(id, 5, firing("a"))).await.unwrap()), "1 stale");

    let id = bury(&store, "prom", 5).await;
    store.ingest(replay(id, 5, firing("b"))).await.unwrap();
    let newest = alerts(&store).await.remove(0);
    assert_eq!((newest.id.line().as_str(), newest.received_at), ("b", at(5)));
}
